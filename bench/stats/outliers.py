"""Rare outliers: those that a few patients do not show, and those that many patients do.

An outlier is a patient whom a method misses, with a Dice near 0. A method that misses one patient
in twenty shows no outlier among 25 patients in 28 % of studies, and its mean is then too high by
some points. No test of the mean can notice. With more patients some show, and a test that knows how
skewed the differences are can allow for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.stats.flips import ALPHA

SEEN_FROM = 59
"""From so many patients on, one outlier in twenty is seen in 95 % of studies."""
BOUND = 0.1
"""A patient whose Dice is lower than this in any seed is counted as an outlier."""


@dataclass(frozen=True)
class Outliers:
    """How many patients a method misses."""

    number: int
    interval: tuple[float, float]
    """95 % interval of the rate, exact (Clopper and Pearson); NaN without a patient."""


def count(dice: NDArray[np.float64]) -> Outliers:
    """Count the patients of one method, (seed, patient), whom it misses under a seed."""
    from scipy.stats import binomtest

    number = int((dice < BOUND).any(0).sum())
    if not dice.shape[1]:
        return Outliers(0, (float("nan"), float("nan")))
    ends = binomtest(number, dice.shape[1]).proportion_ci(1 - ALPHA, method="exact")
    return Outliers(number, (float(ends.low), float(ends.high)))


def unseen(patients: int) -> float:
    """Return the largest rate of outliers of which these patients may show none; 0 from 59 on.

    It is the upper end of the exact 95 % interval of a rate after no outlier: 11 % for 25 patients.
    With this rate r, no patient of n is an outlier with probability (1 - r)^n = 0.05.
    """
    if not 0 < patients < SEEN_FROM:
        return 0.0
    return float(1 - ALPHA ** (1 / patients))


def skewed(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two-sided p of the mean of each series of (patient, series), by Hall's test.

    It is the t test, corrected for the skewness of the differences: a mean that seems to differ
    because few outliers were drawn has a long tail on the other side. Source: Hall, On the removal
    of skewness by transformation, J. R. Statist. Soc. B 54 (1992), the monotone cubic one.
    """
    from scipy.stats import t as student

    patients, series = differences.shape
    mean, spread = differences.mean(0), differences.std(0)
    varies = spread > 0
    p = np.where(mean == 0, 1.0, np.zeros(series))  # where nothing varies, the other tests decide
    ratio = mean[varies] / spread[varies]
    skewness = (((differences[:, varies] - mean[varies]) / spread[varies]) ** 3).mean(0)
    # Hall's g, whose last term corrects the shift of the mean.
    corrected = ratio + skewness * ratio**2 / 3 + skewness**2 * ratio**3 / 27
    corrected += skewness / (6 * patients)
    p[varies] = 2 * student.sf(np.sqrt(patients) * np.abs(corrected), patients - 1)
    return np.asarray(p)


def unseen_outliers_could_undo(difference: float, score: float, patients: int) -> bool:
    """Return whether they could undo a difference of the means of a fraction, such as Dice.

    Args:
        difference: Of the two means.
        score: The higher mean; an outlier costs up to all of it.
        patients: Number of patients.
    """
    return abs(difference) <= unseen(patients) * score
