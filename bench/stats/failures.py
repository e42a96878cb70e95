"""Rare failures that a few patients do not show.

A method that fails on one patient in twenty shows no failure among 25 patients in 28 % of studies,
and its mean is then too high by some points. No test of the mean can notice.
"""

from __future__ import annotations

from bench.stats.flips import ALPHA

SEEN_FROM = 59
"""From so many patients on, a failure of one in twenty is seen in 95 % of studies."""


def unseen(patients: int) -> float:
    """Return the largest rate of failures of which these patients may show none; 0 from 59 on.

    It is the upper end of the exact 95 % interval of a rate after no failure: 11 % for 25 patients.
    """
    if not 0 < patients < SEEN_FROM:
        return 0.0
    return float(1 - ALPHA ** (1 / patients))


def could_undo(difference: float, score: float, patients: int) -> bool:
    """Return whether unseen failures could undo a difference of means of a fraction, as of Dice.

    Args:
        difference: Of the two means.
        score: The higher mean; a failure costs all of it.
        patients: Number of patients.
    """
    return abs(difference) <= unseen(patients) * score
