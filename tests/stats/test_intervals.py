from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bench.spec.config import SEED
from bench.stats.intervals import (
    RESAMPLES,
    bootstrap,
    drawn,
    interval,
    median_intervals,
    resampled_means,
    summarise,
)
from bench.stats.scores import PatientScores


def generator() -> np.random.Generator:
    """Return what draws the patients' resamples."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((SEED, 0, False))))


def skewed(patients: int, rows: int = 1, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).beta(20, 3, (patients, rows))


def scores(values: NDArray[np.float64], metric: str = "dice") -> PatientScores:
    seeds, patients, methods = values.shape
    return PatientScores(
        "mr@real-1",
        "real",
        metric,
        tuple(f"m{i}" for i in range(methods)),
        tuple(f"p{i}" for i in range(patients)),
        tuple(range(35, 35 + seeds)),
        values,
        dict.fromkeys((f"m{i}" for i in range(methods)), 0),
    )


def mean(sample: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the mean without rounding noise.

    Of nine patients, one resample in a thousand has all of them.
    """
    return np.round(np.mean(sample, axis=axis), 12)


@pytest.mark.parametrize("patients", [9, 43, 126])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_the_bootstrap_is_scipys(patients: int, level: float) -> None:
    values = skewed(patients)[:, 0]
    wanted = stats.bootstrap((values,), mean, confidence_level=level, method="BCa", rng=generator())
    found = bootstrap(values[None, :, None], (0.8, level))[1][0]
    np.testing.assert_allclose(found, wanted.confidence_interval, atol=1e-9)


@pytest.mark.parametrize("patients", [9, 10, 43])
def test_the_medians_bootstrap_is_scipys_percentile_one(patients: int) -> None:
    values = skewed(patients, 3)
    for row, found in enumerate(median_intervals(values)):
        ordered = np.sort(values[:, row])
        wanted = stats.bootstrap(
            (ordered,), np.median, method="percentile", rng=generator()
        ).confidence_interval
        np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("level", [0.95, 0.9])
def test_the_t_interval_is_scipys(level: float) -> None:
    values = skewed(12)[:, 0]
    wanted = stats.ttest_1samp(values, 0).confidence_interval(level)
    np.testing.assert_allclose(interval(values, level), wanted, atol=1e-9)


def test_two_ways_are_resampled_as_a_loop_would() -> None:
    values = np.random.default_rng(2).normal(size=(3, 7, 2))
    people, runs = drawn(7, SEED), drawn(3, SEED, of_seeds=True)
    means = np.array(
        [values[run][:, who].mean((0, 1)) for run, who in zip(runs, people, strict=True)]
    )
    np.testing.assert_allclose(resampled_means(values), means, atol=1e-12)
    for row, found in enumerate(bootstrap(values)[0]):
        np.testing.assert_allclose(found, np.percentile(means[:, row], [2.5, 97.5]), atol=1e-9)


def test_several_seeds_widen_the_interval_by_what_they_differ() -> None:
    values = np.repeat(skewed(60)[None], 4, 0)
    [(low, high)] = bootstrap(values)[0]
    [(wide_low, wide_high)] = bootstrap(values + np.array([0.0, 0.02, 0.04, 0.06])[:, None, None])[
        0
    ]
    assert wide_high - wide_low > 1.5 * (high - low)


@pytest.mark.parametrize(("patients", "least"), [(20, 0.89), (60, 0.92), (126, 0.925)])
def test_the_bootstrap_holds_the_mean_about_as_often_as_it_says(
    patients: int, least: float
) -> None:
    """BCa covers normal values less often when they are few; so the t interval is given as well."""
    ends = np.array(bootstrap(np.random.default_rng(3).normal(size=(1, patients, 400)))[0])
    held = ((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean()
    assert least <= held <= 0.975


def test_the_medians_interval_holds_the_median() -> None:
    values = np.random.default_rng(4).beta(20, 3, (43, 400))
    ends = np.array(median_intervals(values))
    truth = stats.beta(20, 3).median()
    assert 0.92 <= ((ends[:, 0] <= truth) & (ends[:, 1] >= truth)).mean() <= 0.98


def test_what_has_no_interval_has_none() -> None:
    assert np.isnan(bootstrap(np.ones((1, 1, 2)))).all()
    assert np.isnan(median_intervals(np.ones((1, 2)))).all()
    assert bootstrap(np.full((1, 9, 1), 0.7))[0] == [(0.7, 0.7)]


def test_a_summary_says_all_of_a_method() -> None:
    values = np.stack([skewed(40, 2), skewed(40, 2) + 0.01])
    values[1, 3, 1] = np.nan
    first, second = summarise(scores(values))
    mine = values[:, :, 0].mean(0)
    assert (first.method, first.patients, first.seeds, first.left_out) == ("m0", 40, 2, ())
    assert (first.mean, first.sd, first.median) == pytest.approx(
        (mine.mean(), mine.std(ddof=1), np.median(mine))
    )
    assert first.sd_seeds == pytest.approx(0.01 / math.sqrt(2))
    assert first.t == pytest.approx(interval(mine))
    alone = bootstrap(values[:, :, :1])[0][0]
    assert first.bootstrap == pytest.approx(alone, rel=1e-12)
    assert first.median_interval == pytest.approx(median_intervals(mine[:, None])[0])
    assert (second.patients, second.seeds, second.left_out, second.left_out_seeds) == (
        40,
        1,
        (),
        (36,),
    )


def test_a_method_without_a_value_is_not_left_away() -> None:
    values = skewed(60, 2)[None].copy()
    values[:, :, 1] = np.nan
    first, second = summarise(scores(values))
    assert first.patients == 60
    assert (second.method, second.patients) == ("m1", 0)
    assert math.isnan(second.mean)
    assert np.isnan(second.bootstrap).all()


def test_the_same_call_gives_the_same_bytes_and_another_seed_others() -> None:
    values = skewed(30)[None]
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values) != bootstrap(values, seed=36)
    assert drawn(30, SEED).shape == (RESAMPLES, 30)


def test_t_intervals_hold_only_what_a_mean_can_be() -> None:
    near_the_ends = np.array([[[0.0, 1.0], [0.0, 1.0], [0.2, 0.7]]])
    patients, methods = ("a", "b", "c"), ("low", "high")
    dice = PatientScores("c", "real", "dice", methods, patients, (35,), near_the_ends)
    low, high = summarise(dice)
    assert low.t[0] == 0.0
    assert high.t[1] == 1.0
    distance = PatientScores("c", "real", "hd95", methods, patients, (35,), near_the_ends)
    assert summarise(distance)[1].t[1] > 1.0
