from __future__ import annotations

import numpy as np
import pytest

from bench.data.grid import OnGrid
from tests.data.test_stream import dataset

DATA = dataset()


def test_native_cases_are_the_dataset_s_own_pixels() -> None:
    cases = OnGrid(DATA, None)
    assert cases.size(2) == cases.native_size(2) == DATA.image(2).shape
    assert np.array_equal(cases.image(2), DATA.image(2))
    assert np.array_equal(cases.mask(2), DATA.mask(2))
    probability = DATA.mask(2).astype(np.float32)
    assert np.array_equal(cases.back(2, probability), probability)


@pytest.mark.parametrize("grid", [(64, 48), (32, 80)])
def test_a_shared_grid_is_left_again_by_the_way_back(grid: tuple[int, int]) -> None:
    cases = OnGrid(DATA, grid)
    assert cases.size(0) == cases.image(0).shape == cases.mask(0).shape == grid
    back = cases.back(0, cases.mask(0).astype(np.float32)) >= 0.5
    assert back.shape == cases.native_size(0) == (60, 44)
    assert (back == DATA.mask(0)).mean() > 0.95
