"""Labels by level for the phantoms' masks, numbered as the datasets do.

CT and X-ray: VerSe's numbers from the top, 8 is T1, 20 is L1, 25 is a sixth lumbar vertebra. MR:
SPIDER's from below, 1 is the lowest lumbar vertebra; its disc to the sacrum is 201.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from bench.data.phantom.sagittal import Plane, Protocol
from bench.data.phantom.texture import enlarge, smooth

T1, LOWEST, LOWEST_DISC = 8, 1, 201
"""VerSe's number of T1, SPIDER's of the lowest lumbar vertebra and of the disc below it."""
SACRAL = 255
"""Stands for the remnants of discs in the sacrum, which SPIDER does not label."""


def verse(count: int) -> NDArray[np.uint8]:
    """Return VerSe's numbers of so many vertebrae from T1 downwards."""
    return np.arange(T1, T1 + count, dtype=np.uint8)


def spider(count: int) -> NDArray[np.uint8]:
    """Return SPIDER's numbers of so many vertebrae from T1 downwards."""
    return np.arange(LOWEST + count - 1, LOWEST - 1, -1, dtype=np.uint8)


def of_vertebrae(
    mask: NDArray[np.uint8], plane: Plane, numbers: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return a vertebra mask (H, W) of 0 and 1 with the number of each pixel's vertebra."""
    labelled = plane.patient.labelled
    table = np.zeros(len(labelled), np.uint8)  # the last entry is of no vertebra
    table[: len(numbers)] = numbers
    table[~labelled] = 0
    near = _filled(table[plane.geometry.owner])
    height, width = mask.shape
    numbers_of_pixels = cv2.resize(near, (width, height), interpolation=cv2.INTER_NEAREST)
    labels: NDArray[np.uint8] = np.asarray(numbers_of_pixels, np.uint8) * mask
    return labels


def _filled(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return numbers (h, w) with the nearest other one in the place of each 0."""
    if not numbers.any():
        return numbers
    rows, columns = distance_transform_edt(
        numbers == 0, return_distances=False, return_indices=True
    )
    filled: NDArray[np.uint8] = numbers[rows, columns]
    return filled


def with_discs(labels: NDArray[np.uint8], plane: Plane, protocol: Protocol) -> NDArray[np.uint8]:
    """Return labels (H, W) with the discs where there is no vertebra; those in the sacrum are none.

    This takes numbers from the plane's generator, so it comes after all that draws the image.
    """
    g, count = plane.geometry, len(plane.patient.spine.mobile)
    table = np.zeros(len(plane.patient.labelled), np.uint8)
    table[:count] = spider(count) + (LOWEST_DISC - LOWEST)
    table[count:-1] = SACRAL
    wobble = smooth(plane.rng, protocol.shape, 3.5 / plane.patient.spacing)
    inside = enlarge(g.disc, protocol.shape) + wobble * np.float32(protocol.tracing) < 0
    height, width = protocol.shape
    near = _filled(table[g.disc_owner])
    owner = cv2.resize(near, (width, height), interpolation=cv2.INTER_NEAREST)
    shown = (labels == 0) & inside & (owner != SACRAL)
    return np.where(shown, owner, labels).astype(np.uint8)
