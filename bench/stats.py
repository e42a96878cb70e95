"""Intervals over patients and over seeds; numpy and scipy, no torch."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
LEVEL = 0.95
RESAMPLES = 9999


def over_patients(values: NDArray[np.float64]) -> Interval:
    """Return the 95 % bootstrap interval (BCa, 9,999 resamples, fixed seed) of the mean of one value a patient.

    NaN where there are fewer than three patients, for no interval can be had from two.
    """
    from scipy.stats import bootstrap

    if len(values) < 3:
        return float("nan"), float("nan")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate resample: the result says NaN
        found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="BCa",
                          random_state=np.random.default_rng(0))  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def over_seeds(values: NDArray[np.float64]) -> Interval:
    """Return the 95 % t interval of the mean of one value a seed; NaN for a single seed."""
    from scipy.stats import sem, t

    if len(values) < 2:
        return float("nan"), float("nan")
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * sem(values))
    return float(values.mean()) - half, float(values.mean()) + half
