from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.augment import (
    CONTRAST,
    ELASTIC,
    ROTATION,
    SHIFT,
    Parameters,
    augment,
    draw,
    lattice,
    sampling_map,
)

SIZES = [(369, 166), (750, 250), (768, 534), (64, 64), (17, 33)]


def still(height: int, width: int, **changes: object) -> Parameters:
    values = {
        "angle": 0.0,
        "shift": (0.0, 0.0),
        "elastic": np.zeros((2, *lattice(height, width))),
        "contrast": 1.0,
    }
    return Parameters(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES)
def test_parameters_that_change_nothing_change_nothing(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65536, size).astype(np.uint16)
    mask = rng.integers(0, 2, size).astype(np.uint8)
    out, moved = augment(image, mask, still(*size))
    np.testing.assert_allclose(out, image / 65535, atol=2e-3)
    assert (moved == mask).mean() > 0.999


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("angle", [-30.0, 12.0, 30.0])
def test_the_spline_carries_rotation_and_shift_exactly(size: tuple[int, int], angle: float) -> None:
    height, width = size
    shift = (0.03, -0.05)
    source_y, source_x = sampling_map(still(height, width, angle=angle, shift=shift), height, width)
    # OpenCV's matrix maps source to output about the centre; invert it for the sampling map.
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    matrix[:, 2] += (shift[1] * width, shift[0] * height)
    inverse = cv2.invertAffineTransform(matrix)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    np.testing.assert_allclose(
        source_x, inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2], atol=2e-3
    )
    np.testing.assert_allclose(
        source_y, inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2], atol=2e-3
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SIZES))
def test_drawn_parameters_keep_the_papers_ranges(seed: int, size: tuple[int, int]) -> None:
    drawn = draw(np.random.default_rng(seed), *size)
    assert abs(drawn.angle) <= ROTATION
    assert all(SHIFT[0] <= abs(s) <= SHIFT[1] for s in drawn.shift)
    assert np.abs(drawn.elastic).max() <= ELASTIC
    assert CONTRAST[0] <= drawn.contrast <= CONTRAST[1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SIZES[:3]))
def test_the_deformation_never_folds(seed: int, size: tuple[int, int]) -> None:
    source_y, source_x = sampling_map(draw(np.random.default_rng(seed), *size), *size)
    (yy, yx), (xy, xx) = np.gradient(source_y), np.gradient(source_x)
    assert (yy * xx - yx * xy).min() > 0


def test_image_and_mask_move_together_and_stay_in_range() -> None:
    mask = np.zeros((200, 120), np.uint8)
    cv2.ellipse(mask, (60, 100), (30, 50), 10, 0, 360, 1, -1)
    image = (mask * np.uint16(40000)).astype(np.uint16)
    for seed in range(20):
        out, moved = augment(image, mask, draw(np.random.default_rng(seed), *mask.shape))
        assert out.dtype == np.float32
        assert out.min() >= 0
        assert out.max() <= 1
        assert set(np.unique(moved)) <= {0, 1}
        bright = out > (out.max() + out.min()) / 2
        assert (bright == moved.astype(bool)).mean() > 0.995


def test_contrast_keeps_the_mean_of_a_grey_image() -> None:
    image = np.full((50, 50), 30000, np.uint16)
    image[::2] = 34000
    out, _ = augment(image, np.zeros((50, 50), np.uint8), still(50, 50, contrast=1.25))
    assert out.mean() == pytest.approx(32000 / 65535, abs=1e-3)
    assert np.ptp(out) == pytest.approx(1.25 * 4000 / 65535, rel=0.02)


def test_parameters_as_bytes_tell_every_value_apart() -> None:
    base = still(64, 64)
    elastic = base.elastic.copy()
    elastic[1, 0, 0] = 1e-12
    others = [
        still(64, 64, angle=1e-9),
        still(64, 64, contrast=1 + 1e-9),
        still(64, 64, shift=(0.0, 1e-9)),
        still(64, 64, elastic=elastic),
    ]
    assert len({p.to_bytes() for p in [base, *others]}) == 5
