"""Check whether printed means and stds of Dice and IoU can belong to the same predictions.

For a single image, IoU = g(Dice) with g(D) = D / (2 - D), increasing and convex on [0, 1]. So the
four printed numbers are four moments of one distribution of D, and bound each other: by Jensen's
inequality, by Chebyshev's and Markov's extremal distributions (Krein and Nudelman, The Markov
Moment Problem and Extremal Problems, 1977), and by linear programming. Every check allows for the
rounding of all digits, and prefers missing an inconsistency to reporting a false one: what it
reports is impossible, what it passes may still be wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from bench.audit.printed import NUMBERS, PrintedCell

Floats = NDArray[np.float64]
Span = tuple[float, float]
CANNOT = "cannot be per-image statistics of the same predictions"
FEWEST = 20
"""Where no number of images is given, at least so many are assumed. Then stds by n and by n - 1 are
at most 2.6 % apart. Jensen's floor does not depend on it."""
FAR = 0.5
"""Points of mean IoU beyond which a cell is counted as far off."""
NOISE = 1e-9
"""Tolerance for floating-point errors of a mean; a thousandth of the finest allowed rounding."""
RATIO = 0.03
"""Relative growth of the steps of the grid, away from the mean Dice."""
SOLVED = 1e-5
"""Relative error of a variance that may come from the solver's tolerance (1e-7 a row)."""


@dataclass(frozen=True)
class Finding:
    """The result of the audit of a printed cell.

    Scores are fractions; the gap is in percent points.
    """

    cell: PrintedCell
    verdict: str
    """`ok`, or what is wrong.

    `jensen`: the mean IoU is below the floor that the mean Dice sets; `mean`: it is outside the
    interval that mean and std of Dice allow; `std`: no scores have these means and stds.
    """
    gap_points: float
    """How far the mean IoU lies outside iou_low and iou_high. If the verdict is `std`, how far that
    std is off."""
    iou_low: float | None
    iou_high: float | None
    words: str


def g(dice: float) -> float:
    """Return the IoU of an image with this Dice."""
    return dice / (2 - dice)


def interval(mean: Span, variance: Span | None) -> Span | None:
    """Return the sharp interval of the mean IoU, given the spans of the mean and variance of Dice.

    The lowest mean IoU belongs to two atoms at 0 and m + v / m; the highest to two atoms at 1 and
    m - v / (1 - m). Proof: the third derivative of g is positive. So the parabola that meets g at 0
    and touches it at m + v / m lies below g on all of [0, 1], and the parabola that meets g at 1
    and touches it at m - v / (1 - m) lies above. Both ends grow with m and with v. Without a
    variance they are g(m) and m. None if no scores between 0 and 1 have this mean and variance.
    """
    low, high = min(mean[0], 1.0), min(mean[1], 1.0)
    if variance is None:
        return g(low), high
    least, most = variance
    if least > 0.25:
        return None
    root = math.sqrt(1 - 4 * least)  # a variance is at most m (1 - m)
    low = max(low, (1 - root) / 2)
    high = min(high, (1 + root) / 2)
    if low > high + NOISE:
        return None
    low = min(low, high)
    rest = 1 - high
    most = min(most, high * rest)
    bottom = low**2 / (2 * low - low**2 - least) if low > 0 else 0.0
    top = 1 - 2 * rest**2 / (rest + rest**2 + most) if rest > 0 else 1.0
    return bottom, top


def audit(cell: PrintedCell) -> Finding:
    """Check Jensen's floor, then the interval of the mean IoU, then all four numbers together.

    If the number of images is unknown, at least `FEWEST` are assumed, and a finding that needs the
    assumption says so.
    """
    finding = _audit(cell, _factor(cell.n or FEWEST))
    if cell.n is None and finding.verdict != "ok" and _audit(cell, _factor(2)).verdict == "ok":
        return replace(finding, words=f"{finding.words}, if the images are at least {FEWEST}")
    return finding


def _factor(n: int) -> Span:
    """Return the span of factors that turn a printed std of n images into that of division by n.

    The printed std may have been divided by n or by n - 1.
    """
    return math.sqrt(1 - 1 / max(n, 2)), 1.0


def _audit(cell: PrintedCell, factor: Span) -> Finding:
    """Check a cell whose stds become those of the distribution by one number within `factor`."""
    dice, iou, std = cell.dice_mean, cell.iou_mean, cell.dice_std
    variance = ((factor[0] * std.low) ** 2, (factor[1] * std.high) ** 2) if std else None
    low, high, given = None, None, ""
    if dice:
        given = f"Dice {dice}" + (f" ± {std}" if std else "")
        bounds = interval((dice.low, dice.high), variance)
        if bounds is None and std:
            most = math.sqrt(0.25 - max(0.0, abs(dice.value - 0.5) - dice.half) ** 2) / factor[0]
            off = 100 * (std.low - most)
            words = (
                f"the std {std} of Dice is {off:.2f} points above {100 * most:.2f}, "
                f"the most that its mean {dice} allows"
            )
            return Finding(cell, "std", off, None, None, words)
        low, high = bounds or (None, None)
    if dice and iou and low is not None and high is not None:
        gap = 100 * max(low - iou.high, iou.low - high)
        floor = g(dice.low)
        if iou.high < floor - NOISE:
            more = f"; with its std, {gap:.2f} below" if std else ""
            words = (
                f"IoU {iou} is {100 * (floor - iou.high):.2f} points below {100 * floor:.2f}, "
                f"the least that any scores of mean Dice {dice} have{more}"
            )
            return Finding(cell, "jensen", gap, low, high, words)
        if gap > 100 * NOISE:
            limit = f"above {100 * high:.2f}, the most"
            if iou.high < low:
                limit = f"below {100 * low:.2f}, the least"
            words = f"IoU {iou} is {gap:.2f} points {limit} that {given} allows"
            return Finding(cell, "mean", gap, low, high, words)
    if iou and cell.iou_std:
        off, limit = _std_gap(cell, factor)
        if off:
            others = f"{given} with IoU {iou}" if given else f"IoU {iou}"
            words = (
                f"the std {cell.iou_std} of IoU is {100 * off:.2f} points of std {limit} "
                f"that {others} allows"
            )
            return Finding(cell, "std", 100 * off, low, high, words)
    return Finding(cell, "ok", 0.0, low, high, _passed(cell, low, high))


def _passed(cell: PrintedCell, low: float | None, high: float | None) -> str:
    """Return a line on what was checked and passed, and on what could not be checked."""
    missing = [name for name in NUMBERS if getattr(cell, name) is None]
    left = f" (not given, so not checked: {', '.join(missing)})" if missing else ""
    if cell.iou_mean is None or low is None or high is None:
        return f"too little is given to compare Dice with IoU{left}"
    return f"IoU {cell.iou_mean} is within {100 * low:.2f} to {100 * high:.2f}{left}"


def _grid(centre: float, step: float) -> Floats:
    """Return values of D from 0 to 1; the steps grow with the distance from the centre."""
    count = math.ceil(math.log(1 / step + 1) / math.log1p(RATIO)) + 1
    away = step * (1 + RATIO) ** np.arange(count)
    points = np.concatenate([centre - away, [0.0, centre, 1.0], centre + away])
    return np.unique(points[(points >= 0) & (points <= 1)])


def _between(x: Floats, second: Floats) -> Floats:
    """Return at each grid point how far a function may be from its linear interpolation beside it.

    Args:
        x: The grid.
        second: A bound of the absolute second derivative between each two neighbouring points.
    """
    error = np.diff(x) ** 2 * second / 8
    worse: Floats = np.maximum(np.append(error, 0), np.append(0, error))
    return worse


def _std_gap(cell: PrintedCell, factor: Span) -> tuple[float, str]:
    """Return how far the std of IoU is from the nearest possible one, and that limit in words.

    The distance is 0 if the std is possible. A linear program over the weights of a grid of D
    minimises how far the printed variance of IoU lies outside its span, while the other moments lie
    within theirs. The grid excludes no distribution: move the mass at any D to the two grid points
    beside it so that the mean stays. Then E[D] is the same, and each other moment moves by no more
    than the greatest distance of its function from the line between the points, which is at most
    step^2 / 8 times a bound of its second derivative. Every row is widened by that, point by point.

    Moments are about the printed means a and b: E[(D - a)^2] = variance + (E[D] - a)^2, where the
    last term lies between 0 and the rounding squared. The variances are c^2 times the printed ones,
    with the same c for both. The weights are those of the distribution divided by c^2, so that
    their sum, 1 / c^2, is free within its span.
    """
    dice, iou, std = cell.dice_mean, cell.iou_mean, cell.iou_std
    assert iou is not None
    assert std is not None
    b = iou.value
    a = dice.value if dice else 2 * b / (1 + b)
    wide = (cell.dice_std or std).high
    x = _grid(a, 0.02 * wide)
    y = 2 - x
    near, far = y[1:], y[:-1]
    # (g - b)^2 has the second derivative 8 (3 - (1 + b) y) / y^4, with y = 2 - D
    bend = 8 / near**4 * np.maximum(abs(3 - (1 + b) * near), abs(3 - (1 + b) * far))
    rows = [Row(x / y - b, _between(x, 4 / near**3), std.high, share=(-iou.half, iou.half))]
    if dice:
        rows.append(Row(x - a, np.zeros_like(x), wide, share=(-dice.half, dice.half)))
    if dice and cell.dice_std:
        printed = (cell.dice_std.low**2, cell.dice_std.high**2)
        error = _between(x, np.full(len(x) - 1, 2.0))
        rows.append(Row((x - a) ** 2, error, wide**2, printed, (0.0, dice.half**2)))
    printed = (std.low**2, std.high**2)
    rows.append(Row((x / y - b) ** 2, _between(x, bend), std.high**2, printed, (0.0, iou.half**2)))
    above, below = _outside(rows, (factor[1] ** -2, factor[0] ** -2))
    if above > SOLVED:  # the least possible is more than what is printed
        nearest = std.high * math.sqrt(1 + above)
        return nearest - std.high, f"below {100 * nearest:.2f}, the least"
    if below > SOLVED:
        nearest = std.high * math.sqrt(max(0.0, (std.low / std.high) ** 2 - below))
        return std.low - nearest, f"above {100 * nearest:.2f}, the most"
    return 0.0, ""


@dataclass(frozen=True)
class Row:
    """A moment that must lie within a span."""

    values: Floats
    """The function on the grid."""
    error: Floats
    """How far the grid may move the moment, point by point."""
    unit: float
    """The row is divided by it, so that the solver's tolerance is relative."""
    span: Span = (0.0, 0.0)
    share: Span = (0.0, 0.0)
    """Added to the span for each unit of mass."""


def _outside(rows: Sequence[Row], mass: Span) -> tuple[float, float]:
    """Return how far, in its unit, the last row's moment must lie above and below its span."""
    count = len(rows[0].values)
    matrix = np.zeros((2 * len(rows), count + 2))
    limits = np.zeros(2 * len(rows))
    for upper, row in zip(range(0, len(matrix), 2), rows, strict=True):
        matrix[upper, :count] = (row.values - row.error - row.share[1]) / row.unit
        matrix[upper + 1, :count] = (row.share[0] - row.values - row.error) / row.unit
        limits[upper : upper + 2] = row.span[1] / row.unit, -row.span[0] / row.unit
    matrix[-2, -2] = matrix[-1, -1] = -1
    total = np.append(np.ones(count), [0.0, 0.0])
    done = linprog(
        c=1 - total,
        A_ub=np.vstack([matrix, total, -total]),
        b_ub=np.concatenate([limits, [mass[1], -mass[0]]]),
        method="highs",
    )
    if done.status != 0 or done.x is None:  # a solver that gives up proves nothing
        return 0.0, 0.0
    return float(done.x[-2]), float(done.x[-1])


def summary(findings: Sequence[Finding]) -> str:
    """Return a sentence on how many cells are impossible, and for which reasons."""
    count = Counter(finding.verdict for finding in findings if finding.verdict != "ok")
    wrong = count.total()
    if not wrong:
        return (
            f"0 of {len(findings)} cells contradict themselves, "
            "by what is given and could be checked"
        )
    of_means = [finding for finding in findings if finding.verdict in ("jensen", "mean")]
    far = sum(finding.gap_points > FAR for finding in of_means)
    return (
        f"{wrong} of {len(findings)} cells {CANNOT}: "
        f"{count['jensen']} with a mean IoU below Jensen's floor, "
        f"{count['mean']} more with one outside its interval, "
        f"{count['std']} more with a std that no such scores have. "
        f"{far} are off by more than half a point of mean IoU"
    )
