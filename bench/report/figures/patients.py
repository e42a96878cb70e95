"""What each patient got: box plots of every method, and paired differences against one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.figures.style import (
    COLUMN,
    LETTER,
    PAGE,
    PAPER,
    SMALL,
    Paper,
    about,
    panels,
    point_style,
    save,
    wrapped,
)
from bench.report.sections.table import Table
from bench.report.sections.table1 import entry
from bench.spec.words import count, shortened
from bench.stats.paired import ROPE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 20.0
"""Largest difference, in points, on a linear axis. With a larger one the axis is logarithmic
outside of ±`NEAR`; on a linear axis ±0.5 could not be seen."""
NEAR = 2.0
"""Points up to which such an axis is linear."""
LEGEND = 0.8
"""Inches of the legend and of the heading."""
NAMES = 1.2
"""Inches for the methods' names."""


def means(table: Table, column: str) -> pd.DataFrame:
    """Return the mean Dice of each patient's cases in percent: (patient, method).

    Seeds are averaged; NaN where a method was not tested.
    """
    part = table.cases[table.cases.column == column]
    frame = 100 * part.pivot_table(index="patient", columns="method", values="dice", aggfunc="mean")
    return frame.reindex(columns=list(table.methods))


def boxes(table: Table, paths: Sequence[Path], paper: Paper = PAPER) -> None:
    """Draw the patients' mean Dice of every method, one panel a dataset, into a PNG and a PDF."""

    def panel(axis: Axes, column: str, title: str) -> None:
        frame = means(table, column)
        _rows(axis, frame, table, column, short=_is_short(table, paper))
        axis.set_xlabel("Dice of a patient (%)")
        axis.set_title(_counted(title, frame), fontsize=8)

    heading = f"Dice by patient, a patient's cases and the seeds averaged: {about(table)}"
    with panels(table.columns, heading, panel, _height(table), paper.of(table)) as figure:
        save(figure, paths)


def baseline_of(table: Table, column: str) -> str:
    """Return the method that others are compared with: the declared baseline, or the best mean.

    It is empty where no patient was tested by all.
    """
    declared = table.family.baseline if table.family else ""
    if declared in table.rivals(column):
        return declared
    return table.best(column)


def _why_none(baseline: str) -> str:
    """Return why a panel has no differences."""
    return f"no result of {baseline}" if baseline else "no patient was tested by all methods"


def differences(
    table: Table, paths: Sequence[Path], baseline: str | None = None, paper: Paper = PAPER
) -> None:
    """Draw each method less a baseline, patient by patient, one panel a dataset.

    Args:
        table: Whose cases are compared.
        paths: The PNG and the PDF.
        baseline: A method's spec; where not given, the declared baseline, or without one the best
            mean of each dataset.
        paper: What it is printed on.
    """
    from matplotlib.ticker import NullLocator

    def panel(axis: Axes, column: str, title: str) -> None:
        frame = means(table, column)
        if not frame.notna().any(axis=None):
            axis.set_axis_off()
            axis.set_title(f"{title}: no case has a score")
            return
        against = baseline or baseline_of(table, column)
        if frame.get(against, pd.Series(dtype=float)).notna().sum() == 0:
            axis.set_axis_off()
            axis.set_title(f"{title}: {_why_none(against)}")
            return
        paired = frame.sub(frame[against], axis=0)
        axis.axvspan(
            -100 * ROPE,
            100 * ROPE,
            color="0.85",
            linewidth=0,
            zorder=0,
            label=f"±{100 * ROPE:g} points: equivalent in practice",
        )
        axis.axvline(0, color="black", linewidth=0.8, zorder=1)
        _rows(axis, paired, table, column, against, _is_short(table, paper))
        words = "Difference in Dice (points)"
        if float(paired.abs().max().max()) > WIDE:
            axis.set_xscale("symlog", linthresh=NEAR, linscale=0.4)
            low, high = float(paired.min().min()), float(paired.max().max())
            steps = (-100, -30, -10, -5, -NEAR, 0, NEAR, 5, 10, 30, 100)
            # Those within the axis, which is a little longer than the differences.
            axis.set_xticks([step for step in steps if 1.1 * low - 1 <= step <= 1.1 * high + 1])
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_locator(NullLocator())
            words += f"\nlogarithmic beyond ±{NEAR:g}"
        less = wrapped(f"each method less {table.methods[against]}", COLUMN - NAMES - 0.1, 8)
        axis.set_title("\n".join([_counted(title, frame), *less]), fontsize=8)
        axis.set_xlabel(words)

    heading = f"Each method less the baseline, by patient: {about(table)}"
    with panels(table.columns, heading, panel, _height(table), paper.of(table)) as figure:
        save(figure, paths)


def _rows(
    axis: Axes,
    frame: pd.DataFrame,
    table: Table,
    column: str,
    baseline: str = "",
    short: bool = False,
) -> None:
    """Draw a box and the patients' points for each method; say which has none, or fewer than all.

    Args:
        axis: Where.
        frame: Percent or points by patient and method; the panel's title counts its patients.
        table: Whose methods.
        column: The dataset.
        baseline: The method that others are compared with, if any.
        short: Whether a name has one line.
    """
    names = []
    for place, (method, title) in enumerate(table.methods.items()):
        values = frame[method].dropna().to_numpy(float)
        fewer = f" (n={len(values)})" if 0 < len(values) < len(frame) else ""
        if short:
            letters = int(NAMES * 72 / (LETTER * SMALL)) - len(fewer)
            names.append(shortened(title, letters) + fewer)
        else:
            names.append("\n".join(wrapped(title + fewer, NAMES, 7)))
        instead_of_box = (
            "the baseline" if method == baseline else entry(table, column, method, "dice").text
        )
        if not len(values) or method == baseline:
            axis.text(
                0.02,
                place,
                instead_of_box,
                transform=axis.get_yaxis_transform(),
                va="center",
                fontsize=7,
                color="0.35",
            )
            continue
        axis.boxplot(
            values,
            positions=[place],
            widths=0.7,
            orientation="horizontal",
            showfliers=False,
            manage_ticks=False,
            boxprops={"linewidth": 0.7, "color": "0.35"},
            whiskerprops={"linewidth": 0.7, "color": "0.35"},
            capprops={"linewidth": 0.7, "color": "0.35"},
            medianprops={"color": "black", "linewidth": 1.2},
        )
        # Heights in steps of the golden ratio: no two points in a row have the same.
        spread = place + 0.5 * ((np.arange(len(values)) * 0.618034) % 1 - 0.5)
        style = point_style(place) | {"linewidths": 0.5}
        axis.scatter(values, spread, s=9, zorder=3, **style)
        axis.scatter(values.mean(), place, s=16, marker="d", color="black", zorder=4, label="mean")
    axis.plot([], [], color="black", linewidth=1.2, label="median, box: quartiles")
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_yticks(range(len(names)), names, fontsize=SMALL if short else 7)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(True, axis="x", color="0.92", linewidth=0.5)
    axis.set_axisbelow(True)


def _counted(title: str, frame: pd.DataFrame) -> str:
    """Return a panel's title with its number of patients."""
    return f"{title} (n = {count(len(frame), 'patient')})"


def _is_short(table: Table, paper: Paper) -> bool:
    """Return whether all panels fit on a page only if each name has one line."""
    across = 1 if paper.narrow else 2
    down = math.ceil(len(table.columns) / across)
    _, page_height = PAGE
    return down * _height(table) + LEGEND > page_height


def _height(table: Table) -> float:
    """Return the inches of a panel: a row a method, as high as its name has lines."""
    lines = max(len(wrapped(f"{title} (n=99)", NAMES, 7)) for title in table.methods.values())
    return 0.95 + len(table.methods) * max(0.24, 0.13 * lines)
