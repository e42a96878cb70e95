"""Ranks: over datasets with intervals and probabilities, per dataset over patients; and whether metrics agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.stats.family import matrix
from bench.stats.intervals import LEVEL, Interval, resampled_means
from bench.stats.scores import METRICS, PatientScores


@dataclass(frozen=True)
class Ranking:
    """Methods ranked by their mean over patients, 1 the best; over the datasets on which all of them were tested."""

    metric: str
    methods: tuple[str, ...]
    columns: tuple[str, ...]
    ranks: NDArray[np.float64]
    """(column, method): equal means share their mean rank."""
    mean_ranks: NDArray[np.float64]
    """(method): over the columns."""
    intervals: tuple[Interval, ...]
    """95 % of each mean rank: percentiles over resampled patients, and seeds where there are
    several."""
    probabilities: NDArray[np.float64]
    """(method, place): share of resamples in which a method takes a place by its mean rank; ties
    share places."""
    column_probabilities: NDArray[np.float64]
    """(column, method, place): the same within each dataset."""
    patients: dict[str, int]
    left_out: dict[str, tuple[str, ...]]
    """Patients that not all methods have, by column."""
    seeds: dict[str, tuple[int, ...]]
    left_methods: tuple[str, ...]
    """Methods that lack a dataset and are not ranked."""


def rank(scores: Sequence[PatientScores], seed: int = SEED) -> Ranking:
    """Rank methods over datasets.

    The bootstrap is hierarchical: the datasets stay, patients are resampled within each, and seeds;
    so the intervals speak of other patients and runs of these datasets, never of other datasets.

    Args:
        scores: One metric, one for each dataset; of one source.
        seed: Of the resamples.

    Raises:
        UsageError: No two methods share all datasets and a patient in each, or real data and
            phantoms are mixed.
    """
    if len({each.source for each in scores}) > 1:
        raise UsageError("real data and phantoms are never ranked together; rank each source alone")
    named = list(dict.fromkeys(method for each in scores for method in each.methods))
    methods = [m for m in named if all(m in each.methods for each in scores)]
    whole = [each.only(methods).complete() for each in scores]
    empty = [each.column for each in whole if not each.patients]
    if len(methods) < 2 or empty:
        where = empty[0] if empty else " and ".join(each.column for each in scores)
        raise UsageError(
            f"fewer than two methods to rank on the same patients of {where or 'no dataset'}; bench"
            " run --methods all on all of them"
        )
    ranks = np.stack([_ranked(each.sign * each.means.mean(0)) for each in whole])
    places, resampled = [], []
    for number, each in enumerate(whole):
        means = each.sign * resampled_means(each.values, seed, number)
        places.append(_places(-means))
        resampled.append(_ranked(means))
    drawn = np.mean(resampled, axis=0)
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Ranking(
        metric=whole[0].metric,
        methods=tuple(methods),
        columns=tuple(each.column for each in whole),
        ranks=ranks,
        mean_ranks=ranks.mean(0),
        intervals=tuple((float(low), float(high)) for low, high in ends.T),
        probabilities=_places(drawn),
        column_probabilities=np.stack(places),
        patients={each.column: len(each.patients) for each in whole},
        left_out={each.column: each.left_out for each in whole},
        seeds={each.column: each.seeds for each in whole},
        left_methods=tuple(m for m in named if m not in methods),
    )


def _ranked(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks along the last axis, 1 for the highest score; ties share the mean of theirs."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores, axis=-1), float)


def _places(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (method, place): the share of rows of (row, method) in which the lowest value takes place 1, and so on."""
    from scipy.stats import rankdata

    values = np.round(values, 9)  # mean ranks that are equal but for rounding are ties
    low, high = (rankdata(values, method=method, axis=1)[:, :, None] for method in ("min", "max"))
    place = np.arange(1, values.shape[1] + 1)
    return np.asarray((((low <= place) & (place <= high)) / (high - low + 1)).mean(0))


@dataclass(frozen=True)
class Blocks:
    """Patients as blocks within one dataset: what a critical-difference diagram is drawn from."""

    column: str
    metric: str
    methods: tuple[str, ...]
    ranks: NDArray[np.float64]
    """(method): mean over patients of the rank within the patient, 1 the best."""
    p: NDArray[np.float64]
    """(method, method): sign-flip tests of the mean, corrected for all pairs by max-T."""
    friedman: float
    """p of Friedman's test; NaN for fewer than three methods or two patients."""
    patients: int
    left_out: tuple[str, ...]
    tests: int

    def diagram(self) -> tuple[dict[str, float], pd.DataFrame]:
        """Return what `scikit_posthocs.critical_difference_diagram` takes: ranks, and the matrix of p values."""
        ranks = dict(zip(self.methods, self.ranks.tolist(), strict=True))
        return ranks, pd.DataFrame(self.p, index=list(self.methods), columns=list(self.methods))


def blocks(scores: PatientScores, seed: int = SEED) -> Blocks:
    """Rank the methods within each patient that all of them have.

    Raises:
        UsageError: There are not two methods with a patient in common.
    """
    from scipy.stats import friedmanchisquare

    whole = scores.complete()
    if len(whole.methods) < 2 or not whole.patients:
        raise UsageError(
            f"fewer than two methods share a patient of {scores.column}; bench run --methods all"
        )
    pairs = matrix(whole, seed)
    means = np.round(whole.means, 9)  # seeds are averaged: equal scores may differ by rounding
    friedman = float("nan")
    if len(whole.methods) > 2 and len(means) > 1 and np.ptp(means, axis=1).any():
        friedman = float(friedmanchisquare(*means.T).pvalue)
    return Blocks(
        column=whole.column,
        metric=whole.metric,
        methods=whole.methods,
        ranks=_ranked(whole.sign * means).mean(0),
        p=pairs.p,
        friedman=friedman,
        patients=len(whole.patients),
        left_out=whole.left_out,
        tests=pairs.tests,
    )


@dataclass(frozen=True)
class Agreement:
    """Whether the choice of metric and of mean or median changes who is ahead."""

    methods: tuple[str, ...]
    ways: tuple[tuple[str, str], ...]
    """(metric, `mean` or `median`), in the order of the rows."""
    ranks: NDArray[np.float64]
    """(way, method): mean rank over the datasets; NaN where a method has no patient with that
    metric."""
    tau: NDArray[np.float64]
    """(way, way): Kendall's tau-b between two rankings; NaN where one has no order."""


def agreement(
    columns: Sequence[Mapping[str, PatientScores]], metrics: Sequence[str] = METRICS
) -> Agreement:
    """Rank methods by each metric's mean and median over patients, and compare the rankings by Kendall's tau.

    Args:
        columns: The scores by metric of each dataset, as `arrange` returns them; one dataset alone,
            or several.
        metrics: Which of them.
    """
    from scipy.stats import kendalltau

    first = columns[0][metrics[0]]
    methods = [m for m in first.methods if all(m in each[metrics[0]].methods for each in columns)]
    ways = [(metric, how) for metric in metrics for how in ("mean", "median")]
    ranks = np.full((len(ways), len(methods)), np.nan)
    for row, (metric, how) in enumerate(ways):
        found = []
        for each in columns:
            whole = each[metric].only(methods).complete()
            if whole.patients:
                middle = np.mean if how == "mean" else np.median
                found.append(_ranked(np.round(whole.sign * middle(whole.means, axis=0), 12)))
        if len(found) == len(columns):
            ranks[row] = np.mean(found, axis=0)
    tau = np.full((len(ways), len(ways)), np.nan)
    if len(methods) > 1:
        tau = np.array(
            [[float(kendalltau(one, other).statistic) for other in ranks] for one in ranks]
        )
    return Agreement(tuple(methods), tuple(ways), ranks, tau)
