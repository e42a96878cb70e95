from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from bench.stats import runs

WORLDS = 6000
"""Simulated worlds, each a row."""


def worlds(seeds: int, patients: int, of_runs: float, mean: float = 0.0) -> NDArray[np.float64]:
    """Return differences (seed, patient, world) between two methods, in points.

    The runs of a method have the standard deviation `of_runs`, so differences have the root of 2
    times that; patients have 2.5, and what is left 1.5.
    """
    rng = np.random.default_rng(seeds * 1000 + patients)
    return (
        mean
        + rng.normal(0, of_runs * 2**0.5, (seeds, 1, WORLDS))
        + rng.normal(0, 2.5, (1, patients, WORLDS))
        + rng.normal(0, 1.5, (seeds, patients, WORLDS))
    )


def share(differences: NDArray[np.float64]) -> float:
    """Return in what percentage of worlds the methods are called different."""
    return 100 * float((np.maximum(*runs.p_values(differences)) <= 0.05).mean())


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("patients", [9, 126])
@pytest.mark.parametrize("of_runs", [0.0, 0.25, 1.0])
def test_equal_methods_are_called_different_in_five_percent_at_most(
    seeds: int, patients: int, of_runs: float
) -> None:
    # 6.5 % is the aim; the standard error of so many worlds is 0.3
    assert share(worlds(seeds, patients, of_runs)) <= 6.5


def test_five_runs_find_what_is_there() -> None:
    assert share(worlds(5, 126, 0.25, mean=1)) > 85
    assert share(worlds(5, 43, 0.5, mean=2)) > 90
    assert share(worlds(3, 126, 0.25, mean=2)) > 90


def test_p_is_never_below_that_of_the_runs_alone() -> None:
    differences = worlds(3, 20, 1)
    alone = ttest_1samp(differences.mean(1), 0).pvalue
    assert (np.maximum(*runs.p_values(differences)) >= alone - 1e-12).all()


def test_the_two_way_error_is_that_of_the_textbook() -> None:
    differences = worlds(4, 15, 1)[:, :, :1]
    values = differences[:, :, 0]
    mean = values.mean()
    by_seeds = 15 * ((values.mean(1) - mean) ** 2).sum() / 3
    by_patients = 4 * ((values.mean(0) - mean) ** 2).sum() / 14
    rest = values - values.mean(1)[:, None] - values.mean(0) + mean
    by_rest = (rest**2).sum() / 42
    total = by_seeds + by_patients - by_rest
    freedom = total**2 / (by_seeds**2 / 3 + by_patients**2 / 14 + by_rest**2 / 42)
    both = runs._of_both(differences)
    assert both.error[0] == pytest.approx((total / 60) ** 0.5)
    assert both.freedom[0] == pytest.approx(freedom)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(2, 30), st.floats(0, 3), st.integers(0, 999))
def test_p_and_interval_agree(seeds: int, patients: int, mean: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = mean + rng.normal(0, 1, (seeds, patients, 4))
    for p, (low, high) in zip(
        np.maximum(*runs.p_values(differences)),
        runs.intervals(differences, 0.95),
        strict=True,
    ):
        assert (p <= 0.05) == (low > 0 or high < 0)


def test_equal_differences_have_an_answer() -> None:
    assert np.maximum(*runs.p_values(np.zeros((3, 5, 2)))).tolist() == [1, 1]
    assert np.maximum(*runs.p_values(np.ones((3, 5, 1)))).tolist() == [0]
