"""Whether 5 % is 5 %: tests on one's own results where, by construction, there is nothing to find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.spec.config import SEED
from bench.stats.flips import ALPHA, EXACT, sign_flip, smallest_p
from bench.stats.intervals import LEVEL, Interval
from bench.stats.paired import DECIMALS, wilcoxon
from bench.stats.scores import PatientScores

ROUNDS = 2_000
FLIPS = 9_999
"""Random flips of each round's test, a tenth of what the report takes: 2,000 rounds are tested."""
SWAPPED = "methods swapped"
SPLIT = "seeds split"
WHOLE = "seeds split alike"
"""Within each patient; of one method, in two, anew for each patient; and the same two for all
patients."""


@dataclass(frozen=True)
class Rate:
    """How often a test finds at 5 % what is not there."""

    column: str
    null: str
    """SWAPPED and SPLIT hold nothing to find; WHOLE may: checkpoints of one method differ, and
    patients do not tell."""
    test: str
    """`sign flip` or `wilcoxon`."""
    unit: str
    """`patient`, or `case`: the wrong one, shown beside."""
    units: int
    """How many of them."""
    rejected: int
    rounds: int
    interval: Interval
    """Clopper and Pearson's 95 %; NaN for WHOLE, whose rounds share patients and runs."""
    attainable: float
    """The highest rate up to 5 % that so many patients can give; exact tests have steps."""

    @property
    def rate(self) -> float:
        """Share of rounds."""
        return self.rejected / self.rounds


@dataclass(frozen=True)
class Cases:
    """The cases of one dataset that all methods have under the same seeds."""

    column: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    """(seed, case, method)."""
    patient: NDArray[np.int64]
    """(case): the patient's number."""
    patients: int

    @classmethod
    def of(cls, column: str, scores: PatientScores, cases: pd.DataFrame) -> Cases:
        """Return the cases of the patients and seeds that all methods have.

        Args:
            column: Name of the dataset.
            scores: Of its patients.
            cases: Its rows of `Store.cases`.
        """
        whole = scores.complete()
        kept = cases[cases.patient.isin(whole.patients) & cases.seed.isin(whole.seeds)]
        table = kept.pivot_table(
            index=["patient", "case"], columns=["seed", "method"], values=scores.metric
        )
        wanted = pd.MultiIndex.from_product([whole.seeds, whole.methods])
        table = table.reindex(columns=wanted).dropna()
        codes, names = pd.factorize(table.index.get_level_values("patient"), sort=True)
        values = (
            table.to_numpy(float)
            .reshape(len(table), len(whole.seeds), len(whole.methods))
            .swapaxes(0, 1)
        )
        return cls(column, whole.methods, whole.seeds, values, codes, len(names))

    def averaged(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (patient, ...) means of (case, ...)."""
        sums = np.zeros((self.patients, *values.shape[1:]))
        np.add.at(sums, self.patient, values)
        counts = np.bincount(self.patient, minlength=self.patients)
        return np.asarray(sums / counts.reshape(-1, *[1] * (values.ndim - 1)))


def rates(cases: Cases, rounds: int = ROUNDS, seed: int = SEED) -> list[Rate]:
    """Return how often the tests reject at 5 % without a difference.

    Every round takes two methods and swaps them in half of the patients at random, or takes one
    method and splits its seeds, half against half, anew for each patient: the halves differ by
    nothing but chance. Tests over cases, as papers have them, take each slice for a patient. Splits
    that are alike for all patients compare checkpoints of one method: how often those differ is
    what one seed cannot tell from a method's worth.

    Args:
        cases: Of one dataset.
        rounds: Of each kind.
        seed: Of all that is drawn.
    """
    if cases.patients < 2:
        return []
    generator = np.random.Generator(np.random.Philox(seed))
    found = []
    pairs = _pairs(cases)
    if pairs:
        found += _tested(cases, SWAPPED, _swapped(cases, pairs, rounds, generator), seed)
    if len(cases.seeds) > 1:
        found += _tested(cases, SPLIT, _split(cases, rounds, generator), seed)
        halves = list(islice(_halves(len(cases.seeds)), max(1, rounds // len(cases.methods))))
        weights = np.array([_weights(half, len(cases.seeds)) for half in halves])
        runs = np.tensordot(weights, cases.values, 1)  # (split, case, method)
        found += _tested(
            cases, WHOLE, np.moveaxis(runs, 1, 0).reshape(len(cases.patient), -1), seed
        )
    return found


def _pairs(cases: Cases) -> list[tuple[int, int]]:
    """Return the pairs of methods that differ on any patient; with two that never do, nothing could be rejected."""
    means = cases.averaged(cases.values.mean(0))
    return [
        (a, b)
        for a, b in combinations(range(len(cases.methods)), 2)
        if np.round(means[:, a] - means[:, b], DECIMALS).any()
    ]


def _swapped(
    cases: Cases, pairs: list[tuple[int, int]], rounds: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return (case, round): differences of a pair of methods, with both swapped in a random half of the patients."""
    means = cases.values.mean(0)
    first, second = np.array(pairs)[generator.integers(0, len(pairs), rounds)].T
    signs = 1.0 - 2.0 * generator.integers(0, 2, (cases.patients, rounds))
    return np.asarray((means[:, first] - means[:, second]) * signs[cases.patient])


def _split(cases: Cases, rounds: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return (case, round): differences between two halves of a method's seeds, other halves for each patient."""
    seeds = len(cases.seeds)
    methods = generator.integers(0, len(cases.methods), rounds)
    weights = np.tile(_weights(tuple(range(2 * (seeds // 2))), seeds), (cases.patients, rounds, 1))
    weights = generator.permuted(weights, axis=2)
    found = np.zeros((len(cases.patient), rounds))
    for run in range(seeds):
        found += cases.values[run][:, methods] * weights[cases.patient, :, run]
    return found


def _halves(seeds: int) -> Iterator[tuple[int, ...]]:
    """Yield every choice of two halves of the seeds, the first half first; one seed is left out of an odd number."""
    size = seeds // 2
    for chosen in combinations(range(seeds), 2 * size):
        for rest in combinations(chosen[1:], size - 1):
            half = (chosen[0], *rest)
            yield (*half, *(seed for seed in chosen if seed not in half))


def _weights(halves: tuple[int, ...], seeds: int) -> NDArray[np.float64]:
    """Return (seed): what makes the difference of the two halves' means."""
    weights, size = np.zeros(seeds), len(halves) // 2
    weights[list(halves[:size])], weights[list(halves[size:])] = 1 / size, -1 / size
    return weights


def _tested(cases: Cases, null: str, differences: NDArray[np.float64], seed: int) -> list[Rate]:
    """Return the rates of the tests over patients and of the one over cases; differences are (case, round)."""
    patients = cases.averaged(differences)
    return [
        _rate(cases, null, "sign flip", "patient", sign_flip(patients, seed, FLIPS)),
        _rate(cases, null, "wilcoxon", "patient", wilcoxon(patients)),
        _rate(cases, null, "wilcoxon", "case", wilcoxon(differences)),
    ]


def _rate(cases: Cases, null: str, test: str, unit: str, p: NDArray[np.float64]) -> Rate:
    from scipy.stats import binomtest

    rejected, rounds = int((p <= ALPHA).sum()), len(p)
    ends = binomtest(rejected, rounds).proportion_ci(LEVEL, method="exact")
    steps = smallest_p(cases.patients)
    return Rate(
        column=cases.column,
        null=null,
        test=test,
        unit=unit,
        units=cases.patients if unit == "patient" else len(cases.patient),
        rejected=rejected,
        rounds=rounds,
        interval=(
            (float("nan"), float("nan")) if null == WHOLE else (float(ends.low), float(ends.high))
        ),
        attainable=steps * int(ALPHA / steps) if cases.patients <= EXACT else ALPHA,
    )
