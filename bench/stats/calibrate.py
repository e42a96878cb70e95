"""Check on the user's own results that the tests at 5 % give false alarms in 5 % of the rounds.

The tests are applied to data that are built so that there is no difference to find.
"""

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
"""Rounds of each kind."""
FLIPS = 9_999
"""Random flips of each test: a tenth of the report's number, because there are 2,000 tests."""
SWAPPED = "methods swapped"
SPLIT = "seeds split"
WHOLE = "seeds split alike"
"""Three kinds of rounds without a difference between methods. SWAPPED: two methods are swapped in
random patients. SPLIT: the seeds of one method are split in two halves, other halves for each
patient. WHOLE: the seeds are split in two halves, the same for all patients."""


@dataclass(frozen=True)
class Rate:
    """How often a test at 5 % reports a difference that does not exist."""

    column: str
    null: str
    """SWAPPED, SPLIT or WHOLE. In WHOLE there may be a true difference: two checkpoints of one
    method differ, and the patients cannot show whether that comes from the seed or the method."""
    test: str
    """`sign flip` or `wilcoxon`."""
    unit: str
    """`patient`, or `case`, which is the wrong unit and is shown for comparison."""
    units: int
    """Number of patients or cases."""
    rejected: int
    rounds: int
    interval: Interval
    """Clopper and Pearson's 95 %; NaN for WHOLE, whose rounds share patients and runs."""
    attainable: float
    """The highest possible rate of p <= 5 % with this number of patients. It may be below 5 %,
    because an exact p has only a few possible values."""

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
            scores: The scores of its patients.
            cases: The rows of the dataset in `Store.cases`.
        """
        whole = scores.complete()
        kept = cases[cases.patient.isin(whole.patients) & cases.seed.isin(whole.seeds)]
        table = kept.pivot_table(
            index=["patient", "case"], columns=["seed", "method"], values=scores.metric
        )
        wanted = pd.MultiIndex.from_product([whole.seeds, whole.methods])
        table = table.reindex(columns=wanted).dropna()
        codes, names = pd.factorize(table.index.get_level_values("patient"), sort=True)
        shape = (len(table), len(whole.seeds), len(whole.methods))
        values = table.to_numpy(float).reshape(shape).swapaxes(0, 1)
        return cls(column, whole.methods, whole.seeds, values, codes, len(names))

    def averaged(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (patient, ...) means of (case, ...)."""
        sums = np.zeros((self.patients, *values.shape[1:]))
        np.add.at(sums, self.patient, values)
        counts = np.bincount(self.patient, minlength=self.patients)
        return np.asarray(sums / counts.reshape(-1, *[1] * (values.ndim - 1)))


def rates(cases: Cases, rounds: int = ROUNDS, seed: int = SEED) -> list[Rate]:
    """Return how often the tests reject at 5 % without a difference.

    A SWAPPED round takes two methods and swaps them in a random half of the patients. A SPLIT round
    takes one method and splits its seeds in two halves, anew for each patient, so that the halves
    differ only by chance. A WHOLE round uses the same halves for all patients: it compares
    checkpoints of one method, and its rate shows how often one seed alone would suggest a
    difference between methods. Tests over cases treat each slice as a patient, as many papers do.

    Args:
        cases: The cases of one dataset.
        rounds: Number of rounds of each kind.
        seed: Seed of all random draws.
    """
    if cases.patients < 2:
        return []
    generator = np.random.Generator(np.random.Philox(seed))
    measured = []
    pairs = _pairs(cases)
    if pairs:
        measured += _tested(cases, SWAPPED, _swapped(cases, pairs, rounds, generator), seed)
    if len(cases.seeds) > 1:
        measured += _tested(cases, SPLIT, _split(cases, rounds, generator), seed)
        halves = list(islice(_halves(len(cases.seeds)), max(1, rounds // len(cases.methods))))
        weights = np.array([_weights(half, len(cases.seeds)) for half in halves])
        runs = np.tensordot(weights, cases.values, 1)  # (split, case, method)
        differences = np.moveaxis(runs, 1, 0).reshape(len(cases.patient), -1)
        measured += _tested(cases, WHOLE, differences, seed)
    return measured


def _pairs(cases: Cases) -> list[tuple[int, int]]:
    """Return the pairs of methods that differ on some patient; for others no test can reject."""
    means = cases.averaged(cases.values.mean(0))
    return [
        (a, b)
        for a, b in combinations(range(len(cases.methods)), 2)
        if np.round(means[:, a] - means[:, b], DECIMALS).any()
    ]


def _swapped(
    cases: Cases, pairs: list[tuple[int, int]], rounds: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return (case, round): differences of two methods, swapped in a random half of patients."""
    means = cases.values.mean(0)
    first, second = np.array(pairs)[generator.integers(0, len(pairs), rounds)].T
    signs = 1.0 - 2.0 * generator.integers(0, 2, (cases.patients, rounds))
    return np.asarray((means[:, first] - means[:, second]) * signs[cases.patient])


def _split(cases: Cases, rounds: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return (case, round): differences between two halves of a method's seeds.

    Each patient has its own halves.
    """
    seeds = len(cases.seeds)
    methods = generator.integers(0, len(cases.methods), rounds)
    weights = np.tile(_weights(tuple(range(2 * (seeds // 2))), seeds), (cases.patients, rounds, 1))
    weights = generator.permuted(weights, axis=2)
    differences = np.zeros((len(cases.patient), rounds))
    for run in range(seeds):
        differences += cases.values[run][:, methods] * weights[cases.patient, :, run]
    return differences


def _halves(seeds: int) -> Iterator[tuple[int, ...]]:
    """Yield every choice of two halves of the seeds, the first half first.

    If the number of seeds is odd, each choice leaves one out.
    """
    size = seeds // 2
    for chosen in combinations(range(seeds), 2 * size):
        for rest in combinations(chosen[1:], size - 1):
            half = (chosen[0], *rest)
            yield (*half, *(seed for seed in chosen if seed not in half))


def _weights(halves: tuple[int, ...], seeds: int) -> NDArray[np.float64]:
    """Return (seed): the weights whose weighted sum is the difference of the two halves' means."""
    size = len(halves) // 2
    weights = np.zeros(seeds)
    weights[list(halves[:size])] = 1 / size
    weights[list(halves[size:])] = -1 / size
    return weights


def _tested(cases: Cases, null: str, differences: NDArray[np.float64], seed: int) -> list[Rate]:
    """Return the rates of the tests over patients and over cases; differences are (case, round)."""
    patients = cases.averaged(differences)
    return [
        _rate(cases, null, "sign flip", "patient", sign_flip(patients, seed, FLIPS)),
        _rate(cases, null, "wilcoxon", "patient", wilcoxon(patients)),
        _rate(cases, null, "wilcoxon", "case", wilcoxon(differences)),
    ]


def _rate(cases: Cases, null: str, test: str, unit: str, p: NDArray[np.float64]) -> Rate:
    from scipy.stats import binomtest

    rejected = int((p <= ALPHA).sum())
    interval = (float("nan"), float("nan"))
    if null != WHOLE:
        ends = binomtest(rejected, len(p)).proportion_ci(LEVEL, method="exact")
        interval = (float(ends.low), float(ends.high))
    attainable = ALPHA
    if cases.patients <= EXACT:
        step = smallest_p(cases.patients)
        attainable = step * int(ALPHA / step)
    return Rate(
        column=cases.column,
        null=null,
        test=test,
        unit=unit,
        units=cases.patients if unit == "patient" else len(cases.patient),
        rejected=rejected,
        rounds=len(p),
        interval=interval,
        attainable=attainable,
    )
