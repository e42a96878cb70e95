from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from bench.spec.errors import UsageError
from bench.stats.scores import arrange, subject


def rows(**changes: object) -> pd.DataFrame:
    """Return two methods, two seeds, two folds, two patients a fold; one patient has 3 slices."""
    made = []
    for (m, method), seed, patient in product(enumerate(("fcn", "unet")), (35, 36), range(4)):
        for case in range(3 if patient == 0 else 1):
            dice = 0.5 + 0.1 * m + 0.01 * patient + 0.1 * case + 0.001 * (seed - 35)
            made.append(
                {
                    "dataset": "mr",
                    "source": "real",
                    "digest": "abcdef0123",
                    "method": method,
                    "scheme": "2fold",
                    "folds": 2,
                    "fold": patient % 2,
                    "seed": seed,
                    "case": f"c{patient}{case}",
                    "patient": f"p{patient}",
                    "dice": dice,
                    "iou": dice / (2 - dice),
                    "hd95": 9 - dice,
                    "nsd": dice,
                    **changes,
                }
            )
    frame = pd.DataFrame(made)
    way = frame.scheme.map(lambda each: f"/{each}" if each else "")
    return frame.assign(
        column=frame.dataset + "@" + frame.source + "-" + frame.digest.str[:8] + way
    )


def test_a_patients_cases_are_averaged_first() -> None:
    [(column, found)] = arrange(rows()).items()
    dice = found["dice"]
    assert column == dice.column == "mr@real-abcdef01/2fold"
    assert (dice.methods, dice.seeds, dice.patients) == (
        ("fcn", "unet"),
        (35, 36),
        ("p0", "p1", "p2", "p3"),
    )
    np.testing.assert_allclose(
        dice.values[0, :, 0], [0.6, 0.51, 0.52, 0.53]
    )  # p0: 0.5, 0.6 and 0.7
    np.testing.assert_allclose(dice.means[:, 1], [0.7005, 0.6105, 0.6205, 0.6305])
    assert found["hd95"].sign == -found["dice"].sign == -1


def test_it_is_what_pandas_makes_of_it() -> None:
    cases = rows()
    found = arrange(cases)["mr@real-abcdef01/2fold"]
    for metric, scores in found.items():
        wanted = (
            cases.groupby(["seed", "patient", "method"])[metric].mean().to_numpy().reshape(2, 4, 2)
        )
        np.testing.assert_allclose(scores.values, wanted, atol=1e-12)


def test_a_patient_that_two_folds_test_counts_each_fold_alike() -> None:
    twice = rows()
    again = twice[twice.patient == "p0"].head(1).assign(fold=1, dice=0.9)
    scores = arrange(pd.concat([twice, again]), ["dice"])["mr@real-abcdef01/2fold"]["dice"]
    assert scores.values[0, 0, 0] == pytest.approx((0.6 + 0.9) / 2)


def test_real_and_phantom_and_ways_of_splitting_never_meet() -> None:
    cases = pd.concat([rows(), rows(source="phantom"), rows(scheme="")])
    assert list(arrange(cases)) == [
        "mr@phantom-abcdef01/2fold",
        "mr@real-abcdef01",
        "mr@real-abcdef01/2fold",
    ]


def test_a_distance_to_an_empty_mask_is_counted_and_the_patients_other_cases_count() -> None:
    cases = rows()
    cases.loc[(cases.method == "unet") & (cases.case == "c00"), "hd95"] = np.nan
    cases.loc[(cases.method == "fcn") & (cases.case == "c10"), "hd95"] = np.nan
    scores = arrange(cases)["mr@real-abcdef01/2fold"]["hd95"]
    assert scores.undefined == {"fcn": 2, "unet": 2}
    assert scores.values[0, 0, 1] == pytest.approx(9 - 0.75)
    assert scores.complete().left_out == ("p1",)


def test_who_is_missing_is_said() -> None:
    cases = rows()
    cases = cases[~((cases.method == "unet") & (cases.patient == "p2"))]
    scores = arrange(cases, ["dice"])["mr@real-abcdef01/2fold"]["dice"]
    whole = scores.complete()
    assert (whole.patients, whole.left_out, whole.left_out_seeds) == (
        ("p0", "p1", "p3"),
        ("p2",),
        (),
    )
    assert whole.values.shape == (2, 3, 2)
    assert scores.only(["fcn"]).complete().patients == scores.patients


def test_a_seed_that_is_not_finished_is_left_out_before_patients_are() -> None:
    cases = rows()
    cases = cases[~((cases.method == "unet") & (cases.seed == 36) & (cases.fold == 1))]
    whole = arrange(cases, ["dice"])["mr@real-abcdef01/2fold"]["dice"].complete()
    assert (whole.seeds, whole.left_out_seeds, whole.left_out) == ((35,), (36,), ())
    assert len(whole.patients) == 4


def test_methods_without_a_patient_in_common_leave_nothing() -> None:
    cases = rows()
    cases = cases[(cases.method == "unet") == (cases.patient < "p2")]
    whole = arrange(cases, ["dice"])["mr@real-abcdef01/2fold"]["dice"].complete()
    assert (whole.patients, whole.seeds, whole.values.size) == ((), (), 0)
    assert whole.left_out == ("p0", "p1", "p2", "p3")


def test_an_unknown_method_is_told_what_there_is() -> None:
    scores = arrange(rows(), ["dice"])["mr@real-abcdef01/2fold"]["dice"]
    with pytest.raises(
        UsageError, match=r"unett has no result on mr@real-abcdef01/2fold; did you mean 'unet'\?"
    ):
        scores.only(["unett"])


def test_one_seed_speaks_of_a_checkpoint() -> None:
    assert (subject(1), subject(3)) == ("this checkpoint", "the method")
