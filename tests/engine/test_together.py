"""Several cases at once give what cases one by one give, in the same order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.grid import OnGrid
from bench.engine import trainee as trainees
from bench.engine.predict import predictions
from bench.engine.train import validation_loss
from bench.engine.trainee import Trainee
from bench.spec import registry
from bench.spec.case import Case, Dataset
from bench.spec.method import Method, Task
from bench.spec.names import Spec
from bench.spec.profile import load_profile

CPU = torch.device("cpu")
SIZES = ((64, 48), (64, 48), (64, 48), (48, 64), (64, 48), (64, 48))
"""(height, width) of the cases; three, one and two neighbours are of equal size."""
ALL = range(len(SIZES))


def cases(classes: tuple[str, ...] = ()) -> OnGrid:
    """Return noisy images with a bright rectangle, at their native sizes."""
    rng = np.random.default_rng(3)
    images, masks, starts, start = [], [], [], 0
    for number, (height, width) in enumerate(SIZES):
        mask = np.zeros((height, width), np.uint8)
        mask[8 + number : 30, 10:35] = 1
        if classes:
            mask[32:40] = 2
        image = 30000 * (mask > 0) + rng.integers(0, 20000, mask.shape)
        images.append(image.astype(np.uint16).ravel())
        masks.append(mask.ravel())
        starts.append(start)
        start += mask.size
    of_each = tuple(
        Case(f"c{number}", f"p{number}", *size, None) for number, size in enumerate(SIZES)
    )
    pixels = np.concatenate(images), np.concatenate(masks)
    return OnGrid(Dataset("mr", "real", "d", of_each, *pixels, tuple(starts)), None)


def trainee(method: Method, at_once: int, classes: tuple[str, ...] = ()) -> Trainee:
    profile = replace(load_profile("smoke"), cases_at_once=at_once)
    task = Task("mr", SIZES, 1, 2, classes)
    return trainees.build(method, task, profile, 35, CPU, "float32")


@pytest.mark.parametrize("name", registry.names(registry.METHODS))
def test_answers_and_losses_are_those_of_cases_one_by_one(name: str) -> None:
    """So it is for every method, whether or not it allows several at once."""
    method = registry.method(Spec.parse(name), "tiny")
    alone, at_once = (trainee(method, number) for number in (1, 4))
    at_once.net.load_state_dict(alone.net.state_dict())
    one_by_one = list(predictions(alone, cases(), ALL))
    several = list(predictions(at_once, cases(), ALL))
    for one, other in zip(one_by_one, several, strict=True):
        assert one.probabilities.keys() == other.probabilities.keys()
        for row, values in one.probabilities.items():
            np.testing.assert_allclose(values, other.probabilities[row], atol=1e-5)
    losses = [validation_loss(subject, cases(), ALL) for subject in (alone, at_once)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@dataclass(frozen=True)
class Counting(Method):
    """Notes how many images enter at once; may find room for one alone."""

    title = "Counting"
    source = "tests"
    entered: list[int] = field(default_factory=list)
    room: int = 100

    def build(self, task: Task) -> nn.Module:
        return nn.Conv2d(1, task.channels, 3, padding=1)

    def logits(self, net: nn.Module, image: Tensor) -> Tensor:
        if len(image) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.entered.append(len(image))
        return super().logits(net, image)


def test_neighbours_of_equal_size_enter_at_once() -> None:
    method = Counting()
    subject = trainee(method, 2)
    list(predictions(subject, cases(), ALL))
    validation_loss(subject, cases(), ALL)
    assert method.entered == 2 * [2, 1, 1, 2]


def test_classes_too() -> None:
    method = Counting()
    alone, at_once = (trainee(method, number, ("one", "two")) for number in (1, 6))
    one_by_one, several = (list(predictions(it, cases(), ALL)) for it in (alone, at_once))
    for one, other in zip(one_by_one, several, strict=True):
        assert np.array_equal(one.masks[""], other.masks[""])
        assert other.probabilities[""].shape[0] == 3


def test_where_the_memory_is_too_small_each_case_is_computed_alone() -> None:
    method = Counting(room=1)
    subject = trainee(method, 4)
    assert len(list(predictions(subject, cases(), ALL))) == len(SIZES)
    validation_loss(subject, cases(), ALL)
    assert method.entered == 2 * len(SIZES) * [1]


def test_progress_is_told_before_each_group() -> None:
    told: list[int] = []
    validation_loss(trainee(Counting(), 2), cases(), ALL, told.append)
    assert told == [0, 2, 3, 4]
