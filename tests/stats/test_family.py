from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from bench.spec.errors import UsageError
from bench.stats.family import MAP_FLIPS, STAR, WEIGHTS, against, all_pairs, holm
from bench.stats.flips import max_t, sign_flip, smallest_p
from bench.stats.scores import PatientScores


def scores(values: NDArray[np.float64], metric: str = "dice") -> PatientScores:
    """Return the scores of (patient, method) or (seed, patient, method)."""
    values = values if values.ndim == 3 else values[None]
    seeds, patients, methods = values.shape
    return PatientScores(
        "mr@real-1",
        "real",
        metric,
        tuple("abcdefghij"[:methods]),
        tuple(f"p{i}" for i in range(patients)),
        tuple(range(35, 35 + seeds)),
        values,
    )


def drawn(
    patients: int, methods: int = 4, step: float = 0.01, seed: int = 1
) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    ease = rng.beta(20, 3, (patients, 1))
    return ease + step * np.arange(methods) + rng.normal(0, 0.02, (patients, methods))


@pytest.mark.parametrize("count", [1, 7, 28])
def test_holm_is_statsmodels_and_the_textbooks(count: int) -> None:
    p = np.random.default_rng(count).beta(0.3, 3, count)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)
    wanted, floor = np.empty(count), 0.0
    for place, row in enumerate(np.argsort(p)):
        floor = wanted[row] = max(floor, min(1.0, p[row] * (count - place)))
    np.testing.assert_allclose(holm(p), wanted, atol=1e-12)
    assert holm([]).size == 0


def test_a_family_is_the_baseline_against_each_other() -> None:
    values = drawn(20)
    family = against(scores(values), "d")
    assert (family.baseline, family.tests, family.computed, family.correction) == (
        "d",
        3,
        6,
        "holm",
    )
    assert [(c.pair.first, c.pair.second) for c in family.comparisons] == [
        ("d", "a"),
        ("d", "b"),
        ("d", "c"),
    ]
    raw = sign_flip(values[:, 3:] - values[:, :3])
    np.testing.assert_allclose([c.pair.p for c in family.comparisons], raw, atol=1e-12)
    np.testing.assert_allclose([c.adjusted for c in family.comparisons], holm(raw), atol=1e-12)
    assert family.comparisons[0].mark == f"({WEIGHTS})"  # 20 patients may hide failures
    assert family.comparisons[0].verdict == "better"
    assert not family.comparisons[0].claims
    assert against(scores(values), "a").comparisons[2].verdict == "worse"


def test_a_family_may_leave_rows_out_that_compete_with_none() -> None:
    family = against(scores(drawn(20)), "d", ["b"])
    assert (family.tests, family.comparisons[0].adjusted) == (1, family.comparisons[0].pair.p)


def test_max_t_shares_the_flips() -> None:
    values = drawn(20)
    values[3, 1] = np.nan
    family = against(scores(values), "d", correction="max-t")
    kept = np.delete(values, 3, 0)
    wanted = max_t(kept[:, 3:] - kept[:, :3])
    np.testing.assert_allclose([c.adjusted for c in family.comparisons], wanted, atol=1e-12)
    assert {c.pair.patients for c in family.comparisons} == {19}


@pytest.mark.parametrize(
    ("patients", "methods", "possible"),
    [(5, 2, False), (6, 2, True), (6, 4, False), (7, 4, True), (8, 8, False), (9, 8, True)],
)
def test_no_star_where_the_patients_are_too_few(
    patients: int, methods: int, possible: bool
) -> None:
    """Even where the first method beats all others on every patient."""
    values = np.full((patients, methods), 0.5)
    values[:, 0] = np.linspace(0.8, 0.9, patients)
    family = against(scores(values), "a")
    assert {c.possible for c in family.comparisons} == {possible}
    assert {c.mark for c in family.comparisons} == {WEIGHTS if possible else ""}
    assert {c.verdict for c in family.comparisons} == {"better" if possible else "undecided"}
    assert (smallest_p(patients) * (methods - 1) <= 0.05) == possible


def test_max_t_asks_less_of_few_patients() -> None:
    values = np.full((6, 4), 0.5)
    values[:, 0] = np.linspace(0.8, 0.9, 6)
    assert all(c.mark for c in against(scores(values), "a", correction="max-t").comparisons)


def test_patients_whom_one_method_lacks_are_told_pair_by_pair() -> None:
    values = drawn(20)
    values[:3, 1] = np.nan
    one, other, _ = against(scores(values), "d").comparisons
    assert (one.pair.patients, one.pair.left_out) == (20, ())
    assert (other.pair.patients, other.pair.left_out) == (17, ("p0", "p1", "p2"))


@pytest.mark.parametrize(("patients", "marks"), [(25, ["(°)", "°"]), (60, ["°", "°"])])
def test_a_mark_is_in_brackets_where_unseen_failures_could_undo_it(
    patients: int, marks: list[str]
) -> None:
    values = np.full((patients, 3), 0.8) + 0.001 * np.arange(patients)[:, None] % 0.01
    values[:, 1] -= 0.05  # 25 patients may hide failures of 11 %, which cost 9 points
    values[:, 2] -= 0.2
    family = against(scores(values), "a")
    assert [comparison.mark for comparison in family.comparisons] == marks
    pairs = all_pairs(scores(values))
    assert pairs.below("a") == ("b", "c")[2 - marks.count("°") :]
    assert not any(c.in_doubt for c in against(scores(values, "hd95"), "a").comparisons)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_baseline_that_was_chosen_afterwards_is_corrected_for_all_pairs(seeds: int) -> None:
    values = np.stack([drawn(20, seed=seed) for seed in range(seeds)])
    pairs = all_pairs(scores(values))
    family = against(scores(values), "d", of_all=pairs)
    np.testing.assert_allclose([c.adjusted for c in family.comparisons], pairs.p[3, :3])
    assert (family.tests, family.correction) == (6, pairs.correction)
    declared = against(scores(values), "d")
    for one, other in zip(family.comparisons, declared.comparisons, strict=True):
        assert one.pair.p == other.pair.p
        assert one.pair.narrow[1][0] < other.pair.narrow[1][0]


def test_a_star_takes_several_seeds() -> None:
    values = np.stack([drawn(60, seed=seed) for seed in (1, 2, 3)])
    family = against(scores(values), "d", correction="max-t")
    assert (family.correction, family.comparisons[0].mark) == ("holm", STAR)
    assert family.comparisons[0].of_methods
    one = against(scores(values[:1]), "d").comparisons[0]
    assert (one.mark, one.of_methods) == (WEIGHTS, False)
    pairs = all_pairs(scores(values))
    assert (pairs.correction, pairs.seeds) == ("holm", (3,))
    by_pair = {c.pair.second: c.pair.p for c in family.comparisons}
    raw = all_pairs(scores(values).only(["d", "a"])).p[0, 1]
    assert by_pair["a"] == pytest.approx(raw)


def test_a_method_without_a_common_patient_is_no_test() -> None:
    values = drawn(20)
    values[:10, 1] = values[10:, 3] = np.nan
    family = against(scores(values), "d")
    middle = family.comparisons[1]
    assert (family.tests, middle.pair.patients, middle.possible, middle.mark) == (
        2,
        0,
        False,
        "",
    )
    assert (middle.verdict, np.isnan(middle.adjusted)) == ("undecided", True)
    pairs = all_pairs(scores(values))
    assert (pairs.tests, pairs.patients[1, 3]) == (5, 0)
    assert np.isnan(pairs.p[1, 3])
    assert "d" in pairs.like("b")


def test_distances_have_no_region_of_equivalence_unless_it_is_given() -> None:
    values = 3 + drawn(120, 2, 0.0)
    assert against(scores(values, "hd95"), "a").rope == 0
    assert against(scores(values, "hd95"), "a", rope=0.5).comparisons[0].verdict == "equivalent"
    assert against(scores(10 * drawn(40, 2, 0.2), "hd95"), "a").comparisons[0].verdict == "better"


def test_a_family_of_one_or_of_strangers_is_refused() -> None:
    with pytest.raises(UsageError, match="no other method to compare"):
        against(scores(drawn(9, 1)), "a")
    with pytest.raises(UsageError, match="no other method to compare"):
        against(scores(drawn(9, 2)), "a", ["a"])
    with pytest.raises(UsageError, match="z has no result on mr@real-1"):
        against(scores(drawn(9, 2)), "z")


def test_the_matrix_has_all_pairs() -> None:
    values = drawn(20)
    pairs = all_pairs(scores(values))
    upper = np.triu_indices(4, 1)
    np.testing.assert_allclose(
        pairs.p[upper],
        max_t(values[:, upper[0]] - values[:, upper[1]], flips=MAP_FLIPS),
        atol=1e-12,
    )
    assert (pairs.correction, pairs.possible) == ("max-t", True)
    np.testing.assert_array_equal(pairs.p, pairs.p.T)
    np.testing.assert_allclose(pairs.means, values.mean(0)[:, None] - values.mean(0), atol=1e-12)
    assert (pairs.tests, set(np.diag(pairs.p))) == (6, {1.0})
    told_apart = {m for m, p in zip("bcd", pairs.p[0, 1:], strict=True) if p <= 0.05}
    assert set(pairs.like("a")) == set("bcd") - told_apart


def test_with_gaps_the_matrix_is_corrected_by_holm() -> None:
    values = drawn(20)
    values[0, 3] = np.nan
    pairs = all_pairs(scores(values))
    kept = [values[~np.isnan(values[:, [a, b]]).any(1)] for a in range(4) for b in range(a + 1, 4)]
    places = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    raw = [
        sign_flip(part[:, [a]] - part[:, [b]])[0] for part, (a, b) in zip(kept, places, strict=True)
    ]
    np.testing.assert_allclose(pairs.p[np.triu_indices(4, 1)], holm(raw), atol=1e-12)
    assert (pairs.correction, pairs.patients[0, 1], pairs.patients[0, 3]) == ("holm", 20, 19)


def test_eight_patients_tell_ten_methods_apart_and_five_tell_none() -> None:
    values = np.random.default_rng(3).normal(size=(8, 10)) / 50 + np.arange(10)
    names = [chr(97 + i) for i in range(10)]
    assert all_pairs(scores(values)).like(names[-1]) == ()
    few = all_pairs(scores(values[:5]))
    assert (few.possible, len(few.like(names[-1]))) == (False, 9)


def test_all_pairs_without_a_difference_have_a_false_star_in_five_percent() -> None:
    values = np.random.default_rng(4).normal(size=(400, 10, 5))
    false = sum(bool((all_pairs(scores(each)).p <= 0.05).any()) for each in values)
    assert 0.025 < false / 400 < 0.08


def test_families_without_a_difference_have_a_false_star_in_five_percent() -> None:
    """Holm and max-T over three dependent comparisons of ten patients; Holm is on the safe side."""
    rounds = 2_000
    values = np.random.default_rng(2).normal(size=(10, rounds, 4))
    differences = values[:, :, :1] - values[:, :, 1:]
    raw = sign_flip(differences.reshape(10, -1)).reshape(rounds, 3)
    by_holm = np.mean(3 * raw.min(1) <= 0.05)  # its first step: whether there is any star
    by_max_t = np.mean([max_t(differences[:, number]).min() <= 0.05 for number in range(rounds)])
    assert 0.02 <= by_holm <= by_max_t
    assert 0.035 <= by_max_t <= 0.065
