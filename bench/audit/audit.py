"""Check whether printed means and stds of Dice and IoU can belong to the same predictions.

For a single image, IoU = g(Dice) with g(D) = D / (2 - D), which increases and is convex on [0, 1].
So the four printed numbers are four moments of one distribution of D, and each limits the others.
The limits follow from Jensen's inequality, from Chebyshev's and Markov's extremal distributions
(Krein and Nudelman, The Markov Moment Problem and Extremal Problems, 1977), and from linear
programming. Every check allows for digits that were rounded or cut. In doubt a check passes:
numbers that it reports are impossible, but numbers that it passes may still be wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from bench.audit.printed import NUMBERS, Printed, PrintedCell, other_units
from bench.spec.errors import UsageError
from bench.spec.words import count

Floats = NDArray[np.float64]
Span = tuple[float, float]
"""The lowest and the highest value."""
CANNOT = "cannot be per-image statistics of the same predictions"
"""How an impossible cell is called in every report of it."""
FEWEST = 20
"""Number of images that is assumed at least if none is given. The stds with division by n and by
n - 1 then differ by at most 2.6 %. Jensen's floor does not depend on this assumption."""
MUCH_LESS = 0.5
"""In other units a cell fits far better if its gap is smaller than this share of the gap."""
FAR = 0.5
"""A cell is counted as far off if its mean IoU is wrong by more than so many points."""
NOISE = 1e-9
"""Tolerance for floating-point errors of a mean: a thousandth of the finest assumed rounding."""
RATIO = 0.03
"""Relative growth from each step of the grid to the next, away from the mean Dice."""
SOLVED = 1e-5
"""Relative error of a variance that the solver's tolerance (1e-7 for each row) can cause."""


REASONS = {
    "above": "with a mean IoU above its mean Dice",
    "jensen": "with a mean IoU below Jensen's floor",
    "mean": "more with one outside its interval",
    "std": "more with a std that no such scores have",
}
"""The verdicts in words."""


@dataclass(frozen=True)
class Finding:
    """The result of the audit of a printed cell.

    Scores are fractions; the gap is in percent points.
    """

    cell: PrintedCell
    verdict: str
    """`ok`, or what is wrong.

    `above`: the mean IoU is above the mean Dice; `jensen`: it is below the floor that the mean Dice
    sets; `mean`: it is outside the interval that mean and std of Dice allow; `std`: no scores have
    these means and stds.
    """
    gap_points: float
    """How far the mean IoU lies below iou_low or above iou_high. If the verdict is `std`, how far
    the std is from the nearest possible one."""
    iou_low: float | None
    """Lowest possible mean IoU; None if too little is given."""
    iou_high: float | None
    """Highest possible mean IoU; None if too little is given."""
    words: str
    """The finding in words."""
    any_std: bool = False
    """Whether it holds too where means and stds are over patients, folds or seeds."""


def g(dice: float) -> float:
    """Return the IoU of an image with this Dice."""
    return dice / (2 - dice)


def interval(mean: Span, variance: Span | None) -> Span | None:
    """Return the sharp interval of the mean IoU, given the spans of the mean and variance of Dice.

    For a mean m and a variance v, the lowest mean IoU is that of a distribution with two values of
    D, 0 and m + v / m; the highest is that of the two values 1 and m - v / (1 - m). Proof: the
    third derivative of g is positive. So the parabola that meets g at 0 and touches it at m + v / m
    lies below g on all of [0, 1], and the parabola that meets g at 1 and touches it at
    m - v / (1 - m) lies above. Both ends grow with m and with v. If no variance is given, the ends
    are g(m) and m. The result is None if no scores between 0 and 1 have this mean and variance.
    """
    lowest_mean, highest_mean = min(mean[0], 1.0), min(mean[1], 1.0)
    if variance is None:
        return g(lowest_mean), highest_mean
    least_variance, most_variance = variance
    if least_variance > 0.25:  # no scores between 0 and 1 vary more
        return None
    # A variance is at most m (1 - m), so m is not nearer to 0 or 1 than the roots of this.
    root = math.sqrt(1 - 4 * least_variance)
    lowest_mean = max(lowest_mean, (1 - root) / 2)
    highest_mean = min(highest_mean, (1 + root) / 2)
    if lowest_mean > highest_mean + NOISE:
        return None
    low = min(lowest_mean, highest_mean)
    rest = 1 - highest_mean
    most_variance = min(most_variance, highest_mean * rest)
    bottom = low**2 / (2 * low - low**2 - least_variance) if low > 0 else 0.0
    top = 1 - 2 * rest**2 / (rest + rest**2 + most_variance) if rest > 0 else 1.0
    return bottom, top


def audit(cell: PrintedCell) -> Finding:
    """Check Jensen's floor, then the interval of the mean IoU, then all four numbers together.

    If the number of images is unknown, at least `FEWEST` are assumed, and a finding that depends on
    this assumption says so.

    Raises:
        UsageError: The numbers are impossible, but not if some are percent and others fractions.
    """
    finding = _audit(cell, _factor(cell.n or FEWEST))
    if finding.verdict == "ok":
        return finding
    of_one_image = cell.n == 1 and finding.verdict == "std"
    if not of_one_image:  # a spread of one image is impossible in every unit
        _check_units(finding)
        finding = replace(finding, any_std=_holds_for_any_std(finding))
    # Two images allow the widest span of factors.
    depends_on_images = cell.n is None and _audit(cell, _factor(2)).verdict == "ok"
    if depends_on_images:
        return replace(finding, words=f"{finding.words}, if the images are at least {FEWEST}")
    return finding


def _check_units(finding: Finding) -> None:
    """Refuse a cell whose numbers fit, or fit far better, if some of them are in another unit.

    Raises:
        UsageError: They do; the columns are named.
    """
    cell = finding.cell
    unit, other = ("percent", "fractions") if cell.percent else ("fractions", "percent")
    for reading, names in other_units(cell):
        read_otherwise = _audit(reading, _factor(cell.n or 2))
        fits_far_better = read_otherwise.gap_points < MUCH_LESS * finding.gap_points
        if read_otherwise.verdict == "ok" or fits_far_better:
            raise UsageError(
                f"{cell.at}: {names} may be {other} beside {unit}, for the row is impossible as "
                f"{unit} alone; expected one unit: put % behind numbers that are percent"
            )


def _factor(n: int) -> Span:
    """Return the span of factors that turn a printed std of n images into the std by division by n.

    The printed std may be by division by n (the factor is 1) or by n - 1.
    """
    return math.sqrt(1 - 1 / max(n, 2)), 1.0


def _audit(cell: PrintedCell, factor: Span) -> Finding:
    """Check a cell.

    Args:
        cell: The printed scores.
        factor: Span of the factor that turns both printed stds into those by division by n.
    """
    dice, iou, std = cell.dice_mean, cell.iou_mean, cell.dice_std
    variance = _variance(std, factor)
    if cell.n == 1:  # the mean is the score of the one image
        variance = (0.0, 0.0)
    low, high, given = None, None, ""
    if dice and iou and iou.low > dice.high + NOISE:
        return _above(cell, dice, iou)
    if dice:
        given = f"Dice {dice}" + (f" ± {std}" if std else "")
        bounds = interval((dice.low, dice.high), variance)
        if bounds is None and std:
            # The variance is at most m (1 - m) = 1/4 - (m - 1/2)^2, with m as near to 1/2 as the
            # printed mean allows.
            from_half = max(0.0, abs(dice.middle - 0.5) - dice.reach)
            most = math.sqrt(0.25 - from_half**2) / factor[0]
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
    if cell.n == 1:
        for title, spread in (("Dice", cell.dice_std), ("IoU", cell.iou_std)):
            if spread and spread.low > NOISE:
                words = f"the std {spread} of {title} is of one image (n = 1), which has no spread"
                return Finding(cell, "std", 100 * spread.low, low, high, words)
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


def _variance(std: Printed | None, factor: Span) -> Span | None:
    """Return the span of the variance (by division by n) that a printed std may stand for."""
    if std is None:
        return None
    return (factor[0] * std.low) ** 2, (factor[1] * std.high) ** 2


def _above(cell: PrintedCell, dice: Printed, iou: Printed) -> Finding:
    """Return that the mean IoU is above the mean Dice, which no scores whatever allow."""
    gap = 100 * (iou.low - dice.high)
    words = (
        f"IoU {iou} is {gap:.2f} points above Dice {dice}, "
        "but no image has an IoU above its Dice; are the columns swapped?"
    )
    return Finding(cell, "above", gap, g(dice.low), min(1.0, dice.high), words)


def _holds_for_any_std(finding: Finding) -> bool:
    """Return whether a finding holds for means and stds over patients, folds or seeds as well.

    The scores of such a group are means over its images. So the group's Dice and IoU, too, are
    between 0 and 1, its IoU is at most its Dice and, by Jensen's inequality, at least g of it. The
    lower end of the interval therefore holds for groups as for images, and so does the most that
    a std can be; the upper end and the program of all four numbers do not. The groups may be as few
    as two.
    """
    if finding.verdict in ("above", "jensen"):
        return True
    cell, of_two_groups = finding.cell, _factor(2)
    of_dice = _group_interval(cell.dice_mean, cell.dice_std, of_two_groups)
    if of_dice is None or _group_interval(cell.iou_mean, cell.iou_std, of_two_groups) is None:
        return True
    lowest_iou, _ = of_dice
    return cell.iou_mean is not None and cell.iou_mean.high < lowest_iou - NOISE


def _group_interval(mean: Printed | None, std: Printed | None, factor: Span) -> Span | None:
    """Return `interval` of printed numbers, all of 0 to 1 where the mean is not given."""
    if mean is None:
        return 0.0, 1.0
    return interval((mean.low, mean.high), _variance(std, factor))


def _passed(cell: PrintedCell, low: float | None, high: float | None) -> str:
    """Return a line that says what was checked and passed, and what could not be checked."""
    missing = [name for name in NUMBERS if getattr(cell, name) is None]
    not_checked = f" (not given, so not checked: {', '.join(missing)})" if missing else ""
    if cell.iou_mean is None or low is None or high is None:
        return f"too little is given to compare Dice with IoU{not_checked}"
    return f"IoU {cell.iou_mean} is within {100 * low:.2f} to {100 * high:.2f}{not_checked}"


def _grid(centre: float, step: float) -> Floats:
    """Return values of D from 0 to 1; the steps grow with the distance from the centre."""
    count = math.ceil(math.log(1 / step + 1) / math.log1p(RATIO)) + 1
    distances = step * (1 + RATIO) ** np.arange(count)
    points = np.concatenate([centre - distances, [0.0, centre, 1.0], centre + distances])
    return np.unique(points[(points >= 0) & (points <= 1)])


def _between(x: Floats, second: Floats) -> Floats:
    """Return for each grid point how far a function can be from its linear interpolation.

    This is the larger of the errors in the two intervals beside the point.

    Args:
        x: The grid.
        second: A bound of the absolute second derivative between each two neighbouring points.
    """
    error = np.diff(x) ** 2 * second / 8
    larger: Floats = np.maximum(np.append(error, 0), np.append(0, error))
    return larger


def _std_gap(cell: PrintedCell, factor: Span) -> tuple[float, str]:
    """Return how far the std of IoU is from the nearest possible one, and that limit in words.

    The distance is 0 if the std is possible. D is restricted to a grid. A linear program over the
    weights of the grid's points minimises how far the printed variance of IoU lies outside its
    span, while all other moments lie within their spans.

    The grid excludes no distribution. Proof: move the mass at any D to the two grid points beside
    D so that the mean stays the same. Then each other moment changes by no more than the greatest
    distance of its function from the line between the two points. This distance is at most
    step^2 / 8 times a bound of the second derivative, and the span of each moment is widened by it
    at each point.

    Moments are taken about a and b, the middles of what the printed means may be:
    E[(D - a)^2] = variance + (E[D] - a)^2, where the last term lies between 0 and the square of
    the distance to the ends of what the mean may be. The variances of the distribution
    are c^2 times the printed ones, with the same c within `factor` for both. The program's weights
    are those of the distribution divided by c^2, so their sum, 1 / c^2, may vary within its span.
    """
    dice, iou, std = cell.dice_mean, cell.iou_mean, cell.iou_std
    assert iou is not None
    assert std is not None
    b = iou.middle
    a = dice.middle if dice else 2 * b / (1 + b)  # the Dice of which b is the IoU
    wide = (cell.dice_std or std).high
    x = _grid(a, 0.02 * wide)  # the finest step is a fiftieth of the std
    y = 2 - x
    near, far = y[1:], y[:-1]
    # (g - b)^2 has the second derivative 8 (3 - (1 + b) y) / y^4, with y = 2 - D
    bend = 8 / near**4 * np.maximum(abs(3 - (1 + b) * near), abs(3 - (1 + b) * far))
    rows = [Row(x / y - b, _between(x, 4 / near**3), std.high, share=(-iou.reach, iou.reach))]
    if dice:
        rows.append(Row(x - a, np.zeros_like(x), wide, share=(-dice.reach, dice.reach)))
    if dice and cell.dice_std:
        printed = (cell.dice_std.low**2, cell.dice_std.high**2)
        error = _between(x, np.full(len(x) - 1, 2.0))
        rows.append(Row((x - a) ** 2, error, wide**2, printed, (0.0, dice.reach**2)))
    printed = (std.low**2, std.high**2)
    rows.append(Row((x / y - b) ** 2, _between(x, bend), std.high**2, printed, (0.0, iou.reach**2)))
    above, below = _outside(rows, (factor[1] ** -2, factor[0] ** -2))
    if above > SOLVED:  # even the lowest possible variance is above the printed one
        nearest = std.high * math.sqrt(1 + above)
        return nearest - std.high, f"below {100 * nearest:.2f}, the least"
    if below > SOLVED:
        nearest = std.high * math.sqrt(max(0.0, (std.low / std.high) ** 2 - below))
        return std.low - nearest, f"above {100 * nearest:.2f}, the most"
    return 0.0, ""


@dataclass(frozen=True)
class Row:
    """A moment, the weighted sum of a function of D, that must lie within a span."""

    values: Floats
    """The function at each grid point."""
    error: Floats
    """For each grid point, how far the restriction to the grid may change the moment."""
    unit: float
    """The size of the moment. The row is divided by it, so the solver's tolerance is relative."""
    span: Span = (0.0, 0.0)
    """The part of the limits that does not depend on the sum of the weights."""
    share: Span = (0.0, 0.0)
    """The part of the limits that is multiplied by the sum of the weights."""


def _outside(rows: Sequence[Row], mass: Span) -> tuple[float, float]:
    """Return how far, in its unit, the last row's moment must lie above and below its span.

    All other rows lie within their spans, and the sum of the weights within `mass`.
    """
    # The unknowns are the weights of the grid's points, then how far the last row's moment lies
    # above its span, and how far below. A row of the program is `matrix @ unknowns <= limits`; each
    # moment has two, for the upper end of its span and for the lower one.
    count = len(rows[0].values)
    matrix = np.zeros((2 * len(rows), count + 2))
    limits = np.zeros(2 * len(rows))
    for upper, row in zip(range(0, len(matrix), 2), rows, strict=True):
        matrix[upper, :count] = (row.values - row.error - row.share[1]) / row.unit
        matrix[upper + 1, :count] = (row.share[0] - row.values - row.error) / row.unit
        limits[upper : upper + 2] = row.span[1] / row.unit, -row.span[0] / row.unit
    matrix[-2, -2] = matrix[-1, -1] = -1
    total = np.append(np.ones(count), [0.0, 0.0])
    solution = linprog(
        c=1 - total,  # what is minimised: the last two unknowns
        A_ub=np.vstack([matrix, total, -total]),
        b_ub=np.concatenate([limits, [mass[1], -mass[0]]]),
        method="highs",
    )
    if solution.status != 0 or solution.x is None:  # a solver that fails proves nothing
        return 0.0, 0.0
    return float(solution.x[-2]), float(solution.x[-1])


def summary(findings: Sequence[Finding]) -> str:
    """Return a sentence on how many cells are impossible, and for which reasons."""
    verdicts = Counter(finding.verdict for finding in findings if finding.verdict != "ok")
    wrong = verdicts.total()
    if not wrong:
        return (
            f"0 of {count(len(findings), 'cell')} contradict themselves, "
            "by what is given and could be checked"
        )
    reasons = [f"{verdicts[one]} {words}" for one, words in REASONS.items() if verdicts[one]]
    any_std = sum(finding.any_std for finding in findings)
    of_means = [finding for finding in findings if finding.verdict not in ("ok", "std")]
    far = sum(finding.gap_points > FAR for finding in of_means)
    return (
        f"{wrong} of {count(len(findings), 'cell')} {CANNOT}: {', '.join(reasons)}; "
        f"{any_std} of them whatever the std is of (images, patients, folds or seeds). "
        f"{far} are off by more than half a point of mean IoU"
    )
