"""The instances of a mask, such as vertebrae: pixels of one label each, or its components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.spec.case import VOID

BYTE = 256
"""Numbers of instances below this fit a byte: for bytes, OpenCV counts and compares fast."""

Codes = NDArray[np.integer[Any]]
"""The number of each pixel's instance, 0 for none."""
Ints = NDArray[np.int64]
"""Numbers of instances or of classes, and counts."""


@dataclass(frozen=True)
class Parts:
    """The instances of a mask."""

    codes: Codes
    """(H, W), or (D, H, W) of a volume, in 8 or 64 bits."""
    named: bool
    """Whether a number is a name and means the same in every image, such as a vertebra's level. The
    numbers of components are no names: they count them."""
    classes: Ints | None = None
    """The class of each number from 0 on, None where there is one foreground."""

    def class_of(self, numbers: Ints) -> Ints:
        """Return the class of each of some numbers, 0 where there is one foreground."""
        return np.zeros_like(numbers) if self.classes is None else self.classes[numbers]


def of_labels(labels: NDArray[np.integer]) -> Parts:
    """Return the instances of a label map (H, W) or (D, H, W): one for each label but 0.

    Raises:
        ValueError: It has other dimensions, no pixel, a label below 0, or holds no whole numbers.
    """
    _refuse_shape(labels)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype}; expected whole numbers: round them first")
    least, most = int(labels.min()), int(labels.max())
    if least < 0:
        raise ValueError(f"labels hold {least}; expected 0 for what is no instance, and more")
    return Parts(labels.astype(np.uint8 if most < BYTE else np.int64, copy=False), named=True)


def of_components(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> Parts:
    """Return the components of a binary mask (H, W) or (D, H, W).

    Pixels belong together if they share a side, and voxels if they share a side, edge or corner, as
    in panoptica.

    Raises:
        ValueError: It has other dimensions, no pixel, or is neither bool nor uint8.
    """
    _refuse_shape(mask)
    if mask.dtype not in (np.bool_, np.uint8):
        raise ValueError(f"the mask is {mask.dtype}; expected bool or uint8 of 0 and 1")
    bits = np.ascontiguousarray(mask).view(np.uint8)
    box = bounding_box(bits)  # most of a mask is empty, and need not be searched
    inner = np.ascontiguousarray(bits[box])
    if mask.ndim == 2:
        # OpenCV counts the background too, SciPy below does not; the largest number fits either.
        count, codes = cv2.connectedComponents(inner, connectivity=4, ltype=cv2.CV_32S)
    else:
        from scipy import ndimage

        codes, count = ndimage.label(inner, np.ones((3, 3, 3), bool))
    codes_of_image = np.zeros(mask.shape, np.uint8 if count < BYTE else np.int64)
    codes_of_image[box] = codes
    return Parts(codes_of_image, named=False)


def of_classes(numbers: NDArray[np.uint8], levels: Sequence[int]) -> Parts:
    """Return the instances of a prediction of classes (H, W) or (D, H, W), numbered from 1.

    Where each class is one level, an instance is a class; else the components of each class.

    Args:
        numbers: Numbers of classes, 0 for the background.
        levels: For each class the number of the instance that it is, such as a vertebra's level; 0
            if it has several instances.
    """
    if all(levels):
        labels = np.array((0, *levels), np.int64).take(numbers)
        return with_classes(of_labels(labels), numbers)
    all_codes = np.zeros(numbers.shape, np.int64)
    for number in range(1, len(levels) + 1):
        own_codes = of_components(numbers == number).codes.astype(np.int64)
        # They are counted on from those of the classes before.
        all_codes += np.where(own_codes, own_codes + all_codes.max(), 0)
    codes: Codes = all_codes.astype(np.uint8 if all_codes.max() < BYTE else np.int64)
    return with_classes(Parts(codes, named=False), numbers)


def with_classes(parts: Parts, numbers: NDArray[np.uint8]) -> Parts:
    """Return instances that know their classes.

    Args:
        parts: Instances, of which each lies in one class.
        numbers: Numbers of classes of the same shape.
    """
    classes = np.zeros(int(parts.codes.max()) + 1, np.int64)
    classes[parts.codes] = numbers  # each pixel says the class of its instance
    classes[0] = 0  # pixels of no instance may be of any class
    return replace(parts, classes=classes)


def of_mask(
    mask: NDArray[np.bool_] | NDArray[np.uint8],
    reference: NDArray[np.bool_] | NDArray[np.uint8],
    levels: Sequence[int],
) -> Parts:
    """Return the instances of a prediction: its components, or its classes.

    Args:
        mask: A mask, or numbers of classes.
        reference: The reference, which says which pixels are void: these are of no instance.
        levels: As `of_classes` takes them; empty for a mask.
    """
    if not levels:
        return of_components(mask > 0)
    mask_without_void = np.where(reference == VOID, 0, mask).astype(np.uint8)
    return of_classes(mask_without_void, levels)


def no_parts(shape: tuple[int, ...], named: bool) -> Parts:
    """Return the instances of an empty mask; `named` as in `Parts`."""
    return Parts(np.zeros(shape, np.uint8), named, np.zeros(1, np.int64))


def _refuse_shape(mask: NDArray[np.generic]) -> None:
    """Refuse what is neither an image nor a volume, or is empty."""
    if mask.ndim not in (2, 3) or mask.size == 0:
        raise ValueError(
            f"shape {mask.shape}; expected (H, W) or (D, H, W) with at least one pixel"
        )


def bounding_box(codes: Codes) -> tuple[slice, ...]:
    """Return the bounding box of what is not 0; one pixel where all is 0."""
    box = []
    for axis in range(codes.ndim):
        others = tuple(other for other in range(codes.ndim) if other != axis)
        used = np.flatnonzero(codes.max(axis=others))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(1))
    return tuple(box)
