"""What all figures share.

Legible in print and for the colour-blind: colours are Okabe and Ito's, and markers differ too.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
"""Shapes of points, by which methods are told apart without colours."""
COLUMN, PAGE = 3.4, (7.0, 9.0)
"""Inches: the width of a column, and what a page holds of a figure."""
SMALL = 6.5
"""Points of the smallest print."""
MARKER = 0.5
"""Inches of an entry of a legend without its name: the marker and the gaps."""
LETTER = 0.6
"""Mean width of a letter as a share of its size."""
MILLIMETRES = 25.4
"""Millimetres of an inch."""


@dataclass(frozen=True)
class Paper:
    """What figures are printed on: text keeps its size whatever the width."""

    width: float = PAGE[0]
    """Inches."""
    titled: bool = False
    """Whether what the caption says stands above a figure too."""
    mark: str = ""
    """What stands above a figure in any case: that its data are simulated."""

    def of(self, table: Table) -> Paper:
        """Return the paper of a table's figures."""
        return replace(self, mark=DATA["phantom"] if table.source == "phantom" else "")

    def head(self, caption: str) -> str:
        """Return what stands above a figure of a caption; nothing where the caption says it."""
        return caption if self.titled else self.mark

    @property
    def narrow(self) -> bool:
        """Whether it is a column of a page, not the page."""
        return self.width < 1.5 * COLUMN


PAPER = Paper()
"""Of figures for which nothing else is asked."""


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines at blanks, and in names such as `smp:arch=Unet` after what joins their parts."""

    wordsep_re = re.compile(r"(\s+|(?<=[:=,;/_-])(?=[^\W\d]))")


def wrapped(text: str, inches: float, points: float = SMALL) -> list[str]:
    """Return a text in lines that fit so many inches; a name also breaks after its options."""
    most = max(6, int(inches * 72 / (LETTER * points)))
    return _Wrapper(width=most).wrap(text)


def point_style(number: int) -> dict[str, Any]:
    """Return the colour and marker of a table's method by its place; no two of 64 are alike."""
    # Colours repeat after 16 methods, and then with another marker.
    marker = MARKERS[(number + number // len(MARKERS)) % len(MARKERS)]
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

    # Font type 42 is TrueType: journals refuse matplotlib's default, type 3.
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
    paper: Paper = PAPER,
    labelled: Callable[[Figure], bool] = lambda _: False,
) -> Iterator[Figure]:
    """Draw one panel a dataset with `draw(axis, column, title)`, and one legend for all panels.

    Args:
        columns: The datasets with their titles.
        heading: What the caption says.
        draw: Draws one panel.
        height: Inches of a panel with its title and axis; heading and legend come to it. It is
            less where all panels would not fit on a page.
        paper: What it is printed on.
        labelled: Labels what is drawn where it lies, if it fits; then there is no legend.
    """
    across = min(len(columns), 1 if paper.narrow else 2)
    down = math.ceil(len(columns) / across)
    width = paper.width
    lines = wrapped(paper.head(heading), width, 9)
    with sheet(width, height * down) as figure:
        axes = figure.subplots(down, across, squeeze=False)
        for axis, (column, title) in zip(axes.flat, columns.items(), strict=False):
            draw(axis, column, title)
        for axis in axes.flat[len(columns) :]:
            axis.set_axis_off()
        if lines:
            figure.suptitle("\n".join(lines), fontsize=9)
        above = 0.16 * len(lines)
        _, page_height = PAGE
        figure.set_size_inches(width, min(height * down + above, page_height))
        if labelled(figure):
            yield figure
            return
        shown: dict[str, Any] = {}
        for axis in axes.flat:
            handles, labels = axis.get_legend_handles_labels()
            shown |= zip(labels, handles, strict=True)
        longest = max(map(len, shown), default=1)
        # Entries that fit side by side: 4.8 points a letter, and 36 for the marker.
        fitting = int(72 * width / (4.8 * longest + 36))
        beside = max(1, min(3, len(shown), fitting))
        names = ["\n".join(wrapped(name, width / beside - MARKER, 7)) for name in shown]
        legend = sum(0.06 + 0.12 * (name.count("\n") + 1) for name in names) / beside + 0.1
        figure.set_size_inches(width, min(height * down + above + legend, page_height))
        figure.legend(
            shown.values(),
            names,
            loc="outside lower center",
            ncols=beside,
            frameon=False,
            fontsize=7,
        )
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
    png, pdf = paths
    figure.savefig(png, dpi=200, metadata={"Software": None})
    figure.savefig(pdf, metadata={"CreationDate": None, "Producer": None, "Creator": None})
