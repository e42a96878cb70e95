"""Intervals: t and bootstrap over patients, and over seeds and patients; in the units of the scores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.spec.config import SEED
from bench.stats.scores import PatientScores, alike

Interval = tuple[float, float]
LEVEL = 0.95
RESAMPLES = 9_999
FEW = 50
"""Below so many patients no interval of a mean holds its level on skewed scores: 85 % instead of 95
% at 42."""


def interval(values: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """Return the t interval of the mean of one value a patient, or one a seed; NaN for a single one.

    Bootstrap intervals (BCa) hold their 95 % from about 20 values on; with 5 they hold the truth in
    85 %.
    """
    from scipy.stats import sem, t

    if len(values) < 2:
        return float("nan"), float("nan")
    half = float(t.ppf((1 + level) / 2, len(values) - 1) * sem(values))
    return float(values.mean()) - half, float(values.mean()) + half


def bootstrap(
    values: NDArray[np.float64], levels: Sequence[float] = (LEVEL,), seed: int = SEED
) -> list[list[Interval]]:
    """Return bootstrap intervals of means of (seed, patient, row): for each level, one a row.

    One seed: patients are resampled, BCa. Several: seeds are resampled, then patients, both with
    all rows at once, and the interval is the percentile one, for BCa has no jackknife of two ways.
    NaN for a single patient.
    """
    if values.shape[1] < 2:
        return [[(float("nan"), float("nan"))] * values.shape[2] for _ in levels]
    means = resampled_means(values, seed)
    if len(values) == 1:
        return [_bca(values[0], means, level) for level in levels]
    return [
        _pairs(np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)) for level in levels
    ]


def _bca(values: NDArray[np.float64], means: NDArray[np.float64], level: float) -> list[Interval]:
    """Return scipy's BCa intervals of the means of (patient, row), from means of resamples (resample, row)."""
    from scipy import stats

    def mean(sample: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        # Resamples of all patients have the mean itself; rounding must not put them on either side
        # of it.
        return np.asarray(np.round(sample.mean(axis), 12))

    earlier: Any = SimpleNamespace(
        bootstrap_distribution=np.round(means.T, 12)
    )  # all that scipy reads of a result
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # rows of one value, but for rounding, have no BCa interval; set below
        ends = stats.bootstrap(
            values.T[None],
            mean,
            n_resamples=0,
            axis=-1,
            confidence_level=level,
            bootstrap_result=earlier,
        ).confidence_interval
    same = np.ptp(values, axis=0) <= 1e-12
    return _pairs(np.where(same, values[0], np.stack([ends.low, ends.high])))


def median_intervals(values: NDArray[np.float64], seed: int = SEED) -> list[Interval]:
    """Return the percentile bootstrap interval of the median of each row of (patient, row).

    Never the basic one: it holds the median of bounded scores in 82 to 86 % instead of 95 %. A
    resample of sorted values has its median at the median of what was drawn, so that one draw of
    places serves all rows.
    """
    patients = len(values)
    if patients < 2:
        return [(float("nan"), float("nan"))] * values.shape[1]
    medians = np.sort(values, axis=0)[_middles(patients, seed)].mean(1)
    return _pairs(np.quantile(medians, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))


@lru_cache(maxsize=8)
def _middles(count: int, seed: int) -> NDArray[np.int64]:
    """Return (resample, 2): the places of the two middle ones of sorted values in each resample."""
    middle = [(count - 1) // 2, count // 2]
    return np.asarray(np.partition(drawn(count, seed), middle, axis=1)[:, middle])


def resampled_means(
    values: NDArray[np.float64], seed: int = SEED, stream: int = 0
) -> NDArray[np.float64]:
    """Return (resample, row): means of (seed, patient, row) over resampled seeds and resampled patients.

    Rows share every resample, so that their differences are paired by seed and patient; one matrix
    product does all. Datasets that are resampled together have streams of their own.
    """
    seeds, patients, rows = values.shape
    weights = _weights(patients, seed, stream)
    if seeds == 1:
        return np.asarray(weights @ values[0])
    means = np.zeros((RESAMPLES, rows))
    for run, scores in zip(_weights(seeds, seed, stream, of_seeds=True).T, values, strict=True):
        means += run[:, None] * (weights @ scores)
    return means


def drawn(count: int, seed: int, stream: int = 0, of_seeds: bool = False) -> NDArray[np.int64]:
    """Return (resample, draw): numbers of the patients, or seeds, that each resample draws; as scipy draws them."""
    address = np.random.SeedSequence((seed, stream, of_seeds))
    return np.random.Generator(np.random.Philox(address)).integers(0, count, (RESAMPLES, count))


@lru_cache(maxsize=4)
def _weights(count: int, seed: int, stream: int = 0, of_seeds: bool = False) -> NDArray[np.float64]:
    """Return (resample, patient): how often each is drawn, as a share; the metrics of a dataset share them."""
    numbers = drawn(count, seed, stream, of_seeds)
    places = numbers + count * np.arange(len(numbers))[:, None]
    return np.asarray(
        np.bincount(places.ravel(), minlength=numbers.size).reshape(numbers.shape) / count
    )


def _pairs(ends: NDArray[np.float64]) -> list[Interval]:
    return [(float(low), float(high)) for low, high in zip(*ends, strict=True)]


@dataclass(frozen=True)
class Summary:
    """One method on one dataset, over patients."""

    method: str
    patients: int
    seeds: int
    left_out: tuple[str, ...]
    """Patients whom only some of the method's seeds have."""
    left_seeds: tuple[int, ...]
    undefined: int
    """Cases without a value, such as distances to an empty mask."""
    mean: float
    """Of patients, not of images: a patient with many slices counts once."""
    sd: float
    """Between patients, NaN for a single one."""
    sd_seeds: float
    """Between the means of seeds, NaN for a single one."""
    bootstrap: Interval
    """95 %: BCa over patients; over seeds and patients where there are several seeds."""
    t: Interval
    """95 % t interval over patients."""
    median: float
    median_interval: Interval
    """95 %, percentile bootstrap over patients."""

    @property
    def few(self) -> bool:
        """Whether the intervals may hold less than they say."""
        return self.patients < FEW


def summarise(scores: PatientScores, seed: int = SEED) -> list[Summary]:
    """Return each method's mean and median over its patients with their intervals, in the order of the methods."""
    parts = [scores.only([method]).complete() for method in scores.methods]
    found: dict[int, Summary] = {}
    for group in alike(parts):
        values = np.concatenate([parts[number].values for number in group], axis=2)
        if not values.size:
            values = np.full((1, 1, len(group)), np.nan)
        means = values.mean(0)
        [wide], medians = bootstrap(values, seed=seed), median_intervals(means, seed)
        for row, number in enumerate(group):
            part = parts[number]
            found[number] = Summary(
                method=part.methods[0],
                patients=len(part.patients),
                seeds=len(part.seeds),
                left_out=part.left_out,
                left_seeds=part.left_seeds,
                undefined=part.undefined[part.methods[0]],
                mean=float(means[:, row].mean()),
                sd=deviation(means[:, row]),
                sd_seeds=deviation(values[:, :, row].mean(1)),
                bootstrap=wide[row],
                t=interval(means[:, row]),
                median=float(np.median(means[:, row])),
                median_interval=medians[row],
            )
    return [found[number] for number in range(len(parts))]


def deviation(values: NDArray[np.float64]) -> float:
    """Return the standard deviation with n - 1; NaN of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
