"""Power: the smallest difference that a planned comparison can detect."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.stats.flips import ALPHA, smallest_p
from bench.stats.scores import PatientScores

POWER = 0.8
"""Probability with which a planned study should find the difference."""
MOST = 20
"""Seeds that are looked at, where it is asked how many a difference needs."""
NOTHING = 1e-20
"""Variances of scores up to this are what rounding leaves of none."""
ASSUMED = 0.02
"""Standard deviation of paired differences where it is unknown: 2 points."""


@dataclass(frozen=True)
class Spread:
    """The standard deviations of the differences of two methods, split by their sources."""

    patients: float
    """Between patients. From results of one seed, it includes `rest`."""
    seeds: float = 0.0
    """Between seeds, by effects that are the same for all patients; 0 if unknown."""
    rest: float = 0.0
    """Between seeds, by effects that differ from patient to patient; 0 if unknown."""

    def of_mean(self, patients: int, seeds: int) -> float:
        """Return the standard error of the mean difference over these numbers of both."""
        of_patients = self.patients**2 / patients
        of_seeds = self.seeds**2 / seeds
        of_rest = self.rest**2 / (patients * seeds)
        return float(np.sqrt(of_patients + of_seeds + of_rest))

    def freedom(self, patients: int, seeds: int) -> float:
        """Return Satterthwaite's degrees of freedom of the mean over both, at least two of each.

        The mean squares of his formula are here those that these variances let expect. Where
        nothing varies, the degrees of freedom are those of the patients.
        """
        rest = self.rest**2
        by_seeds = patients * self.seeds**2 + rest
        by_patients = seeds * self.patients**2 + rest
        squares = by_seeds**2 / (seeds - 1) + by_patients**2 / (patients - 1)
        squares += rest**2 / ((seeds - 1) * (patients - 1))
        total = by_seeds + by_patients - rest
        return total**2 / squares if squares else patients - 1.0


def spread(differences: NDArray[np.float64]) -> Spread:
    """Return the standard deviations of differences (seed, patient) by their sources.

    The balanced two-way analysis of variance gives them in closed form. A negative variance becomes
    0. No mixed model is fitted: near 0 its fit may not converge and nevertheless return numbers.
    """
    seeds, patients = differences.shape
    between = float(differences.mean(0).var(ddof=1))
    if seeds < 2:
        return Spread(between**0.5)
    rest = differences - differences.mean(0) - differences.mean(1)[:, None] + differences.mean()
    noise = float((rest**2).sum() / ((seeds - 1) * (patients - 1)))
    runs = float(differences.mean(1).var(ddof=1))
    return Spread(
        patients=max(0.0, between - noise / seeds) ** 0.5,
        seeds=max(0.0, runs - noise / patients) ** 0.5,
        rest=noise**0.5,
    )


def suitability(scores: PatientScores) -> float:
    """Return the variance between methods, divided by that between the runs of a method.

    Both are of means over patients; what runs add to the first is taken off. The shift that all
    methods share under a seed is no part of the second: it moves no method past another. Under 1,
    one run of each method cannot rank them on this dataset. NaN with one seed, fewer than two
    methods, or runs that do not vary.
    """
    complete = scores.complete()
    seeds, patients, methods = complete.values.shape
    if seeds < 2 or methods < 2 or not patients:
        return float("nan")
    means = complete.values.mean(1)  # (seed, method)
    # What neither method nor seed explains: the residuals of a two-way analysis of variance.
    residuals = means - means.mean(1, keepdims=True) - means.mean(0) + means.mean()
    within = float((residuals**2).sum() / ((seeds - 1) * (methods - 1)))
    between = float(means.mean(0).var(ddof=1)) - within / seeds
    return max(0.0, between) / within if within > NOTHING else float("nan")


@dataclass(frozen=True)
class Known:
    """How the differences between methods on a dataset vary in finished results."""

    spread: Spread
    """Root mean squares over the pairs of methods."""
    lowest: float
    """Lowest standard deviation between patients of any pair, after seeds are averaged."""
    highest: float
    """Highest such standard deviation."""
    pairs: int
    patients: int
    seeds: int


def known(scores: PatientScores, methods: Sequence[str] = ()) -> Known | None:
    """Return how paired differences vary in finished results.

    None if no pair of methods has two patients, or if all differences are equal.

    Args:
        scores: One metric of one dataset.
        methods: The methods to compare; all where none is named.
    """
    spreads, deviations, counts = [], [], []
    wanted = [method for method in scores.methods if not methods or method in methods]
    for pair in combinations(wanted, 2):
        part = scores.only(pair).complete()
        if len(part.patients) < 2:
            continue
        differences = part.values[:, :, 0] - part.values[:, :, 1]
        deviation = float(differences.mean(0).std(ddof=1))
        if deviation > 0:
            spreads.append(spread(differences))
            deviations.append(deviation)
            counts.append(differences.shape)
    if not spreads:
        return None
    parts = np.array([[pair.patients, pair.seeds, pair.rest] for pair in spreads])
    seeds, patients = (int(least) for least in np.min(counts, axis=0))
    return Known(
        spread=Spread(*np.sqrt((parts**2).mean(0)).tolist()),
        lowest=min(deviations),
        highest=max(deviations),
        pairs=len(spreads),
        patients=patients,
        seeds=seeds,
    )


def detectable(
    patients: int,
    seeds: int = 1,
    tests: int = 1,
    parts: Spread | None = None,
    power: float = POWER,
    alpha: float = ALPHA,
) -> float:
    """Return the smallest true difference that is found with the given power.

    The result is infinite if this number of patients cannot give a p that is small enough. The
    power is that of the t tests of the comparison at alpha / tests, which is Holm's first step:
    over patients, and with several seeds over both and over the runs alone, of which the harder one
    counts. The sign-flip test has almost the power of the t test over patients.

    Args:
        patients: Number of tested patients.
        seeds: Number of seeds under which all of them are tested.
        tests: Number of comparisons in the family.
        parts: How the differences vary; if None, by 2 points between patients and not at all
            between seeds.
        power: Probability of finding the difference.
        alpha: Level of the family.
    """
    if patients < 2 or smallest_p(patients) * tests > alpha:
        return float("inf")
    varying = parts or Spread(ASSUMED)
    error = varying.of_mean(patients, seeds)
    if seeds == 1:
        return error * _noncentrality(patients - 1, alpha / tests, power)
    # The test over runs alone takes the patients as they are: only seeds and the rest vary.
    error_of_runs = replace(varying, patients=0.0).of_mean(patients, seeds)
    freedom = varying.freedom(patients, seeds)
    return max(
        error * _noncentrality(freedom, alpha / tests, power),
        error_of_runs * _noncentrality(seeds - 1, alpha / tests, power),
    )


@lru_cache(maxsize=1024)
def seeds_needed(
    difference: float, patients: int, tests: int, parts: Spread, most: int = MOST
) -> int | None:
    """Return how many seeds find a difference with a power of 80 %; None if `most` do not.

    Args:
        difference: The true difference.
        patients: Number of tested patients.
        tests: Number of comparisons that p is corrected for.
        parts: How the differences vary.
        most: The largest number of seeds that is tried.
    """

    def lacking(seeds: int) -> bool:
        return detectable(patients, seeds, tests, parts) > abs(difference)

    seeds = range(2, most + 1)
    # From some number of seeds on, all are enough: bisection finds the first of them.
    place = bisect_left(seeds, True, key=lambda number: not lacking(number))
    return seeds[place] if place < len(seeds) else None


def _noncentrality(freedom: float, alpha: float, power: float) -> float:
    """Return the difference, in standard errors, that a two-sided t test finds with a power."""
    from scipy.optimize import brentq
    from statsmodels.stats.power import TTestPower

    # Power is computed for one side, because the other side adds almost nothing and statsmodels may
    # give NaN for both. With nobs=1 an effect is in standard errors.
    def lacking(effect: float) -> float:
        reached = TTestPower().power(
            effect, nobs=1, alpha=alpha / 2, df=freedom, alternative="larger"
        )
        return float(reached) - power

    # statsmodels' solve_power may be off by 1e-5 or fail; doubling finds a bracket for any size.
    high = 1.0
    while lacking(high) < 0:
        high *= 2
    return float(brentq(lacking, 0.0, high, xtol=1e-12))
