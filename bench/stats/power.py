"""What a planned comparison can find: the smallest difference that so many patients and seeds detect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.stats.flips import ALPHA, smallest_p
from bench.stats.scores import PatientScores

POWER = 0.8
ASSUMED = 0.02
"""Standard deviation of paired differences where nothing is known of it: 2 points."""


@dataclass(frozen=True)
class Spread:
    """Where the differences of two methods vary, as standard deviations."""

    patients: float
    """Between patients; with one seed, what a seed adds for each patient is in it."""
    seeds: float = 0.0
    """Between seeds, for all patients alike; 0 where it is unknown."""
    rest: float = 0.0
    """Between seeds for a single patient; 0 where it is unknown."""

    def of_mean(self, patients: int, seeds: int) -> float:
        """Return the standard error of the mean difference of so many patients and seeds."""
        return float(
            np.sqrt(
                self.patients**2 / patients
                + self.seeds**2 / seeds
                + self.rest**2 / (patients * seeds)
            )
        )


def spread(differences: NDArray[np.float64]) -> Spread:
    """Return where differences (seed, patient) vary: the balanced two-way analysis of variance, in closed form.

    A part that comes out negative is none. No mixed model is fitted: near 0 it prints parts where
    it did not converge.
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


@dataclass(frozen=True)
class Known:
    """What finished results say of the differences between methods on a dataset."""

    spread: Spread
    """Root mean squares over the pairs of methods."""
    lowest: float
    """Least standard deviation between patients of any pair, seeds averaged."""
    highest: float
    pairs: int
    patients: int
    seeds: int


def known(scores: PatientScores, methods: Sequence[str] = ()) -> Known | None:
    """Return how paired differences vary in finished results; None where no pair has two patients or all are equal.

    Args:
        scores: One metric of one dataset.
        methods: Between which of them; all where none is named.
    """
    found, deviations, counts = [], [], []
    for pair in combinations([m for m in scores.methods if not methods or m in methods], 2):
        part = scores.only(pair).complete()
        if len(part.patients) < 2:
            continue
        differences = part.values[:, :, 0] - part.values[:, :, 1]
        deviation = float(differences.mean(0).std(ddof=1))
        if deviation > 0:
            found.append(spread(differences))
            deviations.append(deviation)
            counts.append(differences.shape)
    if not found:
        return None
    parts = np.array([[each.patients, each.seeds, each.rest] for each in found])
    seeds, patients = (int(least) for least in np.min(counts, axis=0))
    return Known(
        Spread(*np.sqrt((parts**2).mean(0)).tolist()),
        min(deviations),
        max(deviations),
        len(found),
        patients,
        seeds,
    )


def detectable(
    patients: int,
    seeds: int = 1,
    tests: int = 1,
    parts: Spread | None = None,
    power: float = POWER,
    alpha: float = ALPHA,
) -> float:
    """Return the smallest true difference that is found with the given power; infinite where none can be.

    The power is that of the two-sided paired t test at alpha / tests, Holm's first step; the
    sign-flip test comes close to it. None can be found where so many patients cannot give a p as
    small. The standard error counts the seeds' share, while the degrees of freedom are those of the
    patients.

    Args:
        patients: Tested patients.
        seeds: Seeds under which all of them are tested.
        tests: Comparisons of the family.
        parts: Where differences vary; two points between patients and nothing between seeds where
            it is unknown.
        power: Chance of finding it.
        alpha: Of the family.
    """
    from scipy.optimize import brentq
    from statsmodels.stats.power import TTestPower

    if patients < 2 or smallest_p(patients) * tests > alpha:
        return float("inf")

    level = (
        alpha / tests / 2
    )  # the right side alone: the wrong side's chance is none, and statsmodels may make it NaN

    def lacking(effect: float) -> float:
        return float(TTestPower().power(effect, patients, level, alternative="larger")) - power

    # statsmodels' solve_power stops where the power is off by 1e-5, or astray; doubling finds a
    # bracket for any size.
    high = 1 / float(np.sqrt(patients))
    while lacking(high) < 0:
        high *= 2
    effect = float(brentq(lacking, 0.0, high, xtol=1e-12))
    return effect * float(np.sqrt(patients)) * (parts or Spread(ASSUMED)).of_mean(patients, seeds)
