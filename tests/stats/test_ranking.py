from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from numpy.typing import NDArray
from scipy import stats

from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.stats.family import all_pairs
from bench.stats.intervals import resampled_means
from bench.stats.ranking import agreement, blocks, rank
from bench.stats.scores import PatientScores

matplotlib.use("Agg")


def scores(
    values: NDArray[np.float64],
    column: str = "mr",
    metric: str = "dice",
    names: str = "abcdefgh",
    source: str = "real",
) -> PatientScores:
    """Return the scores of (patient, method) or (seed, patient, method)."""
    values = values if values.ndim == 3 else values[None]
    seeds, patients, methods = values.shape
    return PatientScores(
        column,
        source,
        metric,
        tuple(names[:methods]),
        tuple(f"p{i}" for i in range(patients)),
        tuple(range(35, 35 + seeds)),
        values,
    )


def test_methods_with_the_same_scores_in_another_order_are_tied() -> None:
    one = np.array([0.1, 0.2, 0.3])
    other = one[::-1]
    values = np.stack([one, other], axis=1)
    assert values.mean(0)[0] != values.mean(0)[1]  # by the order of the sum alone
    tied = rank([scores(values)])
    np.testing.assert_array_equal(tied.ranks, [[1.5, 1.5]])


def drawn(
    patients: int, means: tuple[float, ...], spread: float = 0.02, seed: int = 1
) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return (
        rng.beta(20, 3, (patients, 1))
        + np.array(means)
        + rng.normal(0, spread, (patients, len(means)))
    )


def test_ranks_are_of_means_over_patients_and_then_of_datasets() -> None:
    one, other = drawn(20, (0.2, 0.1, 0.0)), drawn(30, (0.0, 0.3, 0.1))
    found = rank([scores(one), scores(other, "xray")])
    np.testing.assert_array_equal(found.ranks, [[1, 2, 3], [3, 1, 2]])
    np.testing.assert_allclose(found.mean_ranks, [2, 1.5, 2.5])
    assert (found.columns, found.patients) == (("mr", "xray"), {"mr": 20, "xray": 30})


def test_intervals_and_probabilities_are_those_of_the_resamples() -> None:
    values = [
        drawn(15, (0.0, 0.004, 0.01, -0.02), seed=1),
        drawn(25, (0.0, 0.004, 0.01, -0.02), seed=2),
    ]
    found = rank([scores(each, f"d{i}") for i, each in enumerate(values)])
    resampled = [
        stats.rankdata(-resampled_means(each[None], SEED, i), axis=1)
        for i, each in enumerate(values)
    ]
    means = np.mean(resampled, axis=0)
    np.testing.assert_allclose(
        found.intervals, np.percentile(means, [2.5, 97.5], axis=0).T, atol=1e-9
    )
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-9)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-9)
    assert (found.probabilities >= 0).all()
    for number, (low, high) in enumerate(found.intervals):
        assert low <= found.mean_ranks[number] <= high


def test_a_clear_order_is_certain_and_a_tie_is_shared() -> None:
    clear = rank([scores(drawn(20, (0.3, 0.2, 0.1)))])
    np.testing.assert_array_equal(clear.probabilities, np.eye(3))
    same = np.repeat(drawn(20, (0.0,)), 2, axis=1)
    tied = rank([scores(same)])
    np.testing.assert_allclose(tied.probabilities, 0.5)
    np.testing.assert_allclose(tied.mean_ranks, 1.5)


def test_seeds_make_ranks_less_certain() -> None:
    values = np.repeat(drawn(60, (0.01, 0.0))[None], 3, 0)
    certain = rank([scores(values)]).probabilities[0, 0]
    values[0, :, 0] -= 0.04
    values[1, :, 0] += 0.04
    assert rank([scores(values)]).probabilities[0, 0] < certain - 0.1


def test_low_distances_are_ahead() -> None:
    values = drawn(20, (0.3, 0.2, 0.1))
    np.testing.assert_array_equal(rank([scores(values, metric="hd95")]).ranks, [[3, 2, 1]])


def test_who_cannot_be_ranked_is_told() -> None:
    one = drawn(20, (0.2, 0.1, 0.0))
    one[4, 1] = np.nan
    found = rank([scores(one), scores(drawn(9, (0.1, 0.2)), "xray")])
    assert (found.methods, found.left_out_methods) == (("a", "b"), ("c",))
    assert (found.left_out, found.patients) == ({"mr": ("p4",), "xray": ()}, {"mr": 19, "xray": 9})
    with pytest.raises(
        UsageError, match="fewer than two methods to rank on the same patients of mr and xray"
    ):
        rank([scores(one), scores(drawn(9, (0.1, 0.2)), "xray", names="xy")])
    with pytest.raises(UsageError, match="never ranked together"):
        rank([scores(one), scores(one, "xray", source="phantom")])


def test_blocks_are_what_a_critical_difference_diagram_takes() -> None:
    values = drawn(43, (0.0, 0.001, 0.03, 0.06))
    found = blocks(scores(values))
    np.testing.assert_allclose(found.mean_ranks, stats.rankdata(-values, axis=1).mean(0), atol=1e-9)
    assert found.friedman == pytest.approx(stats.friedmanchisquare(*values.T).pvalue, abs=1e-12)
    ranks = dict(zip(found.methods, found.mean_ranks, strict=True))
    p = all_pairs(scores(values)).p
    table = pd.DataFrame(p, index=list(found.methods), columns=list(found.methods))
    drawing = scikit_posthocs.critical_difference_diagram(ranks, table)
    assert len(drawing["markers"]) == 4
    assert found.patients == 43


def test_blocks_take_the_patients_that_all_methods_have() -> None:
    values = drawn(10, (0.0, 0.1, 0.2))
    values[2, 0] = np.nan
    assert (blocks(scores(values)).patients, blocks(scores(values)).left_out) == (9, ("p2",))
    assert np.isnan(blocks(scores(values[:, :2])).friedman)
    with pytest.raises(UsageError, match="fewer than two methods share a patient of mr"):
        blocks(scores(values[:, :1]))


def column(values: NDArray[np.float64], name: str = "mr") -> dict[str, PatientScores]:
    worse = values.copy()
    worse[:, 0] -= 1  # the first method's distances are the best
    return {"dice": scores(values, name), "hd95": scores(worse, name, "hd95")}


def test_agreement_is_kendalls_tau_of_the_rankings() -> None:
    values = drawn(20, (0.1, 0.2, 0.3, 0.0))
    found = agreement([column(values)], ("dice", "hd95"))
    assert found.ways == (
        ("dice", "mean"),
        ("dice", "median"),
        ("hd95", "mean"),
        ("hd95", "median"),
    )
    np.testing.assert_array_equal(found.ranks[0], [3, 2, 1, 4])
    np.testing.assert_array_equal(found.ranks[2], [1, 3, 4, 2])
    wanted = stats.kendalltau(found.ranks[0], found.ranks[2]).statistic
    assert found.tau[0, 2] == found.tau[2, 0] == pytest.approx(wanted, abs=1e-12)
    np.testing.assert_allclose(np.diag(found.tau), 1)


def test_agreement_over_datasets_takes_their_mean_ranks() -> None:
    columns = [column(drawn(20, (0.1, 0.2, 0.3))), column(drawn(20, (0.3, 0.1, 0.2)), "xray")]
    found = agreement(columns, ("dice",))
    np.testing.assert_allclose(found.ranks[0], [(3 + 1) / 2, (2 + 3) / 2, (1 + 2) / 2])


def test_a_metric_that_a_method_never_has_is_no_ranking() -> None:
    one = column(drawn(20, (0.1, 0.2, 0.3)))
    one["hd95"].values[:, :, 1] = np.nan
    found = agreement([one], ("dice", "hd95"))
    assert np.isnan(found.ranks[2]).all()
    assert np.isnan(found.tau[0, 2])
