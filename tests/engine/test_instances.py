"""Scores of instances: laws, what goes wrong in a spine, and equality with panoptica and MONAI."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.engine import instances
from bench.engine.instances import Scored
from bench.engine.metrics import score
from bench.engine.parts import Parts, of_components, of_labels, of_mask
from bench.spec.metrics import INSTANCE_COUNTS, INSTANCES

Map = NDArray[np.uint8]
Spacing = tuple[float, ...] | None
AGREEMENT = 1e-6


def spine(levels: Sequence[int], size: int = 20, gap: int = 6) -> Map:
    """Return a column of square vertebrae (H, W) with these labels, the first on top."""
    height = len(levels) * (size + gap) + gap
    labels = np.zeros((height, 3 * size), np.uint8)
    for place, level in enumerate(levels):
        top = gap + place * (size + gap)
        labels[top : top + size, size : 2 * size] = level
    return labels


def scored(prediction: Map, reference: Map, spacing: Spacing = (1.0, 1.0)) -> Scored:
    return instances.score(of_labels(prediction), of_labels(reference), spacing)


def drawn(seed: int, side: int = 48) -> tuple[Map, Map]:
    """Return two label maps of some ellipses, most of them near each other."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((2, side, side), np.uint8)
    for label in range(1, int(rng.integers(1, 9))):
        centre = rng.integers(0, side, 2)
        axes = rng.integers(2, side // 4, 2)
        for image in maps:
            if rng.random() < 0.1:
                continue
            moved = centre + rng.integers(-3, 4, 2)
            sides = np.maximum(1, axes + rng.integers(-2, 3, 2))
            name = label if rng.random() < 0.8 else int(rng.integers(1, 12))
            cv2.ellipse(image, moved.tolist(), sides.tolist(), 0, 0, 360, name, -1)
    return maps[0], maps[1]


maps = st.integers(0, 10**6).map(drawn)


# What goes wrong in a spine


def test_a_shift_by_one_level_has_a_dice_of_one_and_identifies_nothing() -> None:
    reference = spine([20, 21, 22, 23, 24])
    shifted = np.where(reference, reference + 1, 0).astype(np.uint8)
    assert score((shifted > 0).astype(np.uint8), (reference > 0).astype(np.uint8), None).dice == 1
    for spacing in ((1.0, 1.0), (0.3, 0.3), None):
        result = scored(shifted, reference, spacing)
        assert result.values["identified"] == 0
        assert result.values["pq"] == 1
        assert result.states == ("shifted",) * 5
    assert result.values["localisation"] == pytest.approx(26)  # pixels: a body and a gap


def test_a_missing_vertebra_is_missed() -> None:
    reference, prediction = spine([1, 2, 3, 4]), spine([1, 2, 0, 4])
    result = scored(prediction, reference)
    assert result.states == ("matched", "matched", "missed", "matched")
    assert result.values["identified"] == 0.75
    assert result.values["rq"] == pytest.approx(3 / 3.5)
    assert result.values["sq"] == result.values["matched_dice"] == 1


def test_two_joined_vertebrae_are_joined() -> None:
    reference = spine([1, 2, 3])
    prediction = spine([1, 1, 3])
    prediction[26:32, 20:40] = 1  # the gap between them
    result = scored(prediction, reference)
    assert result.states == ("joined", "joined", "matched")
    by_components = instances.score(of_components(prediction > 0), of_labels(reference))
    assert by_components.states == result.states
    assert (by_components.row()["joined"], by_components.row()["predicted"]) == (2, 2)


def test_a_vertebra_in_two_parts_is_split() -> None:
    reference, prediction = spine([1, 2]), spine([1, 2])
    prediction[32 + 9 : 32 + 11] = 0
    result = instances.score(of_components(prediction > 0), of_labels(reference))
    assert result.states == ("matched", "split")
    assert result.row()["predicted"] == 3


def test_a_vertebra_near_its_place_is_identified_within_twenty_millimetres() -> None:
    reference, prediction = spine([1, 0, 2]), np.roll(spine([1, 0, 2]), 8, axis=1)
    assert scored(prediction, reference, (1.0, 1.0)).values["identified"] == 1
    assert scored(prediction, reference, (2.6, 2.6)).values["identified"] == 0  # 20.8 mm
    assert scored(prediction, reference, None).values["identified"] == 1  # pixels have no limit
    assert scored(prediction, reference, (2.6, 2.6)).values["localisation"] == pytest.approx(20.8)


def test_components_have_no_names() -> None:
    reference = spine([1, 2])
    values = instances.score(of_components(reference > 0), of_labels(reference)).values
    assert math.isnan(values["identified"])
    assert math.isnan(values["localisation"])
    assert values["pq"] == 1


@pytest.mark.parametrize("as_parts", [of_labels, lambda labels: of_components(labels > 0)])
def test_what_neither_mask_holds_is_undefined_and_what_one_holds_is_zero(
    as_parts: Callable[[Map], Parts],
) -> None:
    empty, reference = np.zeros((84, 60), np.uint8), spine([1, 2, 3])
    undefined = instances.score(as_parts(empty), of_labels(empty)).values
    assert all(map(math.isnan, undefined.values()))
    for mine, real in (
        (as_parts(empty), of_labels(reference)),
        (as_parts(reference), of_labels(empty)),
    ):
        values = instances.score(mine, real).values
        assert {values[name] for name in ("pq", "rq", "sq", "matched_dice")} == {0}
        assert math.isnan(values["localisation"])


def test_classes_that_are_levels_have_names_and_others_are_cut_into_components() -> None:
    reference = spine([20, 21, 22])
    numbers = np.where(reference, reference - 19, 0).astype(np.uint8)
    named = instances.score(of_mask(numbers, numbers, (20, 21, 22)), of_labels(reference)).values
    assert (named["pq"], named["identified"]) == (1, 1)
    shifted = of_mask(numbers, numbers, (21, 22, 23))
    assert instances.score(shifted, of_labels(reference)).values["identified"] == 0
    two = np.where(numbers > 1, 2, numbers).astype(np.uint8)
    parts = instances.score(of_mask(two, two, (20, 0)), of_labels(reference))
    assert (parts.values["pq"], len(parts.predicted)) == (1, 3)
    assert math.isnan(parts.values["identified"])
    void = np.where(numbers == 3, 255, numbers).astype(np.uint8)
    known = np.where(numbers == 3, 0, reference)
    assert instances.score(of_mask(two, void, (20, 0)), of_labels(known)).values["pq"] == 1


def test_instances_of_two_classes_never_match() -> None:
    reference = spine([1, 2, 3, 4])
    numbers = np.where(reference, 1 + (reference > 2), 0).astype(np.uint8)
    swapped = np.where(numbers, 3 - numbers, 0).astype(np.uint8)
    whole = instances.rows(of_mask(swapped, numbers, (0, 0)), reference, numbers, 2, (1.0, 1.0))
    assert [row["pq"] for row in whole] == [0, 0, 0]
    assert [row["missed"] for row in whole] == [4, 2, 2]
    half = np.where(numbers == 1, 1, 0).astype(np.uint8)
    parts = of_mask(half, numbers, (0, 0))
    whole = instances.rows(parts, reference, numbers, 2, (1.0, 1.0))
    assert [row["pq"] for row in whole] == [pytest.approx(2 / 3), 1, 0]


def test_classes_that_touch_are_cut_as_the_prediction_is() -> None:
    reference = spine([1, 2], gap=1)
    reference[reference.any(axis=1).argmax() + 20, 20:40] = 3  # a disc that touches both
    numbers = np.where(reference, 1 + (reference == 3), 0).astype(np.uint8)
    rows = instances.rows(of_mask(numbers, numbers, (0, 0)), reference, numbers, 2, None)
    assert [row["pq"] for row in rows] == [1, 1, 1]
    assert [row["pq_of_reference"] for row in rows] == [1, 1, 1]


def test_levels_that_are_shifted_match_together_and_in_no_class() -> None:
    reference = spine([20, 21, 22])
    numbers = np.where(reference, reference - 19, 0).astype(np.uint8)
    shifted = np.where(numbers == 3, 0, np.where(numbers, numbers + 1, 0)).astype(np.uint8)
    parts = of_mask(shifted, numbers, (20, 21, 22))
    whole, *classes = instances.rows(parts, reference, numbers, 3, (1.0, 1.0))
    assert (whole["shifted"], whole["identified"]) == (2, 0)
    assert whole["pq"] == pytest.approx(2 / 2.5)
    assert [row["pq"] for row in classes] == [0, 0, 0]
    assert [row["identified"] for row in classes] == [0, 0, 0]
    assert [row["localisation"] for row in classes] == pytest.approx(
        [math.nan, 26, 26], nan_ok=True
    )


@given(maps, st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_a_class_scores_as_if_it_were_alone(pair: tuple[Map, Map], first: int) -> None:
    numbers = [np.where(one, 1 + (one > first), 0).astype(np.uint8) for one in pair]
    parts = of_mask(*numbers, (0, 0))
    whole, *classes = instances.rows(parts, pair[1], numbers[1], 2, (1.0, 1.0))
    for number, row in enumerate(classes, 1):
        mine, real = (one == number for one in numbers)
        alone = instances.score(of_components(mine), of_labels(np.where(real, pair[1], 0)))
        assert row == pytest.approx(alone.row(), nan_ok=True)
    for name in INSTANCE_COUNTS:
        assert whole[name] == sum(row[name] for row in classes)


def test_a_row_has_every_column_in_order() -> None:
    row = scored(spine([1, 2]), spine([1, 2])).row()
    assert list(row) == [*INSTANCE_COUNTS, *(metric.name for metric in INSTANCES)]


def test_a_volume_is_scored_with_its_spacing() -> None:
    reference = np.zeros((6, 20, 20), np.uint8)
    reference[:3, 5:10, 5:10], reference[3:, 12:18, 12:18] = 1, 2
    prediction = np.roll(reference, 1, axis=0)
    prediction[0] = 0
    result = instances.score(of_labels(prediction), of_labels(reference), (3.0, 1.0, 1.0))
    assert result.values["localisation"] == pytest.approx((3.0 + 1.5) / 2)
    corner = np.zeros((2, 2, 2), bool)
    corner[0, 0, 0] = corner[1, 1, 1] = True
    assert of_components(corner).codes.max() == 1  # a corner joins voxels
    assert of_components(corner[:, :, 0] | corner[:, :, 1]).codes.max() == 2  # but no pixels


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: of_labels(np.zeros(3, np.uint8)), "expected (H, W)"),
        (lambda: of_labels(np.zeros((2, 2))), "round them"),
        (lambda: of_labels(np.full((2, 2), -1)), "labels hold -1"),
        (lambda: of_components(np.zeros((2, 2), np.int32)), "expected bool or uint8"),
        (lambda: scored(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)), "one shape"),
        (lambda: scored(*np.zeros((2, 2, 2), np.uint8), spacing=(1.0,)), "2 sides in mm"),
        (lambda: scored(*np.zeros((2, 2, 2), np.uint8), spacing=(1.0, 0.0)), "all positive"),
    ],
)
def test_what_cannot_be_scored_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=r"expected|holds|round") as error:
        call()
    assert said in str(error.value)


# Laws


@given(maps)
@settings(max_examples=40, deadline=None)
def test_qualities_do_not_depend_on_which_mask_is_the_reference(pair: tuple[Map, Map]) -> None:
    one, other = scored(*pair).values, scored(*pair[::-1]).values
    for name in ("pq", "rq", "sq", "matched_dice"):
        assert one[name] == pytest.approx(other[name], nan_ok=True)


@given(maps, st.randoms())
@settings(max_examples=40, deadline=None)
def test_qualities_do_not_depend_on_the_numbers_of_labels(
    pair: tuple[Map, Map], random: Random
) -> None:
    values = list(range(1, 256))
    random.shuffle(values)
    table = np.array([0, *values], np.uint8)
    plain, renamed = scored(*pair).values, scored(*(table[labels] for labels in pair)).values
    for name, value in plain.items():
        assert renamed[name] == pytest.approx(value, nan_ok=True)


@given(maps)
@settings(max_examples=30, deadline=None)
def test_a_perfect_answer_scores_best(pair: tuple[Map, Map]) -> None:
    result = scored(pair[1], pair[1])
    expected = dict.fromkeys(result.values, 1.0) | {"localisation": 0.0}
    if not pair[1].any():
        expected = dict.fromkeys(expected, math.nan)
    assert result.values == pytest.approx(expected, nan_ok=True)
    assert set(result.states) <= {"matched"}


@given(maps, st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_large_label_values_are_labels_too(pair: tuple[Map, Map], power: int) -> None:
    large = [labels.astype(np.int64) * 10**power for labels in pair]
    assert scored(*large).row() == pytest.approx(scored(*pair).row(), nan_ok=True)


@given(maps)
@settings(max_examples=40, deadline=None)
def test_every_instance_has_one_state_and_the_counts_agree(pair: tuple[Map, Map]) -> None:
    result = scored(*pair)
    row = result.row()
    assert row["matched"] + row["joined"] + row["split"] + row["missed"] == row["instances"]
    assert row["shifted"] <= row["matched"] <= min(row["instances"], row["predicted"])
    for name in ("pq", "rq", "sq", "matched_dice", "identified"):
        assert math.isnan(row[name]) or 0 <= row[name] <= 1
    assert result.sizes[0].sum() == np.count_nonzero(pair[1])


# Equality with others


def panoptica_of(prediction: Map, reference: Map) -> dict[str, float]:
    """Return panoptica's scores of unmatched instances, by its default matching."""
    panoptica = pytest.importorskip("panoptica")
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.UNMATCHED_INSTANCE,
        instance_matcher=panoptica.NaiveThresholdMatching(),
        instance_metrics=[panoptica.Metric.DSC, panoptica.Metric.IOU],
        global_metrics=[],
        verbose=False,
        log_times=False,
    )
    result = evaluator.evaluate(prediction, reference)["ungrouped"]
    return {"pq": result.pq, "rq": result.rq, "sq": result.sq, "matched_dice": result.sq_dsc}


def monai_of(prediction: Map, reference: Map) -> dict[str, float]:
    """Return MONAI's scores; its small constant is taken out."""
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(labels.astype(np.int32)) for labels in (prediction, reference)]
    tp, fp, fn, total = metrics.compute_panoptic_quality(
        *tensors, output_confusion_matrix=True
    ).tolist()
    whole = tp + 0.5 * fp + 0.5 * fn
    values = {"pq": total, "rq": tp}
    ratios = {name: value / whole if whole else math.nan for name, value in values.items()}
    return {**ratios, "sq": total / tp if tp else 0.0}


def check(seeds: range) -> int:
    """Compare scores of random maps with both peers; return how many had a match."""
    matched = 0
    for seed in seeds:
        prediction, reference = drawn(seed)
        result = scored(prediction, reference)
        ours = result.values
        if not result.instances and not result.predicted:
            continue
        if prediction.any() and reference.any():
            theirs = panoptica_of(prediction, reference)
            for name, value in theirs.items():
                assert ours[name] == pytest.approx(value, abs=AGREEMENT), (seed, name)
        if not (result.ious == instances.THRESHOLD).any():  # MONAI wants more than one half
            for name, value in monai_of(prediction, reference).items():
                assert ours[name] == pytest.approx(value, abs=AGREEMENT), (seed, name)
        matched += bool(result.matches)
    return matched


def test_scores_are_those_of_panoptica_and_monai() -> None:
    assert check(range(20)) >= 10


@pytest.mark.long
def test_scores_are_those_of_panoptica_and_monai_on_a_thousand_maps() -> None:
    assert check(range(1000)) > 500


@pytest.mark.parametrize("seed", range(3))
def test_components_are_those_of_panoptica(seed: int) -> None:
    panoptica = pytest.importorskip("panoptica")
    prediction, reference = (labels > 0 for labels in drawn(seed))
    ours = instances.score(of_components(prediction), of_components(reference)).values
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(),
        verbose=False,
        log_times=False,
    )
    result = evaluator.evaluate(prediction.astype(np.uint8), reference.astype(np.uint8))
    assert ours["pq"] == pytest.approx(result["ungrouped"].pq, abs=AGREEMENT)
