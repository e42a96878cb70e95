"""The one place where finished cells are checked before anything of them is believed.

A record has the digests of the cell's files (`Record.digests`) and ends with a seal of its own
text. Results of older versions have neither; of them all is checked that their numbers tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.spec.errors import UsageError
from bench.store import scores
from bench.store.checks import own, rows, shared
from bench.store.checks.believed import Believed, Place, Scores
from bench.store.checks.records import record_of
from bench.store.layout import CellFolder, ProfileFolder

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE = 20
"""Cells whose scores are parsed at once: by one each, pandas takes longer to begin than to read."""


def records(folder: ProfileFolder) -> Believed:
    """Read the records of a profile's finished cells, and the files that the cells share.

    Raises:
        UsageError: The declared comparisons are damaged.
    """
    believed = Believed(folder)
    for cell in folder.ended():
        try:
            believed.cells[cell] = record_of(cell)
        except UsageError as error:
            believed.leave_out(cell, error)
    shared.check_settings(believed)
    shared.check_splits(believed)
    shared.check_plan(believed)
    return believed


def cases(folder: ProfileFolder, pictures: bool = False) -> tuple[Believed, Scores]:
    """Return what may be believed of a profile, scores included.

    Args:
        folder: The profile's folder.
        pictures: Whether the digests of masks and other pictures are compared too.

    Raises:
        UsageError: The declared comparisons are damaged.
    """
    believed = records(folder)
    tables: dict[Place, pd.DataFrame] = {}
    names: set[str] = set()
    cells = list(believed.cells)
    for start in range(0, len(cells), AT_ONCE):
        tables |= rows.tables_of(believed, cells[start : start + AT_ONCE], names)
    for cell, record in list(believed.cells.items()):
        try:
            own.check_small(cell, record)
        except UsageError as error:
            believed.leave_out(cell, error)
    if pictures:
        own.check_pictures(believed)
    return believed, rows.possible(believed, _of_believed(believed, tables))


def volumes(believed: Believed) -> Scores:
    """Return the scores in 3D of what may be believed; cells whose scores may not be are left out.

    Args:
        believed: What `cases` returned.
    """
    tables: dict[Place, pd.DataFrame] = {}
    for cell, record in list(believed.cells.items()):
        if not record.spec.volumes:
            continue
        most_bytes = scores.LINE * (record.cases["test"] + 2) * (len(record.classes) + 1)
        sides = {}
        if record.column in believed.splits:
            sides = believed.splits[record.column][record.spec.fold].sides
        try:
            for row in record.rows:
                path = cell.volumes(row.extra)
                table = scores.parse(own.content(cell, record, path, most_bytes), path)
                rows.check_volumes(rows.heads(table, path, record), path, sides)
                tables[cell, row] = table
        except UsageError as error:
            believed.leave_out(cell, error)
    return rows.possible(believed, _of_believed(believed, tables), CellFolder.volumes)


def _of_believed(
    believed: Believed, tables: dict[Place, pd.DataFrame]
) -> dict[Place, pd.DataFrame]:
    """Return the scores without those of cells that were left out after they had been read."""
    return {(cell, row): table for (cell, row), table in tables.items() if cell in believed.cells}
