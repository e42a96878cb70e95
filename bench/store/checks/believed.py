"""What may be believed of finished cells, and what not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.spec.case import Split
from bench.spec.errors import UsageError
from bench.spec.names import Column, Row
from bench.store.damage import Damage, of_cell
from bench.store.layout import CellFolder, ProfileFolder
from bench.store.record import Record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Place = tuple[CellFolder, Row]
"""A row of a cell: its scores are a file."""


@dataclass(frozen=True)
class Scores:
    """The scores of all cells that may be believed."""

    table: pd.DataFrame
    """A row a case, of one row of the tables after the other: `scores.COLUMNS`."""
    places: list[Place]
    """Whose they are."""
    counts: NDArray[np.int64]
    """How many rows of the table are of each place."""


@dataclass
class Believed:
    """What of a profile's finished cells may be believed, and what not."""

    folder: ProfileFolder
    cells: dict[CellFolder, Record] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)
    splits: dict[Column, list[Split]] = field(default_factory=dict)
    """Of the columns whose split is that with which their cells were made."""

    def leave_out(self, cell: CellFolder, error: UsageError) -> None:
        """Leave a cell out of everything."""
        self.cells.pop(cell, None)
        self.damaged.append(of_cell(cell.path, error))
