"""Figure 8: every test case's Dice against its IoU; legible in print and for the colour-blind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette; markers differ too, so that no colour is needed to tell methods apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8B6508")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def dice_against_iou(table: Table, paths: list[Path]) -> None:
    """Draw one panel a dataset with the curve IoU = D/(2 - D), into a PNG and a PDF."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}):
        count = len(table.columns)
        across = min(count, 2)
        down = -(-count // across)
        figure, axes = plt.subplots(
            down, across, figsize=(3.4 * across, 3.1 * down), squeeze=False, layout="constrained"
        )
        for axis, (column, title) in zip(axes.flat, table.columns.items(), strict=False):
            _panel(axis, table, column, title)
        for axis in axes.flat[count:]:
            axis.set_axis_off()
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
        source = "PHANTOM data (simulated)" if table.source == "phantom" else "real data"
        figure.suptitle(f"Dice against IoU of each test case: {source}, profile '{table.profile}'", fontsize=9)
        figure.savefig(paths[0], dpi=200, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"CreationDate": None, "Producer": None, "Creator": None})
        plt.close(figure)


def _panel(axis: Axes, table: Table, column: str, title: str) -> None:
    part = table.cases[table.cases.column == column]
    low = max(0.0, float(np.floor(10 * part[["dice", "iou"]].min().min()) / 10))
    dice = np.linspace(low, 1, 200)
    axis.plot(dice, dice / (2 - dice), color="0.6", linewidth=1, zorder=1, label="IoU = D/(2 - D)")
    for number, (method, name) in enumerate(table.methods.items()):
        rows = part[part.method == method]
        marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
        axis.scatter(rows.dice, rows.iou, s=16, marker=marker, linewidths=0.7, facecolors="none",
                     edgecolors=COLOURS[number % len(COLOURS)], label=name, zorder=2)  # fmt: skip
    axis.set(
        xlabel="Dice",
        ylabel="IoU",
        title=f"{title} (n = {part.case.nunique()} cases)",
        xlim=(low, 1.01),
        ylim=(low, 1.01),
    )
