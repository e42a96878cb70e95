"""Several classes: their scores, their loss, and what a mean over them leaves out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.engine.metrics import mean_dice, score, score_classes
from bench.spec.case import UNION, VOID
from bench.spec.method import bce_dice, ce_dice

NAMES = ("bone", "disc", "canal")


def label_map(seed: int, values: list[int], size: tuple[int, int] = (14, 11)) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    blocks = rng.choice(np.array(values, np.uint8), (size[0] // 3 + 1, size[1] // 3 + 1))
    return np.kron(blocks, np.ones((3, 3), np.uint8))[: size[0], : size[1]].copy()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sets(st.sampled_from([0, 1, 2, 3, VOID]), min_size=1))
def test_each_class_is_scored_against_the_rest_without_void(seed: int, values: set[int]) -> None:
    reference = label_map(seed, sorted(values))
    prediction = label_map(seed + 1, [0, 1, 2])
    scores = score_classes(prediction, reference, NAMES, (0.5, 2.0))
    assert list(scores) == [UNION, *NAMES]
    known = reference != VOID
    for number, name in enumerate(NAMES, 1):
        alone = score((prediction == number) & known, (reference == number) & known, (0.5, 2.0))
        assert scores[name].tn == alone.tn - (~known).sum()
        if alone.empty == "both":
            assert all(math.isnan(value) for value in scores[name].values.values())
        else:
            assert scores[name].values == alone.values
    for side in ("fp", "fn"):
        whole = sum(getattr(scores[name], side) + scores[name].tp for name in NAMES)
        assert whole == getattr(scores[UNION], side) + scores[UNION].tp
    defined = [one.dice for name, one in scores.items() if name != UNION and one.dice == one.dice]
    expected = np.mean(defined) if defined else math.nan
    assert mean_dice(prediction, reference, NAMES) == pytest.approx(expected, nan_ok=True)


def test_a_shifted_class_costs_its_own_score_alone() -> None:
    reference = np.zeros((20, 20), np.uint8)
    reference[2:6], reference[8:12] = 1, 2
    swapped = np.choose(reference, [0, 2, 1]).astype(np.uint8)
    scores = score_classes(swapped, reference, NAMES[:2], None)
    assert scores[UNION].dice == 1
    assert scores["bone"].dice == scores["disc"].dice == 0


def test_the_loss_is_cross_entropy_and_the_dice_of_each_class() -> None:
    rng = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 12, 9, generator=rng)
    target = torch.randint(0, 4, (2, 1, 12, 9), generator=rng)
    probability = logits.softmax(1)
    losses = []
    for number in range(1, 4):
        own, area = (target[:, 0] == number).float(), probability[:, number]
        losses.append(1 - (2 * (own * area).sum() + 1) / (own.sum() + area.sum() + 1))
    expected = F.cross_entropy(logits, target[:, 0]) + torch.stack(losses).mean()
    torch.testing.assert_close(ce_dice(logits, target.float()), expected)


def test_void_pixels_have_no_part_in_the_loss() -> None:
    rng = torch.Generator().manual_seed(4)
    target = torch.randint(0, 3, (1, 1, 10, 10), generator=rng).float()
    target[..., :4, :] = VOID
    logits = torch.randn(1, 3, 10, 10, generator=rng, requires_grad=True)
    loss = ce_dice(logits, target)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[..., :4, :].any()
    assert logits.grad[..., 4:, :].any()
    other = logits.detach().clone()
    other[..., :4, :] = 99
    torch.testing.assert_close(ce_dice(other, target), loss.detach())
    assert torch.isfinite(ce_dice(logits, torch.full_like(target, VOID)))


def test_one_class_with_softmax_has_the_loss_of_one_foreground() -> None:
    rng = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 1, 9, 8, generator=rng)
    mask = torch.randint(0, 2, (2, 1, 9, 8), generator=rng).float()
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(ce_dice(two, mask), bce_dice(logits, mask))
