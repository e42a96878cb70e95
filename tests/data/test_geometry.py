from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.geometry import MULTIPLE, Geometry, shared_grid
from bench.engine.metrics import score
from tests.conftest import picture

sizes = st.tuples(st.integers(20, 900), st.integers(20, 900))


@settings(max_examples=100, deadline=None)
@given(sizes, sizes)
def test_case_fits_the_grid_and_keeps_its_aspect(
    native: tuple[int, int], grid: tuple[int, int]
) -> None:
    inner = Geometry(native, grid).inner
    assert inner[0] <= grid[0]
    assert inner[1] <= grid[1]
    assert inner[0] == grid[0] or inner[1] == grid[1]
    scale = min(grid[0] / native[0], grid[1] / native[1])
    assert abs(inner[0] - native[0] * scale) <= 1
    assert abs(inner[1] - native[1] * scale) <= 1


@settings(max_examples=50, deadline=None)
@given(sizes, sizes)
def test_back_has_the_native_size_and_keeps_a_constant(
    native: tuple[int, int], grid: tuple[int, int]
) -> None:
    out = Geometry(native, grid).back(np.full(grid, 0.25, np.float32))
    assert out.shape == native
    np.testing.assert_allclose(out, 0.25, atol=1e-6)


@pytest.mark.parametrize("grid", [(512, 512), (700, 500), (600, 440)])
def test_a_mask_survives_the_way_there_and_back(grid: tuple[int, int]) -> None:
    labels = np.kron(picture(0)[1] > 0, np.ones((8, 8))).astype(np.uint8)
    geometry = Geometry(labels.shape, grid)
    there = geometry.mask(labels)
    assert there.shape == grid
    assert score(geometry.back(there.astype(np.float32)) >= 0.5, labels, None).dice > 0.98


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.sampled_from([2, 3, 6]), st.sampled_from([256, 400, 512]))
def test_thin_lines_keep_their_area_on_the_grid(seed: int, width: int, native: int) -> None:
    mask = np.zeros((native, native), np.uint8)
    rng = np.random.default_rng(seed)
    for _ in range(6):
        ends = [[int(place) for place in rng.integers(0, native, 2)] for _ in "ab"]
        cv2.line(mask, *ends, 1, width)
    there = Geometry(mask.shape, (112, 112)).mask(mask)
    due = mask.sum() * (112 / native) ** 2
    assert there.sum() == pytest.approx(due, rel=0.15 if width == 2 else 0.05)


def test_the_smallest_foreground_stays_on_the_grid() -> None:
    mask = np.zeros((512, 512), np.uint8)
    assert Geometry(mask.shape, (64, 64)).mask(mask).sum() == 0
    mask[300, 200] = 1
    there = Geometry(mask.shape, (64, 64)).mask(mask)
    assert np.argwhere(there).tolist() == [[37, 25]]


def test_native_sizes_are_not_resampled() -> None:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    geometry = Geometry((3, 4), (3, 4))
    assert geometry.image(image) is image
    assert geometry.back(image.astype(np.float32)).shape == (3, 4)


def test_what_is_padded_is_zero() -> None:
    image = np.full((100, 50), 9, np.uint16)
    out = Geometry((100, 50), (100, 90)).image(image)
    assert (out[:, 20:70] == 9).all()
    assert out[:, :20].sum() == out[:, 70:].sum() == 0


def test_shared_grid_keeps_area_and_aspect() -> None:
    height, width = shared_grid([(369, 166)] * 3, 16384)
    assert height % MULTIPLE == width % MULTIPLE == 0
    assert 0.8 < height * width / 16384 < 1.25
    assert 0.8 < (height / width) / (369 / 166) < 1.25
