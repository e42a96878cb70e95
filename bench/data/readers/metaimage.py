"""MetaImage (`.mha`, `.mhd`) headers and single slices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.readers.picture import Picture, corners
from bench.spec.errors import UsageError

TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""The format's axes lead to the left and back; those of `Picture.corners` right and front."""


def fields(path: Path) -> set[str]:
    """Return the names of a header's fields, in lower case."""
    with path.open("rb") as file:
        head = file.read(65536).partition(b"ElementDataFile")[0].decode("latin-1")
    return {name.lower() for name in re.findall(r"^\s*(\w+)\s*=", head, re.MULTILINE)}


def load(path: Path) -> Any:
    """Return SimpleITK's image of a file, whatever the case of its suffix."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    return reader.Execute()


def read(path: Path) -> Picture:
    """Read an image of two dimensions, or a volume of one slice, whichever axis is thin.

    Raises:
        UsageError: It is no single slice.
    """
    import SimpleITK

    image = load(path)
    values = SimpleITK.GetArrayFromImage(image)
    size, channels = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    wide = [axis for axis, side in enumerate(size) if side > 1]
    if len(wide) != 2 or len(size) > 3 or channels not in (1, 3):
        raise UsageError(
            f"{path}: {' x '.join(map(str, size))} voxels of {channels} values, "
            "expected one 2D image (one of three sides is 1)"
        )
    column, row = wide
    shape = (size[row], size[column], *(() if channels == 1 else (channels,)))
    known = fields(path)
    if "elementspacing" not in known and "elementsize" not in known:
        return Picture(values.reshape(shape), how=("format: MetaImage", "spacing: unknown"))
    sides = image.GetSpacing()
    place = None
    if len(size) == 3:
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(sides)
        affine[:3, 3] = image.GetOrigin()
        affine = affine[:, [column, row, 3 - column - row, 3]]
        place = corners(affine, size[row], size[column]) @ TO_RAS
    return Picture(
        values.reshape(shape),
        spacing=(float(sides[row]), float(sides[column])),
        corners=place,
        how=("format: MetaImage", "spacing: MetaImage header"),
    )
