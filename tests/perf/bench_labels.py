"""How true label maps stay when they are warped: the nearest pixel, or linear shares a class.

`python -m tests.perf.bench_labels`: the truth is the same warp at a resolution that is higher by a
factor, of which each pixel takes the class with the largest share.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data import phantom
from bench.data.augment import draw, sampling_map
from tests.conftest import SPIDER

LEAST, WARPS, SEED = 20, 5, 7
"""Pixels of a class that is compared; warps of a map; seed of the warps."""
Map = NDArray[np.uint8]


def largest(shares: Sequence[NDArray[np.float32]], values: NDArray[np.uint8]) -> Map:
    """Return the value whose share is the largest at each pixel."""
    return np.asarray(values[np.argmax(shares, axis=0)], np.uint8)


def reduced(labels: Map, factor: int, values: NDArray[np.uint8]) -> Map:
    """Return a map that is coarser by a factor."""
    height, width = (side // factor for side in labels.shape)
    shares = []
    for value in values:
        blocks = (labels == value).reshape(height, factor, width, factor)
        shares.append(blocks.mean((1, 3), dtype=np.float32))
    return largest(shares, values)


def linear(labels: Map, x: NDArray[np.float32], y: NDArray[np.float32]) -> Map:
    """Move a map by linear shares of each class."""
    values = np.unique(np.append(labels, np.uint8(0)))
    shares = []
    for value in values:
        own = (labels == value).astype(np.float32)
        outside = 1.0 if value == 0 else 0.0
        shares.append(cv2.remap(own, x, y, cv2.INTER_LINEAR, borderValue=outside))
    return largest(shares, values)


def compare(title: str, maps: Sequence[Map], factor: int, warps: int = WARPS) -> None:
    """Print the mean Dice and the error of the area over all classes, maps and warps."""
    rng = np.random.default_rng(SEED)
    dice: dict[str, list[float]] = {"nearest": [], "linear": []}
    area: dict[str, list[float]] = {"nearest": [], "linear": []}
    for labels in maps:
        height, width = (side // factor * factor for side in labels.shape)
        fine = labels[:height, :width]
        values = np.unique(np.append(fine, np.uint8(0)))
        coarse = reduced(fine, factor, values)
        for _ in range(warps):
            y, x = sampling_map(draw(rng, *coarse.shape), *coarse.shape)
            fine_x, fine_y = (
                cv2.resize(m, (width, height)) * factor + (factor - 1) / 2 for m in (x, y)
            )
            moved = cv2.remap(
                fine, fine_x.astype(np.float32), fine_y.astype(np.float32), cv2.INTER_NEAREST
            )
            truth = reduced(np.asarray(moved, np.uint8), factor, values)
            ways = {
                "nearest": cv2.remap(coarse, x, y, cv2.INTER_NEAREST),
                "linear": linear(coarse, x, y),
            }
            for value in values[1:]:
                real = truth == value
                if real.sum() < LEAST:
                    continue
                for way, result in ways.items():
                    own = result == value
                    dice[way].append(2 * (own & real).sum() / (own.sum() + real.sum()))
                    area[way].append(own.sum() / real.sum() - 1)
    for way, values_of in dice.items():
        print(
            f"{title:36} {way:8} Dice {100 * np.mean(values_of):.2f} %, area "
            f"{100 * np.mean(area[way]):+.2f} %, n = {len(values_of)}"
        )


def lines(width: int) -> Map:
    """Return two classes that are lines."""
    labels = np.zeros((880, 880), np.uint8)
    cv2.line(labels, (200, 100), (600, 800), 1, width)
    cv2.line(labels, (400, 100), (800, 700), 2, width)
    return labels


def main() -> None:
    """Compare phantoms, real slices where they are there, and lines."""
    levels = [phantom.render("mr", patient, 1, 3, levels=True).mask for patient in range(4)]
    two = [np.where(labels > 200, 2, labels > 0).astype(np.uint8) for labels in levels]
    compare("phantom mr, 2 classes, 1/4", two, 4)
    compare("phantom mr, by level, 1/4", levels, 4)
    compare("phantom mr, by level, 1/8", levels, 8)
    if SPIDER.is_dir():
        files = sorted((SPIDER / "labels").glob("*.png"))[::4]
        real = [np.array(Image.open(path)) for path in files]
        compare("SPIDER's slices, 16 labels, 1/2", real, 2)
        compare("SPIDER's slices, 16 labels, 1/4", real, 4)
    compare("lines of 1 pixel at 1/4", [lines(4)], 4, 20)
    compare("lines of 2 pixels at 1/4", [lines(8)], 4, 20)


if __name__ == "__main__":
    main()
