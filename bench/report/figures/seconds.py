"""Mean Dice of each method against the seconds that a prediction takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.figures.labels import Point, label
from bench.report.figures.style import PAPER, Paper, about, panels, point_style, save
from bench.report.sections import ledger
from bench.report.sections.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(table: Table, paths: Sequence[Path], paper: Paper = PAPER) -> None:
    """Draw one panel a dataset, into a PNG and a PDF."""
    from matplotlib.ticker import LogLocator, NullLocator

    frame = ledger.collect(table)
    points: list[Point] = []
    means = table.scores["dice_mean"]
    order = {method: number for number, method in enumerate(table.methods)}

    def panel(axis: Axes, column: str, title: str) -> None:
        """Draw a point a method: mean Dice over the seconds that an image takes."""
        part = frame[(frame.column == column) & frame.predict_seconds.notna()]
        if part.empty:
            axis.set(title=title, xticks=[], yticks=[])
            axis.text(0.5, 0.5, "seconds are unknown", ha="center", transform=axis.transAxes)
            return
        for row in part.to_dict("records"):
            place = row["predict_seconds"], 100 * means[column, row["method"]]
            style = point_style(order[row["method"]])
            axis.scatter(*place, s=34, label=row["title"], zorder=3, **style)
            points.append(Point(axis, place, row["title"], style["edgecolors"]))
        limits = part.predict_seconds.min() / 1.5, part.predict_seconds.max() * 1.5
        axis.set(
            xscale="log",
            xlabel="Seconds an image (log scale)",
            ylabel="Mean Dice (%)",
            title=title,
            xlim=limits,
        )
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(True, color="0.9", linewidth=0.6)

    heading = f"Dice against the time of a prediction: {about(table)}"
    with panels(
        table.columns,
        heading,
        panel,
        paper=paper.of(table),
        labelled=lambda figure: label(figure, points),
    ) as figure:
        save(figure, paths)
