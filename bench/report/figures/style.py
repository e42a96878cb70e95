"""What all figures share.

Legible in print and for the colour-blind: colours are Okabe and Ito's, and markers differ too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report.sections.table import DATA, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#0072B2",
    "#C44E00",
    "#00805C",
    "#B0488A",
    "#8B6508",
    "#2B2B2B",
    "#7A3FB0",
    "#B3121D",
    "#00808F",
    "#6B7A00",
    "#1F2F8C",
    "#D6246E",
    "#6E6E6E",
    "#7B3F00",
    "#3D8B20",
    "#A05CD6",
)
"""After Okabe and Ito, darker: each has a contrast of 3 or more on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
COLUMN, PAGE = 3.4, (7.0, 9.0)
"""Inches: the width of a column, and what a page holds of a figure."""
SMALL = 6
"""Points of the smallest print."""


def wrapped(text: str, inches: float, points: float = SMALL) -> list[str]:
    """Return a text in lines that fit so many inches, for a letter is 0.55 of its size wide."""
    return textwrap.wrap(text, max(6, int(inches * 72 / (0.55 * points))))


def point_style(number: int) -> dict[str, Any]:
    """Return the colour and marker of a table's method by its place; no two of 64 are alike."""
    marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
    colour = COLOURS[number % len(COLOURS)]
    return {"marker": marker, "linewidths": 0.7, "facecolors": "none", "edgecolors": colour}


@contextmanager
def clean_style(settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Draw by matplotlib's defaults and 8 points, whatever a user or a library has set.

    nnU-Net, for example, enlarges all later text of its process.

    Args:
        settings: More of matplotlib's settings.
    """
    from matplotlib import style

    # Names of cases, patients and datasets may hold a $, which is no formula.
    plain = {"font.size": 8, "text.parse_math": False}
    with style.context(["default", {**plain, **(settings or {})}]):
        yield


@contextmanager
def sheet(width: float, height: float, constrained: bool = True) -> Iterator[Figure]:
    """Open a figure of so many inches in the style of all figures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ours = {"axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}
    with clean_style(ours):
        figure = plt.figure(figsize=(width, height), layout="constrained" if constrained else None)
        try:
            yield figure
        finally:
            plt.close(figure)


@contextmanager
def panels(
    columns: Mapping[str, str],
    heading: str,
    draw: Callable[[Axes, str, str], None],
    height: float = 2.7,
) -> Iterator[Figure]:
    """Draw one panel a dataset with `draw(axis, column, title)`, and one legend for all panels.

    Args:
        columns: The datasets with their titles.
        heading: What stands above.
        draw: Draws one panel.
        height: Inches of a panel with its title and axis; heading and legend come to it.
    """
    across = min(len(columns), 2)
    down = -(-len(columns) // across)
    width = COLUMN * across
    with sheet(width, height * down) as figure:
        axes = figure.subplots(down, across, squeeze=False)
        for axis, (column, title) in zip(axes.flat, columns.items(), strict=False):
            draw(axis, column, title)
        for axis in axes.flat[len(columns) :]:
            axis.set_axis_off()
        shown: dict[str, Any] = {}
        for axis in axes.flat:
            handles, labels = axis.get_legend_handles_labels()
            shown |= zip(labels, handles, strict=True)
        longest = max(map(len, shown), default=1)
        fitting = int(72 * width / (4.8 * longest + 36))
        beside = max(1, min(3, len(shown), fitting))
        lines = wrapped(heading, width, 9)
        legend = 0.18 * -(-len(shown) // beside)
        figure.set_size_inches(width, height * down + 0.16 * len(lines) + legend)
        figure.legend(
            shown.values(), shown.keys(), loc="outside lower center", ncols=beside, frameon=False
        )
        figure.suptitle("\n".join(lines), fontsize=9)
        yield figure


def about(table: Table) -> str:
    """Return on what data and under which profile a table's results were made."""
    words = DATA[table.source]
    if table.source != "phantom":
        words = words[:1].lower() + words[1:]
    return f"{words}, profile '{table.profile}'"


def save(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure into a PNG and a PDF that are the same bytes each time."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once for both, which is a third of the time
    figure.savefig(paths[0], dpi=200, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"CreationDate": None, "Producer": None, "Creator": None})
