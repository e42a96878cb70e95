"""Quick rounds of `tests.stats.calibration`, whose page has the whole table."""

from __future__ import annotations

import numpy as np
import pytest

from bench.stats.flips import ALPHA
from bench.stats.paired import primary_p
from tests.stats.calibration import PAGE, Counted, World, count, page

ROUNDS = 50


@pytest.mark.parametrize("seeds", [2, 3])
def test_claims_about_equal_methods_are_rare(seeds: int) -> None:
    counted = count(World("runs vary", 60, 3, seeds, of_runs=1), ROUNDS)
    # 5 % of 50 are 2.5; more than 8 have a chance of 0.1 % each
    claims = (counted.star, counted.verdict, counted.dagger, counted.afterwards)
    assert max(claims) <= 8


def test_one_seed_makes_no_claim_about_methods() -> None:
    counted = count(World("runs vary", 60, 3, 1, of_runs=1), ROUNDS)
    assert (counted.star, counted.verdict, counted.dagger, counted.afterwards) == (0, 0, 0, 0)
    assert counted.weights > ROUNDS / 2


def test_what_is_there_is_found() -> None:
    counted = count(World("ahead", 60, 2, 5, of_runs=0.25, ahead=2), ROUNDS)
    assert counted.star > 0.9 * ROUNDS


def test_failures_that_few_patients_do_not_show_earn_no_star() -> None:
    counted = count(World("fails", 25, 2, 3, failing=0.05), ROUNDS)
    assert (counted.star, counted.verdict, counted.dagger) == (0, 0, 0)
    assert counted.brackets > 2


def test_a_world_has_the_truth_that_it_names() -> None:
    rng = np.random.default_rng(0)
    world = World("fails", 126, 2, 1, failing=0.05)
    means = np.mean([world.draw(rng).values.mean((0, 1)) for _ in range(500)], axis=0)
    assert np.ptp(means) < 0.003
    world = World("skewed", 126, 2, 1, skewed=True, ahead=0.5)
    means = np.mean([world.draw(rng).values.mean((0, 1)) for _ in range(500)], axis=0)
    assert means[0] - means[1] == pytest.approx(0.005, abs=0.0005)


def test_the_page_has_a_row_for_each_world() -> None:
    text = page([Counted(World("runs do not vary", 9, seeds=1))])
    assert "| runs do not vary | 4 | 9 | 1 | 1 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |" in text
    assert PAGE.name == "CALIBRATION.md"


def test_failures_that_many_patients_show_are_allowed_for() -> None:
    rng = np.random.default_rng(0)
    world = World("fails", 126, 2, 3, failing=0.05)
    runs = np.stack([np.diff(world.draw(rng).values)[..., 0] for _ in range(500)], axis=2)
    # 0.8 % are wrong in 2,000 worlds; without Hall's test it would be 7.9 %
    assert (primary_p(runs, flips=999) <= ALPHA).mean() < 0.03


def test_looks_after_each_seed_are_paid_for() -> None:
    counted = count(World("looks", 60, 2, 4, of_runs=1, looks="declared"), ROUNDS)
    assert counted.star <= 8
    free = count(World("looks", 60, 2, 4, of_runs=0.25, ahead=3, looks="declared"), 10)
    assert free.star > 5
