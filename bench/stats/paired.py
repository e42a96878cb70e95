"""Compare two methods on the same patients: size of the difference, its interval, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.spec.config import SEED
from bench.spec.metrics import LOWER
from bench.stats import outliers, runs
from bench.stats.flips import ALPHA, FLIPS, sign_flip
from bench.stats.intervals import LEVEL, Interval, bootstrap, deviation, interval
from bench.stats.power import Spread, spread
from bench.stats.scores import PatientScores, grouped_by_patients

ROPE = 0.005
"""Region of practical equivalence: up to this difference of their means, two methods count as
equivalent. For scores that are fractions, such as Dice, it is half a percentage point."""
EQUIVALENT_FROM = 100
"""Fewest patients on whom two methods may be called equivalent: on skewed differences, intervals of
few patients are too short. 100 is a round choice, not a measured edge; 126 patients have intervals
that are long enough (`tests/stats/CALIBRATION.md`)."""
DECIMALS = 6
"""Decimals to which differences are rounded before they are ranked, so that equal differences stay
equal in spite of floating-point errors."""
ZEROS: Literal["pratt"] = "pratt"
"""Pratt's rule: differences of zero take part in the ranking, but count for neither side."""

_EXACT = 50
"""Largest number of patients for which scipy's signed-rank test is exact."""
_AT_ONCE = 64
"""Number of pairs that scipy ranks at once, which limits the memory."""

Verdict = Literal["better", "worse", "equivalent", "undecided"]
Test = Literal["patients", "skewness", "seeds", "both"]
"""A part of the primary test.

- `patients`: sign flips over patients.
- `skewness`: Hall's test over patients.
- `seeds`: the t test over seeds (`runs.p_values`).
- `both`: the t test over seeds and patients (`runs.p_values`).
"""


@dataclass(frozen=True)
class Pair:
    """The first method minus the second, over the patients and seeds that both have."""

    first: str
    second: str
    patients: int
    seeds: int
    left_out: tuple[str, ...]
    """Patients that only one of the two has."""
    left_out_seeds: tuple[int, ...]
    """Seeds that only one of the two has."""
    mean: float
    """Mean of the patients' differences."""
    sd: float
    """Standard deviation of the patients' differences."""
    bootstrap: Interval
    """95 % bootstrap interval of the mean. One seed: bias-corrected and accelerated (BCa) over
    patients. Several seeds: percentiles over seeds and patients."""
    t: Interval
    """95 % t interval of the mean. One seed: over patients. Several seeds: the longer one of those
    over seeds, and over seeds and patients (`runs.intervals`)."""
    narrow: tuple[Interval, Interval]
    """The bootstrap and the t interval that decide `equivalent`: of the level 1 - 2 ALPHA / tests,
    see `compare`."""
    p: float
    """p of the primary test of the mean, the largest p of its parts (`parts_of_test`). Not
    corrected."""
    decided: Test | None
    """The part with the largest p, which is `p`; None without a patient in common."""
    spread: Spread | None
    """How the differences vary between patients and seeds; None unless there are several of
    both."""
    wilcoxon: float
    """p of the signed-rank test, shown beside the primary test. Not corrected."""
    zeros: int
    """Number of patients without a difference."""
    shift: float
    """Hodges and Lehmann's estimate of the difference."""
    shift_interval: Interval
    """95 % interval of the shift by the signed-rank distribution; NaN for fewer than 6 patients."""
    superiority: float
    """Share of patients on whom the first method is better; a tie counts half."""

    @property
    def turned(self) -> Pair:
        """The same comparison as the second method minus the first."""
        one, other = self.narrow
        return replace(
            self,
            first=self.second,
            second=self.first,
            mean=-self.mean,
            bootstrap=_turned(self.bootstrap),
            t=_turned(self.t),
            narrow=(_turned(one), _turned(other)),
            shift=-self.shift,
            shift_interval=_turned(self.shift_interval),
            superiority=1 - self.superiority,
        )


def _turned(interval: Interval) -> Interval:
    low, high = interval
    return -high, -low


def compare(
    scores: PatientScores,
    pairs: Sequence[tuple[str, str]],
    seed: int = SEED,
    tests: int = 1,
    flips: int = FLIPS,
) -> list[Pair]:
    """Compare methods pair by pair.

    Args:
        scores: One metric of one dataset.
        pairs: Pairs of methods; each pair uses the patients and seeds that both have.
        seed: Seed of flips and resamples.
        tests: Number of comparisons for which `equivalent` is corrected (Bonferroni): each
            comparison has two one-sided tests at ALPHA / tests.
        flips: Random flips of a test with many patients.

    Raises:
        UsageError: A method was not tested on the dataset.
    """
    # `complete` keeps the patients and seeds that both methods of a pair have
    parts = [scores.only(pair).complete() for pair in pairs]
    compared: dict[int, Pair] = {}
    for group in grouped_by_patients(parts):
        members = [parts[number] for number in group]
        compared.update(zip(group, _compare(members, seed, tests, flips), strict=True))
    return [compared[number] for number in range(len(parts))]


def _compare(parts: Sequence[PatientScores], seed: int, tests: int, flips: int) -> list[Pair]:
    """Compare pairs that have the same patients and seeds."""
    metric, patients, seeds = parts[0].metric, len(parts[0].patients), len(parts[0].seeds)
    if not patients:
        return [_nothing(part) for part in parts]
    # by_seed: (seed, patient, pair); differences: (patient, pair)
    by_seed = np.stack([part.values[:, :, 0] - part.values[:, :, 1] for part in parts], axis=2)
    differences = by_seed.mean(0)
    # An interval of this level within the region is the same as two one-sided tests.
    level_of_equivalent = 1 - 2 * ALPHA / tests
    levels = (LEVEL, level_of_equivalent)
    wide, narrow = bootstrap(by_seed, levels, seed)
    t_wide, t_narrow = (_t_intervals(by_seed, level) for level in levels)
    if metric not in LOWER:
        # No difference of two fractions is outside [-1, 1], but the t interval of two seeds may be.
        t_wide = [(max(-1.0, low), min(1.0, high)) for low, high in t_wide]
    p_by_part = parts_of_test(by_seed, seed, flips)
    part_names, p_of_parts = list(p_by_part), np.stack(list(p_by_part.values()))
    p, largest = p_of_parts.max(0), p_of_parts.argmax(0)
    wilcoxon_p = wilcoxon(differences, seed, flips)
    pairs = []
    for number, part in enumerate(parts):
        of_pair = differences[:, number]
        shift, shift_interval = hodges_lehmann(of_pair)
        signs = np.sign(np.round(of_pair, DECIMALS)) * part.sign
        pairs.append(
            Pair(
                first=part.methods[0],
                second=part.methods[1],
                patients=patients,
                seeds=seeds,
                left_out=part.left_out,
                left_out_seeds=part.left_out_seeds,
                mean=float(of_pair.mean()),
                sd=deviation(of_pair),
                bootstrap=wide[number],
                t=t_wide[number],
                narrow=(narrow[number], t_narrow[number]),
                p=float(p[number]),
                decided=part_names[largest[number]],
                spread=spread(by_seed[:, :, number]) if _has_both(by_seed) else None,
                wilcoxon=float(wilcoxon_p[number]),
                zeros=int((signs == 0).sum()),
                shift=shift,
                shift_interval=shift_interval,
                superiority=float((signs + 1).mean() / 2),
            )
        )
    return pairs


def primary_p(
    by_seed: NDArray[np.float64], seed: int = SEED, flips: int = FLIPS
) -> NDArray[np.float64]:
    """Return the two-sided p of each series of (seed, patient, series) by the primary test.

    It is the largest p of its parts.
    """
    return np.asarray(np.max(list(parts_of_test(by_seed, seed, flips).values()), axis=0))


def parts_of_test(
    by_seed: NDArray[np.float64], seed: int = SEED, flips: int = FLIPS
) -> dict[Test, NDArray[np.float64]]:
    """Return the two-sided p of each series of differences (seed, patient, series) by each part.

    One seed: the sign-flip test over patients, which speaks of these weights. Several seeds: also
    the two tests of `runs.p_values`, so that a difference holds over patients, over seeds, and over
    both at once. With so many patients that rare outliers show, also Hall's test over patients.
    """
    differences = by_seed.mean(0)
    p: dict[Test, NDArray[np.float64]] = {"patients": sign_flip(differences, seed, flips)}
    if len(differences) >= outliers.SEEN_FROM:
        p["skewness"] = outliers.skewed(differences)
    if _has_both(by_seed):
        p["seeds"], p["both"] = runs.p_values(by_seed)
    return p


def _has_both(by_seed: NDArray[np.float64]) -> bool:
    """Return whether there are several seeds and several patients."""
    seeds, patients, _ = by_seed.shape
    return bool(seeds > 1 and patients > 1)


def _t_intervals(by_seed: NDArray[np.float64], level: float) -> list[Interval]:
    """Return the t interval of each series's mean, as `Pair.t` describes it."""
    if _has_both(by_seed):
        return runs.intervals(by_seed, level)
    return [interval(means, level) for means in by_seed.mean(0).T]


def _nothing(part: PatientScores) -> Pair:
    """Return the comparison of two methods that were never tested on the same patient and seed."""
    first, second = part.methods
    nan = float("nan")
    none = (nan, nan)
    return Pair(
        first=first,
        second=second,
        patients=0,
        seeds=0,
        left_out=part.left_out,
        left_out_seeds=part.left_out_seeds,
        mean=nan,
        sd=nan,
        bootstrap=none,
        t=none,
        narrow=(none, none),
        p=nan,
        decided=None,
        spread=None,
        wilcoxon=nan,
        zeros=0,
        shift=nan,
        shift_interval=none,
        superiority=nan,
    )


def wilcoxon(
    differences: NDArray[np.float64], seed: int = SEED, flips: int = FLIPS
) -> NDArray[np.float64]:
    """Return the two-sided p of Wilcoxon's signed-rank test of each pair.

    Differences are rounded to 1e-6 and zeros are handled by Pratt's rule.

    - Up to 50 patients, no ties and no zeros: scipy's exact p.
    - Up to 50 patients, ties or zeros: the signs of the ranks are flipped, as scipy's
      `PermutationMethod` does. For 30 zeros and 8 positive differences this gives 0.008; the normal
      approximation would give 0.005.
    - More patients: scipy's normal approximation.

    Args:
        differences: An array (patient, pair).
        seed: Seed of the flips.
        flips: Their number.
    """
    from scipy.stats import rankdata
    from scipy.stats import wilcoxon as signed_rank_test

    rounded = np.round(differences, DECIMALS)
    sizes = np.sort(np.abs(rounded), axis=0)
    ties_or_zeros = (sizes == 0).any(0) | (np.diff(sizes, axis=0) == 0).any(0)
    # need_flips: a mask of the columns that flips test; for_scipy: the numbers of scipy's columns.
    if len(rounded) <= _EXACT:
        need_flips = ties_or_zeros
        for_scipy = np.flatnonzero(~ties_or_zeros)
    else:
        need_flips = np.zeros_like(ties_or_zeros)
        for_scipy = np.flatnonzero(rounded.any(0))
    p = np.ones(rounded.shape[1])  # 1 stays where no patient has a difference
    if need_flips.any():
        ranks = np.sign(rounded[:, need_flips]) * rankdata(np.abs(rounded[:, need_flips]), axis=0)
        p[need_flips] = sign_flip(ranks, seed, flips)
    for start in range(0, len(for_scipy), _AT_ONCE):
        some = for_scipy[start : start + _AT_ONCE]
        p[some] = signed_rank_test(rounded[:, some], zero_method=ZEROS, axis=0).pvalue
    return p


def hodges_lehmann(differences: NDArray[np.float64]) -> tuple[float, Interval]:
    """Return the median of the means of all pairs of differences, and its 95 % interval.

    Each difference is also paired with itself. The interval goes from the k-th smallest to the k-th
    largest mean. k is the largest number for which the signed-rank statistic is below k with a
    chance of at most 2.5 %; so the interval covers 95 % or more. Source: Hollander and Wolfe,
    Nonparametric Statistical Methods, 3.2 and 3.3.
    """
    first, second = np.triu_indices(len(differences))
    means = np.sort((differences[first] + differences[second]) / 2)
    chances = _signed_rank_distribution(len(differences))
    k = int(np.searchsorted(chances, (1 - LEVEL) / 2, side="right"))
    ends = (float("nan"), float("nan"))
    if k:
        ends = (float(means[k - 1]), float(means[-k]))
    return float(np.median(means)), ends


@lru_cache(maxsize=64)
def _signed_rank_distribution(patients: int) -> NDArray[np.float64]:
    """Return the distribution function of the signed-rank statistic without ties."""
    chances = np.zeros(patients * (patients + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, patients + 1):
        # `roll` moves the end to the front. The end is all zeros, because ranks up to this one
        # cannot reach such high sums.
        with_rank = np.roll(chances, rank)
        chances = (chances + with_rank) / 2
    return np.asarray(np.cumsum(chances))


def decide(pair: Pair, adjusted: float, sign: float = 1.0, rope: float = ROPE) -> Verdict:
    """Return the verdict on the first method of a pair; with one seed, on these weights alone.

    The verdict is `better` or `worse` if the corrected p is at most 0.05, both 95 % intervals
    exclude 0, and the mean difference is outside the region of practical equivalence. It is
    `equivalent` if there are enough patients and both narrow intervals lie within this region,
    which is the same as two one-sided tests. Otherwise it is `undecided`. The bootstrap and the t
    interval must agree, because with few patients each of them covers less than its level. With
    several seeds, both include the variation between seeds.

    Args:
        pair: The comparison.
        adjusted: The p of the comparison, corrected for the number of comparisons.
        sign: 1 where more is better, -1 where less is better.
        rope: Half the width of the region, in the metric's own unit; with 0 nothing is equivalent.
    """
    apart = all(low > 0 or high < 0 for low, high in (pair.bootstrap, pair.t))
    if adjusted <= ALPHA and apart and abs(pair.mean) > rope:
        return "better" if sign * pair.mean > 0 else "worse"
    within = all(-rope <= low and high <= rope for low, high in pair.narrow)
    if rope > 0 and pair.patients >= EQUIVALENT_FROM and within:
        return "equivalent"
    return "undecided"
