"""Figure 8: every test case's Dice against its IoU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.report.figures.style import PAPER, Paper, about, panels, point_style, save
from bench.report.sections.table import Table
from bench.spec.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(table: Table, paths: Sequence[Path], paper: Paper = PAPER) -> None:
    """Draw one panel a dataset with the curve IoU = D/(2 - D), into a PNG and a PDF."""

    def panel(axis: Axes, column: str, title: str) -> None:
        part = table.cases[table.cases.column == column]
        if part.iou.isna().all():  # scores from outside may have Dice alone
            axis.text(0.5, 0.5, "IoU is unknown", ha="center", transform=axis.transAxes)
            axis.set(title=title, xticks=[], yticks=[])
            return
        low = max(0.0, float(np.floor(10 * part[["dice", "iou"]].min().min()) / 10))
        dice = np.linspace(low, 1, 200)
        curve = dice / (2 - dice)
        axis.plot(dice, curve, color="0.6", linewidth=1, zorder=1, label="IoU = D/(2 - D)")
        for number, (method, name) in enumerate(table.methods.items()):
            rows = part[part.method == method]
            if len(rows):
                style = point_style(number)
                axis.scatter(rows.dice, rows.iou, s=16, label=name, zorder=2, **style)
        limits = (low, 1.01)
        heading = f"{title} (n = {count(part.case.nunique(), 'case')})"
        axis.set(xlabel="Dice", ylabel="IoU", title=heading, xlim=limits, ylim=limits)

    heading = f"Dice against IoU of each test case: {about(table)}"
    with panels(table.columns, heading, panel, paper=paper.of(table)) as figure:
        save(figure, paths)
