"""The sign-flip permutation test of paired differences.

If there is no true difference, each patient's difference is as likely to have the opposite sign.
A series is one difference for each patient. All series of the same patients are tested with the
same flips. So one matrix product tests all series in about the time that
`scipy.stats.permutation_test(permutation_type="samples")` needs for one, and the same flips give
the largest statistic of all series (max-T).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.spec.config import SEED

ALPHA = 0.05
"""Level of the tests."""
FLIPS = 99_999
"""Random flips of a test with more than EXACT patients."""
EXACT = 16
"""Up to this number of patients n, all 2^n assignments of signs are tried, which are fewer than
FLIPS."""
_BLOCK = 2**17
"""About the number of signs that are drawn at once. The number of flips in a block depends only on
n, so that the same n always has the same flips."""


def smallest_p(patients: int) -> float:
    """Return the smallest p that this number of patients can give.

    It is the p of differences that all have the same sign.
    """
    if patients <= EXACT:
        return min(1.0, 2.0 ** (1 - patients))
    return 1 / (FLIPS + 1)


def sign_flip(
    differences: NDArray[np.float64], seed: int = SEED, flips: int = FLIPS
) -> NDArray[np.float64]:
    """Return the two-sided p of the mean of each series of differences (patient, series).

    Up to 16 patients p is exact. With more patients the flips are random, and the observed signs
    count as one of the flips, so that p is never 0.
    """
    observed = np.abs(differences.sum(0)) - _slack(differences)
    reached = np.zeros(differences.shape[1])
    for signs in _signs(len(differences), seed, flips):
        reached += (np.abs(signs @ differences) >= observed).sum(0)
    return _share(reached, len(differences), flips)


def max_t(
    differences: NDArray[np.float64], seed: int = SEED, flips: int = FLIPS
) -> NDArray[np.float64]:
    """Return p of each series of (patient, series), corrected for all by max-T of shared flips.

    This is Westfall and Young's step-down procedure. The series with the largest statistic is
    compared with the largest statistic of all series under each flip, the next series with the
    largest of the remaining series, and so on. Each series is divided by its root mean square,
    which no flip changes, so that series with large differences do not dominate.
    """
    scale = np.sqrt((differences**2).mean(0))
    scaled = np.divide(differences, scale, out=np.zeros_like(differences), where=scale > 0)
    statistic = np.abs(scaled.sum(0))
    order = np.argsort(-statistic, kind="stable")
    observed, scaled = (statistic - _slack(scaled))[order], scaled[:, order]
    reached = np.zeros(len(order))
    for signs in _signs(len(scaled), seed, flips):
        # (flip, series): the largest statistic of this series and all series after it
        largest = np.maximum.accumulate(np.abs(signs @ scaled)[:, ::-1], axis=1)[:, ::-1]
        reached += (largest >= observed).sum(0)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(_share(reached, len(scaled), flips))
    return adjusted


def _slack(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the tolerance for rounding, so that the observed signs always reach their own sum."""
    return np.asarray(1e-12 * np.abs(differences).sum(0))


def _share(reached: NDArray[np.float64], patients: int, flips: int) -> NDArray[np.float64]:
    """Return p of each series, given how many flips reached its observed statistic."""
    if patients <= EXACT:
        return np.asarray(reached / 2.0 ** max(0, patients - 1))
    return np.asarray((reached + 1) / (flips + 1))


def _signs(patients: int, seed: int, flips: int) -> Iterator[NDArray[np.float64]]:
    """Yield blocks (flip, patient) of 1 and -1.

    Up to EXACT patients these are all assignments in which the last patient's sign is 1: the
    opposite of each has the same absolute sum. With more patients they are random.
    """
    if patients <= EXACT:
        # Bit k of a flip's number says whether patient k's sign is turned.
        numbers = np.arange(2 ** max(0, patients - 1))[:, None]
        yield np.where(numbers >> np.arange(patients) & 1, -1.0, 1.0)
        return
    generator = np.random.Generator(np.random.Philox(seed))
    step = _BLOCK // patients + 1
    for start in range(0, flips, step):
        block = min(step, flips - start)
        flip_bytes = (patients + 7) // 8  # a bit for each patient
        drawn = np.frombuffer(generator.bytes(block * flip_bytes), np.uint8)
        drawn = drawn.reshape(block, flip_bytes)
        signs = np.unpackbits(drawn, axis=1, count=patients).astype(float)
        # 0 and 1 become 1 and -1, in place, which is faster than a new array.
        signs *= -2
        signs += 1
        yield signs
