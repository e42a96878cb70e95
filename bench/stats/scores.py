"""Average cases to one value for each patient, the unit of all inference.

Patients that are left out are recorded, so that the report can name them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.spec.errors import UsageError, did_you_mean
from bench.spec.metrics import FILLED, INFERRED, LOWER, WORST


@dataclass(frozen=True)
class PatientScores:
    """One metric of one dataset, averaged over the cases of each patient.

    If several folds tested a patient, the folds are averaged after the cases.
    """

    column: str
    """The dataset and its split, named like a column of table 1: `mr@real-1a2b3c4d/5fold`."""
    source: str
    """`real` or `phantom`."""
    metric: str
    methods: tuple[str, ...]
    patients: tuple[str, ...]
    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    """(seed, patient, method); NaN if a method was not tested on a patient, or no case of the
    patient has a value."""
    undefined: dict[str, int] = field(default_factory=dict)
    """For each method the number of cases whose score does not exist, such as the distance to an
    empty mask. The image's diagonal stands for a distance; other such cases are left out."""
    left_out: tuple[str, ...] = ()
    """Patients that `complete` left out because a method lacks them."""
    left_out_seeds: tuple[int, ...] = ()
    """Seeds that `complete` left out."""

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is better."""
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
        """Return the scores of the seeds and patients that all methods have.

        All others are listed in `left_out` and `left_out_seeds`. First unfinished seeds are left
        out: those under which fewer patients have all methods than under another seed. Then
        patients that lack a method under one of the remaining seeds are left out.
        """
        present = ~np.isnan(self.values)
        has_all_methods = np.logical_and.reduce(present, axis=2)  # (seed, patient)
        counts = has_all_methods.sum(1)  # patients of each seed
        seeds = counts == counts.max(initial=1)  # initial=1: a seed without patients is left out
        # Without a seed `reduce` is true for every patient, so the last condition is needed.
        patients = np.logical_and.reduce(has_all_methods[seeds], axis=0) & bool(seeds.any())
        tested_anywhere = np.logical_or.reduce(present, axis=(0, 2))
        return replace(
            self,
            patients=tuple(compress(self.patients, patients)),
            seeds=tuple(compress(self.seeds, seeds)),
            values=self.values[seeds][:, patients],
            left_out=tuple(compress(self.patients, tested_anywhere & ~patients)),
            left_out_seeds=tuple(compress(self.seeds, ~seeds)),
        )


def arrange(
    cases: pd.DataFrame, metrics: Sequence[str] = INFERRED
) -> dict[str, dict[str, PatientScores]]:
    """Arrange the rows of `Store.cases` as scores of patients, by column and metric.

    Args:
        cases: One row for each case, with column, source, method, fold, seed, patient and metrics.
        metrics: The metrics to arrange.
    """
    return {
        str(column): _column(str(column), str(part.source.iloc[0]), part, metrics)
        for column, part in cases.groupby("column", sort=True, observed=True)
    }


def _column(
    column: str, source: str, cases: pd.DataFrame, metrics: Sequence[str]
) -> dict[str, PatientScores]:
    """Return the scores of one column's patients by metric."""
    # For each axis of the scores: which of its names each case has, and these names.
    axes = [pd.factorize(cases[axis], sort=True) for axis in ("fold", "seed", "patient", "method")]
    codes, names = zip(*axes, strict=True)
    _, seeds, patients, method_names = names
    *_, method_of_case = codes
    shape = tuple(len(values) for values in names)
    size = int(np.prod(shape))
    # The place of each case in a flat array (fold, seed, patient, method).
    places = np.asarray(np.ravel_multi_index(codes, shape))
    methods = tuple(str(name) for name in method_names)
    scores = {}
    for metric in metrics:
        values = cases[metric].to_numpy(float)
        defined = ~np.isnan(values)
        counts = np.bincount(places[defined], minlength=size).reshape(shape)
        sums = np.bincount(places[defined], values[defined], size).reshape(shape)
        tested = counts > 0
        by_fold = np.divide(sums, counts, out=np.zeros(shape), where=tested)
        folds = tested.sum(0)  # how many tested the patient: usually one, all where they repeat
        means = np.divide(by_fold.sum(0), folds, out=np.full(shape[1:], np.nan), where=folds > 0)
        lacks_score = ~defined
        if metric in WORST and FILLED in cases:  # the diagonal stands for a distance
            lacks_score = lacks_score | cases[FILLED].to_numpy(bool)
        undefined = np.bincount(method_of_case[lacks_score], minlength=len(methods)).tolist()
        scores[metric] = PatientScores(
            column=column,
            source=source,
            metric=metric,
            methods=methods,
            patients=tuple(str(name) for name in patients),
            seeds=tuple(int(seed) for seed in seeds),
            values=means,
            undefined=dict(zip(methods, undefined, strict=True)),
        )
    return scores


def grouped_by_patients(parts: Sequence[PatientScores]) -> list[list[int]]:
    """Return groups of parts that have the same seeds and patients.

    A group is a list of places in `parts`. All parts of a group can be computed in one array.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, part in enumerate(parts):
        groups.setdefault((part.seeds, part.patients), []).append(place)
    return list(groups.values())


def subject(seeds: int) -> str:
    """Return what the results of this number of seeds are about, in words."""
    return "this checkpoint" if seeds == 1 else "the method"
