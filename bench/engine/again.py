"""Repeat predictions of finished cells from their weights, and compare them with the kept masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model

from bench.data import cache
from bench.engine.cell import build
from bench.engine.data import Data
from bench.engine.predict import Mask, predictions
from bench.spec import machine
from bench.spec.config import Cell, DatasetRef
from bench.spec.errors import UsageError
from bench.spec.names import DatasetId
from bench.spec.profile import load_profile
from bench.store.cells import Store
from bench.store.layout import CellFolder
from bench.store.plan import split_of
from bench.store.record import Record
from bench.store.results import Finished

Find = Callable[[DatasetId, str], DatasetRef]
"""Returns the prepared dataset of a name under a profile, or raises a UsageError."""


def repeat(store: Store, cells: dict[CellFolder, Record], count: int, find: Find) -> Iterator[str]:
    """Yield a line for each prediction that its cell's weights do not give again.

    Lines that begin with `not checked` name cells that cannot be repeated here.

    Args:
        store: The results.
        cells: The cells that are believed.
        count: Cases of each cell.
        find: Finds their datasets.
    """
    for folder, record in cells.items():
        if record.outside:
            continue
        try:
            yield from _repeat(store, folder, record, count, find)
        except (UsageError, OSError, RuntimeError, ValueError) as error:
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            yield f"not checked: predictions of {folder.name}: {why}"


def _repeat(
    store: Store, folder: CellFolder, record: Record, count: int, find: Find
) -> Iterator[str]:
    """Yield a line for each of the first cases whose masks differ."""
    cell = _cell(folder, record, find(record.spec.dataset, folder.profile))
    machine.limit_threads(cell.profile.threads)
    dataset = cache.load(Path(cell.dataset.cache))
    data = Data.of(cell, dataset, split_of(store, cell, dataset.patients))
    trainee = build(cell, data, torch.device("cpu"))
    load_model(trainee.net, str(folder.weights), strict=True)
    kept = Finished(record, folder)
    repeated = data.test[:count]
    answers = predictions(trainee, data.cases, repeated)
    for index, prediction in zip(repeated, answers, strict=True):
        case = data.cases.case(index).id
        for extra, mask in prediction.masks.items():
            kept_mask: Mask
            if record.classes:
                _reference, kept_mask = kept.labels(case, extra)
            else:
                kept_mask = kept.prediction(case, extra)
            differing = int(np.count_nonzero(mask != kept_mask))
            if differing:
                row = f" ({extra})" if extra else ""
                yield (
                    f"{folder.name}: the weights give another prediction{row} of case {case}: "
                    f"{differing} pixels differ (another processor may change single ones)"
                )


def _cell(folder: CellFolder, record: Record, dataset: DatasetRef) -> Cell:
    """Return the cell of a record.

    Raises:
        UsageError: The dataset or the profile here is another one.
    """
    if dataset.id != record.spec.dataset:
        raise UsageError(
            f"{dataset.id.name} here is {dataset.id.key}, expected {record.spec.dataset.key}; "
            "give its folder with --data"
        )
    spec = record.spec
    cell = Cell(
        profile=load_profile(folder.profile),
        dataset=dataset,
        method=record.method,
        options=spec.options,
        seed=spec.seed,
        fold=spec.fold,
        scheme=record.scheme,
        split=spec.split,
        tuning=spec.tuning,
        precision=spec.precision,
        deterministic=spec.deterministic,
        volumes=spec.volumes,
        protocol=spec.protocol,
        source=spec.source,
    )
    if cell.hash != record.hash:
        raise UsageError(f"the profile '{folder.profile}' is not the one of these results")
    return cell
