from __future__ import annotations

import pytest
from scipy.stats import binomtest

from bench.stats.failures import SEEN_FROM, could_undo, unseen


@pytest.mark.parametrize("patients", [1, 9, 25, 58])
def test_the_unseen_rate_is_the_end_of_the_exact_interval(patients: int) -> None:
    wanted = binomtest(0, patients, alternative="less").proportion_ci(0.95).high
    assert unseen(patients) == pytest.approx(wanted)
    assert unseen(patients) > 0.05


def test_from_so_many_patients_on_one_in_twenty_is_seen() -> None:
    assert unseen(SEEN_FROM) == unseen(500) == unseen(0) == 0
    assert 0.95**SEEN_FROM < 0.05 < 0.95 ** (SEEN_FROM - 1)


def test_a_large_difference_is_beyond_doubt() -> None:
    assert could_undo(0.05, 0.8, 25)
    assert could_undo(-0.05, 0.8, 25)
    assert not could_undo(0.12, 0.8, 25)
    assert not could_undo(0.001, 0.8, SEEN_FROM)
