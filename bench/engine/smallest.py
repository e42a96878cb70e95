"""Cases that a network cannot take: found before any cell starts, without training one.

A batch norm needs two values of a channel. A network that halves its image often leaves one value
of a tiny image, and others take images of some sizes alone. Each method is asked by its own loss,
on tensors that have a size and no values.
"""

from __future__ import annotations

import bisect
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.data import cache
from bench.engine.cell import build
from bench.engine.data import Data
from bench.engine.trainee import Trainee
from bench.spec import processes, registry
from bench.spec.capabilities import TrainsItself
from bench.spec.case import Dataset, Split
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.program import Program
from bench.spec.source import OWN

Size = tuple[int, int]
"""(height, width) in pixels."""
SplitOf = Callable[[Cell, Dataset], Split]
"""Returns the split of a cell's dataset."""
Passed = tuple[Spec, str, tuple[Size, ...]]
"""A method, a dataset, and sizes of its cases."""
OF_ALL = ("lr=", "tuned=")
"""How the options begin that leave a network as it is."""
SWITCHES = ("=on", "=off")
"""How the options of an ablation's arms end; to try its many arms would take minutes."""
PARTS_OF_MEMORY = 8
"""A network whose weights are more than this part of the memory is not built before its cell."""
MOST_PIXELS = 512**2
"""Of an image on which a method is tried with values."""
TINY, TINY_IN_BATCHES = 64, 32
"""Longest side of an image that may be too small, for batch 1 and for larger batches.

The check takes a second a method, so larger images are tried on networks alone that options choose.
No other network here divides a side by more than 32; several images of a batch are several values
of a channel."""
LARGEST = 2 * TINY
"""Longest side that is tried in the search for a size that works."""
MODE = "torch._subclasses.fake_tensor"
"""PyTorch's module, and log, of tensors without values."""
COMPLAINT = "Expected more than 1"
"""How PyTorch's norm layers begin what they say of a single value."""


def refuse_small(cells: Sequence[Cell], split_of: SplitOf) -> None:
    """Refuse cells whose method cannot train on a case of its training side.

    Args:
        cells: All cells of a run.
        split_of: Returns the split of a cell's dataset.

    Raises:
        UsageError: One cannot, or it cannot be built for such cases.
    """
    seen = set()
    passed: set[Passed] = set()
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
        if _has_options(cell) or _may_be_small(cell, dataset):
            _refuse(cell, Data.of(cell, dataset, split_of(cell, dataset)), passed)


def _limit(cell: Cell) -> int:
    """Return the longest side of an image that may be too small."""
    return TINY if cell.profile.batch == 1 else TINY_IN_BATCHES


def _has_options(cell: Cell) -> bool:
    """Return whether a network is one of many, of which this project tests not every one.

    A network of another package fails in its cell, where it ends nothing else.
    """
    cls = registry.load(registry.METHODS, cell.method.name)
    others = []
    for pair in cell.method.options:
        if not pair.startswith(OF_ALL) and not pair.endswith(SWITCHES):
            others.append(pair)
    return _is_own(cls) and (bool(others) or not cls.in_all)


def _is_own(cls: type[Any]) -> bool:
    """Return whether a method is one of this project's."""
    return cls.__module__.partition(".")[0] in OWN


def _may_be_small(cell: Cell, dataset: Dataset) -> bool:
    """Return whether any image may be small on the network grid, before a split is read."""
    limit = _limit(cell)
    if cell.profile.pixels:
        return cell.profile.pixels <= (limit + 8) ** 2  # a grid's sides are rounded to multiples
    return any(max(case.height, case.width) <= limit for case in dataset.cases)


def _refuse(cell: Cell, data: Data, passed: set[Passed]) -> None:
    """Refuse the first training case on which the method cannot train; one of each size is tried.

    Of sizes that are large enough for other networks, the least and the greatest are tried. What
    was tried is added to `passed`, and is not tried again for another fold.

    Raises:
        UsageError: There is one, or the method cannot be built.
    """
    first: dict[Size, int] = {}
    for index in data.train:
        first.setdefault(data.cases.size(index), index)
    by_area = sorted(first, key=math.prod)
    tried = {size for size in first if max(size) <= _limit(cell)}
    if _has_options(cell):
        tried |= {by_area[0], by_area[-1]}
    attempt = (cell.method, data.dataset.name, tuple(sorted(tried)))
    if not tried or attempt in passed or not _fits_here(cell, data):
        return
    passed.add(attempt)
    trainee = _built(cell, data)
    if isinstance(trainee.method, TrainsItself):
        return
    for size in sorted(tried):
        why = fault(trainee, size)
        if why:
            raise UsageError(_line(cell, data, trainee, first[size], why))


def _fits_here(cell: Cell, data: Data) -> bool:
    """Return whether the network's weights are small beside this machine's memory.

    A network that is too large fails in its cell, where it ends nothing else.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            net = registry.of_cell(cell).build(data.task(cell))
    except Exception:  # some networks read values while they are built
        return True
    weights = sum(value.numel() * value.element_size() for value in net.parameters())
    return weights < processes.memory() / PARTS_OF_MEMORY


def _built(cell: Cell, data: Data) -> Trainee:
    """Return the network of a cell on the CPU.

    Raises:
        UsageError: It cannot be built.
    """
    try:
        return build(cell, data, torch.device("cpu"))
    except UsageError as error:
        raise UsageError(f"{cell.method} on {cell.dataset.id.name}: {error}") from error
    except Exception as error:  # each library has its own
        raise UsageError(
            f"{cell.method} cannot be built for {cell.dataset.id.name} ({_said(error)}); "
            "give it other options, or leave it out"
        ) from error


def _said(error: Exception) -> str:
    """Return the first line of an error that is not this project's."""
    line = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _line(cell: Cell, data: Data, trainee: Trainee, index: int, why: str) -> str:
    """Return what is said of a case on which a method cannot train."""
    size = data.cases.size(index)
    case = f"case {data.cases.case(index).id} of {cell.dataset.id.name}"
    remedy = "leave the method or the case out"
    if data.cases.grid:
        case = f"the grid of {cell.dataset.id.name} under the profile '{cell.profile.name}'"
        remedy = "leave the method out, or give more pixels (--pixels)"
    height, width = size
    enough = smallest(trainee, size)
    if enough:
        needs = f"needs at least {enough[0]} x {enough[1]}"
    elif COMPLAINT in why:
        needs = "needs larger images"
    else:
        needs = f"cannot train on images of this size ({why})"
    return (
        f"{cell.method}: {case} is {height} x {width} pixels (height x width); "
        f"{trainee.method.title} {needs} under batch {cell.profile.batch}: {remedy}"
    )


def trains(trainee: Trainee, size: Size) -> bool:
    """Return whether a method's loss can be computed on images of a size."""
    return not fault(trainee, size)


def fault(trainee: Trainee, size: Size) -> str:
    """Return why a method's loss cannot be computed on images of a size; else nothing.

    A batch is tried as in training, and one image alone as in validation.
    """
    trainee.net.train()
    of_batch = _fault(trainee, (trainee.task.batch, 1, *size))
    if of_batch:
        return of_batch
    trainee.net.eval()
    return _fault(trainee, (1, 1, *size))


def _fault(trainee: Trainee, shape: tuple[int, ...]) -> str:
    """Return why a method's loss cannot be computed on images (B, 1, H, W); else nothing.

    It is computed on tensors without values, so that nothing large is. An error that is not of a
    norm layer may be of such tensors alone, so it must come again with values. Where the images are
    too large for that, or the method is of another package, it shows in training.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    logging.getLogger(MODE).setLevel(logging.CRITICAL)  # it would print each error's traceback
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as fake:
            image, mask = (fake.from_tensor(torch.zeros(shape)) for _ in range(2))
            _lose(trainee, image, mask)
    except ValueError as error:
        if COMPLAINT in str(error):
            return str(error)
    except Exception:  # the mode knows not every operation
        pass
    else:
        return ""
    cases, *_, height, width = shape
    if height * width > MOST_PIXELS or not _is_own(type(trainee.method)):
        return ""
    try:
        image, mask = torch.zeros(2, min(2, cases), 1, height, width)
        with torch.no_grad():
            _lose(trainee, image, mask)
    except Exception as error:  # each library has its own
        return _said(error)
    return ""


def _lose(trainee: Trainee, image: Tensor, mask: Tensor) -> None:
    """Compute a method's loss; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        rng = torch.Generator().manual_seed(0)
        trainee.method.loss(trainee.net, image, mask, rng)


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
