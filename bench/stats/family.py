"""A family of comparisons that is declared before the results are seen and corrected as a whole.

With few patients, even the smallest possible corrected p may be above 0.05. Then no difference gets
a mark. With one seed a difference is one of these weights, not of the methods, and has another mark
than a star.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.spec.metrics import LOWER
from bench.stats.flips import ALPHA, FLIPS, max_t, smallest_p
from bench.stats.outliers import unseen_outliers_could_undo
from bench.stats.paired import ROPE, Pair, Verdict, compare, decide, primary_p
from bench.stats.scores import PatientScores, grouped_by_patients

Correction = Literal["holm", "max-t"]
STAR, WEIGHTS = "*", "°"
"""Marks of a difference: of methods, over several seeds; and of these weights, with one seed."""


@dataclass(frozen=True)
class Comparison:
    """The baseline and one other method, corrected for the family."""

    pair: Pair
    """The baseline is the first."""
    adjusted: float
    """p of the sign-flip test, corrected."""
    possible: bool
    """Whether the smallest possible corrected p of this number of patients is at most 0.05."""
    verdict: Verdict
    """What the baseline is: `better`, `worse`, `equivalent` or `undecided`."""
    in_doubt: bool = False
    """Whether outliers that so few patients do not show could undo the difference."""

    @property
    def mark(self) -> str:
        """The mark of a difference that holds, in brackets if it is in doubt; else empty."""
        if not (self.possible and self.adjusted <= ALPHA):
            return ""
        mark = STAR if self.pair.seeds > 1 else WEIGHTS
        return f"({mark})" if self.in_doubt else mark

    @property
    def turned(self) -> Comparison:
        """The same comparison with the other method as the first."""
        opposite: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
        verdict = opposite.get(self.verdict, self.verdict)
        return replace(self, pair=self.pair.turned, verdict=verdict)

    @property
    def claims(self) -> bool:
        """Whether the verdict calls one better than the other, beyond doubt."""
        return self.verdict in ("better", "worse") and not self.in_doubt

    @property
    def of_methods(self) -> bool:
        """Whether the verdict speaks of the methods: only several seeds show how runs vary."""
        return self.pair.seeds > 1


@dataclass(frozen=True)
class Family:
    """The baseline compared with each other method on one dataset, by one metric."""

    column: str
    metric: str
    baseline: str
    correction: Correction
    rope: float
    comparisons: tuple[Comparison, ...]
    tests: int
    """Number of tests that p is corrected for: comparisons with a patient in common."""
    computed: int
    """Number of p values that were computed, including those of Wilcoxon's test."""

    def of(self, first: str, second: str) -> Comparison | None:
        """Return the comparison of two methods, None if the family has none."""
        for comparison in self.comparisons:
            if (comparison.pair.first, comparison.pair.second) == (first, second):
                return comparison
            if (comparison.pair.second, comparison.pair.first) == (first, second):
                return comparison.turned
        return None


def against(
    scores: PatientScores,
    baseline: str,
    others: Sequence[str] = (),
    rope: float | None = None,
    correction: Correction = "holm",
    seed: int = SEED,
    flips: int = FLIPS,
    of_all: AllPairs | None = None,
    missing: int = 0,
    looks: int = 1,
) -> Family:
    """Compare the baseline with each other method.

    Args:
        scores: One metric of one dataset.
        baseline: The method that the others are compared with.
        others: The other methods; if empty, all other rows. Name them if some rows are no
            competitors.
        rope: Half the width of the region of practical equivalence. By default half a point, and
            0 for distances.
        correction: `holm`, or `max-t`: by the largest statistic of shared flips, on the patients
            that all methods have. With several seeds it is always `holm`: flips of patients do not
            tell how runs vary.
        seed: Seed of flips and resamples.
        flips: Random flips of a test with many patients.
        of_all: All pairs of the dataset's methods, where the baseline was not chosen before the
            results were seen. Any method might have been chosen then, so p is that of all pairs.
        missing: Number of declared methods without a result here. A family keeps its size: their
            tests count as if p were 1, and the correction is `holm`.
        looks: How often results of several seeds are looked at; each look has its share of 5 %, so
            p is multiplied by their number.

    Raises:
        UsageError: The baseline or another method was not tested on the dataset, or there is
            nothing to compare.
    """
    others = tuple(others) or tuple(method for method in scores.methods if method != baseline)
    scores = scores.only([baseline, *others])
    if not others or baseline in others:
        raise UsageError(
            f"{baseline} on {scores.column} has no other method to compare with; "
            "bench run --methods all"
        )
    if rope is None:
        rope = 0.0 if scores.metric in LOWER else ROPE
    if len(scores.seeds) > 1 or missing:
        correction = "holm"
    if correction == "max-t":
        scores = scores.complete()
    planned_tests = len(others) + missing
    named = [(baseline, other) for other in others]
    if of_all is not None:
        correction, looks = of_all.correction, of_all.looks
        planned_tests = max(1, of_all.tests)
    pairs = compare(scores, named, seed, tests=planned_tests * looks, flips=flips)
    tested = [number for number, pair in enumerate(pairs) if pair.patients]
    adjusted = np.full(len(pairs), np.nan)
    if of_all is not None:
        adjusted = np.array([of_all.p_of(baseline, other) for other in others])
    elif correction == "max-t" and tested:
        means = scores.means  # (patient, method), the baseline first
        p_by_max_t = max_t(means[:, :1] - means[:, 1:], seed, flips)
        adjusted[tested] = corrected_for_looks(p_by_max_t, looks)
    else:
        # A comparison that is missing counts as if its p were 1.
        p_of_all = [pairs[number].p for number in tested] + [1.0] * missing
        p_by_holm = holm(p_of_all)[: len(tested)]
        adjusted[tested] = corrected_for_looks(p_by_holm, looks)
    tests = len(tested) + missing
    if of_all is not None:
        tests = of_all.tests
    # Max-T's smallest p does not depend on the number of tests; Holm multiplies it by this number.
    factor = 1 if correction == "max-t" else tests
    comparisons = []
    for pair, p in zip(pairs, adjusted, strict=True):
        possible = smallest_p(pair.patients) * factor * looks <= ALPHA
        verdict = decide(pair, float(p), scores.sign, rope)
        in_doubt = _in_doubt(scores, pair)
        comparisons.append(Comparison(pair, float(p), possible, verdict, in_doubt))
    return Family(
        column=scores.column,
        metric=scores.metric,
        baseline=baseline,
        correction=correction,
        rope=rope,
        comparisons=tuple(comparisons),
        tests=tests,
        computed=tests + len(tested),
    )


def _in_doubt(scores: PatientScores, pair: Pair) -> bool:
    """Return whether unseen outliers could undo the difference of a pair; not of distances."""
    if scores.metric in LOWER or not pair.patients:
        return False
    both_means = scores.only([pair.first, pair.second]).complete().means.mean(0)
    return unseen_outliers_could_undo(pair.mean, float(both_means.max()), pair.patients)


@dataclass(frozen=True)
class AllPairs:
    """All pairs of methods on one dataset, by one metric.

    The report shows them as a map of all pairs. They are not for a claim about one method: that is
    what `against` is for.
    """

    column: str
    metric: str
    methods: tuple[str, ...]
    means: NDArray[np.float64]
    """(method, method): mean over patients of the row's score minus the column's; NaN without a
    patient in common."""
    p: NDArray[np.float64]
    """(method, method): sign-flip test, corrected for all pairs; 1 on the diagonal, NaN without a
    patient in common."""
    correction: Correction
    """`max-t` where all methods were tested on the same patients under one seed, else `holm`."""
    patients: NDArray[np.int64]
    """(method, method): patients that both have under the seeds that both have."""
    runs: NDArray[np.int64]
    """(method, method): seeds that both have; 0 without a patient in common."""
    tests: int
    """Number of pairs with a patient in common; p is corrected for them."""
    in_doubt: NDArray[np.bool_]
    """(method, method): whether outliers that so few patients do not show could undo the
    difference."""
    looks: int = 1
    """How often results of several seeds are looked at; p is corrected for it too."""
    declared: Family | None = None
    """The declared comparisons, whose pairs have their p here too."""

    def with_declared(self, family: Family) -> AllPairs:
        """Return these pairs, of which the declared ones have the p of their family.

        So a pair has one p, wherever it is printed. The others are corrected for the tests of that
        family too, which come to those of all pairs.
        """
        p = np.minimum(1.0, self.p * (1 + family.tests / max(1, self.tests)))
        for one in family.comparisons:
            first, second = self.methods.index(one.pair.first), self.methods.index(one.pair.second)
            p[first, second] = p[second, first] = one.adjusted
        return replace(self, p=p, declared=family)

    def p_of(self, one: str, other: str) -> float:
        """Return the corrected p of two methods."""
        return float(self.p[self.methods.index(one), self.methods.index(other)])

    @property
    def seeds(self) -> tuple[int, ...]:
        """How many seeds pairs share: one number where it is the same for all, else least and most.

        Empty if no pair shares a patient.
        """
        diagonal = np.eye(len(self.methods), dtype=bool)
        shared = self.runs[~diagonal & (self.patients > 0)]
        if not shared.size:
            return ()
        least, most = int(shared.min()), int(shared.max())
        return (least,) if least == most else (least, most)

    def runs_of(self, one: str, other: str) -> int:
        """Return how many seeds two methods share."""
        return int(self.runs[self.methods.index(one), self.methods.index(other)])

    @property
    def possible(self) -> bool:
        """Whether the smallest possible corrected p of this number of patients is at most 0.05."""
        declared = self.declared.comparisons if self.declared else ()
        if any(one.possible for one in declared):
            return True
        factor = 1 if self.correction == "max-t" else self.tests  # as in `against`
        diagonal = np.eye(len(self.methods), dtype=bool)
        most_patients = int(self.patients[~diagonal].max(initial=0))
        return smallest_p(most_patients) * factor * self.looks <= ALPHA

    def not_below(self, method: str) -> tuple[str, ...]:
        """Return the other methods that are not significantly below this one."""
        row = self.means[self.methods.index(method)]
        # Those with a higher mean: the callers ask this of Dice, where more is better.
        ahead = {other for other, mean in zip(self.methods, row, strict=True) if mean < 0}
        kept = ahead.union(self.like(method))
        return tuple(other for other in self.methods if other != method and other in kept)

    def doubtful(self, method: str) -> tuple[str, ...]:
        """Return the methods whose difference to this one unseen outliers could undo."""
        row = self.in_doubt[self.methods.index(method)]
        return tuple(other for other, undone in zip(self.methods, row, strict=True) if undone)

    def below(self, best: str) -> tuple[str, ...]:
        """Return the methods that are told from the best one beyond doubt."""
        kept = {best, *self.not_below(best), *self.doubtful(best)}
        return tuple(method for method in self.methods if method not in kept)

    def like(self, method: str) -> tuple[str, ...]:
        """Return the other methods that do not differ significantly from this one.

        Their corrected p is above 0.05, or there is none.
        """
        row = self.p[self.methods.index(method)]
        compared = zip(self.methods, row, strict=True)
        # `not p <= ALPHA` and not `p > ALPHA`: a p that does not exist is NaN.
        return tuple(other for other, p in compared if other != method and not p <= ALPHA)


MAP_FLIPS = 9_999
"""Random flips for a map of all pairs by max-T: a p of 0.05 is then exact to ± 0.004. Holm's
correction multiplies p, so it needs the smaller error of all FLIPS."""


def all_pairs(
    scores: PatientScores, seed: int = SEED, flips: int = FLIPS, looks: int = 1
) -> AllPairs:
    """Compare every method with every other by the primary test, corrected for all pairs.

    With one seed, the correction is max-T where all methods share their patients: with it, eight
    patients can be enough for a significant difference, while Holm's correction for the 45 pairs of
    ten methods needs twelve.
    """
    count = len(scores.methods)
    pairs = list(combinations(range(count), 2))
    parts = [scores.only([scores.methods[i] for i in pair]).complete() for pair in pairs]
    means = np.full((count, count), np.nan)
    p = np.full((count, count), np.nan)
    patients, runs = np.zeros((2, count, count), np.int64)
    in_doubt = np.zeros((count, count), bool)
    p_of_pair = np.full(len(pairs), np.nan)
    groups = [group for group in grouped_by_patients(parts) if parts[group[0]].patients]
    fewest_seeds = min((len(parts[group[0]].seeds) for group in groups), default=0)
    all_share_patients = len(groups) == 1 and len(groups[0]) == len(pairs)
    correction: Correction = "holm"
    if all_share_patients and fewest_seeds == 1:
        correction = "max-t"
    for group in groups:
        values = [parts[number].values for number in group]
        # by_seed: (seed, patient, pair); differences: (patient, pair)
        by_seed = np.stack([both[:, :, 0] - both[:, :, 1] for both in values], axis=2)
        differences = by_seed.mean(0)
        if correction == "max-t":
            p_of_pair[group] = max_t(differences, seed, min(flips, MAP_FLIPS))
        else:
            p_of_pair[group] = primary_p(by_seed, seed, flips)
        for number, mean in zip(group, differences.mean(0), strict=True):
            first, second = pairs[number]
            means[first, second] = mean
            means[second, first] = -mean
            if scores.metric not in LOWER:
                best = float(parts[number].means.mean(0).max())
                undone = unseen_outliers_could_undo(mean, best, len(differences))
                in_doubt[first, second] = in_doubt[second, first] = undone
            patients[first, second] = patients[second, first] = len(differences)
            runs[first, second] = runs[second, first] = len(by_seed)
    tested = np.flatnonzero(~np.isnan(p_of_pair))
    if correction == "holm":
        p_of_pair[tested] = holm(p_of_pair[tested])
    p_of_pair = corrected_for_looks(p_of_pair, looks)
    for (first, second), adjusted in zip(pairs, p_of_pair, strict=True):
        p[first, second] = p[second, first] = adjusted
    np.fill_diagonal(p, 1.0)
    np.fill_diagonal(means, 0.0)
    has_score = ~np.isnan(scores.values)  # (seed, patient, method)
    np.fill_diagonal(patients, has_score.any(0).sum(0))
    return AllPairs(
        column=scores.column,
        metric=scores.metric,
        methods=scores.methods,
        means=means,
        p=p,
        correction=correction,
        patients=patients,
        runs=runs,
        tests=len(tested),
        in_doubt=in_doubt,
        looks=looks,
    )


def corrected_for_looks(p: NDArray[np.float64], looks: int) -> NDArray[np.float64]:
    """Return p values corrected by Bonferroni for how often results are looked at.

    It does not matter when the looks are.
    """
    return np.minimum(1.0, p * looks)


def holm(p: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p values corrected by Holm's step-down procedure.

    statsmodels has it too, but collects the garbage of the whole process at each call: 44 ms.
    """
    raw = np.asarray(p, float)
    order = np.argsort(raw, kind="stable")
    # The smallest p is multiplied by the number of tests, the next one by the number less 1, ...
    tests_left = np.arange(len(raw), 0, -1)
    adjusted = np.empty(len(raw))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, raw[order] * tests_left))
    return adjusted
