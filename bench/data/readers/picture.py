"""A picture as any file format holds it: values, and what the file says about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.spec.case import LOSSY
from bench.spec.errors import UsageError

SAME = 0.1
"""Largest distance in pixels between the corners of an image and those of its mask."""
SAME_SPACING = 0.01
"""Largest relative difference between two spacings that are called equal."""
LARGEST_MM = 100.0
"""Sides of pixels from here on are no mm: micrometres, or mm under a wrong unit."""
RIGHT_ANGLE = 0.01
"""Largest cosine of the angle between two axes."""
FACING = "orientation: as stored, the right edge is "
"""How the line begins that says which way an image lies."""
WAYS = (
    ("the patient's left", "the patient's right"),
    ("the back", "the front"),
    ("the feet", "the head"),
)
"""The ends of the axes of `Picture.corners`."""
RIGHT, LOWER = ("the patient's left", "the back"), ("the back", "the feet")
"""What viewers show at the right and below."""
TURNED_BY_VIEWERS = frozenset({"format: NIfTI", "format: MetaImage"})
"""Formats that viewers show upright, whichever way they are stored."""
AS_STORED = "assumed: masks lie on their images as the pixels are stored"
TURNED = "orientation: turned as EXIF says"
UPRIGHT = "assumed: images and masks fit as they are shown, though EXIF turns one of them alone"
"""What is told where only one of a pair is stored turned."""
BY_PALETTE = "polarity: by the palette"
"""What is told where the values are numbers of colours."""
TRANSPARENT = (
    "has transparent pixels, expected none: flatten it, so that it holds what is seen; "
    "where a mask is drawn by its opacity alone, save the alpha channel as the mask"
)
"""What is wrong with a file that shows less than it holds."""
SLICES = "save each slice as a file; only the layouts of ct-verse and mr are cut into slices"
"""What to do with a volume where an image is expected."""
ONE_WAY = 0.5
"""Least cosine of the angle between two axes that lead one way; letters may be 55 degrees off."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class Picture:
    """One 2D image or mask."""

    values: NDArray[Any]
    """(H, W), or (H, W, 3) red, green and blue."""
    palette: NDArray[np.uint8] | None = None
    """Colours (n, 3) that the values are numbers of."""
    spacing: tuple[float, float] | None = None
    """mm per pixel (row, column), None where unknown."""
    corners: NDArray[np.float64] | None = None
    """Positions in mm (2, 2, 3) of the first and last pixel of the first and last row, to the
    right, front and head (RAS); None where the file does not say where it lies. The last is NaN in
    a file of two dimensions."""
    axes: NDArray[np.float64] | None = None
    """Directions (2, 3) in which columns and rows follow one another, to compare where places
    cannot be."""
    padding: NDArray[np.bool_] | None = None
    """Pixels (H, W) that are no part of the picture."""
    lossy: bool = False
    """Whether the file was compressed as JPEG is, which changes values."""
    how: tuple[str, ...] = ()
    """What was decided when it was read, as `topic: words`."""
    whose: str = ""
    """The patient by the file's header."""
    stored: tuple[int, int] | None = None
    """Height and width as stored, where EXIF turns the picture; else None."""


def facing(image: Picture) -> str:
    """Return which way an image lies by its header; empty where that does not say it."""
    edges = _edges(image)
    return f"{FACING}{edges[0]}, the lower one {edges[1]}" if edges else ""


def _edges(image: Picture) -> tuple[str, ...]:
    """Return where the right and the lower edge are by the header; nothing where it is silent."""
    if image.corners is None or np.isnan(image.corners).any():
        return ()
    edges = []
    for last in (image.corners[0, -1], image.corners[-1, 0]):
        way = last - image.corners[0, 0]
        axis = int(np.abs(way).argmax())
        if not way[axis]:
            return ()
        edges.append(WAYS[axis][int(way[axis] > 0)])
    return tuple(edges)


def told(image: Picture, mask: Picture) -> tuple[str, ...]:
    """Return what was assumed of a pair: that a lossy mask is whole, and which way is up."""
    lines = [LOSSY] if mask.lossy else []
    if (TURNED in image.how) != (TURNED in mask.how):
        lines.append(UPRIGHT)
    return tuple(lines)


def check_turn(image: Picture, mask: Picture, image_file: Path, mask_file: Path) -> None:
    """Refuse a pair of which EXIF turns one alone, where their sizes do not say which way is meant.

    Programs that ignore EXIF draw masks on the pixels as they are stored, others as they are shown.

    Raises:
        UsageError: The two have one size as stored, and as shown.
    """
    if (image.stored is None) == (mask.stored is None):
        return
    turned, other, file = (image, mask, image_file) if image.stored else (mask, image, mask_file)
    size = other.values.shape[:2]
    if turned.stored == size == turned.values.shape[:2]:
        raise UsageError(
            f"{file} is turned by EXIF, {mask_file if image.stored else image_file} is not, and "
            "they have one size either way; where they fit as shown, save it upright "
            "(mogrify -auto-orient), where they fit as stored, remove its EXIF orientation"
        )


def colours(picture: Picture) -> NDArray[Any]:
    """Return the values with the palette applied: (H, W) if all colours are grey, or (H, W, 3)."""
    if picture.palette is None:
        return picture.values
    full: NDArray[np.uint8] = picture.palette[picture.values]
    return full[..., 0] if is_grey(full) else full


def is_grey(colour: NDArray[Any]) -> bool:
    """Return whether red, green and blue (..., 3) are equal everywhere."""
    first = colour[..., 0]
    return bool((first == colour[..., 1]).all() and (first == colour[..., 2]).all())


def luminance(picture: Picture) -> NDArray[Any]:
    """Return grey values (H, W)."""
    values = colours(picture)
    return values @ np.array(LUMINANCE) if values.ndim == 3 else values


def onto(image: Picture, mask: Picture, image_file: Path, mask_file: Path) -> tuple[Picture, str]:
    """Return the mask on the image's pixels, and how it was laid there.

    A mask that another program stored mirrored or turned is turned back as its header says.

    Raises:
        UsageError: The two have different sizes, spacings or places.
    """
    size, other = image.values.shape[:2], mask.values.shape[:2]
    if not _comparable(image, mask):
        if size != other:
            raise _sizes(image, mask, image_file, mask_file)
        _compare_spacing(image, mask, image_file, mask_file)
        _compare_axes(image, mask, image_file, mask_file)
        if _is_turned_by_viewers(image) or _is_turned_by_viewers(mask):
            return mask, f"{AS_STORED}, not as viewers turn one of them upright"
        if image.spacing or mask.spacing:
            return mask, AS_STORED
        return mask, "place of masks: as the pixels are stored"
    limit = SAME * min(image.spacing or (1.0,))
    nearest = np.inf
    for turn in range(8):
        distance = _distance(image, mask, turn)
        nearest = min(nearest, distance)
        values = _turned(mask.values, turn)
        if distance <= limit and values.shape[:2] == size:
            how = "turned or mirrored as their headers say" if turn else "on their images' pixels"
            return Picture(values, mask.palette, image.spacing), f"place of masks: {how}"
    if size != other:
        raise _sizes(image, mask, image_file, mask_file)
    raise UsageError(
        f"{mask_file} lies {nearest:.3g} mm from {image_file} by its header; "
        "expected the same place: export the mask again"
    )


def _comparable(image: Picture, mask: Picture) -> bool:
    """Return whether both say where they lie, in one unit and equally many dimensions."""
    if image.corners is None or mask.corners is None:
        return False
    if (image.spacing is None) != (mask.spacing is None):
        return False
    return bool((np.isnan(image.corners) == np.isnan(mask.corners)).all())


def _distance(image: Picture, mask: Picture, turn: int) -> float:
    """Return how far in mm the corners of a turned mask are from its image's, at most."""
    assert image.corners is not None
    assert mask.corners is not None
    return float(np.nanmax(np.abs(_turned(mask.corners, turn) - image.corners)))


def _sizes(image: Picture, mask: Picture, image_file: Path, mask_file: Path) -> UsageError:
    """Return the error of a mask of another size; EXIF may have turned one of the two alone."""
    why = ""
    if (TURNED in image.how) != (TURNED in mask.how):
        why = f" (EXIF turns {image_file.name if TURNED in image.how else mask_file.name} alone)"
    return UsageError(
        f"{mask_file} is {mask.values.shape[:2]}, {image_file} is {image.values.shape[:2]}{why}; "
        "expected equal height and width: export the pair again"
    )


def _turned(values: NDArray[Any], turn: int) -> NDArray[Any]:
    """Return an array (H, W, ...) in one of eight orientations; 0 leaves it."""
    if turn & 4:
        values = values.swapaxes(0, 1)
    if turn & 2:
        values = values[::-1]
    return values[:, ::-1] if turn & 1 else values


def _compare_spacing(image: Picture, mask: Picture, image_file: Path, mask_file: Path) -> None:
    """Refuse a mask whose pixels have another size than the image's."""
    if not image.spacing or not mask.spacing:
        return
    if not np.allclose(image.spacing, mask.spacing, rtol=SAME_SPACING):
        raise UsageError(
            f"{mask_file} has pixels of {_mm(mask)}, {image_file} of {_mm(image)}; "
            "expected one spacing: export the mask again"
        )


def _compare_axes(image: Picture, mask: Picture, image_file: Path, mask_file: Path) -> None:
    """Refuse a mask that is turned or mirrored, or begins elsewhere, where no more is known."""
    if image.axes is None or mask.axes is None:
        return
    if (image.axes * mask.axes).sum(1).min() < ONE_WAY:
        raise UsageError(
            f"{mask_file} is turned or mirrored against {image_file} by its header, which does not "
            "say where it lies; export the mask in the orientation of its image"
        )
    if image.corners is None or mask.corners is None:
        return
    distance = float(np.abs(image.corners[0, 0] - mask.corners[0, 0]).max())
    if distance > SAME * min(image.spacing or mask.spacing or (1.0,)):
        raise UsageError(
            f"{mask_file} begins {distance:.3g} mm from {image_file} by its header; "
            "expected the same place: export the mask again"
        )


def _is_turned_by_viewers(picture: Picture) -> bool:
    """Return whether viewers show a slice otherwise than it is stored.

    They show DICOM as it is stored; an affine of ones says nothing.
    """
    edges = _edges(picture)
    if not edges or not set(picture.how) & TURNED_BY_VIEWERS or _is_unset(picture):
        return False
    return edges[0] not in RIGHT or edges[1] not in LOWER


def _is_unset(picture: Picture) -> bool:
    """Return whether a header has the affine of ones that programs write where none is known."""
    assert picture.corners is not None
    return picture.spacing == (1.0, 1.0) and not picture.corners[0, 0].any()


def _mm(picture: Picture) -> str:
    row, column = picture.spacing or (0, 0)
    return f"{row:.4g} x {column:.4g} mm"


def check_numbers(values: NDArray[Any], path: Path) -> None:
    """Refuse what is no grey value: complex numbers, texts, dates, records.

    Raises:
        UsageError: The values are none.
    """
    if values.dtype.kind not in "biuf":
        raise UsageError(
            f"{path} holds values of type {values.dtype}; expected whole or floating numbers"
        )


def check_mm(sides: Iterable[float], path: Path) -> None:
    """Refuse sides of pixels that are too long for mm.

    Raises:
        UsageError: One is `LARGEST_MM` or more.
    """
    sides = tuple(sides)
    if max(sides) >= LARGEST_MM:
        raise UsageError(
            f"{path}: its header gives pixels of {' x '.join(f'{side:.4g}' for side in sides)} mm, "
            f"expected less than {LARGEST_MM:.0f}: correct the spacing, or its unit"
        )


def check_axes(affine: NDArray[np.float64], path: Path) -> None:
    """Refuse axes that are not at right angles: pixels would be no rectangles.

    Raises:
        UsageError: Two axes are not.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > RIGHT_ANGLE:
        raise UsageError(
            f"{path}: its header gives axes that are not at right angles (shear, or a tilted "
            "gantry); resample it to a rectangular grid"
        )


def corners(affine: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Return the corners (2, 2, 3) of a picture.

    Args:
        affine: (4, 4), maps (column, row, 0, 1) to mm.
        rows: Number of rows.
        columns: Number of columns.
    """
    points = [
        [affine @ (column, row, 0, 1) for column in (0, columns - 1)] for row in (0, rows - 1)
    ]
    return np.asarray(points)[..., :3]
