"""Metrics against MONAI, by property, where a mask is empty, and on bad input."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from bench.engine import metrics
from bench.engine.metrics import EMPTY_POLICY, score
from bench.spec.metrics import SCORES, TOLERANCE

Mask = NDArray[np.uint8]
Spacing = tuple[float, float] | None

SPACINGS: list[Spacing] = [
    None,
    (1.0, 1.0),
    (0.1, 0.1),
    (0.35, 0.35),
    (3.0, 0.5),
    (0.4, 2.2),
    (0.01, 5.0),
]
COUNTS, TEXTS = ["tp", "fp", "fn", "tn"], ["unit", "empty"]
COLUMNS = [*COUNTS, *SCORES, *TEXTS, "diagonal", "spacing"]


def zeros(height: int = 40, width: int = 50) -> Mask:
    return np.zeros((height, width), np.uint8)


def ellipses(seed: int, height: int = 120, width: int = 90, count: int = 3) -> Mask:
    rng, mask = np.random.default_rng(seed), zeros(height, width)
    for _ in range(count):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(1, width // 3)), int(rng.integers(1, height // 4)))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return mask


def box(top: int, left: int, bottom: int, right: int, height: int = 40, width: int = 50) -> Mask:
    mask = zeros(height, width)
    mask[top:bottom, left:right] = 1
    return mask


def noise(seed: int, height: int, width: int, density: float) -> Mask:
    mask = (np.random.default_rng(seed).random((height, width)) < density).astype(np.uint8)
    mask[height // 2, width // 2] = 1
    return mask


peer = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's own

PAIRS: dict[str, tuple[Mask, Mask]] = {
    "identical": (ellipses(0), ellipses(0)),
    "several components": (ellipses(1), ellipses(2)),
    "components against one": (ellipses(3, count=6), ellipses(4, count=1)),
    "touching borders": (box(0, 0, 20, 50), box(0, 5, 40, 50)),
    "whole image": (box(0, 0, 40, 50), box(3, 3, 20, 20)),
    "one pixel each": (box(2, 3, 3, 4), box(35, 44, 36, 45)),
    "one pixel in corners": (box(0, 0, 1, 1), box(39, 49, 40, 50)),
    "one pixel against a box": (box(30, 40, 31, 41), box(5, 5, 20, 30)),
    "disjoint and far": (box(0, 0, 3, 3, 300, 40), box(280, 20, 300, 40, 300, 40)),
    "with a hole": (box(5, 5, 35, 45) ^ box(12, 12, 20, 20), box(6, 4, 36, 44)),
    "noise": (noise(0, 70, 45, 0.3), noise(1, 70, 45, 0.05)),
    "one row": (noise(2, 1, 60, 0.3), noise(3, 1, 60, 0.3)),
    "one column": (noise(4, 60, 1, 0.3), noise(5, 60, 1, 0.3)),
    "two by two": (box(0, 0, 1, 2, 2, 2), box(1, 0, 2, 1, 2, 2)),
    "single pixel image": (box(0, 0, 1, 1, 1, 1), box(0, 0, 1, 1, 1, 1)),
}


@st.composite
def pairs(draw: st.DrawFn, empty: bool = False) -> tuple[Mask, Mask]:
    """Draw two masks of one shape: boxes with flipped pixels, so shapes and specks occur."""
    height, width = draw(st.integers(1, 48)), draw(st.integers(1, 48))
    masks = []
    for _ in range(2):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
        mask = box(top, left, bottom, right, height, width)
        flips = np.random.default_rng(draw(st.integers(0, 99))).random(mask.shape) < draw(
            st.sampled_from([0.0, 0.02, 0.3])
        )
        mask = mask ^ flips
        if empty and draw(st.booleans()):
            mask[:] = 0
        elif not empty:
            mask[top, left] = 1
        masks.append(mask.astype(np.uint8))
    return masks[0], masks[1]


spacings = st.one_of(st.none(), st.tuples(*[st.floats(0.05, 5.0)] * 2))
fast = settings(max_examples=60, deadline=None)


def brute(prediction: Mask, truth: Mask, spacing: Spacing) -> tuple[float, float, float]:
    """HD95, ASSD and NSD as their docstrings say, by scipy's distance transform of the image."""
    edges = [mask.astype(bool) ^ binary_erosion(mask.astype(bool)) for mask in (prediction, truth)]
    sides = [
        distance_transform_edt(~edges[1 - i], sampling=spacing)[edges[i]].astype(np.float32)
        for i in range(2)
    ]
    pooled = np.concatenate(sides).astype(float)
    hd95 = max(np.percentile(side.astype(float), 95) for side in sides)
    return float(hd95), float(pooled.mean()), float((pooled <= TOLERANCE).mean())


@peer
@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_distances_equal_monai(name: str, spacing: Spacing) -> None:
    monai = pytest.importorskip("monai.metrics", reason="the peer MONAI is not installed")
    torch = pytest.importorskip("torch")
    prediction, truth = PAIRS[name]
    tensors = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    common = {"include_background": True, "spacing": spacing}
    expected = [
        monai.compute_hausdorff_distance(*tensors, percentile=95, **common),
        monai.compute_average_surface_distance(*tensors, symmetric=True, **common),
        monai.compute_surface_dice(*tensors, [TOLERANCE], use_subvoxels=False, **common),
    ]
    got = score(prediction, truth, spacing)
    assert [got.hd95, got.assd, got.nsd] == pytest.approx(
        [float(value) for value in expected], abs=1e-4, rel=0
    )


@pytest.mark.parametrize("name", PAIRS)
def test_overlap_equals_monai(name: str) -> None:
    monai = pytest.importorskip("monai.metrics", reason="the peer MONAI is not installed")
    torch = pytest.importorskip("torch")
    prediction, truth = PAIRS[name]
    got = score(prediction, truth, None)
    tensors = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    matrix = monai.get_confusion_matrix(*tensors)[0, 0]  # tp, fp, tn, fn
    assert [got.tp, got.fp, got.tn, got.fn] == matrix.int().tolist()
    assert got.precision == pytest.approx(
        float(monai.compute_confusion_matrix_metric("precision", matrix))
    )
    assert got.recall == pytest.approx(
        float(monai.compute_confusion_matrix_metric("recall", matrix))
    )
    assert got.dice == pytest.approx(float(monai.compute_dice(*tensors)))
    assert got.iou == pytest.approx(float(monai.compute_iou(*tensors)))


@given(pairs(), spacings)
@fast
def test_distances_equal_a_distance_transform(pair: tuple[Mask, Mask], spacing: Spacing) -> None:
    got = score(*pair, spacing)
    assert (got.hd95, got.assd, got.nsd) == pytest.approx(brute(*pair, spacing), abs=1e-4, rel=0)


@pytest.mark.parametrize("limit", [0, 1, 2, 10**9])
@pytest.mark.parametrize("name", PAIRS)
def test_the_tree_and_the_rows_agree(
    name: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = score(*PAIRS[name], (0.7, 0.4))
    monkeypatch.setattr(metrics, "_ROUND_LIMIT", limit)  # 0: the tree alone; the last: rows alone
    got = score(*PAIRS[name], (0.7, 0.4))
    assert (got.hd95, got.assd, got.nsd) == pytest.approx(
        (expected.hd95, expected.assd, expected.nsd), abs=1e-9
    )


@given(pairs(empty=True), spacings)
@fast
def test_counts_bounds_and_identity(pair: tuple[Mask, Mask], spacing: Spacing) -> None:
    got = score(*pair, spacing)
    assert got.tp + got.fp + got.fn + got.tn == pair[0].size
    assert abs(got.iou - got.dice / (2 - got.dice)) <= 1e-12
    for fraction in (got.dice, got.iou, got.nsd):
        assert 0 <= fraction <= 1
    assert got.unit == ("px" if spacing is None else "mm")
    if got.empty == "none":
        assert 0 <= got.precision <= 1
        assert 0 <= got.recall <= 1
        assert got.hd95 >= 0
        assert got.assd >= 0


@given(pairs(empty=True), spacings)
@fast
def test_swapping_the_masks_changes_roles_alone(pair: tuple[Mask, Mask], spacing: Spacing) -> None:
    one, other = score(*pair, spacing), score(*pair[::-1], spacing)
    for name in ("tp", "tn", "dice", "iou", "hd95", "assd", "nsd"):
        assert getattr(one, name) == pytest.approx(
            getattr(other, name), rel=1e-12, abs=1e-12, nan_ok=True
        )
    assert (one.fp, one.fn) == (other.fn, other.fp)
    assert one.precision == pytest.approx(other.recall, nan_ok=True)


@given(pairs(), spacings, st.integers(0, 30), st.integers(0, 30))
@fast
def test_a_shift_away_from_the_border_changes_nothing(
    pair: tuple[Mask, Mask], spacing: Spacing, down: int, right: int
) -> None:
    def place(mask: Mask, down: int, right: int) -> Mask:
        return np.pad(mask, ((down, 31 - down), (right, 31 - right)))

    moved = score(*(place(mask, down, right) for mask in pair), spacing)
    assert moved == score(*(place(mask, 1, 1) for mask in pair), spacing)


@given(pairs(), spacings)
@fast
def test_a_perfect_prediction(pair: tuple[Mask, Mask], spacing: Spacing) -> None:
    got = score(pair[1], pair[1].copy(), spacing)
    assert (got.dice, got.iou, got.precision, got.recall, got.nsd) == (1, 1, 1, 1, 1)
    assert (got.hd95, got.assd, got.fp, got.fn) == (0, 0, 0, 0)


@given(pairs(), st.tuples(*[st.floats(0.1, 3.0)] * 2), st.floats(0.1, 10.0))
@fast
def test_distances_scale_with_the_spacing(
    pair: tuple[Mask, Mask], spacing: tuple[float, float], factor: float
) -> None:
    one, many = score(*pair, spacing), score(*pair, (spacing[0] * factor, spacing[1] * factor))
    assert many.hd95 == pytest.approx(one.hd95 * factor, rel=1e-9)
    assert many.assd == pytest.approx(one.assd * factor, rel=1e-9)
    assert many.dice == one.dice


@given(pairs(), st.tuples(*[st.floats(0.1, 3.0)] * 2))
@fast
def test_turning_image_and_spacing_changes_nothing(
    pair: tuple[Mask, Mask], spacing: tuple[float, float]
) -> None:
    one, turned = score(*pair, spacing), score(pair[0].T, pair[1].T, spacing[::-1])
    assert (turned.hd95, turned.assd) == pytest.approx((one.hd95, one.assd), rel=1e-9)
    assert turned.nsd == one.nsd


def test_a_known_case_by_hand() -> None:
    got = score(box(10, 10, 20, 20), box(10, 12, 20, 22), (1.0, 0.5))
    assert (got.tp, got.fp, got.fn, got.tn) == (80, 20, 20, 1880)
    assert (got.dice, got.iou, got.precision, got.recall) == (0.8, 80 / 120, 0.8, 0.8)
    assert (got.hd95, got.nsd, got.unit, got.empty) == (1.0, 1.0, "mm", "none")


def test_tolerance_counts_a_distance_of_exactly_one_unit() -> None:
    assert (
        score(box(10, 10, 11, 11), box(20, 10, 21, 11), (0.1, 0.1)).nsd == 1.0
    )  # 10 pixels of 0.1 mm
    assert score(box(10, 10, 11, 11), box(18, 16, 19, 17), (0.1, 0.1)).nsd == 1.0  # 6, 8, 10
    assert score(box(10, 10, 11, 11), box(21, 10, 22, 11), (0.1, 0.1)).nsd == 0.0


def test_spacing_is_height_then_width() -> None:
    assert score(box(0, 0, 1, 1), box(4, 0, 5, 1), (2.0, 0.5)).hd95 == 8.0
    assert score(box(0, 0, 1, 1), box(0, 4, 1, 5), (2.0, 0.5)).hd95 == 2.0


@pytest.mark.parametrize("spacing", [None, (0.5, 2.0)])
@pytest.mark.parametrize("empty", EMPTY_POLICY)
def test_empty_masks_follow_the_policy(empty: str, spacing: Spacing) -> None:
    some = box(5, 5, 20, 20)
    prediction = zeros() if empty in ("prediction", "both") else some
    truth = zeros() if empty in ("truth", "both") else some
    got = score(prediction, truth, spacing)
    assert got.empty == empty
    for name, value in EMPTY_POLICY[empty].items():
        assert getattr(got, name) == pytest.approx(value, abs=0, nan_ok=True), name
    assert got.tp + got.fp + got.fn + got.tn == truth.size


def test_the_policy_invents_no_number() -> None:
    nan = math.isnan
    assert {name for name, value in EMPTY_POLICY["truth"].items() if nan(value)} == {
        "recall",
        "hd95",
        "assd",
    }
    assert {name for name, value in EMPTY_POLICY["prediction"].items() if nan(value)} == {
        "precision",
        "hd95",
        "assd",
    }
    assert not any(nan(value) for value in EMPTY_POLICY["both"].values())


def test_columns_and_types_of_a_row() -> None:
    row = score(*PAIRS["several components"], None).row()
    assert list(row) == COLUMNS
    types = [int] * 4 + [float] * 7 + [str] * 2 + [float, str]
    assert [type(value) for value in row.values()] == types


def test_bool_views_and_read_only_masks_score_alike() -> None:
    prediction, truth = PAIRS["several components"]
    expected = score(prediction, truth, None)
    wide = np.repeat(truth, 2, axis=1)[:, ::2].astype(bool)
    wide.flags.writeable = False
    before = prediction.copy()
    assert score(np.asfortranarray(prediction), wide, None) == expected
    assert (
        score(prediction[::-1, ::-1][::-1, ::-1], np.repeat(truth, 2, axis=1)[:, ::2], None)
        == expected
    )
    np.testing.assert_array_equal(prediction, before)


@pytest.mark.parametrize(
    ("prediction", "truth", "spacing", "message"),
    [
        (zeros(4, 5), zeros(5, 4), None, r"prediction has shape \(4, 5\) and reference \(5, 4\)"),
        (
            zeros(4, 5)[None, None],
            zeros(4, 5),
            None,
            r"prediction has shape \(1, 1, 4, 5\); expected \(H, W\)",
        ),
        (zeros(0, 5), zeros(0, 5), None, r"prediction has shape \(0, 5\)"),
        (zeros() + 255, zeros(), None, "prediction holds the value 255; expected only 0 and 1"),
        (zeros(), zeros() + 2, None, "reference holds the value 2"),
        (
            zeros().astype(np.float32),
            zeros(),
            None,
            "prediction is float32; expected bool or uint8",
        ),
        (zeros(), zeros().astype(np.int64), None, "reference is int64"),
        (zeros(), zeros(), (0.0, 1.0), r"spacing is \(0.0, 1.0\); expected"),
        (zeros(), zeros(), (1.0, -1.0), "all positive"),
        (zeros(), zeros(), (math.nan, 1.0), "spacing is"),
        (zeros(), zeros(), (math.inf, 1.0), "spacing is"),
        (zeros(), zeros(), (1.0, 1.0, 1.0), "spacing is"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    prediction: Mask, truth: Mask, spacing: Spacing, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        score(prediction, truth, spacing)
    assert "\n" not in str(caught.value)


def test_a_broken_identity_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"both": {**EMPTY_POLICY["both"], "iou": 0.99}}
    monkeypatch.setattr(metrics, "EMPTY_POLICY", broken)
    with pytest.raises(
        AssertionError, match=r"IoU is 0.99 where Dice is 1.0; expected D / \(2 - D\) = 1.0"
    ):
        score(zeros(), zeros(), None)


@pytest.mark.parametrize(("dice", "iou"), [(0.8, 0.8), (math.nan, 0.5), (0.5, math.nan)])
def test_the_identity_refuses_other_values_and_nan(dice: float, iou: float) -> None:
    with pytest.raises(AssertionError, match="expected"):
        metrics._check_identity(dice, iou)


def test_the_diagonal_is_the_largest_distance_that_can_be() -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[3:9, 5:9] = 1
    assert score(mask, mask, None).row()["diagonal"] == 50
    assert score(mask, mask, (0.5, 0.5)).row()["diagonal"] == 25


@pytest.mark.parametrize("seed", range(4))
def test_volumes_have_monais_distances(seed: int) -> None:
    monai = pytest.importorskip("monai.metrics", reason="the peer MONAI is not installed")
    import torch

    rng = np.random.default_rng(seed)
    spacing = (2.5, 0.7, 1.3)
    masks = []
    for _ in range(2):
        coarse = rng.random((4, 4, 5)) < 0.4
        coarse[1, 2, 2] = True
        mask = np.kron(coarse, np.ones((2, 3, 3), bool)) ^ (rng.random((8, 12, 15)) < 0.02)
        masks.append(mask)
    mine = score(masks[0], masks[1], spacing)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in masks]
    common = {"include_background": True, "spacing": spacing}
    hd95 = monai.compute_hausdorff_distance(*tensors, percentile=95, **common)
    assd = monai.compute_average_surface_distance(*tensors, symmetric=True, **common)
    nsd = monai.compute_surface_dice(*tensors, [TOLERANCE], **common)
    assert mine.hd95 == pytest.approx(float(hd95), abs=1e-4)
    assert mine.assd == pytest.approx(float(assd), abs=1e-4)
    assert mine.nsd == pytest.approx(float(nsd), abs=1e-4)
    assert mine.diagonal == pytest.approx(np.linalg.norm(np.multiply((8, 12, 15), spacing)))


def test_a_volume_of_one_slice_has_the_slices_overlap() -> None:
    prediction, truth = zeros(9, 9), zeros(9, 9)
    prediction[2:6, 2:6] = truth[3:7, 2:7] = 1
    flat, deep = score(prediction, truth, None), score(prediction[None], truth[None], None)
    assert (deep.dice, deep.tp, deep.tn) == (flat.dice, flat.tp, flat.tn)
