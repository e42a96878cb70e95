from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.data.geometry import Geometry
from bench.data.grid import OnGrid
from bench.spec.case import VOID, Dataset
from tests.conftest import picture
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


def labelled(classes: tuple[str, ...] = ("one", "two", "three")) -> Dataset:
    """Return cases whose masks hold the numbers of three ellipses."""
    maps = [picture(number)[1] for number in range(len(DATA.cases))]
    masks = np.concatenate([labels.ravel() for labels in maps])
    numbers = tuple((number,) for number in range(1, len(classes) + 1))
    return replace(DATA, masks=masks, foreground=(1, 2, 3), classes=classes, numbers=numbers)


@pytest.mark.parametrize("grid", [(30, 22), (64, 48), (32, 80)])
def test_classes_keep_their_area_and_their_union_is_the_foreground(grid: tuple[int, int]) -> None:
    data = labelled()
    cases, alone = OnGrid(data, grid), OnGrid(replace(data, classes=()), grid)
    for index in range(len(data.cases)):
        there, native = cases.mask(index), data.target(index)
        assert np.array_equal(there > 0, alone.mask(index) > 0)
        scale = np.prod(Geometry(native.shape, grid).inner) / np.prod(native.shape)
        for number in (1, 2, 3):
            expected = scale * (native == number).sum()
            assert (there == number).sum() == pytest.approx(expected, rel=0.12, abs=4)


def test_one_class_lies_as_foreground_does_and_void_stays_void() -> None:
    native = DATA.mask(1).copy()
    geometry = Geometry(native.shape, (30, 22))
    assert np.array_equal(geometry.classes(native, 1), geometry.mask(native))
    native[:20] = VOID
    there = geometry.classes(native, 1)
    assert (there[:9] == VOID).all()
    assert not (there[11:] == VOID).any()


def test_a_sealed_case_shows_no_target() -> None:
    with pytest.raises(PermissionError):
        labelled().without([1]).target(1)
