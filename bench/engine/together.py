"""Several cases at once in validation and prediction, where the profile and the method allow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor

from bench.data.grid import OnGrid
from bench.engine.room import NoRoomError, with_room
from bench.engine.trainee import Trainee, to_tensor
from bench.spec.capabilities import AnswersWithMore, ToldBox
from bench.spec.method import Method

Result = TypeVar("Result")


def at_once_in_prediction(trainee: Trainee) -> int:
    """Return how many cases may be predicted at once.

    It is 1 for a method that draws noise, is told a box, or has another answer than its logits.
    """
    method = trainee.method
    more = isinstance(method, AnswersWithMore | ToldBox)
    by_logits = type(method).predict is Method.predict and not more
    return trainee.profile.cases_at_once if by_logits else 1


def at_once_in_validation(trainee: Trainee) -> int:
    """Return how many cases may be validated at once: 1 for a method with a loss of its own."""
    by_logits = type(trainee.method).loss is Method.loss
    return trainee.profile.cases_at_once if by_logits else 1


def in_groups(
    what: str,
    cases: OnGrid,
    indexes: Sequence[int],
    most: int,
    act: Callable[[Sequence[int]], Sequence[Result]],
) -> Iterator[Sequence[Result]]:
    """Yield the results of neighbouring cases of equal size, in order.

    Where the device's memory is too small for several cases, each is computed alone.

    Args:
        what: When it happens, for the error: `in validation`.
        cases: The dataset on the grid.
        indexes: Which cases.
        most: How many at once.
        act: Computes the results of some cases without gradients; it may be called again.

    Raises:
        NoRoomError: The memory is too small for one case.
    """
    for group in _groups(cases, indexes, most):
        try:
            results = with_room(what, partial(act, group))
        except NoRoomError:
            if len(group) == 1:
                raise
        else:
            yield results
            continue
        for index in group:
            yield with_room(what, partial(act, [index]))


def _groups(cases: OnGrid, indexes: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """Yield neighbours of equal size on the grid, at most so many at once."""
    for _size, run in groupby(indexes, key=cases.size):
        neighbours = list(run)
        for start in range(0, len(neighbours), most):
            yield neighbours[start : start + most]


def images_of(trainee: Trainee, cases: OnGrid, group: Sequence[int]) -> Tensor:
    """Return the images (B, 1, h, w) of cases of equal size."""
    return torch.cat([to_tensor(cases.image(index), trainee.device) for index in group])
