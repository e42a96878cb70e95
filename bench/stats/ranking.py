"""Ranks of methods over datasets and over the patients of one dataset; agreement of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
from numpy.typing import NDArray

from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.spec.metrics import INFERRED
from bench.stats.intervals import LEVEL, Interval, resampled_means
from bench.stats.scores import PatientScores

DECIMALS = 9
"""Decimals to which means are rounded before they are ranked: sums of the same numbers in another
order may differ in the 16th, and such methods are tied."""


@dataclass(frozen=True)
class Ranking:
    """Methods ranked by their mean over patients; 1 is the best.

    The datasets are those on which all of the methods were tested.
    """

    metric: str
    methods: tuple[str, ...]
    columns: tuple[str, ...]
    ranks: NDArray[np.float64]
    """(column, method): equal means share their mean rank."""
    mean_ranks: NDArray[np.float64]
    """(method): over the columns."""
    intervals: tuple[Interval, ...]
    """95 % interval of each mean rank: percentiles over resampled patients, and over resampled
    seeds if there are several."""
    probabilities: NDArray[np.float64]
    """(method, place): share of resamples in which a method takes a place by its mean rank. Tied
    methods share the places."""
    patients: dict[str, int]
    """How many patients all of the methods have, by column."""
    left_out: dict[str, tuple[str, ...]]
    """Patients that not all methods have, by column."""
    seeds: dict[str, tuple[int, ...]]
    """Seeds that all of the methods have, by column."""
    left_out_methods: tuple[str, ...]
    """Methods that lack a dataset and are not ranked."""


def rank(scores: Sequence[PatientScores], seed: int = SEED) -> Ranking:
    """Rank methods over datasets.

    The bootstrap is hierarchical: datasets are fixed, and patients and seeds are resampled within
    each. So the intervals show what other patients and other runs of the same datasets would give,
    not what other datasets would give.

    Args:
        scores: The scores of one metric, one item for each dataset; all datasets have one source.
        seed: Seed of the resamples.

    Raises:
        UsageError: No two methods share all datasets and a patient in each, or real data and
            phantoms are mixed.
    """
    if len({dataset.source for dataset in scores}) > 1:
        raise UsageError("real data and phantoms are never ranked together; rank each source alone")
    tested = list(dict.fromkeys(chain.from_iterable(dataset.methods for dataset in scores)))
    methods = [m for m in tested if all(m in dataset.methods for dataset in scores)]
    complete = [dataset.only(methods).complete() for dataset in scores]
    empty = [dataset.column for dataset in complete if not dataset.patients]
    if len(methods) < 2 or empty:
        where = empty[0] if empty else " and ".join(dataset.column for dataset in scores)
        raise UsageError(
            f"fewer than two methods to rank on the same patients of {where or 'no dataset'}; "
            "bench run --methods all on all of them"
        )
    ranks = np.stack([_ranked(dataset.sign * dataset.means.mean(0)) for dataset in complete])
    resampled_ranks = []
    for number, dataset in enumerate(complete):
        # Each dataset has a stream of random numbers of its own, by its place in the list.
        means = dataset.sign * resampled_means(dataset.values, seed, stream=number)
        resampled_ranks.append(_ranked(means))
    resampled_mean_ranks = np.mean(resampled_ranks, axis=0)  # (resample, method)
    ends = np.quantile(resampled_mean_ranks, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Ranking(
        metric=complete[0].metric,
        methods=tuple(methods),
        columns=tuple(dataset.column for dataset in complete),
        ranks=ranks,
        mean_ranks=ranks.mean(0),
        intervals=tuple((float(low), float(high)) for low, high in ends.T),
        probabilities=_shares_of_places(resampled_mean_ranks),
        patients={dataset.column: len(dataset.patients) for dataset in complete},
        left_out={dataset.column: dataset.left_out for dataset in complete},
        seeds={dataset.column: dataset.seeds for dataset in complete},
        left_out_methods=tuple(m for m in tested if m not in methods),
    )


def _ranked(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks along the last axis, 1 for the highest score; ties share the mean of theirs."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.round(scores, DECIMALS), axis=-1), float)


def _shares_of_places(mean_ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (method, place): the share of resamples in which a method takes a place.

    The lowest of the mean ranks (resample, method) takes place 1. Tied methods share their places:
    two that are second and third take half of each.
    """
    from scipy.stats import rankdata

    rounded = np.round(mean_ranks, DECIMALS)
    # The first and the last of the places that a method shares: (resample, method, 1).
    first = rankdata(rounded, method="min", axis=1)[:, :, None]
    last = rankdata(rounded, method="max", axis=1)[:, :, None]
    place = np.arange(1, rounded.shape[1] + 1)
    taken = (first <= place) & (place <= last)
    return np.asarray((taken / (last - first + 1)).mean(0))


@dataclass(frozen=True)
class Blocks:
    """Ranks within each patient of one dataset: the data of a critical-difference diagram.

    A block is a patient, as in Friedman's test.
    """

    column: str
    metric: str
    methods: tuple[str, ...]
    mean_ranks: NDArray[np.float64]
    """(method): mean over patients of the rank within the patient, 1 the best."""
    friedman: float
    """p of Friedman's test; NaN for fewer than three methods or two patients, or where every
    patient has equal scores by all methods."""
    patients: int
    left_out: tuple[str, ...]


def blocks(scores: PatientScores) -> Blocks:
    """Rank the methods within each patient that all of them have.

    Raises:
        UsageError: Fewer than two methods share a patient.
    """
    from scipy.stats import friedmanchisquare

    whole = scores.complete()
    if len(whole.methods) < 2 or not whole.patients:
        raise UsageError(
            f"fewer than two methods share a patient of {scores.column}; bench run --methods all"
        )
    means = np.round(whole.means, DECIMALS)
    several = len(whole.methods) > 2 and len(means) > 1
    any_patient_ranks = np.ptp(means, axis=1).any()
    friedman = float("nan")
    if several and any_patient_ranks:
        friedman = float(friedmanchisquare(*means.T).pvalue)
    return Blocks(
        column=whole.column,
        metric=whole.metric,
        methods=whole.methods,
        mean_ranks=_ranked(whole.sign * means).mean(0),
        friedman=friedman,
        patients=len(whole.patients),
        left_out=whole.left_out,
    )


@dataclass(frozen=True)
class Agreement:
    """Whether the choice of the metric, and of mean or median, changes the ranking."""

    methods: tuple[str, ...]
    ways: tuple[tuple[str, str], ...]
    """(metric, `mean` or `median`), in the order of the rows."""
    ranks: NDArray[np.float64]
    """(way, method): mean rank over the datasets; a row is NaN where a dataset has no patient with
    that metric by all methods."""
    tau: NDArray[np.float64]
    """(way, way): Kendall's tau-b between two rankings; NaN where one has no order."""


def agreement(
    columns: Sequence[Mapping[str, PatientScores]], metrics: Sequence[str] = INFERRED
) -> Agreement:
    """Rank methods by each metric's mean and median, and compare the rankings by Kendall's tau.

    Args:
        columns: The scores by metric of each dataset, as `arrange` returns them; one dataset alone,
            or several.
        metrics: The metrics to compare.
    """
    from scipy.stats import kendalltau

    # A dataset has the same methods by each metric, so any one metric tells which they are.
    by_any_metric = [column[metrics[0]] for column in columns]
    methods = [
        method
        for method in by_any_metric[0].methods
        if all(method in scores.methods for scores in by_any_metric)
    ]
    ways = list(product(metrics, ("mean", "median")))
    ranks = np.full((len(ways), len(methods)), np.nan)
    for row, (metric, how) in enumerate(ways):
        mean_or_median = np.mean if how == "mean" else np.median
        column_ranks = []
        for column in columns:
            whole = column[metric].only(methods).complete()
            if whole.patients:
                over_patients = mean_or_median(whole.means, axis=0)
                column_ranks.append(_ranked(whole.sign * over_patients))
        if len(column_ranks) == len(columns):
            ranks[row] = np.mean(column_ranks, axis=0)
    tau = np.full((len(ways), len(ways)), np.nan)
    if len(methods) > 1:
        for first, second in product(range(len(ways)), repeat=2):
            tau[first, second] = kendalltau(ranks[first], ranks[second]).statistic
    return Agreement(tuple(methods), tuple(ways), ranks, tau)
