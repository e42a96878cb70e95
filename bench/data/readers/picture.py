"""A picture as any file format holds it: values, and what the file says about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.spec.errors import UsageError

SAME = 1e-2
"""Largest distance in mm between the corners of an image and those of its mask."""
SAME_PIXELS = 0.1
"""Largest such distance in pixels."""
SAME_SPACING = 0.01
"""Largest relative difference between two spacings that are called equal."""
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
    right, front and head (RAS); None where the file does not say where it lies."""
    padding: NDArray[np.bool_] | None = None
    """Pixels (H, W) that are no part of the picture."""
    how: tuple[str, ...] = ()
    """What was decided when it was read, as `topic: words`."""


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
    if image.corners is None or mask.corners is None:
        if size != other:
            raise _sizes(mask_file, other, image_file, size)
        _compare_spacing(image, mask, image_file, mask_file)
        if image.spacing or mask.spacing:
            return mask, "assumed: masks lie on their images as the pixels are stored"
        return mask, "place of masks: as the pixels are stored"
    limit = SAME
    if image.spacing:
        limit = min(SAME, SAME_PIXELS * min(image.spacing))
    nearest = np.inf
    for turn in range(8):
        placed = _turned(mask.corners, turn)
        distance = float(np.abs(placed - image.corners).max())
        nearest = min(nearest, distance)
        values = _turned(mask.values, turn)
        if distance <= limit and values.shape[:2] == size:
            how = "turned or mirrored as their headers say" if turn else "on their images' pixels"
            return Picture(values, mask.palette, image.spacing), f"place of masks: {how}"
    if size != other:
        raise _sizes(mask_file, other, image_file, size)
    raise UsageError(
        f"{mask_file} lies {nearest:.3g} mm from {image_file} by its header; "
        "expected the same place: export the mask again"
    )


def _sizes(mask_file: Path, mask: Any, image_file: Path, image: Any) -> UsageError:
    return UsageError(
        f"{mask_file} is {mask}, {image_file} is {image}; "
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


def _mm(picture: Picture) -> str:
    row, column = picture.spacing or (0, 0)
    return f"{row:.4g} x {column:.4g} mm"


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
