"""Intervals; numpy and scipy, no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
LEVEL = 0.95


def interval(values: NDArray[np.float64]) -> Interval:
    """Return the 95 % t interval of the mean of one value a patient, or one a seed; NaN for a single one.

    Bootstrap intervals (BCa) hold their 95 % from about 20 values on; with 5 they hold the truth in 85 %.
    """
    from scipy.stats import sem, t

    if len(values) < 2:
        return float("nan"), float("nan")
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * sem(values))
    return float(values.mean()) - half, float(values.mean()) + half
