"""The scores of cells: whether they are of the cases that were tested, and can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.spec.case import UNION
from bench.spec.errors import UsageError
from bench.spec.metrics import INSTANCE_COUNTS
from bench.spec.names import safe_name
from bench.spec.words import count
from bench.store import scores
from bench.store.checks.believed import Believed, Place, Scores
from bench.store.checks.own import content
from bench.store.damage import DamagedError
from bench.store.layout import CellFolder
from bench.store.record import Record

if TYPE_CHECKING:
    import pandas as pd


def tables_of(
    believed: Believed, cells: Sequence[CellFolder], names: set[str]
) -> dict[Place, pd.DataFrame]:
    """Return the scores of the rows of some cells, of exactly the cases that were tested.

    Cells whose scores cannot be read, are not theirs, or are of other cases are left out.

    Args:
        believed: What may be believed so far.
        cells: The cells to be read.
        names: The cases whose names were looked at before; those of these cells are added.
    """
    contents: dict[Place, bytes] = {}
    for cell in cells:
        record = believed.cells[cell]
        most_bytes = scores.LINE * (record.cases["test"] * (len(record.classes) + 1) + 2)
        try:
            contents |= {
                (cell, row): content(cell, record, cell.cases(row.extra), most_bytes)
                for row in record.rows
            }
        except UsageError as error:
            believed.leave_out(cell, error)
    paths = [cell.cases(row.extra) for cell, row in contents]
    tables: dict[Place, pd.DataFrame] = {}
    parsed = scores.parse_all(list(zip(contents.values(), paths, strict=True)))
    for (cell, row), table in zip(contents, parsed, strict=True):
        if cell not in believed.cells:
            continue
        try:
            record = believed.cells[cell]
            tables[cell, row] = _checked(table, cell.cases(row.extra), record, believed, names)
        except UsageError as error:
            believed.leave_out(cell, error)
    return tables


def _checked(
    table: pd.DataFrame | DamagedError,
    path: Path,
    record: Record,
    believed: Believed,
    checked: set[str],
) -> pd.DataFrame:
    """Return scores, if they are of the cases that were tested, once each.

    Raises:
        DamagedError: They cannot be read, or are of other cases.
    """
    if isinstance(table, DamagedError):
        raise table
    names = heads(table, path, record)["case"].to_numpy().tolist()
    patients = set(table["patient"].unique())
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DamagedError(path, f"case {twice[:80]!r} stands in it twice")
    tested_cases, tested_patients = record.cases["test"], record.patients["test"]
    if (len(names), len(patients)) != (tested_cases, tested_patients):
        raise DamagedError(
            path,
            f"it has {count(len(names), 'case')} of {count(len(patients), 'patient')}, "
            f"but {tested_cases} of {tested_patients} were tested",
        )
    try:
        for name in names:
            if name not in checked:
                checked.add(safe_name(name, "case"))
    except UsageError as error:
        raise DamagedError(path, str(error)) from error
    splits = believed.splits.get(record.column)
    if splits is None:
        return table
    sides = splits[record.spec.fold].sides
    for patient in patients:
        if sides.get(patient) != "test":
            raise DamagedError(path, f"patient {patient[:80]!r} is not on the test side")
    return table


def heads(table: pd.DataFrame, path: Path, record: Record) -> pd.DataFrame:
    """Return one row a case: of several classes that of all together, which its classes follow.

    Raises:
        DamagedError: The lines are not those of the classes, or contradict one another.
    """
    if not record.classes:
        if scores.CLASS in table:
            raise DamagedError(path, "it has lines of classes, but its record names none")
        return table
    expected = [UNION, *record.classes]
    cases, lines_left_over = divmod(len(table), len(expected))
    labels = list(table[scores.CLASS]) if scores.CLASS in table else []
    if lines_left_over or labels != expected * cases:
        raise DamagedError(path, f"expected for each case the lines {', '.join(expected)}")
    # Below, an array (case, line): the first line is of all classes together, the others of each.
    for name in scores.KEYS:
        values = table[name].to_numpy().reshape(cases, len(expected))
        if (values != values[:, :1]).any():
            raise DamagedError(path, f"lines of one case have several values of {name}")
    if set(scores.COUNTS) <= set(table):
        tp, fp, fn = (table[name].to_numpy(float).reshape(cases, -1) for name in scores.COUNTS)
        for foreground in (tp + fp, tp + fn):  # of the prediction, of the reference
            if (foreground[:, 0] != foreground[:, 1:].sum(axis=1)).any():
                raise DamagedError(path, "the pixels of the classes are not those of all together")
    for name in INSTANCE_COUNTS[:2]:  # of the reference, and of the prediction
        if name not in table or table[name].isna().any():
            continue
        numbers = table[name].to_numpy(float).reshape(cases, -1)
        if (numbers[:, 0] != numbers[:, 1:].sum(axis=1)).any():
            why = "the instances of the classes are not those of all together"
            raise DamagedError(path, why)
    return table.iloc[:: len(expected)]


def check_volumes(table: pd.DataFrame, path: Path, sides: Mapping[str, str]) -> None:
    """Refuse volumes that stand twice, have an unsafe name, or whose patient was not tested.

    Raises:
        DamagedError: There is one.
    """
    names = table["case"].tolist()
    if len(set(names)) < len(names) or not names:
        raise DamagedError(path, "it has no volume, or one twice")
    try:
        for name in names:
            safe_name(name, "volume")
    except UsageError as error:
        raise DamagedError(path, str(error)) from error
    for patient in table["patient"]:
        if sides and sides.get(patient) != "test":
            raise DamagedError(path, f"patient {patient[:80]!r} is not on the test side")


def possible(
    believed: Believed,
    tables: dict[Place, pd.DataFrame],
    file: Callable[[CellFolder, str], Path] = CellFolder.cases,
) -> Scores:
    """Return the scores of all cells, checked at once, without those of which one cannot be.

    Args:
        believed: What may be believed so far.
        tables: The scores of each row.
        file: Returns the file of a row's scores, for errors.
    """
    import numpy as np
    import pandas as pd

    places, frames = list(tables), list(tables.values())
    counts = np.array([len(frame) for frame in frames], np.int64)
    owner = np.repeat(np.arange(len(frames)), counts)  # for each row the number of its place
    lacking = {}
    for name in scores.COLUMNS:
        lacks = np.array([name not in frame for frame in frames], np.bool_)
        lacking[name] = np.repeat(lacks, counts)
    columns = []
    for name in scores.COLUMNS:
        if name not in scores.RARE or not lacking[name].all():
            columns.append(name)
    table = pd.DataFrame(columns=columns)
    if frames:
        table = pd.concat(frames, ignore_index=True).reindex(columns=columns)
    for wrong, rule in scores.impossible(table, lacking):
        for number in np.unique(owner[wrong]).tolist():
            cell, row = places[number]
            if cell in believed.cells:
                first_wrong = np.flatnonzero(wrong & (owner == number))[0]
                case = table["case"].iloc[first_wrong]
                error = DamagedError(file(cell, row.extra), f"case {case}: {rule}")
                believed.leave_out(cell, error)
    kept = np.array([cell in believed.cells for cell, _ in places], np.bool_)
    if not kept.all():
        table = table[kept[owner]]
    kept_places = [(cell, row) for cell, row in places if cell in believed.cells]
    return Scores(table, kept_places, counts[kept])
