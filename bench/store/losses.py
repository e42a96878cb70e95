"""The losses of a training, `train.csv`."""

from __future__ import annotations

import csv
import io

from bench.store.layout import CellFolder, read_or_empty


def read_losses(folder: CellFolder) -> list[dict[str, float]]:
    """Return the rows of a training log; none where there is no log.

    Raises:
        ValueError: It is no such log.
    """
    return parse_losses(read_or_empty(folder.losses))


def parse_losses(text: str) -> list[dict[str, float]]:
    """Return the rows of a training log: step, training_loss, validation_loss, seconds.

    Raises:
        ValueError: It is no such log.
    """
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text), strict=True), 2):
        if None in row or None in row.values() or "step" not in row:
            raise ValueError(f"line {number} does not fit the columns")
        rows.append({name: float(value) for name, value in row.items()})
    return rows
