"""A case under its masks: which cases are shown, which part, contours, and wrong pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FALSE_POSITIVE, FALSE_NEGATIVE = "#F0E442", "#882255"
"""A light and a dark tint (Okabe and Ito's yellow, Tol's wine), apart for the colour-blind."""
OPACITY = 0.7
"""Of the tints: from here on every false positive is lighter than every false negative, whatever
lies under it."""


LENGTHS = (200.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1)
"""Millimetres of a scale bar."""
SHARE = 0.4
"""Of a picture's width that a scale bar takes at most."""
SQUARE = 0.02
"""By which share of one side the sides of a pixel may differ and still be called equal."""


def chosen(dice: pd.Series[float]) -> dict[str, str]:
    """Return the worst, the median and the best case, and which of these each one is.

    A rule picks the cases, so that no person does.

    Args:
        dice: A score of each case, by the case's id; of two in the middle the lower is the median.
    """
    ordered = [str(case) for case in dice.sort_index().sort_values(kind="stable").index]
    if len(ordered) < 3:
        words = ("worst", "best") if len(ordered) == 2 else ("only",)
        return dict(zip(ordered, words, strict=False))
    return {ordered[0]: "worst", ordered[(len(ordered) - 1) // 2]: "median", ordered[-1]: "best"}


def window(masks: Sequence[NDArray[Any]], margin: float = 0.08) -> tuple[slice, slice]:
    """Return the part of the image that holds every mask, with a margin.

    It is the whole image where no mask has foreground.
    """
    any_mask = np.logical_or.reduce([mask > 0 for mask in masks])
    height, width = any_mask.shape
    if not any_mask.any():
        return slice(0, height), slice(0, width)
    rows, columns = np.flatnonzero(any_mask.any(1)), np.flatnonzero(any_mask.any(0))
    pad = int(margin * max(height, width))
    return (
        slice(max(0, rows[0] - pad), min(height, rows[-1] + pad + 1)),
        slice(max(0, columns[0] - pad), min(width, columns[-1] + pad + 1)),
    )


def contour(axis: Axes, mask: NDArray[Any], colour: str, style: str, width: float = 0.9) -> None:
    """Draw the contour of a mask (H, W) at one half; an empty or a full one has none."""
    if (mask > 0.5).any() and not (mask > 0.5).all():
        axis.contour(mask, [0.5], colors=colour, linewidths=width, linestyles=style)


def tinted(
    image: NDArray[np.uint8], answer: NDArray[np.bool_], reference: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return the image (H, W) as colours (H, W, 3), with wrong pixels tinted by their kind."""
    from matplotlib.colors import to_rgb

    picture = np.repeat(image[..., None], 3, axis=2).astype(np.float32)
    for where, colour in (
        (answer & ~reference, FALSE_POSITIVE),
        (reference & ~answer, FALSE_NEGATIVE),
    ):
        picture[where] = (1 - OPACITY) * picture[where] + OPACITY * 255 * np.array(to_rgb(colour))
    return picture.astype(np.uint8)


def in_colours(
    image: NDArray[np.uint8], numbers: NDArray[np.uint8], colours: Sequence[str]
) -> NDArray[np.uint8]:
    """Return the image (H, W) as colours (H, W, 3), tinted by numbers of colours from 1 on."""
    from matplotlib.colors import to_rgb

    picture = np.repeat(image[..., None], 3, axis=2).astype(np.float32)
    for number, colour in enumerate(colours, 1):
        where = numbers == number
        picture[where] = (1 - OPACITY) * picture[where] + OPACITY * 255 * np.array(to_rgb(colour))
    return picture.astype(np.uint8)


def reduced(pixels: NDArray[Any], longest: int) -> NDArray[np.float32]:
    """Return pixels (H, W) with no side longer than a print shows; smaller ones as they are."""
    import cv2

    share = longest / max(pixels.shape)
    values = np.asarray(pixels, np.float32)
    if share >= 1:
        return values
    size = [max(2, round(side * share)) for side in (pixels.shape[1], pixels.shape[0])]
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def scale_bar(axis: Axes, shape: tuple[int, ...], spacing: tuple[float, float]) -> str:
    """Draw a bar of a round length into the lower corner of a picture; return its length in words.

    Args:
        axis: Where the picture is.
        shape: Its pixels (rows, columns) before it was reduced.
        spacing: mm per pixel (row, column).
    """
    from matplotlib import patheffects

    row, column = spacing
    width = shape[1] * column
    length = next((one for one in LENGTHS if one <= SHARE * width), 0.0)
    if not length:
        return ""
    start, height = 0.06, 0.04
    axis.plot(
        [start, start + length / width],
        [height, height],
        color="white",
        linewidth=2,
        solid_capstyle="butt",
        transform=axis.transAxes,
        path_effects=[patheffects.withStroke(linewidth=3.5, foreground="black")],
    )
    across = "" if abs(row - column) <= SQUARE * column else " across"
    return f"bar: {length:g} mm{across}"
