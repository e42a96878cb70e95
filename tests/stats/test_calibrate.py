from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from bench.stats.calibrate import SPLIT, SWAPPED, WHOLE, Cases, Rate, _halves, rates
from bench.stats.scores import arrange


def results(
    patients: int = 20,
    slices: int = 8,
    seeds: int = 4,
    between: float = 0.03,
    methods: int = 3,
    checkpoints: float = 0.01,
) -> pd.DataFrame:
    """Return methods that differ by patient and by checkpoint, slices of a patient alike."""
    rng = np.random.default_rng(1)
    made = []
    for method, seed in product(range(methods), range(seeds)):
        level = checkpoints * rng.normal()
        for patient in range(patients):
            own = 0.8 + level + between * rng.normal()
            for case in range(slices):
                dice = own + 0.01 * rng.normal()
                made.append(
                    {
                        "dataset": "mr",
                        "source": "real",
                        "digest": "abcdef0123",
                        "method": f"m{method}",
                        "scheme": "",
                        "folds": 1,
                        "fold": 0,
                        "seed": 35 + seed,
                        "case": f"c{patient}-{case}",
                        "patient": f"p{patient:02}",
                        "dice": dice,
                        "column": "mr@real-abcdef01",
                    }
                )
    return pd.DataFrame(made)


def cases_of(frame: pd.DataFrame) -> Cases:
    [(column, scores)] = arrange(frame, ["dice"]).items()
    return Cases.of(column, scores["dice"], frame)


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str, str], Rate]:
    return {
        (rate.null, rate.test, rate.unit): rate for rate in rates(cases_of(results()), rounds=1_000)
    }


@pytest.mark.parametrize("null", [SWAPPED, SPLIT])
@pytest.mark.parametrize("test", ["sign flip", "wilcoxon"])
def test_over_patients_five_percent_is_five_percent(
    found: dict[tuple[str, str, str], Rate], null: str, test: str
) -> None:
    rate = found[null, test, "patient"]
    assert (rate.units, rate.rounds) == (20, 1_000)
    assert 0.03 <= rate.rate <= 0.07
    assert rate.interval[0] <= rate.attainable <= rate.interval[1]


@pytest.mark.parametrize("null", [SWAPPED, SPLIT])
def test_over_slices_it_is_not(found: dict[tuple[str, str, str], Rate], null: str) -> None:
    rate = found[null, "wilcoxon", "case"]
    assert rate.units == 160
    assert rate.rate > 0.3


def test_checkpoints_of_one_method_differ_more_often_and_that_has_no_interval(
    found: dict[tuple[str, str, str], Rate],
) -> None:
    rate = found[WHOLE, "sign flip", "patient"]
    assert rate.rounds == 3 * 3  # four seeds have three ways to be halved, in each of three methods
    assert np.isnan(rate.interval).all()
    assert rate.rate > 0.2


def test_intervals_are_clopper_and_pearsons(found: dict[tuple[str, str, str], Rate]) -> None:
    for rate in found.values():
        if rate.null != WHOLE:
            wanted = proportion_confint(rate.rejected, rate.rounds, method="beta")
            np.testing.assert_allclose(rate.interval, wanted, atol=1e-9)


@pytest.mark.parametrize(("seeds", "count"), [(2, 1), (3, 3), (4, 3), (5, 15), (6, 10)])
def test_seeds_are_halved_in_every_way_once(seeds: int, count: int) -> None:
    halves = [tuple(map(frozenset, np.split(np.array(half), 2))) for half in _halves(seeds)]
    assert len({frozenset(half) for half in halves}) == len(halves) == count
    assert all(not one & other and len(one) == len(other) == seeds // 2 for one, other in halves)


def test_six_patients_attain_three_percent_and_five_none() -> None:
    six = rates(cases_of(results(patients=6, seeds=1)), rounds=500)
    assert {rate.null for rate in six} == {SWAPPED}
    assert six[0].attainable == pytest.approx(2 / 2**6)
    assert stats.binomtest(six[0].rejected, 500, 2 / 2**6).pvalue > 0.01
    five = rates(cases_of(results(patients=5, seeds=1)), rounds=500)[0]
    assert (five.attainable, five.rejected) == (0, 0)


def test_methods_that_never_differ_are_no_pair() -> None:
    frame = results(methods=1, seeds=1)
    twin = pd.concat([frame, frame.assign(method="twin")])
    assert rates(cases_of(twin), rounds=100) == []
    assert rates(cases_of(results(patients=1)), rounds=100) == []


def test_the_same_call_gives_the_same_rates() -> None:
    cases = cases_of(results(patients=9, slices=2, seeds=2))
    one, other = (repr(rates(cases, rounds=200)) for _ in range(2))  # repr: NaN is not itself
    assert one == other != repr(rates(cases, rounds=200, seed=36))


def test_cases_that_a_method_lacks_are_left_out_for_all() -> None:
    frame = results(patients=4, slices=3, seeds=1)
    frame = frame[~((frame.method == "m1") & frame.case.isin(["c0-0", "c1-0", "c1-1", "c1-2"]))]
    cases = cases_of(frame)
    assert (cases.patients, cases.values.shape) == (3, (1, 8, 3))
