from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats import over_patients, over_seeds


def test_the_interval_over_patients_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    trials, n = 150, 25
    held = 0
    for _ in range(trials):
        low, high = over_patients(rng.gamma(2.0, 1.0, n))  # skewed, as Dice is
        held += low <= 2.0 <= high
    assert 0.87 <= held / trials <= 0.99


def test_the_interval_over_patients_is_the_same_each_time() -> None:
    values = np.random.default_rng(2).normal(size=12)
    assert over_patients(values) == over_patients(values)


def test_the_interval_over_seeds_is_the_t_interval() -> None:
    low, high = over_seeds(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-5)


def test_too_few_have_no_interval() -> None:
    assert all(math.isnan(end) for end in (*over_patients(np.array([1.0, 2.0])), *over_seeds(np.array([1.0]))))


def test_patients_that_agree_leave_no_doubt() -> None:
    assert over_patients(np.full(9, 0.25)) == (0.25, 0.25)
