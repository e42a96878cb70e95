"""Random streams, smooth noise and signed-distance helpers that every phantom shares."""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]  # float32 throughout, for speed


def generator(*key: str | int) -> np.random.Generator:
    """Give the Philox generator of a key; the same key gives the same stream in every process."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def smooth(
    rng: np.random.Generator, shape: tuple[int, int], cell: float | tuple[float, float]
) -> Array:
    """Draw smooth noise of about unit variance with bumps of `cell` (rows, columns) pixels."""
    return enlarge(_lattice(rng, shape, cell), shape)


def _lattice(
    rng: np.random.Generator, shape: tuple[int, int], cell: float | tuple[float, float]
) -> Array:
    """Draw the nodes of smooth noise.

    Their deviation is above 1, because interpolation between them reduces it.
    """
    rows, cols = cell if isinstance(cell, tuple) else (cell, cell)
    nodes = (int(shape[0] / rows) + 3, int(shape[1] / cols) + 3)
    return rng.standard_normal(nodes, dtype=np.float32) * np.float32(1.35)


def layered(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cell: float | tuple[float, float],
    depth: float,
) -> Array:
    """Draw smooth noise that also changes smoothly with `depth` (in cells), as slices do.

    The generator must be the patient's. Two planes are mixed with weights whose squares sum to 1,
    so that the variance does not depend on the depth.
    """
    planes = [_lattice(rng, shape, cell) for _ in range(4)]
    place = float(np.clip(depth + 1.5, 0.0, 2.999))
    low = int(place)
    angle = (place - low) * np.pi / 2
    mixed = planes[low] * np.float32(np.cos(angle)) + planes[low + 1] * np.float32(np.sin(angle))
    return enlarge(mixed, shape)


def enlarge(field: Array, shape: tuple[int, int]) -> Array:
    """Resample a field to `shape` with a cubic kernel."""
    if field.shape == shape:
        return field
    out: Array = cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return out


def blur(field: Array, sigma: float | tuple[float, float]) -> Array:
    """Blur with a Gaussian of `sigma` (rows, columns) pixels."""
    rows, cols = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    out: Array = cv2.GaussianBlur(
        field, (0, 0), sigmaX=cols, sigmaY=rows, borderType=cv2.BORDER_REFLECT_101
    )
    return out


def union(a: Array, b: Array, radius: float) -> Array:
    """Join two signed distances with a fillet of `radius` (polynomial smooth minimum)."""
    return -cut(-a, -b, radius)


def cut(a: Array, b: Array, radius: float) -> Array:
    """Intersect two signed distances; `radius` rounds the edge (polynomial smooth maximum)."""
    near = np.maximum(radius - np.abs(a - b), 0)
    out: Array = np.maximum(a, b) + near * near * np.float32(0.25 / radius)
    return out


def step(values: Array, low: float, high: float) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high` (`low` may be the larger)."""
    t: Array = np.clip((values - low) * np.float32(1.0 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def inside(distance: Array, edge: float) -> Array:
    """Give the share of a pixel inside a signed distance, over a transition of `edge` mm."""
    out: Array = np.clip(np.float32(0.5) - distance * np.float32(1.0 / edge), 0, 1)
    return out


def paint(image: Array, weight: Array, value: Array | float) -> None:
    """Mix `value` into `image` in place with a weight in [0, 1]."""
    image += (value - image) * weight
