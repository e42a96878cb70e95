from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bench.stats.flips import EXACT, max_t, sign_flip, smallest_p
from bench.stats.paired import (
    EQUIVALENT_FROM,
    Pair,
    compare,
    decide,
    hodges_lehmann,
    parts_of_test,
    wilcoxon,
)
from bench.stats.power import spread
from bench.stats.scores import PatientScores

DEPRESSION = np.array([0.952, -0.147, 1.022, 0.43, 0.62, 0.59, 0.49, -0.08, 0.01])
"""Hollander and Wolfe, table 3.1: nine patients' scores before and after a tranquilliser."""


def scores(values: NDArray[np.float64], metric: str = "dice") -> PatientScores:
    """Return the scores of (patient, method) or (seed, patient, method)."""
    values = values if values.ndim == 3 else values[None]
    seeds, patients, methods = values.shape
    return PatientScores(
        "mr@real-1",
        "real",
        metric,
        tuple("abcdefgh"[:methods]),
        tuple(f"p{i}" for i in range(patients)),
        tuple(range(35, 35 + seeds)),
        values,
    )


def all_flips(differences: NDArray[np.float64]) -> float:
    """Return the exact two-sided p by trying every assignment of signs, one by one."""
    observed = abs(sum(differences)) - 1e-12
    signs = itertools.product((1, -1), repeat=len(differences))
    return float(
        np.mean(
            [
                abs(sum(s * d for s, d in zip(each, differences, strict=True))) >= observed
                for each in signs
            ]
        )
    )


@pytest.mark.parametrize("patients", range(1, 11))
def test_sign_flips_are_exact(patients: int) -> None:
    differences = np.random.default_rng(patients).normal(0.3, 1, (patients, 3))
    wanted = [all_flips(each) for each in differences.T]
    np.testing.assert_allclose(sign_flip(differences), wanted, atol=1e-9)
    assert min(wanted) >= smallest_p(patients)


def test_ties_and_zeros_are_exact_too() -> None:
    differences = np.array([0.1, 0.1, -0.1, 0.2, 0.0, 0.3, 0.3])
    assert sign_flip(differences[:, None])[0] == pytest.approx(all_flips(differences), abs=1e-12)
    assert sign_flip(np.zeros((5, 1)))[0] == 1


@pytest.mark.parametrize("patients", [4, 9, EXACT])
def test_sign_flips_are_scipys(patients: int) -> None:
    differences = np.random.default_rng(patients).normal(0.4, 1, patients)
    wanted = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=99_999
    )
    assert sign_flip(differences[:, None])[0] == pytest.approx(wanted.pvalue, abs=1e-9)


def test_random_flips_are_scipys_but_for_chance() -> None:
    differences = np.random.default_rng(5).normal(0.25, 1, 43)
    wanted = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=1,
    ).pvalue
    assert sign_flip(differences[:, None])[0] == pytest.approx(
        wanted, abs=5 * np.sqrt(wanted / 20_000)
    )


def test_a_row_does_not_depend_on_those_beside_it() -> None:
    differences = np.random.default_rng(6).normal(0.2, 1, (43, 5))
    alone = [sign_flip(each[:, None])[0] for each in differences.T]
    np.testing.assert_array_equal(sign_flip(differences), alone)
    np.testing.assert_array_equal(
        wilcoxon(differences), [wilcoxon(each[:, None])[0] for each in differences.T]
    )


@pytest.mark.parametrize(("patients", "rounds"), [(9, 10_000), (43, 2_000), (126, 2_000)])
def test_nothing_is_found_in_five_percent(patients: int, rounds: int) -> None:
    """With 9 patients the exact p values are discrete: the rates are 4.7 % and 3.9 %.

    They are close to the bounds, so more rounds are drawn.
    """
    rng = np.random.default_rng(35)
    differences = rng.beta(20, 3, (patients, rounds)) - rng.beta(20, 3, (patients, rounds))
    for p in (sign_flip(differences, flips=9_999), wilcoxon(differences)):
        assert 0.035 <= (p <= 0.05).mean() <= 0.065


def test_the_signed_rank_test_is_scipys_and_scikit_posthocs() -> None:
    values = np.round(np.random.default_rng(7).beta(20, 3, (20, 3)), 6)
    pairs = list(itertools.combinations("abc", 2))
    found = [pair.wilcoxon for pair in compare(scores(values), pairs)]
    columns = dict(zip("abc", values.T, strict=True))
    wanted = [stats.wilcoxon(columns[a] - columns[b]).pvalue for a, b in pairs]
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    long = pd.DataFrame(columns).melt()
    table = scikit_posthocs.posthoc_wilcoxon(
        long, "value", "variable", sort=False
    )  # sort=True breaks the pairs
    np.testing.assert_allclose(found, [table.loc[pair] for pair in pairs], atol=1e-9)


def test_zeros_and_ties_follow_pratt() -> None:
    few = np.array([0.0, 0.0, 0.1, 0.1, -0.1, 0.2, 0.3, 0.4, 0.5])
    ranks = stats.rankdata(np.abs(few))
    assert wilcoxon(few[:, None])[0] == pytest.approx(all_flips(np.sign(few) * ranks), abs=1e-9)
    scipys = stats.wilcoxon(
        few, zero_method="pratt", method=stats.PermutationMethod(n_resamples=9_999)
    )
    assert wilcoxon(few[:, None])[0] == pytest.approx(scipys.pvalue, abs=1e-9)
    many = np.concatenate([np.zeros(30), np.arange(1, 9) / 10])
    assert wilcoxon(many[:, None])[0] == pytest.approx(2 / 2**8, abs=0.001)
    crowd = np.concatenate([np.zeros(20), np.round(np.random.default_rng(1).normal(0.3, 1, 80), 1)])
    assert wilcoxon(crowd[:, None])[0] == pytest.approx(
        stats.wilcoxon(crowd, zero_method="pratt").pvalue, abs=1e-9
    )
    assert wilcoxon(np.zeros((80, 1)))[0] == 1
    assert wilcoxon(np.zeros((7, 1)))[0] == 1
    assert (
        wilcoxon(np.array([[0.3 - 0.2], [0.1], [0.2 - 0.1]]))[0] == 0.25
    )  # equal but for rounding: ties


def test_the_shift_is_hollander_and_wolfes() -> None:
    shift, (low, high) = hodges_lehmann(DEPRESSION)
    assert (shift, low, high) == pytest.approx((0.46, 0.01, 0.786), abs=1e-3)
    assert wilcoxon(DEPRESSION[:, None])[0] == pytest.approx(0.0390625, abs=1e-9)


@pytest.mark.parametrize("patients", [1, 2, 7, 12])
def test_the_shift_is_the_median_of_all_means_of_two(patients: int) -> None:
    differences = np.random.default_rng(patients).normal(size=patients)
    means = [
        (differences[i] + differences[j]) / 2 for i in range(patients) for j in range(i, patients)
    ]
    assert hodges_lehmann(differences)[0] == pytest.approx(np.median(means), abs=1e-12)


@pytest.mark.parametrize("patients", [6, 9, 14])
def test_the_shifts_interval_holds_what_the_test_does_not_reject(patients: int) -> None:
    differences = np.random.default_rng(patients).normal(0.5, 1, patients)
    means = np.sort(
        [(differences[i] + differences[j]) / 2 for i in range(patients) for j in range(i, patients)]
    )
    kept = [
        mid
        for mid in (means[1:] + means[:-1]) / 2
        if stats.wilcoxon(differences - mid).pvalue > 0.05
    ]
    low, high = hodges_lehmann(differences)[1]
    assert low == means[np.searchsorted(means, min(kept)) - 1]
    assert high == means[np.searchsorted(means, max(kept))]


def test_five_patients_give_no_interval_of_the_shift() -> None:
    assert np.isnan(hodges_lehmann(np.arange(5.0))[1]).all()


@pytest.mark.parametrize("patients", [5, 8])
def test_max_t_is_what_all_flips_give(patients: int) -> None:
    differences = np.random.default_rng(patients).normal(0.4, 1, (patients, 3)) * [1, 5, 0.1]
    scaled = differences / np.sqrt((differences**2).mean(0))
    observed = np.abs(scaled.sum(0))
    flips = np.array(list(itertools.product((1, -1), repeat=patients)))
    flipped = np.abs(flips @ scaled)
    order, wanted, floor = np.argsort(-observed), np.zeros(3), 0.0
    for place, row in enumerate(order):
        floor = max(floor, (flipped[:, order[place:]].max(1) >= observed[row] - 1e-12).mean())
        wanted[row] = floor
    np.testing.assert_allclose(max_t(differences), wanted, atol=1e-9)
    assert (max_t(differences) >= sign_flip(differences) - 1e-12).all()


UNIT = st.integers(0, 1000).map(lambda value: value / 1000)
PAIRS = st.lists(st.tuples(UNIT, UNIT), min_size=2, max_size=12).map(np.array)


def numbers(pair: Pair) -> list[float]:
    return [
        pair.mean,
        pair.sd,
        *pair.bootstrap,
        *pair.t,
        *pair.narrow[0],
        *pair.narrow[1],
        pair.p,
        pair.wilcoxon,
        pair.zeros,
        pair.shift,
        *pair.shift_interval,
        pair.superiority,
    ]


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_swapping_two_methods_turns_differences_and_keeps_p(values: NDArray[np.float64]) -> None:
    one, other = compare(scores(values), [("a", "b"), ("b", "a")])
    assert (one.p, one.wilcoxon, one.zeros) == (other.p, other.wilcoxon, other.zeros)
    assert (one.mean, one.shift, one.superiority) == pytest.approx(
        (-other.mean, -other.shift, 1 - other.superiority)
    )
    for name in ("bootstrap", "t", "shift_interval"):
        mine, turned = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(mine, [-turned[1], -turned[0]], atol=1e-9)
    np.testing.assert_allclose(numbers(one.turned), numbers(other), atol=1e-9)
    assert (one.turned.first, one.turned.second) == ("b", "a")


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.sampled_from([0.25, 0.5, 2.0]))
def test_adding_the_same_to_both_changes_nothing(values: NDArray[np.float64], more: float) -> None:
    one, other = (compare(scores(each), [("a", "b")])[0] for each in (values, values + more))
    np.testing.assert_allclose(numbers(one), numbers(other), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_patients_changes_nothing(values: NDArray[np.float64], random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = (compare(scores(each), [("a", "b")])[0] for each in (values, values[order]))
    exact = [
        (p.mean, p.sd, *p.t, p.p, p.wilcoxon, p.zeros, p.shift, *p.shift_interval, p.superiority)
        for p in (one, other)
    ]
    np.testing.assert_allclose(*exact, atol=1e-9)


def test_a_pair_says_what_it_used() -> None:
    values = np.random.default_rng(8).beta(20, 3, (3, 20, 3))
    values[:, 4, 1] = np.nan
    values[2, :10, 2] = np.nan
    one, other, last = compare(scores(values), [("a", "b"), ("a", "c"), ("b", "c")])
    assert (one.patients, one.seeds, one.left_out, one.left_out_seeds) == (19, 3, ("p4",), ())
    assert (other.patients, other.seeds, other.left_out, other.left_out_seeds) == (20, 2, (), (37,))
    assert (last.patients, last.seeds, last.left_out, last.left_out_seeds) == (
        19,
        2,
        ("p4",),
        (37,),
    )
    assert last.mean == pytest.approx(
        np.nanmean(values[:2, :, 1].mean(0) - values[:2, :, 2].mean(0))
    )


def test_methods_without_a_patient_in_common_are_no_comparison() -> None:
    values = np.random.default_rng(9).beta(20, 3, (10, 2))
    values[:5, 0] = values[5:, 1] = np.nan
    [pair] = compare(scores(values), [("a", "b")])
    assert (pair.patients, len(pair.left_out)) == (0, 10)
    assert np.isnan([pair.mean, pair.p, pair.wilcoxon]).all()
    assert decide(pair, float("nan")) == "undecided"


def test_lower_distances_are_superior() -> None:
    values = np.array([[1.0, 2.0], [1.0, 3.0], [2.0, 2.0], [3.0, 2.0]])
    assert compare(scores(values, "hd95"), [("a", "b")])[0].superiority == 0.625
    assert compare(scores(values), [("a", "b")])[0].superiority == 0.375


def pair_of(mean: float, sd: float, patients: int = 40, metric: str = "dice") -> Pair:
    rng = np.random.default_rng(10)
    noise = rng.normal(size=patients)
    differences = mean + sd * (noise - noise.mean()) / noise.std(ddof=1)
    return compare(
        scores(np.stack([0.5 + differences, np.full(patients, 0.5)], 1), metric), [("a", "b")]
    )[0]


@pytest.mark.parametrize(
    ("mean", "sd", "adjusted", "verdict"),
    [
        (0.03, 0.02, 0.001, "better"),
        (-0.03, 0.02, 0.001, "worse"),
        (0.03, 0.02, 0.06, "undecided"),  # not after correction
        (0.03, 0.2, 0.001, "undecided"),  # the intervals hold 0
        (0.004, 0.002, 0.001, "equivalent"),  # surely not 0, and surely less than half a point
        (0.004, 0.01, 0.04, "undecided"),  # within the region, but not surely
        (0.0, 0.002, 1.0, "equivalent"),
        (0.0, 0.05, 1.0, "undecided"),  # no difference found is not equivalence
    ],
)
def test_a_verdict_takes_size_and_certainty(
    mean: float, sd: float, adjusted: float, verdict: str
) -> None:
    assert decide(pair_of(mean, sd, 120), adjusted) == verdict


def test_few_patients_are_never_called_equivalent() -> None:
    assert decide(pair_of(0.0, 0.001, EQUIVALENT_FROM - 1), 1.0) == "undecided"
    assert decide(pair_of(0.0, 0.001, EQUIVALENT_FROM), 1.0) == "equivalent"


def test_many_comparisons_ask_more_of_equivalence() -> None:
    rng = np.random.default_rng(3)
    values = 0.5 + rng.normal(0, 0.02, (120, 2))
    wide, narrow = (compare(scores(values), [("a", "b")], tests=tests)[0] for tests in (9, 1))
    for one, other in zip(wide.narrow, narrow.narrow, strict=True):
        assert one[0] < other[0] < other[1] < one[1]
    assert (wide.t, wide.p) == (narrow.t, narrow.p)


def test_runs_that_differ_take_a_difference_back() -> None:
    rng = np.random.default_rng(4)
    by_patient = rng.normal(0, 0.01, (1, 60, 1))
    runs = np.array([0.03, -0.01])[:, None, None]
    first = 0.5 + 0.02 * (by_patient > 1) + by_patient + runs
    values = np.concatenate([first, np.full((2, 60, 1), 0.49)], axis=2)
    [one] = compare(scores(values[:1]), [("a", "b")])
    [both] = compare(scores(values), [("a", "b")])
    assert (one.p < 0.001, both.p > 0.2) == (True, True)
    assert both.t[0] < 0 < both.t[1]


def test_an_interval_of_fractions_ends_where_a_difference_must() -> None:
    values = np.array([[[0.9, 0.1], [0.8, 0.2]], [[0.2, 0.9], [0.3, 0.7]]])  # two seeds disagree
    [one] = compare(scores(values), [("a", "b")])
    assert one.t == (-1.0, 1.0)


def test_less_is_better_for_distances_and_without_a_region_nothing_is_equivalent() -> None:
    assert decide(pair_of(0.03, 0.02), 0.001, sign=-1) == "worse"
    assert decide(pair_of(0.0, 0.002), 1.0, rope=0.0) == "undecided"


def test_both_intervals_must_agree() -> None:
    pair = pair_of(0.03, 0.02)
    assert decide(replace(pair, t=(-0.001, 0.06)), 0.001) == "undecided"
    assert decide(replace(pair, bootstrap=(-0.001, 0.06)), 0.001) == "undecided"


def test_the_part_of_the_test_with_the_largest_p_decides() -> None:
    rng = np.random.default_rng(6)
    values = 0.5 + rng.normal(0, 0.02, (3, 60, 4)) + rng.normal(0, 0.01, (3, 1, 4))
    names = list(itertools.combinations("abcd", 2))
    for pair, (first, second) in zip(compare(scores(values), names), names, strict=True):
        both = [values[:, :, "abcd".index(name)] for name in (first, second)]
        parts = parts_of_test((both[0] - both[1])[:, :, None])
        assert set(parts) == {"patients", "skewness", "seeds", "both"}
        assert pair.decided is not None
        assert pair.p == pytest.approx(max(p[0] for p in parts.values()))
        assert pair.p == pytest.approx(parts[pair.decided][0])
        assert pair.spread
        assert pair.spread.seeds == pytest.approx(spread(both[0] - both[1]).seeds)
    [one] = compare(scores(values[:1, :20]), [("a", "b")])
    assert (one.decided, one.spread) == ("patients", None)
