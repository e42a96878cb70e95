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
from numpy.typing import NDArray

from bench.report.figures.style import LETTER, PAGE, PAPER, SMALL, Paper, save, sheet, wrapped
from bench.spec.words import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABOVE, BELOW, ALIKE, NONE = "#A6D8F5", "#E08B3E", "#FFFFFF", "#D9D9D9"
"""Row above column, row below it, not significantly different, no test.

Blue and orange are apart for the colour-blind, and light and dark in grey print.
"""
ALPHA = 0.05
"""Level of the tests, as in `bench.stats.flips`."""
HATCH = "////"
"""Of a difference that unseen outliers could undo."""
PATTERNS = {ABOVE: None, BELOW: "....", ALIKE: None, NONE: None}
"""Of the cells, so that better and worse also differ where a print has no grey."""
LARGEST, ROOMY = 0.62, 0.42
"""Inches: the largest cell, and the smallest one that holds a difference with its p."""
JOIN = "#0072B2"
"""The colour of lines that join methods."""
NEAR = 0.25
"""Share of a diagram's width, from the left: in it a rank stands to the right of its dot."""
ROW = 0.24
"""Inches of a row of a critical-difference diagram."""
NAMES = 1.25
"""Inches for the methods' names at the left."""


def significance(
    p: pd.DataFrame,
    differences: pd.DataFrame,
    heading: str,
    paths: Sequence[Path],
    alpha: float = ALPHA,
    in_doubt: pd.DataFrame | None = None,
    paper: Paper = PAPER,
) -> None:
    """Draw a map of all pairs: the mean difference in points, row less column, and its p-value.

    In a narrow column with many methods there is room for whole points alone: then columns are
    numbered as rows are, and colours say what p says.

    Args:
        p: Methods x methods, corrected; NaN where there is no test.
        differences: Methods x methods, row less column, fractions of a score where more is better.
        heading: What the caption says: dataset, score, test, correction, n.
        paths: The PNG and the PDF.
        alpha: Cells with a p up to it are coloured, and their p is bold.
        in_doubt: Methods x methods: whether unseen outliers could undo the difference. Such cells
            are hatched, and their p stands in brackets.
        paper: What it is printed on.
    """
    from matplotlib.patches import Patch

    names = [str(name) for name in p.index]
    many = len(names)
    width = paper.width
    side = min(LARGEST, (width - NAMES - 0.1) / many)
    short = side < ROOMY
    heads = names
    if short:
        most = int(NAMES * 72 / (LETTER * SMALL)) - 3
        names = [f"{shortened(name, most)} {number}" for number, name in enumerate(names, 1)]
        heads = [str(number) for number in range(1, many + 1)]
    lines = wrapped(paper.head(heading), width - 0.1, 7.5)
    means, corrected = differences.to_numpy(float), p.to_numpy(float)
    doubt = np.zeros(means.shape, bool)
    if in_doubt is not None:
        doubt = in_doubt.to_numpy(bool) & (corrected <= alpha) & ~np.eye(many, dtype=bool)
    below = 0.55 if short else 1.25
    with sheet(width, side * many + 0.13 * len(lines) + below) as figure:
        axis = figure.subplots()
        for row, column in np.ndindex(many, many):
            pair = _Pair(float(means[row, column]), float(corrected[row, column]))
            _draw(axis, row, column, pair, alpha, bool(doubt[row, column]), short)
        # Half a cell around the middle of the first and the last one, and the width of their lines.
        axis.set(xlim=(-0.52, many - 0.48), ylim=(many - 0.48, -0.52), aspect="equal")
        axis.spines[:].set_visible(False)
        axis.set_xticks(
            range(many),
            ["\n".join(wrapped(name, 1.0, SMALL)) for name in heads],
            fontsize=SMALL,
            rotation=0 if short else 90,
        )
        axis.set_yticks(
            range(many),
            names if short else ["\n".join(wrapped(name, NAMES, SMALL)) for name in names],
            fontsize=SMALL,
        )
        axis.tick_params(length=0)
        if lines:
            figure.suptitle("\n".join(lines), fontsize=7.5)
        words = {
            ABOVE: f"row better, p ≤ {alpha:g}",
            BELOW: f"row worse, p ≤ {alpha:g}",
            ALIKE: f"p > {alpha:g}",
            NONE: "no test",
        }
        handles = []
        for fill, name in words.items():
            look: dict[str, Any] = {"facecolor": fill, "edgecolor": "0.4", "linewidth": 0.5}
            handles.append(Patch(**look, hatch=PATTERNS[fill], label=name))
        if doubt.any():
            name = "unless rare outliers are hidden" + ("" if short else ": (p)")
            handles.append(Patch(facecolor="white", edgecolor="0.4", hatch=HATCH, label=name))
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=2 if paper.narrow else len(handles),
            frameon=False,
            fontsize=SMALL,
        )
        save(figure, paths)


@dataclass(frozen=True)
class _Pair:
    """A row's mean score less a column's, and the corrected p."""

    difference: float
    p: float


def _draw(
    axis: Axes, row: int, column: int, pair: _Pair, alpha: float, doubt: bool, short: bool
) -> None:
    """Draw a pair's square, and the difference and its p in it."""
    from matplotlib.patches import Rectangle

    significant = pair.p <= alpha and row != column
    colour = ALIKE
    if row == column or np.isnan(pair.p):
        colour = NONE
    elif significant:
        colour = ABOVE if pair.difference > 0 else BELOW
    corner = (column - 0.5, row - 0.5)
    hatch = HATCH if doubt else PATTERNS[colour]
    square = Rectangle(corner, 1, 1, facecolor=colour, edgecolor="0.6", linewidth=0.4, hatch=hatch)
    axis.add_patch(square)
    if row != column and not np.isnan(pair.difference):
        p = shown(pair.p)
        look: dict[str, Any] = {"weight": "bold" if significant and not short else "normal"}
        if doubt:
            p = f"({p})"
            look = {}
        if hatch:
            look["bbox"] = {"facecolor": colour, "edgecolor": "none", "pad": 0.6 if short else 1.5}
        words = f"{100 * pair.difference:+.1f}\n{p}"
        if short:
            words = f"{100 * pair.difference:.0f}".replace("-0", "0", 1)  # rounded to 0 from below
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
    digits = (
        4 if abs(p - ALPHA) < 0.001 else 3
    )  # rounded to 3 it could seem to lie on the other side of ALPHA
    return f"p={p:.{digits}f}".replace("0.", ".")


def ranks(
    probabilities: pd.DataFrame, heading: str, paths: Sequence[Path], paper: Paper = PAPER
) -> None:
    """Draw the share of resamples with each rank as a heat map, the best mean rank first.

    Args:
        probabilities: Methods x ranks, fractions, a row adds up to 1; columns are the ranks, 1 the
            best.
        heading: What the caption says: score, datasets, how it was resampled.
        paths: The PNG and the PDF.
        paper: What it is printed on.
    """
    places = np.asarray(probabilities.columns, float)
    order = (probabilities * places).sum(axis=1).sort_values(kind="stable").index
    values = 100 * probabilities.loc[order].to_numpy(float)
    down, across = values.shape
    width = paper.width
    lines = wrapped(paper.head(heading), width - 0.1, 7.5)
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
        axis.set_xlabel("Rank (% of the resamples)", fontsize=7)
        if lines:
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
    in_doubt: Mapping[str, pd.DataFrame],
    heading: str,
    paths: Sequence[Path],
    alpha: float = ALPHA,
    paper: Paper = PAPER,
) -> None:
    """Draw one diagram a dataset: a row a method at its average rank, lines join what is alike.

    A line's dots say whom it joins; a method that a line passes without a dot is only between them
    in rank. A dashed line joins some that differ too, unless rare outliers are hidden.

    Args:
        averages: By the dataset's title, the methods' average ranks over patients, 1 the best.
        p: By the same title, methods x methods; NaN, where there is no test, counts as not told
            apart.
        in_doubt: By the same title, methods x methods: whether unseen outliers could undo the
            difference.
        heading: What the caption says: score, test, correction, patients as blocks and how many.
        paths: The PNG and the PDF.
        alpha: The level.
        paper: What it is printed on.
    """
    lines = wrapped(paper.head(heading), paper.width - 0.1, 7.5)
    room = paper.width - NAMES - 0.3
    heads = {title: wrapped(title, room, 8) for title in averages}
    heights = []
    for title, ranks in averages.items():
        lines_of_name = max(len(wrapped(str(name), NAMES, 7)) for name in ranks.index)
        row = max(ROW, 0.1 * lines_of_name + 0.04)
        heights.append(row * len(ranks) + 0.5 + 0.13 * len(heads[title]))
    above = 0.13 * len(lines) + 0.1
    _, page_height = PAGE
    short = sum(heights) + above > page_height
    if short:
        share = (page_height - above) / sum(heights)
        heights = [share * height for height in heights]
    with sheet(paper.width, sum(heights) + above) as figure:
        axes = figure.subplots(
            len(averages), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
        )[:, 0]
        for axis, (title, ranks) in zip(axes, averages.items(), strict=True):
            ordered = ranks.sort_values(kind="stable")
            _diagram(axis, ordered, lines_of(ordered, p[title], in_doubt[title], alpha), short)
            axis.set_title("\n".join(heads[title]), fontsize=8)
        if lines:
            figure.suptitle("\n".join(lines), fontsize=7.5)
        save(figure, paths)


@dataclass(frozen=True)
class Line:
    """Methods that a diagram joins, by their rows."""

    rows: tuple[int, ...]
    dashed: bool = False
    """Whether some two of them differ, unless rare outliers are hidden."""


def lines_of(
    ranks: pd.Series[float], p: pd.DataFrame, in_doubt: pd.DataFrame, alpha: float = ALPHA
) -> list[Line]:
    """Return the lines of a diagram whose rows are in the order of the ranks."""
    order = ranks.index
    alike = p.loc[order, order].fillna(1.0).to_numpy(float) > alpha
    doubt = in_doubt.loc[order, order].to_numpy(bool)
    sure = joined(alike)
    lines = [Line(rows) for rows in sure]
    for rows in joined(alike | doubt):
        if not any(set(rows) <= set(connected) for connected in sure):
            lines.append(Line(rows, dashed=True))
    return lines


def joined(alike: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """Return the largest groups of which every two are alike, of two members or more, in order.

    Args:
        alike: Methods x methods, symmetric.
    """
    groups: list[tuple[int, ...]] = []

    # Bron and Kerbosch's search for maximal cliques (1973).
    def extend(group: tuple[int, ...], more: frozenset[int], seen: frozenset[int]) -> None:
        """Extend a group by each of `more`; with those of `seen` it was extended before."""
        if not more and not seen and len(group) > 1:
            groups.append(tuple(sorted(group)))
        for member in sorted(more):
            near = frozenset(np.flatnonzero(alike[member]).tolist()) - {member}
            extend((*group, member), more & near, seen & near)
            more, seen = more - {member}, seen | {member}

    extend((), frozenset(range(len(alike))), frozenset())
    return sorted(groups)


def _diagram(axis: Axes, ranks: pd.Series[float], groups: Sequence[Line], short: bool) -> None:
    """Draw methods in the order of their ranks, and a line for each group at the right.

    Where rows are low (`short`), a name has one line, and a rank stands beside its dot.
    """
    from matplotlib.ticker import MaxNLocator

    many = len(ranks)
    values = ranks.to_numpy(float)
    highest = max(float(values.max()), 2.0)
    step = 0.045 * (highest - 1)
    for row, value in enumerate(values.tolist()):
        axis.plot([1.0, value], [row, row], color="0.85", linewidth=0.8, zorder=1)
        if short:
            near = value < 1 + NEAR * (highest - 1)  # to its left there are the names
            place, side = (value + step, "left") if near else (value - step, "right")
            text = axis.text(place, row, f"{value:.2f}", ha=side, va="center", fontsize=SMALL)
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        else:
            above = row - 0.16
            axis.text(value, above, f"{value:.2f}", ha="center", va="bottom", fontsize=SMALL)
    axis.scatter(values, range(many), s=16, color="black", zorder=3)
    for number, group in enumerate(groups, 2):  # begins two steps beyond the last rank
        at = [highest + number * step] * len(group.rows)
        look: dict[str, Any] = {"color": JOIN, "linewidth": 1.8, "markersize": 3.2}
        style = "--o" if group.dashed else "-o"
        axis.plot(at, group.rows, style, **look, clip_on=False)
    axis.set_xlim(1 - step, highest + (len(groups) + 2) * step)
    axis.set_ylim(many - 0.5, -0.9)
    names = ["\n".join(wrapped(str(name), NAMES, 7)) for name in ranks.index]
    if short:
        most = int(NAMES * 72 / (LETTER * SMALL))
        names = [shortened(str(name), most) for name in ranks.index]
    axis.set_yticks(range(many), names, fontsize=SMALL if short else 7, linespacing=0.95)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=7)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ticks = [tick for tick in axis.get_xticks() if 1 <= tick <= highest]
    axis.set_xticks(ticks)
    axis.spines["bottom"].set_bounds(1, highest)
    axis.spines["left"].set_visible(False)
    axis.set_xlabel("Average rank (1 is the best)", fontsize=7)
