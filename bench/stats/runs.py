"""Differences over several runs: seeds are drawn at random, as patients are.

One run of a method is one draw of its weights. A test over patients alone asks whether these
weights differ: where runs vary, it calls most equal methods different. Here a difference must hold
over the runs, and over runs and patients at once. `tests/stats/CALIBRATION.md` has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.stats.intervals import Interval

PerSeries = NDArray[np.float64]
"""One number for each series of differences."""


@dataclass(frozen=True)
class _Error:
    """The standard error of means, and its degrees of freedom."""

    error: PerSeries
    freedom: PerSeries


def p_values(runs: NDArray[np.float64]) -> tuple[PerSeries, PerSeries]:
    """Return two-sided p of the mean of each series of (seed, patient, series), by two tests.

    They are t tests over runs alone, and over runs and patients. Both must hold, because each alone
    calls too many equal methods different: the first as if other patients would give the same; the
    second where two or three runs are too few to estimate its degrees of freedom.
    """
    from scipy.stats import t

    mean = np.abs(runs.mean((0, 1)))

    def p_of(test: _Error) -> PerSeries:
        """Return two-sided p of each series by a t test with this standard error."""
        # Without any variation p is 0, or 1 where the mean is 0 too.
        ratio = np.divide(mean, test.error, out=np.full_like(mean, np.inf), where=test.error > 0)
        ratio[mean == 0] = 0.0
        return np.asarray(2 * t.sf(ratio, test.freedom))

    over_runs, over_both = _errors(runs)
    return p_of(over_runs), p_of(over_both)


def critical(seeds: int, level: float) -> float:
    """Return how many standard errors over so many runs a mean needs for a p up to `level`."""
    from scipy.stats import t

    return float(t.ppf(1 - level / 2, seeds - 1))


def intervals(runs: NDArray[np.float64], level: float) -> list[Interval]:
    """Return the interval of the mean of each series that leaves out 0 where p is below 1 - level.

    The longer one of the two t intervals.
    """
    from scipy.stats import t

    mean = runs.mean((0, 1))
    half = np.zeros(len(mean))
    for test in _errors(runs):
        half = np.maximum(half, t.ppf((1 + level) / 2, test.freedom) * test.error)
    return [(float(low), float(high)) for low, high in zip(mean - half, mean + half, strict=True)]


def _errors(runs: NDArray[np.float64]) -> tuple[_Error, _Error]:
    """Return the errors over runs alone, and over runs and patients."""
    seeds, _, series = runs.shape
    of_seeds = runs.mean(1)
    alone = of_seeds.std(0, ddof=1) / np.sqrt(seeds)
    return _Error(alone, np.full(series, seeds - 1.0)), _of_both(runs)


def _of_both(runs: NDArray[np.float64]) -> _Error:
    """Return the error of the balanced two-way analysis of variance with both factors random.

    The degrees of freedom are Satterthwaite's (1946).
    """
    seeds, patients, _ = runs.shape
    of_seeds, of_patients, mean = runs.mean(1), runs.mean(0), runs.mean((0, 1))
    rest = runs - of_seeds[:, None] - of_patients[None] + mean
    count = (seeds - 1) * (patients - 1)
    by_seeds = patients * of_seeds.var(0, ddof=1)
    by_patients = seeds * of_patients.var(0, ddof=1)
    by_rest = (rest**2).sum((0, 1)) / count
    # At least that of patients alone: an estimate that seeds vary by less than nothing counts as 0.
    total = np.maximum(by_seeds + by_patients - by_rest, by_patients)
    squares = by_seeds**2 / (seeds - 1) + by_patients**2 / (patients - 1) + by_rest**2 / count
    most = float(seeds * patients - 1)
    freedom = np.divide(total**2, squares, out=np.full_like(total, most), where=squares > 0)
    return _Error(np.sqrt(total / (seeds * patients)), freedom)
