"""MetaImage (`.mha`, `.mhd`) headers and single slices."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.readers import limits
from bench.data.readers.picture import (
    RIGHT_ANGLE,
    SLICES,
    Picture,
    check_mm,
    check_numbers,
    corners,
)
from bench.data.readers.walk import HEAD, data_of, sides
from bench.spec.errors import UsageError

NAMES = {
    name.lower(): name
    for name in (
        "BinaryData",
        "BinaryDataByteOrderMSB",
        "CompressedData",
        "DimSize",
        "DistanceUnits",
        "ElementByteOrderMSB",
        "ElementNumberOfChannels",
        "ElementSize",
        "ElementSpacing",
        "ElementToIntensityFunctionOffset",
        "ElementToIntensityFunctionSlope",
        "ElementType",
        "HeaderSize",
        "NDims",
        "Offset",
        "TransformMatrix",
    )
}
"""Fields that ITK does not find when they are written otherwise."""
ALLOWED = {
    "DistanceUnits": "mm",
    "ElementToIntensityFunctionOffset": "0",
    "ElementToIntensityFunctionSlope": "1",
}
"""Fields that ITK does not apply, with what they may say."""
BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG": 4,
    "MET_ULONG": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
SYNONYMS = (
    ("Offset", "Position", "Origin"),
    ("TransformMatrix", "Orientation", "Rotation"),
    ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
)
"""Fields that say one thing."""
TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""The format's axes lead to the left and back; those of `Picture.corners` right and front."""


def fields(path: Path) -> dict[str, str]:
    """Return the fields of a header, which has been checked.

    Raises:
        UsageError: A spacing is not above 0, or the data file has another size than the header
            says.
    """
    with path.open("rb") as file:
        whole = file.read(HEAD)
    head = data_of(whole)[0]
    pairs = re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", head.decode("latin-1"), re.MULTILINE)
    _check_once(path, pairs)
    known = dict(pairs)
    for name in known:
        proper = NAMES.get(name.lower(), name)
        if name != proper:
            raise UsageError(f"{path}: the field {name} is unknown, expected {proper}; rename it")
    for name in ("ElementSpacing", "ElementSize"):
        try:
            positive = all(float(side) > 0 for side in known.get(name, "").split())
        except ValueError:
            positive = False
        if not positive:
            raise UsageError(
                f"{path}: {name} is {known[name]}, expected numbers above 0; write it again"
            )
    if known.get("BinaryData", "True").lower() == "false":
        raise UsageError(
            f"{path}: its pixels are text (BinaryData), expected bytes; write it again"
        )
    for name in (*SYNONYMS[0], *SYNONYMS[1]):
        if not all(map(_is_finite, known.get(name, "").split())):
            raise UsageError(f"{path}: {name} is {known[name]}, expected numbers; write it again")
    for name, allowed in ALLOWED.items():
        value = known.get(name, allowed)
        if value != allowed and _number(value) != _number(allowed):
            raise UsageError(
                f"{path}: {name} is {value}, expected {allowed}: convert it to "
                "intensities and mm as they are"
            )
    _check_counts(path, known)
    _check_size(path, known, whole)
    return known


def _check_once(path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Refuse a header that says one thing twice and differently.

    Raises:
        UsageError: It does.
    """
    said: dict[str, tuple[str, str]] = {}
    for name, value in pairs:
        meaning = next((names[0] for names in SYNONYMS if name in names), name)
        other, before = said.setdefault(meaning, (name, value))
        if _plain(value) != _plain(before):
            raise UsageError(
                f"{path}: {other} is {before}, and {name} is {value}; expected one of them: "
                "write it again"
            )


def _plain(value: str) -> list[float | str | None]:
    """Return the parts of a value for comparisons: 1 and 1.0 are one."""
    parts: list[float | str | None] = []
    for part in value.split():
        number = _number(part)
        is_text = number is None or math.isnan(number)  # of which no two are equal
        parts.append(part.lower() if is_text else number)
    return parts


def _check_counts(path: Path, known: dict[str, str]) -> None:
    """Refuse fields of too few or too many numbers: ITK would read a part of the pixels, or none.

    Raises:
        UsageError: There are such.
    """
    dimensions = _number(known.get("NDims", "")) or 0
    needed = {"DimSize": dimensions, "ElementSpacing": dimensions, "ElementSize": dimensions}
    needed |= dict.fromkeys(SYNONYMS[0], dimensions) | dict.fromkeys(SYNONYMS[1], dimensions**2)
    for name, count in needed.items():
        numbers = len(known[name].split()) if name in known else count
        if numbers < count or (name == "DimSize" and numbers > count):
            raise UsageError(
                f"{path}: {name} is {known[name][:80]}, expected {count:g} numbers as NDims says; "
                "write it again"
            )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_finite(text: str) -> bool:
    number = _number(text)
    return number is not None and math.isfinite(number)


def _check_place(path: Path, image: Any) -> None:
    """Refuse a place that is given without the size of a pixel, so that it cannot be compared.

    Raises:
        UsageError: There is a position or a rotation, and no spacing.
    """
    size = image.GetDimension()
    plain = np.array_equal(image.GetDirection(), np.eye(size).ravel())
    if not plain or any(image.GetOrigin()):
        raise UsageError(
            f"{path} has a TransformMatrix or an Offset without ElementSpacing; "
            "expected all of them: write it again"
        )


def _size(path: Path, known: dict[str, str]) -> int:
    """Return the bytes of the pixels as the header says.

    Raises:
        UsageError: A side is not above 0, or they are more than one file may have.
    """
    text, channels = known.get("DimSize", ""), known.get("ElementNumberOfChannels", "1")
    try:
        voxels = math.prod(map(int, text.split())) * int(channels)
    except ValueError:
        voxels = 0
    if not text or voxels < 1:
        raise UsageError(
            f"{path}: DimSize is {text[:80] or 'missing'} with {channels[:20]} channels, "
            "expected whole numbers above 0; write it again"
        )
    size = voxels * BYTES.get(known.get("ElementType", ""), max(BYTES.values()))
    limits.check(path, size)
    return size


def _begins(path: Path, whole: bytes) -> tuple[Path, int]:
    """Return the file of the pixels, and the byte at which they begin in it."""
    data = sides(path)
    if data:
        return data[0], 0
    return path, whole.index(b"\n", whole.index(b"ElementDataFile")) + 1


def _is_packed(known: dict[str, str]) -> bool:
    return known.get("CompressedData", "False").lower() == "true"


def _check_size(path: Path, known: dict[str, str], whole: bytes) -> None:
    """Refuse data of another length than their header says: they may begin elsewhere."""
    expected = _size(path, known)
    data, begins = _begins(path, whole)
    if _is_packed(known) or known.get("ElementType") not in BYTES:
        return
    size, where = data.stat().st_size - begins, ""
    if "HeaderSize" in known:
        skipped = _number(known["HeaderSize"])
        if skipped == -1:  # the pixels are the end of the file
            return
        size, where = data.stat().st_size - int(skipped or 0), " behind its HeaderSize"
    if size != expected:
        raise UsageError(
            f"{data} has {size} bytes{where}, {path.name} says {expected}; write both again"
        )


def _check_packed(path: Path, known: dict[str, str]) -> None:
    """Refuse compressed data that are damaged: ITK does not say so.

    Raises:
        UsageError: They are, or they are of a type whose size is unknown.
    """
    if not _is_packed(known):
        return
    if known.get("ElementType") not in BYTES or "HeaderSize" in known:
        raise UsageError(
            f"{path} is compressed, and of a type or with a HeaderSize that is not read; "
            "write it again"
        )
    with path.open("rb") as file:
        data, begins = _begins(path, file.read(HEAD))
    limits.check_zlib(data, begins, _size(path, known))


def load(path: Path, known: dict[str, str]) -> Any:
    """Return SimpleITK's image of a file with these fields, whatever the case of its suffix.

    Raises:
        UsageError: Its data are damaged, or its axes are no rotation.
    """
    import SimpleITK

    _check_packed(path, known)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # what is wrong is an error here
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    image = reader.Execute()
    size = image.GetDimension()
    axes = np.array(image.GetDirection()).reshape(size, size)
    if np.abs(axes.T @ axes - np.eye(size)).max() > RIGHT_ANGLE:
        raise UsageError(
            f"{path}: its TransformMatrix is no rotation (its axes are scaled, or not at right "
            "angles); resample it to a rectangular grid"
        )
    return image


def read(path: Path, largest: int = limits.LARGEST) -> Picture:
    """Read an image of two dimensions, or a volume of one slice, whichever axis is thin.

    Raises:
        UsageError: It is no single slice, or larger than `largest`.
    """
    import SimpleITK

    known = fields(path)
    limits.check_sides(path, [int(side) for side in known["DimSize"].split()], largest)
    image = load(path, known)
    values = SimpleITK.GetArrayFromImage(image)
    size, channels = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    wide = [axis for axis, side in enumerate(size) if side > 1]
    if len(wide) != 2 or len(size) > 3 or channels not in (1, 3):
        raise UsageError(
            f"{path}: {' x '.join(map(str, size))} voxels of {channels} values, "
            f"expected one 2D image (one of three sides is 1): {SLICES}"
        )
    column, row = wide
    shape = (size[row], size[column], *(() if channels == 1 else (channels,)))
    check_numbers(values, path)
    if channels == 3 and values.dtype != np.uint8:
        raise UsageError(
            f"{path} has colours of type {values.dtype}, expected 8 bits, or grey values: "
            "convert it"
        )
    if "ElementSpacing" not in known and "ElementSize" not in known:
        _check_place(path, image)
        return Picture(values.reshape(shape), how=("format: MetaImage", "spacing: unknown"))
    mm, dimensions = image.GetSpacing(), len(size)
    check_mm((mm[row], mm[column]), path)
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(dimensions, dimensions)
    affine[:dimensions, :dimensions] = direction * np.array(mm)
    affine[:dimensions, 3] = image.GetOrigin()
    affine = affine[:, [column, row, 3 - column - row, 3]]
    place = corners(affine, size[row], size[column]) @ TO_RAS
    if dimensions == 2:
        place[..., 2] = np.nan
    return Picture(
        values.reshape(shape),
        spacing=(float(mm[row]), float(mm[column])),
        corners=place,
        how=("format: MetaImage", "spacing: MetaImage header"),
    )
