"""Maps of p-values and of ranks, and critical-difference diagrams.

Drawings alone: the numbers come from `bench.stats`, methods by their titles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.report.figures.style import COLUMN, PAGE, SMALL, save, sheet, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

ABOVE, BELOW, ALIKE, NONE = "#A6D8F5", "#E08B3E", "#FFFFFF", "#D9D9D9"
"""Row above column, row below it, not significantly different, no test.

Blue and orange are apart for the colour-blind, and light and dark in grey print.
"""
ALPHA = 0.05
HATCH = "////"
NAMES = 1.25
"""Inches for the methods' names at the left."""


def significance(
    p: pd.DataFrame,
    differences: pd.DataFrame,
    heading: str,
    paths: Sequence[Path],
    alpha: float = ALPHA,
    in_doubt: pd.DataFrame | None = None,
) -> None:
    """Draw a map of all pairs: the mean difference in points, row less column, and its p-value.

    Args:
        p: Methods x methods, corrected; NaN where there is no test.
        differences: Methods x methods, row less column, fractions of a score where more is better.
        heading: What stands above: dataset, score, test, correction, n.
        paths: The PNG and the PDF.
        alpha: Cells with a p up to it are coloured, and their p is bold.
        in_doubt: Methods x methods: whether unseen failures could undo the difference. Such cells
            are hatched, and their p stands in brackets.
    """
    from matplotlib.patches import Patch

    names = [str(name) for name in p.index]
    many = len(names)
    width = COLUMN if many <= 4 else PAGE[0]
    side = min(0.62, (width - NAMES - 0.1) / many)
    lines = wrapped(heading, width - 0.1, 7.5)
    means, corrected = differences.to_numpy(float), p.to_numpy(float)
    doubt = np.zeros(means.shape, bool)
    if in_doubt is not None:
        doubt = in_doubt.to_numpy(bool) & (corrected <= alpha) & ~np.eye(many, dtype=bool)
    with sheet(width, side * many + 0.13 * len(lines) + 1.25) as figure:
        axis = figure.subplots()
        for row, column in np.ndindex(many, many):
            pair = _Pair(float(means[row, column]), float(corrected[row, column]))
            _draw(axis, row, column, pair, alpha, bool(doubt[row, column]))
        axis.set(xlim=(-0.52, many - 0.48), ylim=(many - 0.48, -0.52), aspect="equal")
        axis.spines[:].set_visible(False)
        axis.set_xticks(
            range(many),
            ["\n".join(wrapped(name, 1.0, 6.5)) for name in names],
            fontsize=6.5,
            rotation=90,
        )
        axis.set_yticks(
            range(many), ["\n".join(wrapped(name, NAMES, 6.5)) for name in names], fontsize=6.5
        )
        axis.tick_params(length=0)
        figure.suptitle("\n".join(lines), fontsize=7.5)
        words = {
            ABOVE: f"row above column, p ≤ {alpha:g}",
            BELOW: f"row below column, p ≤ {alpha:g}",
            ALIKE: "not told apart",
            NONE: "no test",
        }
        handles = [
            Patch(facecolor=fill, edgecolor="0.4", linewidth=0.5, label=name)
            for fill, name in words.items()
        ]
        if doubt.any():
            name = "hatched, (p): only if no failure is unseen"
            handles.append(Patch(facecolor="white", edgecolor="0.4", hatch=HATCH, label=name))
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=2 if width == COLUMN else 3,
            frameon=False,
            fontsize=6.5,
        )
        save(figure, paths)


@dataclass(frozen=True)
class _Pair:
    """A row's mean score less a column's, and the corrected p."""

    difference: float
    p: float


def _draw(axis: Axes, row: int, column: int, pair: _Pair, alpha: float, doubt: bool) -> None:
    from matplotlib.patches import Rectangle

    told = pair.p <= alpha and row != column
    colour = ALIKE
    if row == column or np.isnan(pair.p):
        colour = NONE
    elif told:
        colour = ABOVE if pair.difference > 0 else BELOW
    corner = (column - 0.5, row - 0.5)
    hatch = HATCH if doubt else None
    square = Rectangle(corner, 1, 1, facecolor=colour, edgecolor="0.6", linewidth=0.4, hatch=hatch)
    axis.add_patch(square)
    if row != column and not np.isnan(pair.difference):
        p = shown(pair.p)
        look: dict[str, Any] = {"weight": "bold" if told else "normal"}
        if doubt:
            p = f"({p})"
            look = {"bbox": {"facecolor": colour, "edgecolor": "none", "pad": 1.5}}
        words = f"{100 * pair.difference:+.1f}\n{p}"
        axis.text(
            column,
            row,
            words,
            ha="center",
            va="center",
            fontsize=SMALL,
            **look,
        )


def shown(p: float) -> str:
    """Return a p-value in so many letters as a small cell holds."""
    if np.isnan(p):
        return ""
    if p < 0.001:
        return "p<.001"
    if p > 0.995:
        return "p=1"
    return f"p={p:.3f}".replace("0.", ".")


def ranks(probabilities: pd.DataFrame, heading: str, paths: Sequence[Path]) -> None:
    """Draw the probability of each rank as a heat map with numbers, the best mean rank first.

    Args:
        probabilities: Methods x ranks, fractions, a row adds up to 1; columns are the ranks, 1 the
            best.
        heading: What stands above: score, datasets, how it was resampled.
        paths: The PNG and the PDF.
    """
    places = np.asarray(probabilities.columns, float)
    order = (probabilities * places).sum(axis=1).sort_values(kind="stable").index
    values = 100 * probabilities.loc[order].to_numpy(float)
    down, across = values.shape
    width = COLUMN if across <= 6 else PAGE[0]
    lines = wrapped(heading, width - 0.1, 7.5)
    names = ["\n".join(wrapped(str(name), NAMES, 7)) for name in order]
    tall = max(0.22, 0.13 * max(name.count("\n") + 1 for name in names))
    with sheet(width, down * tall + 0.13 * len(lines) + 0.55) as figure:
        axis = figure.subplots()
        axis.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
        for (row, column), value in np.ndenumerate(values):
            text = _percent(value)
            ink = "white" if value > 55 else "black"
            axis.text(column, row, text, ha="center", va="center", fontsize=6.5, color=ink)
        axis.set_xticks(range(across), [f"{place:g}" for place in places], fontsize=7)
        axis.set_yticks(range(down), names, fontsize=7)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_xlabel("Rank (probability in %)", fontsize=7)
        figure.suptitle("\n".join(lines), fontsize=7.5)
        save(figure, paths)


def _percent(value: float) -> str:
    """Return a percentage in so many letters as a small cell holds."""
    if value < 0.05:
        return ""
    return "<1" if value < 0.95 else f"{value:.0f}"


def critical_difference(
    averages: Mapping[str, pd.Series[float]],
    p: Mapping[str, pd.DataFrame],
    heading: str,
    paths: Sequence[Path],
    alpha: float = ALPHA,
) -> None:
    """Draw one diagram a dataset: methods at their average ranks, joined by bars if not different.

    A bar's dots say whom it joins; a method under it without a dot is only between them in rank.

    Args:
        averages: By the dataset's title, the methods' average ranks over patients, 1 the best.
        p: By the same title, methods x methods; NaN, where there is no test, counts as not told
            apart.
        heading: What stands above: score, test, correction, patients as blocks and how many.
        paths: The PNG and the PDF.
        alpha: The level.
    """
    from scikit_posthocs import critical_difference_diagram

    lines = wrapped(heading, PAGE[0] - 0.1, 7.5)
    with sheet(PAGE[0], PAGE[1]) as figure:
        axes = figure.subplots(len(averages), 1, squeeze=False)[:, 0]
        for axis, (title, ranks) in zip(axes, averages.items(), strict=True):
            # The library keeps methods in sets. Numbers have the same order in every process.
            numbers = range(len(ranks))
            labels = critical_difference_diagram(
                ranks.set_axis(numbers),
                p[title]
                .loc[ranks.index, ranks.index]
                .fillna(1.0)
                .set_axis(numbers)
                .set_axis(numbers, axis=1),
                alpha=alpha,
                ax=axis,
                label_fmt_left="{label}",
                label_fmt_right="{label}",
                label_props={"fontsize": 7},
                marker_props={"s": 12},
                elbow_props={"color": "black", "linewidth": 0.8},
                crossbar_props={
                    "linewidth": 2,
                    "color": "#0072B2",
                    "marker": "o",
                    "markersize": 3.5,
                },
                text_h_margin=0.05,
            )["labels"]
            for label in labels:
                _name(label, ranks)
            axis.set_title(title, fontsize=8, pad=14)
            axis.tick_params(labelsize=7)
        heights = [
            0.45 + 0.16 * float(np.ptp(axis.get_ylim())) for axis in axes
        ]  # known when the bars are
        axes[0].get_gridspec().set_height_ratios(heights)
        figure.set_size_inches(PAGE[0], sum(heights) + 0.13 * len(lines) + 0.1)
        figure.suptitle("\n".join(lines), fontsize=7.5)
        save(figure, paths)


def _name(label: Text, ranks: pd.Series[float]) -> None:
    """Replace a method's number in a diagram by its name and rank."""
    place = int(label.get_text())
    name, rank = str(ranks.index[place]), f"({ranks.iloc[place]:.2f})"
    left = label.get_horizontalalignment() == "right"
    label.set_text(f"{name} {rank} " if left else f" {rank} {name}")
