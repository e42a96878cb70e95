"""Many comparisons: a family that is fixed before, corrected as a whole; no star that so few patients cannot earn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.stats.flips import ALPHA, max_t, sign_flip, smallest_p
from bench.stats.paired import ROPE, Pair, Verdict, compare, decide
from bench.stats.scores import LOWER, PatientScores, alike

Correction = Literal["holm", "max-t"]


@dataclass(frozen=True)
class Comparison:
    """The reference beside one other method, corrected for the family."""

    pair: Pair
    """The reference is the first."""
    adjusted: float
    """p of the sign-flip test, corrected."""
    possible: bool
    """Whether so many patients can give a corrected p of 0.05 at all."""
    verdict: Verdict
    """Of the reference: `better`, `worse`, `equivalent` or `undecided`."""

    @property
    def star(self) -> bool:
        """Whether the difference may carry a star."""
        return self.possible and self.adjusted <= ALPHA


@dataclass(frozen=True)
class Family:
    """One reference against each other method on one dataset, by one metric."""

    column: str
    metric: str
    reference: str
    correction: Correction
    rope: float
    comparisons: tuple[Comparison, ...]
    tests: int
    """Tests that p is corrected for: comparisons with a patient in common."""
    computed: int
    """p values that were computed, the companion's included."""


def against(
    scores: PatientScores,
    reference: str,
    others: Sequence[str] = (),
    rope: float | None = None,
    correction: Correction = "holm",
    seed: int = SEED,
) -> Family:
    """Compare a reference with each other method.

    Args:
        scores: One metric of one dataset.
        reference: The method that the family is about, chosen before the results were seen.
        others: Whom it is compared with; all others where none is named. Leave out rows that
            compete with none.
        rope: Half the width of the region of practical equivalence; half a point, and none for
            distances.
        correction: `holm`, or `max-t`: by the largest statistic of shared flips, on the patients
            that all have.
        seed: Of flips and resamples.

    Raises:
        UsageError: The reference or another method was not tested on the dataset, or there is
            nothing to compare.
    """
    others = tuple(others) or tuple(method for method in scores.methods if method != reference)
    scores = scores.only([reference, *others])
    if not others or reference in others:
        raise UsageError(
            f"{reference} on {scores.column} has no other method to compare with; bench run"
            " --methods all"
        )
    rope = (0.0 if scores.metric in LOWER else ROPE) if rope is None else rope
    if correction == "max-t":
        scores = scores.complete()
    pairs = compare(scores, [(reference, other) for other in others], seed)
    tested = [number for number, pair in enumerate(pairs) if pair.patients]
    adjusted = np.full(len(pairs), np.nan)
    if correction == "max-t" and tested:
        means = scores.means
        adjusted[tested] = max_t(means[:, :1] - means[:, 1:], seed)
    else:
        adjusted[tested] = holm([pairs[number].p for number in tested])
    factor = 1 if correction == "max-t" else len(tested)
    return Family(
        column=scores.column,
        metric=scores.metric,
        reference=reference,
        correction=correction,
        rope=rope,
        comparisons=tuple(
            Comparison(
                pair=pair,
                adjusted=float(p),
                possible=smallest_p(pair.patients) * factor <= ALPHA,
                verdict=decide(pair, float(p), scores.sign, rope),
            )
            for pair, p in zip(pairs, adjusted, strict=True)
        ),
        tests=len(tested),
        computed=2 * len(tested),
    )


@dataclass(frozen=True)
class Matrix:
    """All pairs of methods on one dataset, by one metric: for a map, not for claims about one method."""

    column: str
    metric: str
    methods: tuple[str, ...]
    means: NDArray[np.float64]
    """(method, method): mean difference over patients, the row's less the column's; NaN without a
    patient in common."""
    p: NDArray[np.float64]
    """(method, method): sign-flip test, corrected for all pairs; 1 on the diagonal, NaN as
    above."""
    correction: Correction
    """`max-t` where all methods were tested on the same patients under the same seeds, `holm` where
    they were not."""
    patients: NDArray[np.int64]
    """(method, method): patients that both have under the seeds that both have."""
    tests: int
    """Pairs with a patient in common, which p is corrected for."""

    @property
    def possible(self) -> bool:
        """Whether so many patients can give a corrected p of 0.05 at all."""
        factor = 1 if self.correction == "max-t" else self.tests
        shared = self.patients[~np.eye(len(self.methods), dtype=bool)]
        return smallest_p(int(shared.max(initial=0))) * factor <= ALPHA

    def not_below(self, method: str) -> tuple[str, ...]:
        """Return the methods that their patients do not show to be below one."""
        row = self.means[self.methods.index(method)]
        ahead = {m for m, mean in zip(self.methods, row, strict=True) if mean < 0}
        return tuple(
            m for m in self.methods if m != method and (m in ahead or m in self.like(method))
        )

    def like(self, method: str) -> tuple[str, ...]:
        """Return the methods that cannot be told from one: their corrected p is above 0.05, or there is none."""
        row = self.p[self.methods.index(method)]
        return tuple(
            m for m, p in zip(self.methods, row, strict=True) if m != method and not p <= ALPHA
        )


MAP_FLIPS = 9_999
"""Random flips of a map of all pairs by max-T: p = 0.05 is known to ± 0.004 by them. Holm's needs
all FLIPS."""


def matrix(scores: PatientScores, seed: int = SEED) -> Matrix:
    """Compare every method with every other by the sign-flip test, corrected for all pairs.

    By max-T where all methods share their patients: so few patients as eight can tell methods apart
    by it, where Holm's correction for the 45 pairs of ten methods needs twelve.
    """
    count = len(scores.methods)
    places = list(combinations(range(count), 2))
    parts = [scores.only([scores.methods[i] for i in place]).complete() for place in places]
    means, p = np.full((count, count), np.nan), np.full((count, count), np.nan)
    patients = np.zeros((count, count), np.int64)
    raw = np.full(len(places), np.nan)
    groups = [group for group in alike(parts) if parts[group[0]].patients]
    correction: Correction = (
        "max-t" if len(groups) == 1 and len(groups[0]) == len(places) else "holm"
    )
    for group in groups:
        differences = np.stack(
            [parts[number].means[:, 0] - parts[number].means[:, 1] for number in group], axis=1
        )
        raw[group] = (
            max_t(differences, seed, MAP_FLIPS)
            if correction == "max-t"
            else sign_flip(differences, seed)
        )
        for number, mean in zip(group, differences.mean(0), strict=True):
            first, second = places[number]
            means[first, second], means[second, first] = mean, -mean
            patients[first, second] = patients[second, first] = len(differences)
    tested = np.flatnonzero(~np.isnan(raw))
    if correction == "holm":
        raw[tested] = holm(raw[tested])
    for (first, second), adjusted in zip(places, raw, strict=True):
        p[first, second] = p[second, first] = adjusted
    np.fill_diagonal(p, 1.0)
    np.fill_diagonal(means, 0.0)
    np.fill_diagonal(patients, (~np.isnan(scores.values)).any(0).sum(0))
    return Matrix(
        scores.column, scores.metric, scores.methods, means, p, correction, patients, len(tested)
    )


def holm(p: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p values corrected by Holm's step-down procedure, by statsmodels."""
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(p, method="holm")[1], float) if len(p) else np.zeros(0)
