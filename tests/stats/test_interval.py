from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats import interval


@pytest.mark.parametrize("n", [4, 8, 30])
def test_the_interval_holds_the_truth_as_often_as_it_says(n: int) -> None:
    rng = np.random.default_rng(1)
    held = [
        low <= 2.0 <= high for low, high in (interval(rng.normal(2.0, 1.0, n)) for _ in range(1000))
    ]
    assert 0.93 <= np.mean(held) <= 0.97


def test_it_is_the_t_interval() -> None:
    low, high = interval(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx(
        (2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-5
    )


def test_one_value_has_no_interval() -> None:
    assert all(math.isnan(end) for end in interval(np.array([1.0])))
