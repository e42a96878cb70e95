"""Whether printed means and stds of Dice and IoU can be those of one set of predictions, image by image.

Of one image, IoU = g(Dice) with g(D) = D / (2 - D), increasing and convex on [0, 1]. So the four
printed numbers are four moments of one distribution of D, and bound each other: by Jensen's
inequality, by Chebyshev's and Markov's extremal distributions (Krein and Nudelman, The Markov
Moment Problem and Extremal Problems, 1977), and by linear programming. Every check allows for the
rounding of all digits, and errs towards silence: what it reports cannot be, what it passes may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from bench.audit.printed import NUMBERS, Cell

Floats = NDArray[np.float64]
Span = tuple[float, float]
CANNOT = "cannot be per-image statistics of the same predictions"
FEWEST = 20
"""Where no number of images is given, at least so many are taken for granted, so that stds by n and by n - 1 are no
more than 2.6 % apart. Jensen's floor does not depend on it."""
FAR = 0.5
"""Points of mean IoU beyond which a cell is counted as far off."""
NOISE = 1e-9
"""What floating point may do to a mean; a thousandth of the finest rounding that is allowed for."""
RATIO = 0.03
"""Each step of the grid is this much longer than the one before, away from the mean Dice."""
SOLVED = 1e-5
"""A variance that is off by less, relatively, is the solver's tolerance (1e-7 a row) and no
finding."""


@dataclass(frozen=True)
class Finding:
    """What the audit says of a cell; scores as fractions, the gap in points of a percent."""

    cell: Cell
    verdict: str
    """`ok`; `jensen`: the mean IoU is below the floor that the mean Dice sets; `mean`: it is outside what mean and std
    of Dice allow; `std`: no scores have these means and stds."""
    gap_points: float
    """How far the mean IoU lies outside iou_low and iou_high; where the verdict is `std`, how far
    that std is off."""
    iou_low: float | None
    iou_high: float | None
    words: str


def g(dice: float) -> float:
    """Return the IoU of an image of this Dice."""
    return dice / (2 - dice)


def interval(mean: Span, variance: Span | None) -> Span | None:
    """Return the sharp interval of the mean IoU for a Dice of this mean and variance, each anywhere in its span.

    The least is had by two atoms, at 0 and m + v / m; the most by two at 1 and m - v / (1 - m). For
    the third derivative of g is positive, so the parabola that meets g at 0 and touches it at the
    first's other atom lies below g on all of [0, 1], and that which meets it at 1 and touches it at
    the second's other atom lies above. Both ends grow with m and with v. Without a variance they
    are g(m) and m. None where no scores between 0 and 1 have this mean and variance.
    """
    low, high = min(mean[0], 1.0), min(mean[1], 1.0)
    if variance is None:
        return g(low), high
    least, most = variance
    if least > 0.25:
        return None
    root = math.sqrt(1 - 4 * least)  # a variance is at most m (1 - m)
    low, high = max(low, (1 - root) / 2), min(high, (1 + root) / 2)
    if low > high + NOISE:
        return None
    low, rest = min(low, high), 1 - high
    most = min(most, high * rest)
    bottom = low**2 / (2 * low - low**2 - least) if low > 0 else 0.0
    top = 1 - 2 * rest**2 / (rest + rest**2 + most) if rest > 0 else 1.0
    return bottom, top


def audit(cell: Cell) -> Finding:
    """Check what a cell gives: Jensen's floor, the sharp interval of the mean IoU, all four numbers together.

    Where the number of images is not known, `FEWEST` are taken for granted, and a finding that
    needs this says so.
    """
    found = _audit(cell, _factor(cell.n or FEWEST))
    if cell.n is None and found.verdict != "ok" and _audit(cell, _factor(2)).verdict == "ok":
        return replace(found, words=f"{found.words}, if the images are at least {FEWEST}")
    return found


def _factor(n: int) -> Span:
    """Return what a printed std of n images is to be multiplied by: it was divided by n or by n - 1."""
    return math.sqrt(1 - 1 / max(n, 2)), 1.0


def _audit(cell: Cell, factor: Span) -> Finding:
    """Check a cell whose stds, times one number within `factor`, are those of the distribution."""
    dice, iou, std = cell.dice_mean, cell.iou_mean, cell.dice_std
    variance = ((factor[0] * std.low) ** 2, (factor[1] * std.high) ** 2) if std else None
    low, high, given = None, None, ""
    if dice:
        given = f"Dice {dice}" + (f" ± {std}" if std else "")
        bounds = interval((dice.low, dice.high), variance)
        if bounds is None and std:
            most = math.sqrt(0.25 - max(0.0, abs(dice.value - 0.5) - dice.half) ** 2) / factor[0]
            off = 100 * (std.low - most)
            return Finding(
                cell,
                "std",
                off,
                None,
                None,
                f"the std {std} of Dice is {off:.2f} points above {100 * most:.2f}, the most that"
                f" its mean {dice} allows",
            )
        low, high = bounds or (None, None)
    if dice and iou and low is not None and high is not None:
        gap, floor = 100 * max(low - iou.high, iou.low - high), g(dice.low)
        if iou.high < floor - NOISE:
            more = f"; with its std, {gap:.2f} below" if std else ""
            return Finding(
                cell,
                "jensen",
                gap,
                low,
                high,
                f"IoU {iou} is {100 * (floor - iou.high):.2f} points below {100 * floor:.2f}, the"
                f" least that any scores of mean Dice {dice} have{more}",
            )
        if gap > 100 * NOISE:
            side, end, extreme = (
                ("below", low, "least") if iou.high < low else ("above", high, "most")
            )
            return Finding(
                cell,
                "mean",
                gap,
                low,
                high,
                f"IoU {iou} is {gap:.2f} points {side} {100 * end:.2f}, the {extreme} that {given} "
                "allows",
            )
    if iou and cell.iou_std:
        off, where = _std_gap(cell, factor)
        if off:
            others = " with ".join(filter(None, (given, f"IoU {iou}")))
            return Finding(
                cell,
                "std",
                100 * off,
                low,
                high,
                f"the std {cell.iou_std} of IoU is {100 * off:.2f} points of std {where} that"
                f" {others} allows",
            )
    return Finding(cell, "ok", 0.0, low, high, _passed(cell, low, high))


def _passed(cell: Cell, low: float | None, high: float | None) -> str:
    """Return what was found in order, and what could not be checked."""
    missing = [name for name in NUMBERS if getattr(cell, name) is None]
    left = f" (not given, so not checked: {', '.join(missing)})" if missing else ""
    if cell.iou_mean is None or low is None or high is None:
        return f"too little is given to compare Dice with IoU{left}"
    return f"IoU {cell.iou_mean} is within {100 * low:.2f} to {100 * high:.2f}{left}"


def _grid(centre: float, step: float) -> Floats:
    """Return values of D from 0 to 1: the finest steps at the centre, each a little longer than the one before."""
    count = math.ceil(math.log(1 / step + 1) / math.log1p(RATIO)) + 1
    away = step * (1 + RATIO) ** np.arange(count)
    points = np.concatenate([centre - away, [0.0, centre, 1.0], centre + away])
    return np.unique(points[(points >= 0) & (points <= 1)])


def _between(x: Floats, second: Floats) -> Floats:
    """Return how far a function may be from the lines between neighbouring grid points, at the worse side of each.

    Args:
        x: The grid.
        second: Between each two of its points, a bound of the absolute second derivative.
    """
    error = np.diff(x) ** 2 * second / 8
    worse: Floats = np.maximum(np.append(error, 0), np.append(0, error))
    return worse


def _std_gap(cell: Cell, factor: Span) -> tuple[float, str]:
    """Return how far the std of IoU is from the nearest that all else allows, and its side in words; 0 for not at all.

    A linear program over weights of a grid of D minimises how far the printed variance of IoU lies
    outside its span, while the other moments lie within theirs. No distribution is lost to the
    grid: move the mass at any D to the two grid points beside it so that the mean stays. Then E[D]
    is the same, and each other moment moves by no more than the greatest distance of its function
    from the line between the points, step^2 / 8 times a bound of its second derivative: every row
    is widened by that, point by point. Moments are about the printed means a and b, where E[(D -
    a)^2] = variance + (E[D] - a)^2, the last term between 0 and the rounding squared. The variances
    are c^2 times the printed ones, with one c for both; the weights are those of the distribution
    divided by c^2, so that their sum, 1 / c^2, is free within its span.
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
        rows.append(
            Row(
                (x - a) ** 2,
                _between(x, np.full(len(x) - 1, 2.0)),
                wide**2,
                printed,
                (0.0, dice.half**2),
            )
        )
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
    """How far the moment may be moved by the grid, point by point."""
    unit: float
    """What the row is divided by, so that the solver's tolerance is relative."""
    span: Span = (0.0, 0.0)
    share: Span = (0.0, 0.0)
    """What is added to the span for each unit of mass."""


def _outside(rows: Sequence[Row], mass: Span) -> tuple[float, float]:
    """Return how far, in its unit, the last row's moment must at least lie above and below its span."""
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
    if done.status != 0 or done.x is None:  # a solver that gives up has shown nothing
        return 0.0, 0.0
    return float(done.x[-2]), float(done.x[-1])


def summary(findings: Sequence[Finding]) -> str:
    """Return how many cells cannot be, and for which reasons."""
    count = {
        verdict: sum(each.verdict == verdict for each in findings)
        for verdict in ("jensen", "mean", "std")
    }
    wrong = sum(count.values())
    if not wrong:
        return (
            f"0 of {len(findings)} cells contradict themselves, by what is given and could be"
            " checked"
        )
    far = sum(each.verdict in ("jensen", "mean") and each.gap_points > FAR for each in findings)
    return (
        f"{wrong} of {len(findings)} cells {CANNOT}: {count['jensen']} with a mean IoU below"
        f" Jensen's floor, {count['mean']} more with one outside its interval, {count['std']} more"
        f" with a std that no such scores have. {far} are off by more than half a point of mean IoU"
    )
