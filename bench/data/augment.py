"""Rotation, shift, elastic deformation and contrast, fused into one resampling of image and mask.

These are the four operations of the paper (section 3); a profile may add flips, and says how far
each goes. Geometry is one cubic B-spline deformation (Rueckert et al. 1999). Its control points
carry rotation and shift, which B-splines reproduce exactly because they are affine, and random
displacements. Two small matrix products give the sampling map of all pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, cos, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.spec.profile import Augmentation

PAPER = Augmentation()
"""How far each operation goes if the profile does not say otherwise."""
AXES = {"none": (), "vertical": (0,), "horizontal": (1,), "both": (0, 1)}
"""Axes of an image (rows, columns) that a profile's flips may mirror."""
KNOTS = 4
"""Intervals between control points along the shorter side; the paper gives no number. Displacements
below 0.48 of an interval cannot fold the map (Choi and Lee 2000)."""


@dataclass(frozen=True)
class Parameters:
    """The random parameters of one augmentation."""

    angle: float
    """Rotation in degrees, anticlockwise as the image is shown."""
    shift: tuple[float, float]
    """Shift as a share of (height, width)."""
    elastic: NDArray[np.float64]
    """Displacement (y, x) of each control point, as a share of the shorter side: of shape (2, rows,
    columns)."""
    contrast: float
    """Factor on the distance from the image's mean."""
    flips: tuple[int, ...] = ()
    """Axes along which the result is mirrored: 0 from top to bottom, 1 from left to right."""

    def to_bytes(self) -> bytes:
        """Return the parameters as bytes, for certificates."""
        numbers = np.array([self.angle, *self.shift, self.contrast])
        return numbers.tobytes() + self.elastic.tobytes() + bytes(self.flips)


def lattice(height: int, width: int) -> tuple[int, int]:
    """Return the number of control points (rows, columns) of an image's size.

    A cubic B-spline needs the ends of all intervals, and one point more on either side.
    """
    step = min(height, width) / KNOTS  # pixels from a control point to the next
    return ceil((height - 1) / step) + 3, ceil((width - 1) / step) + 3


def draw(
    rng: np.random.Generator, height: int, width: int, most: Augmentation = PAPER
) -> Parameters:
    """Draw parameters for an image of height x width pixels; `most` says how far each may go.

    The same state of the generator gives the same parameters.
    """
    rows, columns = lattice(height, width)
    # In [0, 1): the angle, two signs and two sizes of the shift, the contrast; then (y, x) of each
    # control point.
    values = rng.random(6 + 2 * rows * columns)
    both_ways = 2 * values - 1  # in [-1, 1)
    sign = np.where(values[1:3] < 0.5, -1.0, 1.0)
    low, high = most.shift
    shift = sign * (low + (high - low) * values[3:5])
    mirrored = rng.random(2) < 0.5  # by axis, where the profile allows it
    return Parameters(
        angle=float(most.rotation * both_ways[0]),
        shift=(float(shift[0]), float(shift[1])),
        elastic=most.elastic * both_ways[6:].reshape(2, rows, columns),
        contrast=float(1 + most.contrast * both_ways[5]),
        flips=tuple(axis for axis in AXES[most.flips] if mirrored[axis]),
    )


@lru_cache(maxsize=64)
def _basis(length: int, points: int, step: float) -> NDArray[np.float32]:
    """Return the cubic B-spline weights (length, points) of each pixel over the control points.

    Args:
        length: Pixels along one axis.
        points: Control points along it.
        step: Pixels from a control point to the next.
    """
    position = np.arange(length) / step
    # A pixel depends on four points that follow each other; these are the last four, too, for a
    # pixel at the very end of the last interval.
    first = np.minimum(position.astype(int), points - 4)
    u = position - first  # in [0, 1]: the place within the interval
    weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    basis = np.zeros((length, points), np.float32)
    for offset, weight in enumerate(weights):
        basis[np.arange(length), first + offset] = weight / 6
    return basis


def sampling_map(
    parameters: Parameters, height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where each output pixel comes from: (y, x), each (H, W) in pixels.

    The map of the control points is computed; the spline carries it to all pixels.
    """
    step = min(height, width) / KNOTS
    rows, columns = lattice(height, width)
    # Positions of the control points from the image's centre; the first lies before the image.
    y = ((np.arange(rows) - 1) * step - (height - 1) / 2)[:, None]
    x = ((np.arange(columns) - 1) * step - (width - 1) / 2)[None, :]
    c, s = cos(radians(parameters.angle)), sin(radians(parameters.angle))
    elastic = parameters.elastic * min(height, width)
    down, right = parameters.shift[0] * height, parameters.shift[1] * width
    # Where the image is turned and shifted one way, the source lies the other way.
    source_y = c * (y - down) + s * (x - right) + (height - 1) / 2 + elastic[0]
    source_x = c * (x - right) - s * (y - down) + (width - 1) / 2 + elastic[1]
    weights_y, weights_x = _basis(height, rows, step), _basis(width, columns, step).T
    return (
        weights_y @ source_y.astype(np.float32) @ weights_x,
        weights_y @ source_x.astype(np.float32) @ weights_x,
    )


def augment(
    image: NDArray[np.uint16], mask: NDArray[np.uint8], parameters: Parameters
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Apply the parameters to an image (H, W) in 65535 steps and its mask (H, W).

    Both are resampled through the same map: the image linearly, the mask by the nearest pixel.
    Pixels from outside the image are 0. A mask may hold 0 and 1, or numbers of classes.

    The nearest pixel keeps the area of thin shapes: lines of one pixel lose 1 %, and 6 % where each
    class is moved linearly and the largest share wins. That is truer in place, by a point of Dice
    (`tests/perf/bench_labels.py`, against a warp at four times the resolution).

    Returns:
        The image (H, W) in [0, 1] and the mask (H, W), of the values that it had.
    """
    source_y, source_x = sampling_map(parameters, *image.shape)
    moved = cv2.remap(image, source_x, source_y, cv2.INTER_LINEAR)
    moved_mask = cv2.remap(mask, source_x, source_y, cv2.INTER_NEAREST)
    mean = float(cv2.mean(moved)[0]) / 65535
    # mean + contrast * (pixel - mean), in place, because copies of images take time
    out = moved.astype(np.float32)
    out *= parameters.contrast / 65535
    out += mean * (1 - parameters.contrast)
    np.clip(out, 0, 1, out=out)
    return np.flip(out, parameters.flips), np.flip(moved_mask, parameters.flips)
