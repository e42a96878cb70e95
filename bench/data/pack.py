"""Images in the cache: a byte a pixel where an image has at most 256 grey values."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGES, CODES, LEVELS, MASKS = PIXELS = ("images.u16", "images.u8", "levels.u16", "masks.u8")
"""The files of a cache: images of 16 bits; those of 8 bits, and their grey values; masks."""
MOST_GREYS = 256
"""Grey values that a byte can number."""
LOOK = 4096
"""Pixels that are looked at first: most images of 16 bits show more grey values there."""
BLOCK = 1 << 17
"""Pixels that are packed at a time; they stay in the processor's cache."""
SKIP = 16
"""One pixel of so many is looked at for grey values before all are compared."""

Numbered = tuple[NDArray[np.uint8], NDArray[np.uint16]]


def pack(image: NDArray[np.uint16]) -> Numbered | None:
    """Return numbers of grey values (H, W), and the grey values (256,) by their numbers.

    The result is None if an image (H, W) has more than 256 of them. Equal images are packed
    equally; numbers that are not used stand for 0.
    """
    packed = _by_high_bytes(image)
    if packed:
        return packed
    some = image.ravel()[:: max(1, image.size // LOOK)]
    return None if len(np.unique(some)) > MOST_GREYS else _by_counts(image)


def _by_high_bytes(image: NDArray[np.uint16]) -> Numbered | None:
    """Number grey values by their high byte, which is each value's own in images of 8 bits.

    Those were stretched to 16 bits, so their values are at least 257 apart.
    """
    codes = (image >> 8).astype(np.uint8)
    some = image.ravel()[::SKIP]
    levels = np.zeros(MOST_GREYS, np.uint16)
    levels[some >> 8] = some
    differs = unpack(codes, levels) != image
    if differs.any():
        rare = image.ravel()[np.flatnonzero(differs)]
        levels[rare >> 8] = rare
        if not np.array_equal(unpack(codes, levels), image):
            return None  # two values have one high byte
    return codes, levels


def _by_counts(image: NDArray[np.uint16]) -> Numbered | None:
    """Number grey values in ascending order, if they are few."""
    pixels = image.ravel()
    counts = np.zeros(1 << 16, np.int64)
    for start in range(0, pixels.size, BLOCK):  # numpy takes eight bytes for each number
        counts += np.bincount(pixels[start : start + BLOCK], minlength=1 << 16)
    values = np.flatnonzero(counts)
    if len(values) > MOST_GREYS:
        return None
    levels = np.zeros(MOST_GREYS, np.uint16)
    levels[: len(values)] = values
    numbers = np.zeros(1 << 16, np.uint8)
    numbers[values] = np.arange(len(values))
    codes = np.empty(pixels.size, np.uint8)
    for start in range(0, pixels.size, BLOCK):
        codes[start : start + BLOCK] = numbers[pixels[start : start + BLOCK]]
    return codes.reshape(image.shape), levels


def unpack(codes: NDArray[np.uint8], levels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return an image (H, W) of the numbers of its grey values."""
    return np.asarray(cv2.LUT(codes, levels))
