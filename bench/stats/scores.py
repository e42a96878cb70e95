"""From cases to one value a patient, the unit of all inference; who is missing is counted, never dropped in silence."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.spec.errors import UsageError, did_you_mean
from bench.spec.metrics import METRICS as ROWS

METRICS = tuple(row.name for row in ROWS if row.inferred)
LOWER = frozenset(row.name for row in ROWS if row.better == "lower")
"""Metrics of which less is better."""


@dataclass(frozen=True)
class PatientScores:
    """One metric of one dataset: a patient's cases are averaged first, then folds, if several tested that patient."""

    column: str
    """The dataset and how it was split, as the columns of table 1 are called:
    `mr@real-1a2b3c4d/5fold`."""
    source: str
    """`real` or `phantom`."""
    metric: str
    methods: tuple[str, ...]
    patients: tuple[str, ...]
    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    """(seed, patient, method); NaN where a method was not tested on a patient, or no case of it has
    a value."""
    undefined: dict[str, int] = field(default_factory=dict)
    """Cases without a value, such as distances to an empty mask, by method; the patient's other
    cases count."""
    left_out: tuple[str, ...] = ()
    """Patients that `complete` left out, for one of the methods lacks them."""
    left_seeds: tuple[int, ...] = ()
    """Seeds that `complete` left out."""

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return -1.0 if self.metric in LOWER else 1.0

    @property
    def means(self) -> NDArray[np.float64]:
        """(patient, method): seeds averaged; NaN where one is missing."""
        averaged: NDArray[np.float64] = self.values.mean(0)
        return averaged

    def only(self, methods: Sequence[str]) -> PatientScores:
        """Return the scores of some methods, in that order.

        Raises:
            UsageError: A method was not tested here.
        """
        for method in methods:
            if method not in self.methods:
                raise UsageError(
                    f"{method} has no result on {self.column}; {did_you_mean(method, self.methods)}"
                )
        chosen = [self.methods.index(method) for method in methods]
        undefined = {method: self.undefined.get(method, 0) for method in methods}
        return replace(
            self, methods=tuple(methods), values=self.values[:, :, chosen], undefined=undefined
        )

    def complete(self) -> PatientScores:
        """Return the seeds and patients that all methods have, without a gap; the others are named in it.

        A seed under which fewer patients have all methods than under another one (a run that is not
        finished) is left out before any patient is.
        """
        present = ~np.isnan(self.values)
        whole = np.logical_and.reduce(present, axis=2)
        counts = whole.sum(1)
        seeds = counts == counts.max(initial=1)
        patients = np.logical_and.reduce(whole[seeds], axis=0) & bool(seeds.any())
        anywhere = np.logical_or.reduce(present, axis=(0, 2))
        return replace(
            self,
            patients=tuple(
                name for name, kept in zip(self.patients, patients, strict=True) if kept
            ),
            seeds=tuple(seed for seed, kept in zip(self.seeds, seeds, strict=True) if kept),
            values=self.values[seeds][:, patients],
            left_out=tuple(
                p
                for p, kept, has in zip(self.patients, patients, anywhere, strict=True)
                if has > kept
            ),
            left_seeds=tuple(
                seed for seed, kept in zip(self.seeds, seeds, strict=True) if not kept
            ),
        )

    def missing(self) -> dict[str, tuple[str, ...]]:
        """Return, by method, the patients that another method has under a seed under which this one has none."""
        present = ~np.isnan(self.values)
        tested = np.logical_or.reduce(present, axis=2, keepdims=True)
        lacks = np.logical_or.reduce(tested & ~present, axis=0)
        names = np.array(self.patients, dtype=object)
        return {
            m: tuple(names[lacks[:, i]]) for i, m in enumerate(self.methods) if lacks[:, i].any()
        }


def arrange(
    cases: pd.DataFrame, metrics: Sequence[str] = METRICS
) -> dict[str, dict[str, PatientScores]]:
    """Arrange the rows of `Store.cases` as scores of patients, by column and metric.

    Args:
        cases: One row a case: column, source, method, fold, seed, patient and the metrics.
        metrics: Which of them.
    """
    return {
        str(column): _column(str(column), str(part.source.iloc[0]), part, metrics)
        for column, part in cases.groupby("column", sort=True, observed=True)
    }


def _column(
    column: str, source: str, cases: pd.DataFrame, metrics: Sequence[str]
) -> dict[str, PatientScores]:
    codes, names = zip(
        *(pd.factorize(cases[axis], sort=True) for axis in ("fold", "seed", "patient", "method")),
        strict=True,
    )
    shape = tuple(len(each) for each in names)
    places, size = np.asarray(np.ravel_multi_index(codes, shape)), int(np.prod(shape))
    methods = tuple(str(name) for name in names[3])
    scores = {}
    for metric in metrics:
        values = cases[metric].to_numpy(float)
        defined = ~np.isnan(values)
        counts = np.bincount(places[defined], minlength=size).reshape(shape)
        sums = np.bincount(places[defined], values[defined], size).reshape(shape)
        tested = counts > 0
        each = np.divide(sums, counts, out=np.zeros(shape), where=tested)
        folds = tested.sum(0)
        undefined = np.bincount(codes[3][~defined], minlength=len(methods))
        scores[metric] = PatientScores(
            column=column,
            source=source,
            metric=metric,
            methods=methods,
            patients=tuple(str(name) for name in names[2]),
            seeds=tuple(int(seed) for seed in names[1]),
            values=np.divide(each.sum(0), folds, out=np.full(shape[1:], np.nan), where=folds > 0),
            undefined={
                method: int(count) for method, count in zip(methods, undefined, strict=True)
            },
        )
    return scores


def alike(parts: Sequence[PatientScores]) -> list[list[int]]:
    """Return the numbers of parts that have the same seeds and patients together, so that they share one pass."""
    groups: dict[Hashable, list[int]] = {}
    for number, part in enumerate(parts):
        groups.setdefault((part.seeds, part.patients), []).append(number)
    return list(groups.values())


def subject(seeds: int) -> str:
    """Return what results of so many seeds speak of."""
    return "this checkpoint" if seeds == 1 else "the method"
