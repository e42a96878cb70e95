from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.data.augment import (
    PAPER,
    Parameters,
    augment,
    draw,
    lattice,
    sampling_map,
)
from bench.spec.profile import Augmentation, Flips

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
    assert abs(drawn.angle) <= PAPER.rotation == 30
    low, high = PAPER.shift
    assert all(low <= abs(share) <= high for share in drawn.shift)
    assert np.abs(drawn.elastic).max() <= PAPER.elastic
    assert abs(drawn.contrast - 1) <= PAPER.contrast
    assert drawn.flips == ()


OFF = Augmentation(rotation=0, shift=(0, 0), elastic=0, contrast=0)


@pytest.mark.parametrize("size", SIZES)
def test_an_augmentation_that_is_off_keeps_every_pixel(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 65536, size).astype(np.uint16)
    mask = rng.integers(0, 2, size).astype(np.uint8)
    out, moved = augment(image, mask, draw(rng, *size, OFF))
    np.testing.assert_allclose(out, image / 65535, atol=2e-3)
    assert (moved == mask).mean() > 0.999


@pytest.mark.parametrize(
    ("flips", "axes"),
    [("none", {()}), ("horizontal", {(), (1,)}), ("both", {(), (0,), (1,), (0, 1)})],
)
def test_flips_mirror_image_and_mask(flips: Flips, axes: set[tuple[int, ...]]) -> None:
    image = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48) * np.uint16(20)
    mask = (image > 30000).view(np.uint8)
    most = replace(OFF, flips=flips)
    drawn = [draw(np.random.default_rng(seed), 64, 48, most) for seed in range(40)]
    assert {parameters.flips for parameters in drawn} == axes
    for parameters in drawn:
        out, moved = augment(image, mask, parameters)
        np.testing.assert_allclose(out, np.flip(image, parameters.flips) / 65535, atol=2e-3)
        assert (moved == np.flip(mask, parameters.flips)).mean() > 0.999


def lines(rng: np.random.Generator, size: int, width: float, count: int = 3) -> NDArray[np.uint8]:
    """Draw straight lines at random angles, far enough from the border to stay inside."""
    y, x = np.mgrid[:size, :size].astype(float)
    mask = np.zeros((size, size), bool)
    for _ in range(count):
        angle, (top, left) = rng.uniform(0, np.pi), size * rng.uniform(0.35, 0.65, 2)
        along = (y - top) * np.sin(angle) + (x - left) * np.cos(angle)
        across = (y - top) * np.cos(angle) - (x - left) * np.sin(angle)
        mask |= (abs(along) < 0.22 * size) & (abs(across) < width / 2)
    return mask.view(np.uint8)


@pytest.mark.parametrize("size", [64, 112, 256])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_thin_lines_keep_their_area(size: int, width: int) -> None:
    after, due = 0.0, 0.0
    for seed in range(60):
        mask = lines(np.random.default_rng(seed), size, width)
        parameters = draw(np.random.default_rng(seed), size, size)
        _, moved = augment(mask.astype(np.uint16), mask, parameters)
        after += moved.sum()
        due += area_under(mask, sampling_map(parameters, size, size))
    assert after == pytest.approx(due, rel=0.01)


def area_under(
    mask: NDArray[np.uint8], sources: tuple[NDArray[np.float32], NDArray[np.float32]], fine: int = 8
) -> float:
    """Return the area that a map gives a mask, by a grid `fine` times as dense."""
    y, x = (cv2.resize(source, None, fx=fine, fy=fine) for source in sources)
    return float(cv2.remap(mask, x, y, cv2.INTER_NEAREST).sum()) / fine**2


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
        still(64, 64, flips=(0,)),
        still(64, 64, flips=(1,)),
    ]
    assert len({p.to_bytes() for p in [base, *others]}) == 7
