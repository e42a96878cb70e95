"""Training curves: each method's own loss on its own axis, because losses do not compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.report.figures.style import COLOURS, PAPER, SMALL, Paper, about, save, sheet, wrapped
from bench.report.sections.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS, NARROW = 4, 2
"""Panels side by side on a page and in a column of it."""
TICKS = 0.35
"""Inches of a panel that its axis and gap take."""
FEW = 12
"""Validations up to which each one is marked by a point: a line would hide how few they are."""
CLEAR = 3
"""Largest number of cells in a panel that are drawn in full colour; more are transparent."""


@dataclass(frozen=True)
class Curve:
    """One cell's training."""

    rows: pd.DataFrame
    """step, training_loss, validation_loss; one row a validation."""
    best: int
    """The step whose weights were kept."""


def collect(table: Table, column: str) -> tuple[dict[str, list[Curve]], list[str]]:
    """Return the curves of a dataset by the method's title, one for each cell.

    Returns:
        The curves, and a line for each method that has none.
    """
    curves: dict[str, list[Curve]] = {}
    without: dict[str, None] = {}
    for cell in table.cells:
        record = cell.record
        if record.column.key != column:
            continue
        title = table.methods[record.method.key]
        losses = cell.losses()
        if losses and record.training:
            curve = Curve(pd.DataFrame(losses), record.training.best_step)
            curves.setdefault(title, []).append(curve)
            continue
        why = "train.csv is missing"
        if record.own_training:
            why = "trains itself, which leaves none"
        if record.outside:
            why = "is from outside, and was not trained here"
        without[f"{title}: no training curve; {why}"] = None
    return curves, list(without)


def heading(table: Table, column: str) -> str:
    """Return what the curves of a dataset show."""
    return (
        f"Training on {table.columns[column]} ({about(table)}): training and validation loss at "
        "each validation, and the step whose weights were kept; two lines for each fold and seed. "
        "Each panel has its own loss and axis: heights do not compare between methods"
    )


def draw(table: Table, column: str, paths: Sequence[Path], paper: Paper = PAPER) -> list[str]:
    """Draw a dataset's training curves into a PNG and a PDF.

    Returns:
        A line for each thing that could not be drawn.
    """
    curves, without = collect(table, column)
    if curves:
        compose(curves, heading(table, column), paths, paper.of(table))
    return without


def compose(
    curves: Mapping[str, Sequence[Curve]],
    heading: str,
    paths: Sequence[Path],
    paper: Paper = PAPER,
) -> None:
    """Draw one small panel a method: training solid, validation dashed, the kept step marked."""
    width = paper.width
    across = min(NARROW if paper.narrow else ACROSS, len(curves))
    down = math.ceil(len(curves) / across)
    lines = wrapped(paper.head(heading), width, 7.5)
    with sheet(width, 1.45 * down + 0.15 * len(lines) + 0.35) as figure:
        axes = figure.subplots(down, across, squeeze=False)
        for axis, (title, cells) in zip(axes.flat, curves.items(), strict=False):
            _panel(axis, cells)
            more = f" ({len(cells)} cells)" if len(cells) > 1 else ""
            name = "\n".join(wrapped(title + more, width / across - TICKS, SMALL))
            axis.set_title(name, fontsize=SMALL)
        for axis in axes.flat[len(curves) :]:
            axis.set_axis_off()
        for axis in axes.flat[max(0, len(curves) - across) : len(curves)]:
            axis.set_xlabel("Step", fontsize=7)
        figure.supylabel("Loss", fontsize=7)
        if lines:
            figure.suptitle("\n".join(lines), fontsize=7.5)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=7
        )
        save(figure, paths)


def _panel(axis: Axes, cells: Sequence[Curve]) -> None:
    """Draw the curves of a method's cells; the first one's are named in the legend."""
    from matplotlib.ticker import MaxNLocator

    for number, cell in enumerate(cells):
        rows = cell.rows
        # A label that begins with _ is in no legend.
        said = ("training", "validation", "weights kept") if not number else ("_", "_", "_")
        line: dict[str, Any] = {"linewidth": 0.9, "alpha": 1.0 if len(cells) <= CLEAR else 0.55}
        if len(rows) <= FEW:
            line |= {"marker": ".", "markersize": 4}
        axis.plot(rows.step, rows.training_loss, "-", color=COLOURS[0], label=said[0], **line)
        axis.plot(rows.step, rows.validation_loss, "--", color=COLOURS[1], label=said[1], **line)
        kept = rows[rows.step == cell.best]
        axis.plot(
            kept.step,
            kept.validation_loss,
            "o",
            color="black",
            markersize=3.5,
            markerfacecolor="none",
            label=said[2],
        )
    last = max(int(cell.rows.step.max()) for cell in cells)
    axis.set_xlim(0, 1.04 * last)
    axis.tick_params(labelsize=SMALL, length=2)
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.grid(True, color="0.92", linewidth=0.5)
