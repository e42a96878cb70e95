from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from bench.stats.outliers import SEEN_FROM, count, unseen, unseen_outliers_could_undo


@pytest.mark.parametrize("patients", [1, 9, 25, 58])
def test_the_unseen_rate_is_the_end_of_the_exact_interval(patients: int) -> None:
    wanted = binomtest(0, patients, alternative="less").proportion_ci(0.95).high
    assert unseen(patients) == pytest.approx(wanted)
    assert unseen(patients) > 0.05


def test_from_so_many_patients_on_one_in_twenty_is_seen() -> None:
    assert unseen(SEEN_FROM) == unseen(500) == unseen(0) == 0
    assert 0.95**SEEN_FROM < 0.05 < 0.95 ** (SEEN_FROM - 1)


def test_a_large_difference_is_beyond_doubt() -> None:
    assert unseen_outliers_could_undo(0.05, 0.8, 25)
    assert unseen_outliers_could_undo(-0.05, 0.8, 25)
    assert not unseen_outliers_could_undo(0.12, 0.8, 25)
    assert not unseen_outliers_could_undo(0.001, 0.8, SEEN_FROM)


def test_a_patient_is_an_outlier_if_it_is_one_under_any_seed() -> None:
    dice = np.array([[0.9, 0.05, 0.8, 0.0], [0.9, 0.7, 0.8, 0.05]])
    counted = count(dice)
    ends = binomtest(2, 4).proportion_ci(0.95, method="exact")
    assert (counted.number, counted.interval) == (2, (ends.low, ends.high))


def test_without_a_patient_no_share_is_known() -> None:
    assert np.isnan(count(np.zeros((1, 0))).interval).all()
