from __future__ import annotations

import numpy as np
import pytest

from bench.stats.scores import PatientScores
from bench.stats.worlds import Worlds


def scores(
    seeds: int, patients: int, methods: int, of_runs: float = 0.01, failing: float = 0.0
) -> PatientScores:
    """Return scores whose methods truly differ, by a point each; the last one fails at a rate."""
    rng = np.random.default_rng(7)
    values = 0.8 + rng.normal(0, 0.03, (1, patients, 1)) + 0.01 * np.arange(methods)
    values = values + rng.normal(0, of_runs, (seeds, 1, methods))
    values = values + rng.normal(0, 0.01, (seeds, patients, methods))
    values[:, : round(failing * patients), -1] = 0
    return PatientScores(
        "mr@real-1",
        "real",
        "dice",
        tuple("abcdefghij"[:methods]),
        tuple(f"p{i}" for i in range(patients)),
        tuple(range(35, 35 + seeds)),
        values,
    )


def drawn(known: PatientScores, ahead: float = 0.0, count: int = 400) -> np.ndarray:
    worlds, rng = Worlds.like(known), np.random.default_rng(0)
    return np.stack([worlds.draw(rng, ahead).values for _ in range(count)])


def test_all_methods_of_a_world_are_equal_or_as_far_ahead_as_wanted() -> None:
    means = drawn(scores(3, 30, 4)).mean((0, 1, 2))
    assert np.ptp(means) < 0.003
    means = drawn(scores(3, 30, 4), ahead=0.1).mean((0, 1, 2))
    assert means[0] - means[1:].mean() == pytest.approx(0.1, abs=0.003)


def test_runs_vary_as_in_the_results() -> None:
    known = scores(12, 60, 3, of_runs=0.02)
    observed = known.values.mean(1).std(0, ddof=1)
    simulated = drawn(known).mean(2).std(1, ddof=1).mean(0)
    np.testing.assert_allclose(simulated, observed, rtol=0.15)


def test_one_seed_has_no_runs_to_vary() -> None:
    known = scores(1, 20, 3)
    worlds = drawn(known, count=5)
    moved = known.values[0] - known.values[0].mean(0) + known.values.mean()
    for world in worlds:
        assert all((np.abs(row - moved).max(1) < 1e-9).any() for row in world[0])


def test_failures_keep_their_rate() -> None:
    worlds = drawn(scores(2, 40, 3, failing=0.1))
    low = worlds[..., -1] < worlds[..., -1].mean() - 0.3
    assert low.mean() == pytest.approx(0.1, abs=0.02)


def test_the_same_generator_gives_the_same_world() -> None:
    known = scores(2, 9, 3)
    np.testing.assert_array_equal(drawn(known, count=2), drawn(known, count=2))
