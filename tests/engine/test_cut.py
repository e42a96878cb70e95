"""Dice at the threshold that validation prefers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bench.engine.cut import CUTS, Curve, chosen, dice_at_cuts

MAPS = arrays.arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32))
MASKS = arrays.arrays(np.uint8, (4, 5), elements=st.integers(0, 1))


@given(MAPS, MASKS)
def test_dice_at_each_cut_is_that_of_the_mask(probability: np.ndarray, mask: np.ndarray) -> None:
    for cut, dice in zip(CUTS.astype(np.float32), dice_at_cuts(probability, mask), strict=True):
        cutted = probability >= cut
        total = cutted.sum() + mask.sum()
        expected = 2 * (cutted & (mask > 0)).sum() / total if total else 1.0
        assert dice == pytest.approx(expected)


def test_validation_alone_decides_and_patients_count_alike() -> None:
    mask = np.array([[1, 1, 0, 0]], np.uint8)
    low, high = (np.array([[top, top, 0.1, 0.1]], np.float32) for top in (0.3, 0.9))
    validation, test = Curve(), Curve()
    for _ in range(3):
        validation.add("many", high, mask)
    validation.add("few", low, mask)
    test.add("other", high, mask)
    cut = chosen(validation, test)
    assert cut.threshold == 0.3  # the nearest to 0.5 that serves both patients
    assert (cut.validation, cut.validation_at_half) == (1, 0.5)
    assert (cut.test, cut.test_at_half) == (1, 1)
