"""How a case is mapped from its native pixels to the network grid and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.spec.case import VOID

Pixel = TypeVar("Pixel", np.float32, np.uint16)

MULTIPLE = 16
"""The sides of a shared grid are multiples of this: a network that halves its maps four times, as
U-Net does, then needs no padding."""
HALF = 0.5
"""Share of a pixel from which on it is void."""


def shared_grid(sizes: Sequence[tuple[int, int]], pixels: int) -> tuple[int, int]:
    """Return a shared (height, width) with about `pixels` pixels.

    Its aspect ratio is the median of those of the given sizes (height, width).
    """
    aspect = float(np.median([height / width for height, width in sizes]))
    width = sqrt(pixels / aspect)
    return _nearest_multiple(width * aspect), _nearest_multiple(width)


def _nearest_multiple(side: float) -> int:
    """Return the multiple of `MULTIPLE` that is nearest to a side, and not 0."""
    return max(1, round(side / MULTIPLE)) * MULTIPLE


@dataclass(frozen=True)
class Geometry:
    """How one case lies on the grid.

    The case is scaled to fit the grid with its aspect ratio kept, centred, and padded with zeros.
    """

    native: tuple[int, int]
    """(height, width) of the case."""
    grid: tuple[int, int]
    """(height, width) of the grid."""

    @property
    def inner(self) -> tuple[int, int]:
        """(height, width) of the scaled case inside the grid; a thin case keeps one pixel."""
        scale = min(self.grid[0] / self.native[0], self.grid[1] / self.native[1])
        return max(1, round(self.native[0] * scale)), max(1, round(self.native[1] * scale))

    @property
    def _window(self) -> tuple[slice, slice]:
        """Rows and columns of the grid that the scaled case fills."""
        (grid_h, grid_w), (inner_h, inner_w) = self.grid, self.inner
        top, left = (grid_h - inner_h) // 2, (grid_w - inner_w) // 2
        return slice(top, top + inner_h), slice(left, left + inner_w)

    def image(self, native: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Map an image (H, W) to the grid; if it shrinks, its pixels are averaged over areas."""
        if self.native == self.grid:
            return native
        out = np.zeros(self.grid, dtype=native.dtype)
        out[self._window] = self._resize(native)
        return out

    def mask(self, native: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map a mask (H, W) of 0 and 1 to the grid; the foreground keeps its area.

        The pixels that hold the largest shares of foreground become foreground, as many as keep its
        area. The least share is a half for shapes wider than a pixel, less for thinner ones.
        """
        if self.native == self.grid:
            return native
        out = np.zeros(self.grid, dtype=np.uint8)
        out[self._window] = _most_covered(self._resize(native.astype(np.float32)))
        return out

    def classes(self, native: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
        """Map numbers of classes (H, W), 0 and `VOID` to the grid; the foreground keeps its area.

        The pixels of the foreground are those of `mask`; each gets the class with the largest share
        of it, of equal shares the lowest number. Pixels that are void by half or more are void.
        """
        if self.native == self.grid:
            return native
        largest_share = np.zeros(self.inner, np.float32)
        class_of_largest = np.zeros(self.inner, np.uint8)
        for number in range(1, count + 1):
            share = self._resize((native == number).astype(np.float32))
            larger = share > largest_share
            largest_share[larger], class_of_largest[larger] = share[larger], number
        is_void = native == VOID
        foreground = ((native > 0) & ~is_void).astype(np.float32)
        inner = class_of_largest * _most_covered(self._resize(foreground))
        if is_void.any():
            inner[self._resize(is_void.astype(np.float32)) >= HALF] = VOID
        out = np.zeros(self.grid, dtype=np.uint8)
        out[self._window] = inner
        return out

    def back(self, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map a probability (h, w) on the grid back to native pixels, by linear interpolation."""
        if self.native == self.grid:
            return probability
        height, width = self.native
        inner = probability[self._window]
        out: NDArray[np.float32] = cv2.resize(
            inner, (width, height), interpolation=cv2.INTER_LINEAR
        )
        return out

    def _resize(self, pixels: NDArray[Pixel]) -> NDArray[Pixel]:
        """Scale the case's pixels (H, W) to its size inside the grid.

        Of a mask of 0 and 1, the result says which share of each pixel's area is 1.
        """
        height, width = self.inner
        shrinks = height < self.native[0]  # both sides do, for the aspect ratio is kept
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        out: NDArray[Pixel] = cv2.resize(pixels, (width, height), interpolation=how)
        return out


def _most_covered(shares: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels (h, w) with the largest shares of foreground, about as many as their sum.

    The sum is the area of the foreground in pixels. One pixel stays where there is any foreground.
    Pixels of equal shares are treated alike, so there may be more or fewer pixels than the sum.
    """
    area = float(shares.sum(dtype=np.float64))
    if not area:
        return np.zeros(shares.shape, bool)
    rank = shares.size - max(1, round(area))
    least = np.partition(shares, rank, axis=None)[rank]  # of the pixels that fill the area
    with_least: NDArray[np.bool_] = shares >= least
    without_least: NDArray[np.bool_] = shares > least
    too_many, too_few = with_least.sum() - area, area - without_least.sum()
    return without_least if without_least.any() and too_few < too_many else with_least
