"""The sign-flip permutation test: without a true difference, both signs are equally likely.

All rows of differences of the same patients share every flip. One matrix product tests all rows in
about the time that `scipy.stats.permutation_test(permutation_type="samples")` needs for one, and
the largest of all (max-T) comes from the same flips.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.spec.config import SEED

ALPHA = 0.05
FLIPS = 99_999
EXACT = 16
"""Up to so many patients all 2^n assignments of signs are tried; there are no more than FLIPS."""
_BLOCK = 2**17
"""Signs drawn at once. A block depends only on n, so that the same n always has the same flips."""


def smallest_p(patients: int) -> float:
    """Return the smallest p that so many patients can give: all their differences have one sign."""
    if patients <= EXACT:
        return min(1.0, 2.0 ** (1 - patients))
    return 1 / (FLIPS + 1)


def sign_flip(
    differences: NDArray[np.float64], seed: int = SEED, flips: int = FLIPS
) -> NDArray[np.float64]:
    """Return the two-sided p of the mean of each row of differences (patient, row).

    Exact up to 16 patients. With more patients the flips are random and the observed signs are
    counted as one of them, so that p is never 0.
    """
    observed = np.abs(differences.sum(0)) - _slack(differences)
    reached = np.zeros(differences.shape[1])
    for signs in _signs(len(differences), seed, flips):
        reached += (np.abs(signs @ differences) >= observed).sum(0)
    return _share(reached, len(differences), flips)


def max_t(
    differences: NDArray[np.float64], seed: int = SEED, flips: int = FLIPS
) -> NDArray[np.float64]:
    """Return p of each row of (patient, row), corrected for all rows by max-T of shared flips.

    Westfall and Young's step-down procedure: the largest statistic is compared with the largest of
    all under each flip, the next one with the largest of the rest. Rows are scaled by their root
    mean square, which no flip changes, so that all rows count alike.
    """
    scale = np.sqrt((differences**2).mean(0))
    rows = np.divide(differences, scale, out=np.zeros_like(differences), where=scale > 0)
    statistic = np.abs(rows.sum(0))
    order = np.argsort(-statistic, kind="stable")
    observed, rows = (statistic - _slack(rows))[order], rows[:, order]
    reached = np.zeros(len(order))
    for signs in _signs(len(rows), seed, flips):
        largest = np.maximum.accumulate(np.abs(signs @ rows)[:, ::-1], axis=1)[:, ::-1]
        reached += (largest >= observed).sum(0)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(_share(reached, len(rows), flips))
    return adjusted


def _slack(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the tolerance for rounding, so that the observed signs always reach their own sum."""
    return np.asarray(1e-12 * np.abs(rows).sum(0))


def _share(reached: NDArray[np.float64], patients: int, flips: int) -> NDArray[np.float64]:
    if patients <= EXACT:
        return np.asarray(reached / 2.0 ** max(0, patients - 1))
    return np.asarray((reached + 1) / (flips + 1))


def _signs(patients: int, seed: int, flips: int) -> Iterator[NDArray[np.float64]]:
    """Yield blocks (flip, patient) of 1 and -1.

    Up to EXACT patients they are all assignments, one of each mirrored two: the last patient's sign
    is always 1. With more patients they are random.
    """
    if patients <= EXACT:
        numbers = np.arange(2 ** max(0, patients - 1))[:, None]
        yield np.where(numbers >> np.arange(patients) & 1, -1.0, 1.0)
        return
    generator = np.random.Generator(np.random.Philox(seed))
    step = _BLOCK // patients + 1
    for start in range(0, flips, step):
        rows = min(step, flips - start)
        width = -(-patients // 8)
        drawn = np.frombuffer(generator.bytes(rows * width), np.uint8).reshape(rows, width)
        signs = np.unpackbits(drawn, axis=1, count=patients).astype(float)
        signs *= -2
        signs += 1
        yield signs
