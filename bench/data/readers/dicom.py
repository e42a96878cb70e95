"""DICOM: one frame, its grey values as the standard says they are shown (PS3.3 C.7.6.3, C.11)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.readers import limits
from bench.data.readers.picture import RIGHT_ANGLE, Picture, check_mm, corners
from bench.spec.errors import UsageError

DETECTOR = "ImagerPixelSpacing"
"""The spacing at the detector."""
SPACINGS = ("PixelSpacing", DETECTOR, "NominalScannedPixelSpacing")
"""The first that the file has is its spacing."""
WINDOW = (
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PhotometricInterpretation",
    "BitsStored",
    "PixelRepresentation",
)
NEEDED = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
)
"""What a file must say of its pixels (PS3.3 C.7.6.3)."""
RESCALE = ("RescaleSlope", "RescaleIntercept")
OF_PLACE = (*SPACINGS, "ImagePositionPatient", "ImageOrientationPatient")
OF_WINDOW = ("WindowCenter", "WindowWidth")
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
"""How a window may be applied (PS3.3 C.11.2.1.3)."""
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR")
"""Colour models that are read in any transfer syntax."""
OF_JPEG_2000 = ("YBR_RCT", "YBR_ICT")
"""Those that its decoder alone turns into red, green and blue."""
DEFLATED = b"1.2.840.10008.1.2.1.99"
"""The transfer syntax of files that are deflated as a whole."""
HEAD = 4096
"""Bytes that hold a file's meta elements."""
LETTERS = {
    "L": (1, 0, 0),
    "R": (-1, 0, 0),
    "P": (0, 1, 0),
    "A": (0, -1, 0),
    "H": (0, 0, 1),
    "F": (0, 0, -1),
}
"""The directions that PatientOrientation names."""
TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""DICOM's axes lead to the left and back; those of `Picture.corners` to the right and front."""


def read(path: Path, labels: bool, largest: int = limits.LARGEST) -> Picture:
    """Read one frame.

    Grey values pass the modality LUT or rescale slope, then the VOI LUT or window, and are
    inverted where 0 is white. Those of a mask (`labels`) pass the first alone.

    Raises:
        UsageError: The file holds several frames or nothing that is shown, or is too large.
    """
    import pydicom

    _check_deflated(path)
    try:
        film = pydicom.dcmread(path)
    except pydicom.errors.InvalidDicomError as error:
        raise UsageError(
            f"{path} cannot be read: it does not begin as a DICOM file does (128 bytes, then "
            "DICM); export it again as a file of part 10 of the standard"
        ) from error
    frames = int(film.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UsageError(f"{path} holds {frames} frames, expected one image: export each as a file")
    _check_encoding(film, path)
    _check_numbers(film, path, OF_PLACE + RESCALE + (() if labels else OF_WINDOW))
    _check_decoder(film, path)
    limits.check_sides(path, (int(film.Rows), int(film.Columns)), largest)
    stored = film.pixel_array
    _check_stored(stored, film, path)
    spacing, how = _spacing(film, path)
    place = _corners(film, spacing, stored.shape, path)
    photometric = str(film.get("PhotometricInterpretation", "MONOCHROME2"))
    whose = str(film.get("PatientID") or "").strip()
    if not photometric.startswith("MONOCHROME"):
        values = _colours(stored, film, photometric, path, labels)
        told = ("format: DICOM", how, f"polarity: {photometric}")
        return Picture(
            values,
            spacing=spacing,
            corners=place,
            axes=_axes(film),
            lossy=_is_lossy(film),
            how=told,
            whose=whose,
        )
    if labels:
        values, polarity = _labels(stored, film, photometric, path), "as stored"
    else:
        values, polarity = _shown(stored, film, path)
    return Picture(
        values,
        spacing=spacing,
        corners=place,
        axes=_axes(film),
        padding=None if labels else _padding(stored, film),
        lossy=_is_lossy(film),
        how=("format: DICOM", how, f"polarity: {polarity}"),
        whose=whose,
    )


def _check_deflated(path: Path) -> None:
    """Refuse a file that is deflated as a whole and too large: pydicom unpacks it at once.

    Raises:
        UsageError: It is.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if DEFLATED in head:
        length = int.from_bytes(head[140:144], "little")  # of the group of meta elements
        limits.check_deflated(path, 144 + length)


def _check_encoding(film: Any, path: Path) -> None:
    """Refuse what would be read wrongly: groups of enhanced files, and bits out of place.

    Raises:
        UsageError: The file has them.
    """
    if "SharedFunctionalGroupsSequence" in film or "PerFrameFunctionalGroupsSequence" in film:
        raise UsageError(
            f"{path} is an enhanced file, whose spacing and grey values stand in groups of frames; "
            "export it as a classic single-frame file"
        )
    missing = next((name for name in NEEDED if film.get(name) in (None, "")), "")
    if missing:
        raise UsageError(
            f"{path} has no {missing}, which says how its pixels are read; export it again"
        )
    empty = next((name for name in RESCALE if name in film and film[name].value in (None, "")), "")
    if empty:
        raise UsageError(f"{path}: {empty} is empty; expected a number: export it again")
    if "PixelData" not in film:
        raise UsageError(
            f"{path} holds no PixelData (floating values are not read); "
            "expected whole numbers: export it again"
        )
    lone = film.get("RescaleSlope", 1) != 1 or film.get("RescaleIntercept", 0) != 0
    if lone and ("RescaleSlope" in film) != ("RescaleIntercept" in film):
        raise UsageError(
            f"{path} has one of RescaleSlope and RescaleIntercept; expected both: export it again"
        )
    if "PresentationLUTSequence" in film:
        raise UsageError(
            f"{path} is shown through a presentation LUT, which is not applied here; "
            "expected plain MONOCHROME: export it again"
        )
    if film.get("HighBit", film.BitsStored - 1) != film.BitsStored - 1:
        raise UsageError(
            f"{path} stores {film.BitsStored} bits up to bit {film.HighBit}; "
            f"expected {film.BitsStored - 1}: export it again"
        )
    if _signs_differ(film):
        raise UsageError(
            f"{path} says by PixelRepresentation {film.PixelRepresentation} whether its values "
            "have a sign, and its JPEG 2000 data says the opposite; expected one of them: "
            "export it again"
        )


def _check_numbers(film: Any, path: Path, names: tuple[str, ...]) -> None:
    """Refuse texts that are no numbers, such as those with a decimal comma; they may be empty.

    Raises:
        UsageError: An element of these names holds one.
    """
    for name in names:
        if name not in film:
            continue
        try:
            numbers = np.atleast_1d(film[name].value or 0).astype(float)
            known = bool(np.isfinite(numbers).all())
        except (TypeError, ValueError):
            known = False
        if not known:
            raise UsageError(
                f"{path}: {name} is {_text(film.get_item(name).value)}, expected numbers; "
                "correct it, or export it again"
            )


def _text(value: Any) -> str:
    """Return an element's value as its file writes it."""
    if isinstance(value, bytes):
        return value.decode("latin-1").strip()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return str(value)
    return "\\".join(map(str, value))


def _check_stored(stored: NDArray[Any], film: Any, path: Path) -> None:
    """Refuse decoded values that are no single frame, or have more bits than the header says.

    Raises:
        UsageError: They are so.
    """
    if stored.ndim != (2 if film.SamplesPerPixel == 1 else 3):
        raise UsageError(f"{path} holds several frames, expected one image: export each as a file")
    bits = film.BitsStored - film.PixelRepresentation
    least = -(1 << bits) if film.PixelRepresentation else 0
    if stored.min() < least or stored.max() >= 1 << bits:
        raise UsageError(
            f"{path} holds values from {stored.min()} to {stored.max()}, which {film.BitsStored} "
            "bits (BitsStored) cannot hold; export it again"
        )


def _signs_differ(film: Any) -> bool:
    """Return whether header and JPEG 2000 data disagree on whether values have a sign."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import get_j2k_parameters
    from pydicom.uid import JPEG2000TransferSyntaxes

    if film.file_meta.get("TransferSyntaxUID") not in JPEG2000TransferSyntaxes:
        return False
    known = get_j2k_parameters(get_frame(film.PixelData, 0, number_of_frames=1))
    return bool(known.get("is_signed", film.PixelRepresentation) != film.PixelRepresentation)


def _is_lossy(film: Any) -> bool:
    """Return whether a picture was compressed as JPEG is, now or once before."""
    from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

    lossy = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
    syntax = film.file_meta.get("TransferSyntaxUID")
    return syntax in lossy or film.get("LossyImageCompression") == "01"


def _check_decoder(film: Any, path: Path) -> None:
    """Refuse a way of compression that nothing here decodes.

    Raises:
        UsageError: The file is compressed so.
    """
    from pydicom.pixels import get_decoder

    syntax = film.file_meta.TransferSyntaxUID
    try:
        known = get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        raise UsageError(
            f"{path} is compressed as {syntax.name}, which is not read; "
            "export it without compression (Explicit VR Little Endian)"
        )


def _colours(
    stored: NDArray[Any], film: Any, photometric: str, path: Path, labels: bool
) -> NDArray[Any]:
    """Return red, green and blue (H, W, 3); 16 bits of a palette become 8."""
    from pydicom.pixels import apply_color_lut
    from pydicom.uid import JPEG2000TransferSyntaxes

    syntax = film.file_meta.get("TransferSyntaxUID")
    allowed = COLOURS + (OF_JPEG_2000 if syntax in JPEG2000TransferSyntaxes else ())
    if photometric not in allowed:
        raise UsageError(
            f"{path} has the colour model {photometric}, expected grey or RGB: export it again"
        )
    if photometric != "PALETTE COLOR":
        return stored
    values: NDArray[Any] = apply_color_lut(stored, film)[..., :3]
    if values.ndim != 3:
        raise UsageError(f"{path} has a palette that cannot be read; expected grey values")
    if values.dtype == np.uint8:
        return values
    count, first, _ = film.RedPaletteColorLookupTableDescriptor
    numbers = np.arange(first, first + (count or 1 << 16))
    few = apply_color_lut(numbers, film).max() < 256  # some programs store 8 bits in 16
    short: NDArray[np.uint8] = (values if few else values >> 8).astype(np.uint8)
    if labels and _number_of_colours(short) < _number_of_colours(values):
        raise UsageError(
            f"{path} has colours of 16 bits that are equal in 8; expected 8 bits, or grey labels: "
            "convert it"
        )
    return short


def _number_of_colours(values: NDArray[Any]) -> int:
    """Return how many colours (H, W, 3) there are."""
    return len(np.unique(values.reshape(-1, 3), axis=0))


def _labels(stored: NDArray[Any], film: Any, photometric: str, path: Path) -> NDArray[Any]:
    from pydicom.pixels import apply_modality_lut

    inverse = film.get("PresentationLUTShape") == "INVERSE" or "VOILUTSequence" in film
    if photometric == "MONOCHROME1" or inverse:
        raise UsageError(
            f"{path} is a mask whose labels are shown otherwise than stored (MONOCHROME1, an "
            "inverse presentation or a VOI LUT); expected MONOCHROME2 alone: export it again"
        )
    values: NDArray[Any] = apply_modality_lut(stored, film)
    return values


def _shown(stored: NDArray[Any], film: Any, path: Path) -> tuple[NDArray[Any], str]:
    """Return grey values that grow with brightness, and what was applied, in words."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing

    applied = []
    if film.get("RescaleSlope") == 0:
        raise UsageError(
            f"{path}: its RescaleSlope is 0, which leaves one grey value; correct it, or remove it "
            "with the RescaleIntercept"
        )
    values: NDArray[Any] = apply_modality_lut(stored, film)
    if "ModalityLUTSequence" in film:
        applied.append("modality LUT")
    elif float(film.get("RescaleSlope") or 1) < 0:
        applied.append("negative rescale slope")
    if "VOILUTSequence" in film:
        values = apply_voi_lut(np.rint(values).astype(np.int64), film)
        applied.append("VOI LUT")
    elif _has_window(film):
        function = str(film.get("VOILUTFunction", FUNCTIONS[0])).upper()
        if function not in FUNCTIONS:
            raise UsageError(
                f"{path}: VOILUTFunction is {function}, expected {', '.join(FUNCTIONS)}; "
                "correct it, or remove the window"
            )
        several = _has_greys(values)
        values = apply_windowing(values, _window(film))
        applied.append("VOI window")
        one = values.min() == values.max()
        if one or (several and not _has_greys(values)):
            raise UsageError(
                f"{path}: its window (centre {film.WindowCenter}, width {film.WindowWidth}) "
                f"leaves {'one grey value' if one else 'black and white alone'}; correct the "
                "window or remove it"
            )
    white_is_zero = film.PhotometricInterpretation == "MONOCHROME1"
    if white_is_zero or film.get("PresentationLUTShape") == "INVERSE":
        values = values.max() - values.astype(np.float64)
        applied.append("inverted, 0 is white" if white_is_zero else "inverted by presentation")
    return values.astype(np.float64), ", ".join(applied) or "as stored"


def _has_greys(values: NDArray[Any]) -> bool:
    """Return whether there are values between the least and the largest."""
    return bool(((values > values.min()) & (values < values.max())).any())


def _window(film: Any) -> Any:
    """Return the window alone: pydicom's output would fall where the rescale slope is negative."""
    import pydicom

    alone = pydicom.Dataset()
    for name in WINDOW:
        if name in film:
            setattr(alone, name, film[name].value)
    return alone


def _has_window(film: Any) -> bool:
    """Return whether there is a window of which the standard allows the width."""
    widths = np.atleast_1d(film.get("WindowWidth", [])).astype(float)
    return "WindowCenter" in film and bool(widths.size) and bool(widths[0] >= 1)


def _padding(stored: NDArray[Any], film: Any) -> NDArray[np.bool_] | None:
    """Return where pixels (H, W) hold the padding value or one of its range."""
    if "PixelPaddingValue" not in film:
        return None
    limit = film.get("PixelPaddingRangeLimit", film.PixelPaddingValue)
    first, last = (_signed(int(value), film) for value in (film.PixelPaddingValue, limit))
    padding: NDArray[np.bool_] = (stored >= min(first, last)) & (stored <= max(first, last))
    return padding if padding.any() and not padding.all() else None


def _signed(value: int, film: Any) -> int:
    """Return a padding value in the range of the pixels; many files write it without a sign."""
    whole = 1 << int(film.BitsAllocated)
    if film.PixelRepresentation and value >= whole // 2:
        return value - whole
    if not film.PixelRepresentation and value < 0:
        return value + whole
    return value


def _spacing(film: Any, path: Path) -> tuple[tuple[float, float] | None, str]:
    """Return mm per pixel (row, column), and where it comes from; 0 stands for what is unknown.

    Raises:
        UsageError: It is no pair of numbers from 0 on.
    """
    for name in SPACINGS:
        mm = film.get(name)
        if not mm:
            continue
        sides = np.atleast_1d(np.array(mm, float))
        if sides.shape != (2,) or not (sides >= 0).all():
            raise UsageError(
                f"{path}: {name} is {', '.join(f'{side:g}' for side in sides)}; "
                "expected mm for rows and columns: correct it, or remove it"
            )
        if (sides > 0).all():
            check_mm(sides, path)
            how = f"spacing: DICOM {name}"
            if name == DETECTOR or _is_uncalibrated(film):
                how = f"assumed: spacing is that at the detector ({name}), larger than in the body"
            return (float(mm[0]), float(mm[1])), how
    ratio = film.get("PixelAspectRatio")
    if ratio and len(ratio) == 2 and ratio[0] != ratio[1]:
        shape = f"{ratio[0]} : {ratio[1]} high and wide (PixelAspectRatio)"
        return None, f"assumed: pixels are {shape}, of unknown size; distances count pixels"
    return None, "spacing: unknown"


def _is_uncalibrated(film: Any) -> bool:
    """Return whether the spacing repeats that at the detector and was not calibrated since.

    Source: DICOM PS3.3, section 10.7.1.3.
    """
    if DETECTOR not in film or film.get("PixelSpacingCalibrationType"):
        return False
    return bool(film.get("PixelSpacing") == film.get(DETECTOR))


def _axes(film: Any) -> NDArray[np.float64] | None:
    """Return the directions (2, 3) of columns and rows; None where none are said."""
    directions = film.get("ImageOrientationPatient")
    if directions:
        return np.array(directions, float).reshape(2, 3)
    letters = [str(letters)[:1] for letters in film.get("PatientOrientation") or ()]
    if len(letters) != 2 or not set(letters) <= LETTERS.keys():
        return None
    return np.array([LETTERS[letter] for letter in letters], float)


def _corners(
    film: Any, spacing: tuple[float, float] | None, shape: tuple[int, ...], path: Path
) -> NDArray[np.float64] | None:
    """Return the place of the corners in mm, or in pixels where the spacing is unknown."""
    directions, origin = film.get("ImageOrientationPatient"), film.get("ImagePositionPatient")
    if not directions or not origin:
        return None
    axes = np.array(directions, float).reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > RIGHT_ANGLE:
        raise UsageError(
            f"{path}: its ImageOrientationPatient is no rotation (its axes are scaled, or not at "
            "right angles); export it again"
        )
    row_mm, column_mm = spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[0] * column_mm, axes[1] * row_mm
    affine[:3, 3] = np.array(origin, float)
    return corners(affine, shape[0], shape[1]) @ TO_RAS
