"""How long a cell would take, by some of its steps and predictions, before any is run."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch

from bench.data import cache
from bench.data.stream import Stream
from bench.engine.cell import build
from bench.engine.data import Data
from bench.engine.predict import predict
from bench.engine.train import Training, validation_loss
from bench.spec import machine, registry
from bench.spec.capabilities import TrainsItself
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.spec.program import Program
from bench.store.cells import Store
from bench.store.layout import CellFolder
from bench.store.plan import split_of

WARM = 2
"""First steps and predictions that are not counted: libraries choose their kernels then."""

MANY = 10**6
"""Batches that are ready; few of them are computed."""


@dataclass(frozen=True)
class Timed:
    """Seconds of the parts of a cell, as they were measured here."""

    step: float
    """Of one training step."""
    validation: float
    """Of one validation case's loss."""
    prediction: float
    """Of one image's prediction."""
    total: float
    """Of the whole cell, if no training stops early."""
    steps: int
    """Training steps that were timed."""


def timed(cell: Cell, store: Store, device: str, seconds: float) -> Timed:
    """Train and predict with a cell's network for a while, and say what all of it would take.

    Args:
        cell: Whose steps are timed; nothing of it is kept.
        store: Has the split.
        device: A PyTorch device.
        seconds: How long, in all; two steps and two predictions are done in any case.

    Raises:
        UsageError: The method trains itself, so it has no steps.
    """
    method = registry.of_cell(cell)
    if isinstance(method, TrainsItself | Program):
        raise UsageError(f"{cell.method} trains itself: no step tells how long; run one cell of it")
    machine.limit_threads(cell.profile.threads)
    dataset = cache.load(Path(cell.dataset.cache))
    data = Data.of(cell, dataset, split_of(store, cell, dataset.patients))
    trainee = build(cell, data, torch.device(device))
    profile = cell.profile
    with tempfile.TemporaryDirectory() as scratch:
        training = Training(trainee, CellFolder(Path(scratch)))
        trainee.net.train()
        stream = Stream(data.cases, data.train, cell.seed, profile.batch, profile.augmentation)
        with closing(stream.batches(0, MANY)) as batches:
            step, steps = _mean(lambda: training.step(next(batches)), seconds / 2, device)
    cases = cycle(data.validation)
    validation, _ = _mean(
        lambda: validation_loss(trainee, data.cases, [next(cases)], lambda _: None),
        seconds / 6,
        device,
    )
    prediction, _ = _mean(lambda: predict(trainee, data.cases, next(cases)), seconds / 3, device)
    validations = math.ceil(profile.steps / profile.validate_every)
    total = profile.steps * step + validations * len(data.validation) * validation
    total += (len(data.validation) + len(data.test)) * prediction
    return Timed(step, validation, prediction, total, steps)


def _mean(do: Callable[[], object], seconds: float, device: str) -> tuple[float, int]:
    """Return the mean seconds of a piece of work, repeated for so long, and how often it was done.

    A GPU is waited for, since it works while the program goes on.
    """
    for _ in range(WARM):
        do()
    _finish(device)
    done, began = 0, time.monotonic()
    while not done or time.monotonic() - began < seconds:
        do()
        done += 1
    _finish(device)
    return (time.monotonic() - began) / done, done


def _finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
