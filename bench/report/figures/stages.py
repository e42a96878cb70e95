"""How a method comes to its prediction for one case, map by map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.report.figures.style import clean_style

Map = NDArray[np.floating[Any]]
ANSWER, REFERENCE = "#D55E00", "#0072B2"
"""Okabe and Ito's orange and blue; the reference is dashed as well."""


def draw(maps: Mapping[str, Map], title: str, path: Path) -> None:
    """Draw one panel a map, the answer and the reference as contours over the image last.

    Args:
        maps: Named maps (h, w): `image` first, `reference` last, `mean` and `spread` among them;
            probabilities and images in [0, 1], states `x at t = ...` as they are.
        title: What stands above.
        path: The PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {
        name: np.asarray(values, np.float32) for name, values in maps.items() if name != "reference"
    }
    reference = np.asarray(maps["reference"], np.float32)
    height, width = reference.shape
    panels = len(shown) + 1
    across = -(-panels // 2) if panels > 5 else panels
    down = -(-panels // across)
    side = 1.7
    with clean_style():
        figure, axes = plt.subplots(
            down,
            across,
            figsize=(side * across, (side * height / width + 0.25) * down + 0.35),
            squeeze=False,
            layout="constrained",
        )
        for axis, (name, values) in zip(axes.flat, shown.items(), strict=False):
            low, high, colours = _range(name, values)
            axis.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            axis.set_title(f"{name}, 0 to {high:.2f}" if name == "spread" else name)
        last = axes.flat[len(shown)]
        last.imshow(shown["image"], cmap="gray", vmin=0, vmax=1)
        last.contour(shown["mean"], [0.5], colors=ANSWER, linewidths=1.2)
        last.contour(reference, [0.5], colors=REFERENCE, linewidths=1.0, linestyles="dashed")
        last.set_title("answer, - - reference")
        for axis in axes.flat:
            axis.set_axis_off()
        figure.suptitle(title, fontsize=9)
        figure.savefig(path, dpi=200, metadata={"Software": None})
        plt.close(figure)


def _range(name: str, values: Map) -> tuple[float, float, str]:
    if name.startswith("x at"):
        return -3.0, 3.0, "gray"
    if name == "spread":
        return 0.0, max(0.05, float(values.max())), "cividis"
    return 0.0, 1.0, "gray"
