"""Cases that are too small for a network: found before any cell starts, without training one.

A batch norm needs two values of a channel. A network that halves its image often leaves one value
of a tiny image. Each method is asked by its own loss, on tensors that have a size and no values.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.data import cache
from bench.engine.cell import build
from bench.engine.data import Data
from bench.engine.trainee import Trainee
from bench.spec import registry
from bench.spec.capabilities import TrainsItself
from bench.spec.case import Dataset
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.spec.program import Program
from bench.store.cells import Store
from bench.store.plan import split_of

Size = tuple[int, int]
"""(height, width) in pixels."""
TINY, TINY_IN_BATCHES = 64, 32
"""Longest side of an image that may be too small, for batch 1 and for larger batches.

The check takes a second a method, so it leaves larger images alone. No network here divides a side
by more than 32; several images of a batch are several values of a channel."""
LARGEST = 2 * TINY
"""Longest side that is tried in the search for a size that works."""
COMPLAINT = "Expected more than 1"
"""How PyTorch's norm layers begin what they say of a single value."""


def refuse_small(cells: Sequence[Cell], store: Store) -> None:
    """Refuse cells whose method cannot train on a case of its training side.

    Raises:
        UsageError: One cannot, or it cannot be built for such small cases.
    """
    seen = set()
    datasets: dict[str, Dataset] = {}
    for cell in cells:
        place = (cell.dataset.id, cell.split, cell.scheme, cell.method)
        if place in seen:
            continue
        seen.add(place)
        if isinstance(registry.of_cell(cell), Program):
            continue
        folder = cell.dataset.cache
        dataset = datasets.get(folder) or datasets.setdefault(folder, cache.load(Path(folder)))
        if _may_be_small(cell, dataset):
            split = split_of(store, cell, dataset.patients)
            _refuse(cell, Data.of(cell, dataset, split))


def _limit(cell: Cell) -> int:
    """Return the longest side of an image that may be too small."""
    return TINY if cell.profile.batch == 1 else TINY_IN_BATCHES


def _may_be_small(cell: Cell, dataset: Dataset) -> bool:
    """Return whether any image may be small on the network grid, before a split is read."""
    limit = _limit(cell)
    if cell.profile.pixels:
        return cell.profile.pixels <= (limit + 8) ** 2  # a grid's sides are rounded to multiples
    return any(max(case.height, case.width) <= limit for case in dataset.cases)


def _refuse(cell: Cell, data: Data) -> None:
    """Refuse the first training case on which the method cannot train; one of each size is tried.

    Raises:
        UsageError: There is one.
    """
    first: dict[Size, int] = {}
    for index in data.train:
        size = data.cases.size(index)
        if max(size) <= _limit(cell):
            first.setdefault(size, index)
    if not first:
        return
    trainee = build(cell, data, torch.device("cpu"))
    if isinstance(trainee.method, TrainsItself):
        return
    for size, index in sorted(first.items()):
        if not trains(trainee, size):
            raise UsageError(_line(cell, data, trainee, index))


def _line(cell: Cell, data: Data, trainee: Trainee, index: int) -> str:
    """Return what is said of a case that is too small."""
    size = data.cases.size(index)
    too_small = f"case {data.cases.case(index).id} of {cell.dataset.id.name}"
    remedy = "leave the method or the case out"
    if data.cases.grid:
        too_small = f"the grid of {cell.dataset.id.name} under the profile '{cell.profile.name}'"
        remedy = "leave the method out, or raise pixels in a profile of your own"
    height, width = size
    enough = smallest(trainee, size)
    needs = "needs larger images"
    if enough:
        needs = f"needs at least {enough[0]} x {enough[1]}"
    return (
        f"{cell.method}: {too_small} is {height} x {width} pixels (height x width); "
        f"{trainee.method.title} {needs} under batch {cell.profile.batch}: {remedy}"
    )


def trains(trainee: Trainee, size: Size) -> bool:
    """Return whether a method's loss can be computed on images of a size: a batch, and one alone.

    The batch is that of a training step. Validation and prediction take one image.
    Only a norm layer's complaint counts. Another error shows in training, with its own words.
    """
    trainee.net.train()
    if not _computes(trainee, (trainee.task.batch, 1, *size)):
        return False
    trainee.net.eval()
    return _computes(trainee, (1, 1, *size))


def _computes(trainee: Trainee, shape: tuple[int, ...]) -> bool:
    """Return whether a method's loss can be computed on images of a shape (B, 1, H, W)."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    rng = torch.Generator().manual_seed(0)
    try:
        # Tensors of this mode have a size and no values, so that nothing large is computed.
        with torch.random.fork_rng(devices=[]), FakeTensorMode(allow_non_fake_inputs=True) as fake:
            image, mask = (fake.from_tensor(torch.zeros(shape)) for _ in range(2))
            trainee.method.loss(trainee.net, image, mask, rng)
    except ValueError as error:
        return COMPLAINT not in str(error)
    except Exception:  # the mode knows not every operation
        return True
    return True


def smallest(trainee: Trainee, size: Size) -> Size | None:
    """Return a size that works: a larger height, else a larger height and width."""
    height, width = size
    taller = [(side, width) for side in range(height + 1, LARGEST + 1)]
    larger = [(side, side) for side in range(max(size) + 1, LARGEST + 1)]
    for sizes in (taller, larger):
        # From some size on, all work: bisection finds the first of them.
        place = bisect.bisect_left(sizes, True, key=lambda tried: trains(trainee, tried))
        if place < len(sizes):
            return sizes[place]
    return None
