"""How a method comes to its prediction for one case, map by map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.report.figures.style import PAPER, Paper, sheet, wrapped

Map = NDArray[np.floating[Any]]
ANSWER, REFERENCE = "#D55E00", "#0072B2"
"""Okabe and Ito's orange and blue; the reference is dashed as well."""
ACROSS, NARROW = 6, 3
"""Panels side by side on a page and in a column of it, at most."""


def draw(maps: Mapping[str, Map], title: str, path: Path, paper: Paper = PAPER) -> None:
    """Draw one panel a map, prediction and reference as contours over the image last.

    Args:
        maps: Named maps (h, w): `image` first, `reference` last, `mean` and `spread` among them;
            probabilities and images in [0, 1], states `x at t = ...` as they are.
        title: What the caption says.
        path: The PNG to write.
        paper: What it is printed on.
    """
    shown = {
        name: np.asarray(values, np.float32) for name, values in maps.items() if name != "reference"
    }
    reference = np.asarray(maps["reference"], np.float32)
    height, width = reference.shape
    panels = len(shown) + 1
    down = math.ceil(panels / (NARROW if paper.narrow else ACROSS))
    across = math.ceil(panels / down)
    side = paper.width / across
    lines = wrapped(paper.head(title), paper.width, 8)
    tall = (side * height / width + 0.3) * down + 0.15 * len(lines)
    with sheet(paper.width, tall) as figure:
        axes = figure.subplots(down, across, squeeze=False)
        for axis, (name, values) in zip(axes.flat, shown.items(), strict=False):
            low, high, colours = _range(name, values)
            axis.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            words = f"{name}, 0 to {high:.2f}" if name == "spread" else name
            axis.set_title("\n".join(wrapped(words, side, 7)), fontsize=7)
        last = axes.flat[len(shown)]
        last.imshow(shown["image"], cmap="gray", vmin=0, vmax=1)
        last.contour(shown["mean"], [0.5], colors=ANSWER, linewidths=1.2)
        last.contour(reference, [0.5], colors=REFERENCE, linewidths=1.0, linestyles="dashed")
        last.set_title("\n".join(wrapped("prediction, - - reference", side, 7)), fontsize=7)
        for axis in axes.flat:
            axis.set_axis_off()
        if lines:
            figure.suptitle("\n".join(lines), fontsize=8)
        figure.savefig(path, dpi=200, metadata={"Software": None})


def _range(name: str, values: Map) -> tuple[float, float, str]:
    """Return the values of a map that are darkest and lightest, and its colours."""
    if name.startswith("x at"):
        return -3.0, 3.0, "gray"
    if name == "spread":
        return 0.0, max(0.05, float(values.max())), "cividis"
    return 0.0, 1.0, "gray"
