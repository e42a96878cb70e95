"""t and bootstrap intervals of means and medians, over patients or over seeds and patients."""

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
from bench.spec.metrics import LOWER
from bench.stats.scores import PatientScores, grouped_by_patients

Interval = tuple[float, float]
"""The lower and the upper end."""
LEVEL = 0.95
"""Share of studies whose intervals cover the true value."""
RESAMPLES = 9_999
"""As many as scipy's bootstrap draws by default."""
AT_ONCE = 2**18
"""About the number of values that are computed at once: 2 MB, which the processor's cache holds."""
FEW = 50
"""With fewer patients than this, no 95 % interval of the mean of skewed scores reaches its level:
simulated with 42 patients, it covers the true mean in only 85 %."""


def interval(values: NDArray[np.float64], level: float = LEVEL) -> Interval:
    """Return the t interval of the mean of values, one for each patient or seed.

    For a single value both ends are NaN. Bootstrap intervals (BCa) need about 20 values to cover
    the true mean in 95 %; with 5 values they cover it in 85 %.
    """
    from scipy.stats import sem, t

    if len(values) < 2:
        return float("nan"), float("nan")
    half = float(t.ppf((1 + level) / 2, len(values) - 1) * sem(values))
    return float(values.mean()) - half, float(values.mean()) + half


def bootstrap(
    values: NDArray[np.float64], levels: Sequence[float] = (LEVEL,), seed: int = SEED
) -> list[list[Interval]]:
    """Return bootstrap intervals of the means of (seed, patient, series), per level and series.

    With one seed, patients are resampled and the interval is BCa. With several seeds, both seeds
    and patients are resampled, in the same way for all series, and the interval is the percentile
    interval, because BCa has no jackknife for two factors. For a single patient both ends are NaN.
    """
    if values.shape[1] < 2:
        return [[(float("nan"), float("nan"))] * values.shape[2] for _ in levels]
    means = resampled_means(values, seed)
    if len(values) == 1:
        return [_bca(values[0], means, level) for level in levels]
    return _percentiles(means, levels)


def _percentiles(
    values: NDArray[np.float64], levels: Sequence[float] = (LEVEL,)
) -> list[list[Interval]]:
    """Return for each level the percentile interval of each series of (resample, series)."""
    quantiles: list[float] = []
    for level in levels:
        quantiles += [(1 - level) / 2, (1 + level) / 2]
    # A series that lies in one piece of memory is sorted faster.
    ends = np.quantile(np.ascontiguousarray(values.T), quantiles, axis=-1)
    return [_pairs(lower_and_upper) for lower_and_upper in ends.reshape(len(levels), 2, -1)]


def _bca(values: NDArray[np.float64], means: NDArray[np.float64], level: float) -> list[Interval]:
    """Return scipy's BCa intervals of the means of (patient, series).

    `means` are the means of the resamples (resample, series).
    """
    from scipy import stats

    def mean(sample: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        # Without rounding, a resample that draws every patient once could have another mean than
        # the patients, by the order of the sum.
        return np.asarray(np.round(sample.mean(axis), 12))

    # scipy takes the resamples from an earlier result, of which it reads only this attribute.
    earlier: Any = SimpleNamespace(bootstrap_distribution=np.round(means.T, 12))
    with warnings.catch_warnings():
        # Series that are constant up to rounding have no BCa interval; their ends are set below.
        warnings.simplefilter("ignore")
        ends = stats.bootstrap(
            values.T[None],
            mean,
            n_resamples=0,
            axis=-1,
            confidence_level=level,
            bootstrap_result=earlier,
        ).confidence_interval
    constant = np.ptp(values, axis=0) <= 1e-12  # as fine as the rounding above
    return _pairs(np.where(constant, values[0], np.stack([ends.low, ends.high])))


def median_intervals(values: NDArray[np.float64], seed: int = SEED) -> list[Interval]:
    """Return the percentile bootstrap interval of the median of each series of (patient, series).

    The basic bootstrap interval would cover the median of bounded scores in 82 to 86 % instead of
    95 %. Values are sorted first. Then the median of a resample is the value at the median of the
    drawn places, and the same draws serve all series.
    """
    patients = len(values)
    if patients < 2:
        return [(float("nan"), float("nan"))] * values.shape[1]
    medians = np.sort(values, axis=0)[_middles(patients, seed)].mean(1)  # (resample, series)
    [intervals] = _percentiles(medians)  # of the one level
    return intervals


@lru_cache(maxsize=8)
def _middles(count: int, seed: int) -> NDArray[np.int64]:
    """Return (resample, 2): the places of the two middle values of each resample.

    The places are those among the sorted values of all patients.
    """
    middle = [(count - 1) // 2, count // 2]  # the same one twice if the count is odd
    return np.asarray(np.partition(drawn(count, seed), middle, axis=1)[:, middle])


def resampled_means(
    values: NDArray[np.float64], seed: int = SEED, stream: int = 0
) -> NDArray[np.float64]:
    """Return (resample, series): means of (seed, patient, series) over what was resampled.

    Both seeds and patients are resampled. All series share the resamples, so that their differences
    are paired by seed and patient. Datasets that are resampled together must have different
    `stream` numbers.
    """
    seeds, patients, series = values.shape
    by_patient = np.moveaxis(values, 1, 0).reshape(patients, seeds * series)
    times_drawn = _times_drawn(patients, seed, stream, of_seeds=False)
    means = _weighted_means(times_drawn, by_patient)  # of all seeds at once
    if seeds == 1:
        return means
    # r: resample, s: seed, m: series
    shares_of_seeds = _times_drawn(seeds, seed, stream, of_seeds=True) / seeds
    return np.asarray(np.einsum("rs,rsm->rm", shares_of_seeds, means.reshape(-1, seeds, series)))


def _weighted_means(
    times_drawn: NDArray[np.unsignedinteger[Any]], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (resample, series): means of (patient, series), each patient as often as it was drawn.

    `times_drawn` has few bytes a number, and shares have eight: only some resamples are worked on
    at once.
    """
    resamples, patients = times_drawn.shape
    means = np.empty((resamples, values.shape[1]))
    step = AT_ONCE // patients + 1  # resamples; + 1 because there may be very many patients
    for start in range(0, resamples, step):
        block = slice(start, start + step)
        means[block] = times_drawn[block] / patients @ values
    return means


def drawn(count: int, seed: int, stream: int = 0, of_seeds: bool = False) -> NDArray[np.int64]:
    """Return (resample, draw): the numbers of drawn patients or seeds, as scipy draws them."""
    address = np.random.SeedSequence((seed, stream, of_seeds))
    return np.random.Generator(np.random.Philox(address)).integers(0, count, (RESAMPLES, count))


@lru_cache(maxsize=16)
def _times_drawn(
    count: int, seed: int, stream: int, of_seeds: bool
) -> NDArray[np.unsignedinteger[Any]]:
    """Return (resample, patient): how often each patient is drawn, in as few bytes as it takes.

    With `of_seeds` the same of seeds.
    """
    numbers = drawn(count, seed, stream, of_seeds)
    # Each resample counts in its own stretch of one flat array, which a single call fills.
    places = numbers + count * np.arange(len(numbers))[:, None]
    counts = np.bincount(places.ravel(), minlength=numbers.size)
    return counts.reshape(numbers.shape).astype(np.min_scalar_type(count))


def _pairs(ends: NDArray[np.float64]) -> list[Interval]:
    """Return an interval for each series of ends (2, series): lower ends, then upper ends."""
    return [(float(low), float(high)) for low, high in zip(*ends, strict=True)]


@dataclass(frozen=True)
class Summary:
    """One method on one dataset, over patients."""

    method: str
    patients: int
    seeds: int
    left_out: tuple[str, ...]
    """Patients whom only some of the method's seeds have."""
    left_out_seeds: tuple[int, ...]
    """Seeds under which fewer patients were tested than under another one."""
    undefined: int
    """Cases without a value, such as distances to an empty mask."""
    mean: float
    """Mean over patients, not over images: a patient with many slices counts once."""
    sd: float
    """Standard deviation between patients; NaN for a single patient."""
    sd_seeds: float
    """Standard deviation between the means of seeds; NaN for a single seed."""
    bootstrap: Interval
    """95 % bootstrap interval of the mean: BCa over patients if there is one seed, percentiles over
    seeds and patients if there are several."""
    t: Interval
    """95 % t interval over patients, without what no mean can be."""
    median: float
    """Median over patients."""
    median_interval: Interval
    """95 % percentile bootstrap interval of the median, over patients."""


def summarise(scores: PatientScores, seed: int = SEED) -> list[Summary]:
    """Return each method's mean and median over its patients, in the order of the methods."""
    parts = [scores.only([method]).complete() for method in scores.methods]
    summaries: dict[int, Summary] = {}  # by the method's place
    for group in grouped_by_patients(parts):
        values = np.concatenate([parts[place].values for place in group], axis=2)
        if not values.size:  # no patient: all that follows is then NaN
            values = np.full((1, 1, len(group)), np.nan)
        means = values.mean(0)  # (patient, method)
        [intervals_of_means] = bootstrap(values, seed=seed)
        intervals_of_medians = median_intervals(means, seed)
        for column, place in enumerate(group):
            part = parts[place]
            summaries[place] = Summary(
                method=part.methods[0],
                patients=len(part.patients),
                seeds=len(part.seeds),
                left_out=part.left_out,
                left_out_seeds=part.left_out_seeds,
                undefined=part.undefined[part.methods[0]],
                mean=float(means[:, column].mean()),
                sd=deviation(means[:, column]),
                sd_seeds=deviation(values[:, :, column].mean(1)),
                bootstrap=intervals_of_means[column],
                t=_possible(interval(means[:, column]), scores.metric),
                median=float(np.median(means[:, column])),
                median_interval=intervals_of_medians[column],
            )
    return [summaries[place] for place in range(len(parts))]


def _possible(ends: Interval, metric: str) -> Interval:
    """Return the part of an interval that a mean can take: no score is negative or above 1.

    Distances have no upper end.
    """
    low, high = ends
    return max(low, 0.0), high if metric in LOWER else min(high, 1.0)


def deviation(values: NDArray[np.float64]) -> float:
    """Return the standard deviation with division by n - 1; NaN for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
