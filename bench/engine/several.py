"""What several classes do not go with: said before any cell starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.data import cache
from bench.engine.data import Data
from bench.engine.smallest import SplitOf
from bench.spec import devices, processes, registry
from bench.spec.case import Dataset
from bench.spec.config import Cell
from bench.spec.errors import UsageError

COPIES = 4
"""Maps of single precision that training holds at least for a class: its logits, its probabilities,
and the gradient of each."""
BYTES = 4
"""Of a number of single precision."""


def refuse_classes(cells: Sequence[Cell], split_of: SplitOf, device: str) -> None:
    """Refuse cells whose classes the method, the training cases or the device cannot take.

    Args:
        cells: All cells of a run.
        split_of: Returns the split of a cell's dataset.
        device: Where they will run.

    Raises:
        UsageError: A method tells no classes apart, a class occurs in no training case, or the
            device's memory is smaller than what the classes take at least.
    """
    datasets: dict[str, Dataset] = {}
    for cell in cells:
        folder = cell.dataset.cache
        if folder not in datasets:
            datasets[folder] = cache.load(Path(folder))
    several = [cell for cell in cells if datasets[cell.dataset.cache].classes]
    _refuse_methods(several, datasets)
    seen = set()
    for cell in several:
        place = (cell.dataset.id, cell.split)
        if place in seen:
            continue
        seen.add(place)
        dataset = datasets[cell.dataset.cache]
        data = Data.of(cell, dataset, split_of(cell, dataset))
        _refuse_untrained(cell, data)
        _refuse_large(cell, data, device)


def _refuse_methods(cells: Sequence[Cell], datasets: dict[str, Dataset]) -> None:
    """Refuse methods that know one foreground.

    Raises:
        UsageError: There is one; names those that remain.
    """
    methods = list(dict.fromkeys(cell.method for cell in cells))
    able = [spec for spec in methods if registry.load(registry.METHODS, spec.name).multiclass]
    unable = [spec.key for spec in methods if spec not in able]
    if not unable:
        return
    name = cells[0].dataset.id.name
    classes = ", ".join(datasets[cells[0].dataset.cache].classes)
    kept = ",".join(spec.key for spec in able) or "unet"
    raise UsageError(
        f"{', '.join(unable)} cannot tell classes apart, and {name} has several ({classes}): "
        f"--methods {kept}, or give {name} one foreground"
    )


def _refuse_untrained(cell: Cell, data: Data) -> None:
    """Refuse a class that no training case shows.

    Raises:
        UsageError: There is one.
    """
    dataset = data.dataset
    shown = np.zeros(256, bool)  # for each number that a pixel of 8 bits can have
    for index in data.train:
        shown[np.unique(dataset.target(index))] = True
    absent = [name for number, name in enumerate(dataset.classes, 1) if not shown[number]]
    if absent:
        raise UsageError(
            f"{dataset.name}: {', '.join(absent)} occurs in none of the {len(data.train)} training "
            f"cases of fold {cell.fold}; leave the class out of labels=, join it to another, or "
            "split otherwise"
        )


def _refuse_large(cell: Cell, data: Data, device: str) -> None:
    """Refuse classes whose maps alone are larger than the device's memory.

    Raises:
        UsageError: They are; shows the arithmetic.
    """
    height, width = max((data.cases.size(index) for index in data.train), key=np.prod)
    channels, batch = len(data.dataset.classes) + 1, cell.profile.batch
    needed = batch * channels * height * width * BYTES * COPIES
    available = devices.bytes_of(device) or processes.memory()
    if needed <= available:
        return
    raise UsageError(
        f"{data.dataset.name}: {channels - 1} classes and the background on {height} x {width} "
        f"pixels take at least {batch} x {channels} x {height} x {width} x {BYTES} bytes x {COPIES}"
        f" = {needed / 2**30:.1f} GiB, and {device} has {available / 2**30:.1f} GiB; join classes,"
        " or take smaller images: --pixels N"
    )
