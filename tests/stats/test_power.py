from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from bench.stats import runs
from bench.stats.flips import sign_flip
from bench.stats.power import Spread, detectable, known, seeds_needed, spread, suitability
from bench.stats.scores import PatientScores
from tests.stats.test_family import scores


@pytest.mark.parametrize(
    ("patients", "tests", "points"),
    [
        (8, 1, 2.3),
        (42, 1, 0.9),
        (42, 7, 1.1),
        (126, 1, 0.5),
        (126, 7, 0.6),
        (215, 1, 0.4),
        (215, 7, 0.5),
    ],
)
def test_two_points_between_patients_give_the_known_figures(
    patients: int, tests: int, points: float
) -> None:
    assert 100 * detectable(patients, tests=tests) == pytest.approx(points, abs=0.05)


@pytest.mark.parametrize("patients", [6, 9, 43, 1000])
@pytest.mark.parametrize("tests", [1, 28])
def test_it_is_statsmodels_power(patients: int, tests: int) -> None:
    found = detectable(patients, tests=tests, parts=Spread(0.03))
    if math.isinf(found):
        assert 2.0 ** (1 - patients) * tests > 0.05
        return
    right = TTestPower().power(found / 0.03, patients, 0.025 / tests, alternative="larger")
    assert right == pytest.approx(0.8, abs=1e-9)
    both = TTestPower().solve_power(nobs=patients, alpha=0.05 / tests, power=0.8)
    assert found / 0.03 == pytest.approx(both, rel=1e-4)


@pytest.mark.parametrize(("patients", "tests"), [(1, 1), (5, 1), (8, 7), (10, 28)])
def test_too_few_patients_find_nothing(patients: int, tests: int) -> None:
    assert detectable(patients, tests=tests) == math.inf


def test_the_sign_flip_test_finds_it_about_as_often() -> None:
    difference = detectable(20, parts=Spread(0.02))
    rng = np.random.default_rng(1)
    p = sign_flip(rng.normal(difference, 0.02, (20, 1000)), flips=2_000)
    assert (p <= 0.05).mean() == pytest.approx(0.8, abs=0.05)


def test_seeds_help_as_far_as_seeds_differ() -> None:
    of_seeds = Spread(0.02, seeds=0.01, rest=0.01)
    assert detectable(40, 5, parts=of_seeds) < detectable(40, 1, parts=of_seeds)
    assert detectable(40, 5, parts=Spread(0.02)) == detectable(40, 1, parts=Spread(0.02))
    error = math.sqrt(0.02**2 / 40 + 0.01**2 / 5 + 0.01**2 / 200)
    assert of_seeds.of_mean(40, 5) == pytest.approx(error, abs=1e-12)


def test_the_spread_is_the_two_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(2)
    values = (
        0.03 * rng.normal(size=60)
        + 0.02 * rng.normal(size=(5, 1))
        + 0.01 * rng.normal(size=(5, 60))
    )
    seeds, patients = values.shape
    total = ((values - values.mean()) ** 2).sum()
    of_patients = seeds * ((values.mean(0) - values.mean()) ** 2).sum()
    of_seeds = patients * ((values.mean(1) - values.mean()) ** 2).sum()
    noise = (total - of_patients - of_seeds) / ((seeds - 1) * (patients - 1))
    found = spread(values)
    assert found.rest == pytest.approx(math.sqrt(noise), abs=1e-12)
    assert found.patients == pytest.approx(
        math.sqrt((of_patients / (patients - 1) - noise) / seeds), abs=1e-12
    )
    assert found.seeds == pytest.approx(
        math.sqrt((of_seeds / (seeds - 1) - noise) / patients), abs=1e-12
    )
    assert (found.patients, found.rest) == pytest.approx((0.03, 0.01), rel=0.2)
    flat = spread(np.repeat(values[:1], 3, 0))
    assert (flat.seeds, flat.rest) == pytest.approx((0, 0), abs=1e-12)
    assert spread(values[:1]).patients == pytest.approx(stats.tstd(values[0]))


def test_what_results_say() -> None:
    rng = np.random.default_rng(3)
    ease = rng.beta(20, 3, 30)
    values = np.stack(
        [ease, ease + 0.02 * rng.normal(size=30), ease + 0.04 * rng.normal(size=30)], 1
    )[None]
    scores = PatientScores(
        "mr", "real", "dice", ("a", "b", "c"), tuple(map(str, range(30))), (35,), values
    )
    found = known(scores)
    assert found is not None
    assert (found.pairs, found.patients, found.seeds) == (3, 30, 1)
    assert found.lowest == pytest.approx(np.std(values[0, :, 0] - values[0, :, 1], ddof=1))
    assert found.lowest < found.spread.patients < found.highest
    assert known(scores, ["a", "b"]).highest == found.lowest  # type: ignore[union-attr]
    assert known(scores, ["a", "z"]) is None
    assert known(scores.only(["a"])) is None


@pytest.mark.parametrize(("apart", "of_runs"), [(0.05, 0.01), (0.01, 0.05), (0.02, 0.02)])
def test_suitability_is_the_ratio_of_the_variances(apart: float, of_runs: float) -> None:
    rng = np.random.default_rng(8)
    methods = np.array([-1, 1, -1, 1, -1, 1]) * apart
    values = methods + rng.normal(0, of_runs, (400, 1, 6)) + rng.normal(0, 0.001, (400, 20, 6))
    wanted = methods.var(ddof=1) / of_runs**2
    assert suitability(scores(values)) == pytest.approx(wanted, rel=0.1)


def test_a_shift_that_all_methods_share_under_a_seed_makes_no_ranking_unsure() -> None:
    rng = np.random.default_rng(9)
    methods = np.array([-1, 1, -1, 1, -1, 1]) * 0.03
    shared = rng.normal(0, 0.1, (400, 1, 1))
    own = rng.normal(0, 0.01, (400, 1, 6))
    values = methods + shared + own + rng.normal(0, 0.001, (400, 20, 6))
    wanted = methods.var(ddof=1) / 0.01**2
    assert suitability(scores(values)) == pytest.approx(wanted, rel=0.1)
    assert suitability(scores(values)) == pytest.approx(suitability(scores(values - shared)))


@pytest.mark.parametrize(("seeds", "patients"), [(3, 43), (5, 126), (10, 25)])
def test_what_is_called_detectable_is_found_as_often_as_wanted(seeds: int, patients: int) -> None:
    parts = Spread(0.025, 0.007, 0.015)
    effect = detectable(patients, seeds, parts=parts)
    rng = np.random.default_rng(2)
    worlds = 3000
    differences = effect + rng.normal(0, parts.patients, (1, patients, worlds))
    differences = differences + rng.normal(0, parts.seeds, (seeds, 1, worlds))
    differences += rng.normal(0, parts.rest, (seeds, patients, worlds))
    found = float((np.maximum(*runs.p_values(differences)) <= 0.05).mean())
    # the larger of two p values: a little below the power of the harder test
    assert 0.7 < found < 0.84


def test_one_run_says_nothing_of_suitability() -> None:
    assert np.isnan(suitability(scores(np.random.default_rng(0).random((1, 9, 3)))))
    assert np.isnan(suitability(scores(np.random.default_rng(0).random((3, 9, 1)))))
    assert np.isnan(suitability(scores(np.full((3, 9, 2), 0.5))))
    parallel = np.array([0.8, 0.83])[None, None] + np.array([0.0, -0.01, -0.02])[:, None, None]
    assert np.isnan(suitability(scores(np.repeat(parallel, 9, axis=1))))  # but for rounding


def test_the_needed_seeds_are_the_fewest_that_find_the_difference() -> None:
    parts = Spread(0.025, 0.007, 0.015)
    seeds = seeds_needed(0.02, 43, 3, parts)
    assert seeds
    assert detectable(43, seeds, 3, parts) <= 0.02 < detectable(43, seeds - 1, 3, parts)
    assert seeds_needed(-0.02, 43, 3, parts) == seeds
    assert seeds_needed(0.02, 43, 3, parts, most=seeds - 1) is None
    assert seeds_needed(0.001, 43, 3, parts) is None
