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
"""The sides of a shared grid are multiples of this; most networks then need no padding."""
HALF = 0.5
"""Share of a pixel from which on it is void."""


def shared_grid(sizes: Sequence[tuple[int, int]], pixels: int) -> tuple[int, int]:
    """Return a shared (height, width) with about `pixels` pixels.

    Its aspect ratio is the median of those of the given sizes (height, width).
    """
    aspect = float(np.median([height / width for height, width in sizes]))
    width = sqrt(pixels / aspect)
    height = width * aspect
    return max(1, round(height / MULTIPLE)) * MULTIPLE, max(1, round(width / MULTIPLE)) * MULTIPLE


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
        """(height, width) of the scaled case inside the grid."""
        scale = min(self.grid[0] / self.native[0], self.grid[1] / self.native[1])
        return max(1, round(self.native[0] * scale)), max(1, round(self.native[1] * scale))

    @property
    def _window(self) -> tuple[slice, slice]:
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
        """Map numbers of classes (H, W), 0 and `VOID` to the grid; all classes keep their area.

        The pixels of the foreground are those of `mask`; each gets the class with the largest share
        of it. Pixels that are void for the larger part are void.
        """
        if self.native == self.grid:
            return native
        best = np.zeros(self.inner, np.float32)
        owner = np.zeros(self.inner, np.uint8)
        for number in range(1, count + 1):
            share = self._resize((native == number).astype(np.float32))
            more = share > best
            best[more], owner[more] = share[more], number
        foreground = ((native > 0) & (native != VOID)).astype(np.float32)
        inner = owner * _most_covered(self._resize(foreground))
        if (native == VOID).any():
            inner[self._resize((native == VOID).astype(np.float32)) >= HALF] = VOID
        out = np.zeros(self.grid, dtype=np.uint8)
        out[self._window] = inner
        return out

    def back(self, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map a probability (h, w) on the grid back to native pixels, by linear interpolation."""
        if self.native == self.grid:
            return probability
        height, width = self.native
        inner = np.ascontiguousarray(probability[self._window])
        out: NDArray[np.float32] = cv2.resize(
            inner, (width, height), interpolation=cv2.INTER_LINEAR
        )
        return out

    def _resize(self, pixels: NDArray[Pixel]) -> NDArray[Pixel]:
        height, width = self.inner
        how = cv2.INTER_AREA if self.inner[0] < self.native[0] else cv2.INTER_LINEAR
        out: NDArray[Pixel] = cv2.resize(np.asarray(pixels), (width, height), interpolation=how)
        return out


def _most_covered(shares: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels of which the largest shares (h, w) are foreground, as many as their sum.

    One pixel stays where there is any foreground. Pixels of equal shares are treated alike.
    """
    area = float(shares.sum(dtype=np.float64))
    if not area:
        return np.zeros(shares.shape, bool)
    rank = shares.size - max(1, round(area))
    least = np.partition(shares, rank, axis=None)[rank]
    inside: NDArray[np.bool_] = shares >= least
    above: NDArray[np.bool_] = shares > least
    too_many, too_few = inside.sum() - area, area - above.sum()
    return above if above.any() and too_few < too_many else inside
