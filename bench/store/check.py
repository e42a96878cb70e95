"""The one place where finished cells are checked before anything of them is believed.

A record has the digests of the cell's files (`Record.digests`) and ends with a seal of its own
text. Results of older versions have neither; of them all is checked that their numbers tell.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.splits import parse_splits
from bench.spec import files, plain
from bench.spec.case import UNION, Split
from bench.spec.errors import UsageError
from bench.spec.metrics import INSTANCE_COUNTS
from bench.spec.names import Column, Label, Row, safe_name
from bench.spec.words import count
from bench.store import record, scores
from bench.store.cells import OUTSIDE, Settings
from bench.store.damage import Damage, DamagedError, of_cell, of_file
from bench.store.layout import CellFolder, ProfileFolder
from bench.store.losses import parse_losses
from bench.store.record import Record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

DEPTH = 2
"""Parts of a path inside a cell's folder: a folder of pictures, and a picture."""
AT_ONCE = 20
"""Cells whose scores are parsed at once: by one each, pandas takes longer to begin than to read."""
Place = tuple[CellFolder, Row]
"""A row of a cell: its scores are a file."""
AGAIN = "and bench run makes it anew"
"""What follows the removal of a file that every run writes."""


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


def records(folder: ProfileFolder) -> Believed:
    """Read the records of a profile's finished cells, and the files that the cells share.

    Raises:
        UsageError: The declared comparisons are damaged.
    """
    believed = Believed(folder)
    for cell in folder.ended():
        try:
            believed.cells[cell] = _record(cell)
        except UsageError as error:
            believed.leave_out(cell, error)
    _check_settings(believed)
    _check_splits(believed)
    _check_plan(believed)
    return believed


def volumes(believed: Believed) -> Scores:
    """Return the scores in 3D of what may be believed; cells whose scores may not be are left out.

    Args:
        believed: What `cases` returned.
    """
    tables: dict[Place, pd.DataFrame] = {}
    for cell, known in list(believed.cells.items()):
        if not known.spec.volumes:
            continue
        most = scores.LINE * (known.cases["test"] + 2) * (len(known.classes) + 1)
        sides = {}
        if known.column in believed.splits:
            sides = believed.splits[known.column][known.spec.fold].sides
        try:
            for row in known.rows:
                path = cell.volumes(row.extra)
                table = scores.parse(_bytes(cell, known, path, most), path)
                _check_volumes(_heads(table, path, known), path, sides)
                tables[cell, row] = table
        except UsageError as error:
            believed.leave_out(cell, error)
    tables = {place: table for place, table in tables.items() if place[0] in believed.cells}
    return _check_values(believed, tables, CellFolder.volumes)


def _check_volumes(table: pd.DataFrame, path: Path, sides: Mapping[str, str]) -> None:
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
        tables |= _tables(believed, cells[start : start + AT_ONCE], names)
    for cell, known in list(believed.cells.items()):
        try:
            _check_small(cell, known)
        except UsageError as error:
            believed.leave_out(cell, error)
    if pictures:
        _check_pictures(believed)
    tables = {place: table for place, table in tables.items() if place[0] in believed.cells}
    return believed, _check_values(believed, tables)


# Records


def _record(cell: CellFolder) -> Record:
    """Read a record that is that of the folder in which it lies.

    Raises:
        DamagedError: It is none, is another's, or says what cannot be.
    """
    known = record.read(cell)
    dataset, method, label = cell.place
    spec = known.spec
    lies = (spec.dataset.key, spec.method, Label(spec.fold, spec.seed, known.scheme).key)
    if lies != (dataset, method, label):
        raise DamagedError(cell.record, f"it is of another cell, {'/'.join(lies)}")
    profile = spec.profile.get("name", cell.profile)
    if profile != cell.profile:
        raise DamagedError(cell.record, f"it is of another profile, {profile!r}")
    why = _why_impossible(known)
    if why:
        raise DamagedError(cell.record, why)
    try:
        safe_name(spec.dataset.name, "dataset")
        for extra in known.extras:
            safe_name(extra, "row")
        for name in known.references:
            safe_name(name, "file")
    except UsageError as error:
        raise DamagedError(cell.record, str(error)) from error
    for name in known.digests:
        if not _is_inside(name):
            raise DamagedError(cell.record, f"{name[:80]!r} is no file of a cell")
    return known


def _why_impossible(known: Record) -> str:
    """Return what of a record cannot be, empty if all can."""
    spec = known.spec
    if known.source != spec.dataset.source:
        return f"its source is {known.source}, its dataset's {spec.dataset.source}"
    if not 0 <= spec.fold < spec.folds or spec.seed < 0:
        return f"no cell has fold {spec.fold} of {spec.folds} and seed {spec.seed}"
    for counts in (known.cases, known.patients):
        if counts.get("test", 0) < 1 or min(counts.values()) < 0:
            return f"no cell has the cases or patients {counts}"
    if known.parameters is not None and known.parameters < 0:
        return "its parameters cannot be"
    if known.training is not None and known.training.best_step > known.training.steps:
        return "its training cannot be"
    if not known.outside and "torch" not in known.versions:
        return "versions: missing PyTorch's"
    if not set(record.ADVANTAGES) <= set(known.advantages):
        return f"advantages: expected {', '.join(record.ADVANTAGES)}"
    try:
        _ = spec.augmentation, known.scheme.title
    except (UsageError, ValueError) as error:
        return str(error)
    return ""


def _is_inside(name: str) -> bool:
    """Return whether a name is that of a file in a cell's folder, and leads nowhere else."""
    parts = name.split("/")
    try:
        return len(parts) <= DEPTH and all(safe_name(part, "file") for part in parts)
    except UsageError:
        return False


# Files that cells share


def _check_settings(believed: Believed) -> None:
    """Name a `profile.json` that is not that of its cells."""
    path = believed.folder.settings
    profiles = []
    for one in believed.cells.values():
        if one.spec.profile:  # what is from outside has none
            profiles.append(one.spec.profile)
    if believed.cells and believed.folder.path.name == OUTSIDE:
        profiles.append({"name": OUTSIDE})
    try:
        known = plain.decode(files.read_bytes(path), Settings)
    except FileNotFoundError:
        if any(one.digests for one in believed.cells.values()):
            believed.damaged.append(of_file(path, "it is missing", AGAIN))
        return
    except (OSError, plain.PlainError) as error:
        believed.damaged.append(of_file(path, _said(error), AGAIN))
        return
    if profiles and known.profile not in profiles:
        why = "it is not the profile of any of its cells"
        believed.damaged.append(of_file(path, why, AGAIN))


def _check_splits(believed: Believed) -> None:
    """Read the split of each column; name one with which its cells were not made."""
    columns: dict[Column, list[Record]] = {}
    for known in believed.cells.values():
        if known.spec.split:  # what is from outside may have none
            columns.setdefault(known.column, []).append(known)
    for column, mine in columns.items():
        path = believed.folder.split(column)
        try:
            splits = parse_splits(path)
        except UsageError as error:
            missing = not os.path.lexists(path)
            if any(one.digests for one in mine) or not missing:
                why = "it is missing" if missing else str(error)
                believed.damaged.append(of_file(path, why, AGAIN))
            continue
        hashes = [plain.content_hash(split.sides) for split in splits]
        wanted = {(one.spec.fold, one.spec.split) for one in mine}
        if all(hashes[fold : fold + 1] == [split] for fold, split in wanted):
            believed.splits[column] = splits
        else:
            why = "it is not the split that its cells were made with"
            believed.damaged.append(of_file(path, why, AGAIN))


def _check_plan(believed: Believed) -> None:
    """Name a plan that has lines which are no cells."""
    path = believed.folder.plan
    wrong = believed.folder.foreign()
    if wrong:
        why = f"{len(wrong)} of its lines name no cell, such as {wrong[0][:80]!r}"
        after = "and the next bench run writes its cells down again"
        believed.damaged.append(of_file(path, why, after))


def _said(error: Exception) -> str:
    return files.reason(error) if isinstance(error, OSError) else str(error)


# Scores


def _tables(
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
        known = believed.cells[cell]
        most = scores.LINE * (known.cases["test"] * (len(known.classes) + 1) + 2)
        try:
            contents |= {
                (cell, row): _bytes(cell, known, cell.cases(row.extra), most) for row in known.rows
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
            known = believed.cells[cell]
            tables[cell, row] = _checked(table, cell.cases(row.extra), known, believed, names)
        except UsageError as error:
            believed.leave_out(cell, error)
    return tables


def _checked(
    table: pd.DataFrame | DamagedError,
    path: Path,
    known: Record,
    believed: Believed,
    checked: set[str],
) -> pd.DataFrame:
    """Return scores, if they are of the cases that were tested, once each.

    Raises:
        DamagedError: They cannot be read, or are of other cases.
    """
    if isinstance(table, DamagedError):
        raise table
    heads = _heads(table, path, known)
    names, patients = heads["case"].to_numpy().tolist(), set(table["patient"].unique())
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DamagedError(path, f"case {twice[:80]!r} stands in it twice")
    wanted = known.cases["test"], known.patients["test"]
    if (len(names), len(patients)) != wanted:
        raise DamagedError(
            path,
            f"it has {count(len(names), 'case')} of {count(len(patients), 'patient')}, "
            f"but {wanted[0]} of {wanted[1]} were tested",
        )
    try:
        for name in names:
            if name not in checked:
                checked.add(safe_name(name, "case"))
    except UsageError as error:
        raise DamagedError(path, str(error)) from error
    splits = believed.splits.get(known.column)
    if splits is None:
        return table
    sides = splits[known.spec.fold].sides
    for patient in patients:
        if sides.get(patient) != "test":
            raise DamagedError(path, f"patient {patient[:80]!r} is not on the test side")
    return table


def _heads(table: pd.DataFrame, path: Path, known: Record) -> pd.DataFrame:
    """Return one row a case: of several classes that of all together, which its classes follow.

    Raises:
        DamagedError: The lines are not those of the classes, or contradict one another.
    """
    if not known.classes:
        if scores.CLASS in table:
            raise DamagedError(path, "it has lines of classes, but its record names none")
        return table
    expected = [UNION, *known.classes]
    whole, rest = divmod(len(table), len(expected))
    labels = list(table[scores.CLASS]) if scores.CLASS in table else []
    if rest or labels != expected * whole:
        raise DamagedError(path, f"expected for each case the lines {', '.join(expected)}")
    for name in scores.KEYS:
        values = table[name].to_numpy().reshape(whole, len(expected))
        if (values != values[:, :1]).any():
            raise DamagedError(path, f"lines of one case have several values of {name}")
    if not set(scores.COUNTS) - set(table):
        tp, fp, fn = (table[name].to_numpy(float).reshape(whole, -1) for name in scores.COUNTS)
        for side in (tp + fp, tp + fn):
            if (side[:, 0] != side[:, 1:].sum(axis=1)).any():
                raise DamagedError(path, "the pixels of the classes are not those of all together")
    for name in INSTANCE_COUNTS[:2]:  # of the reference, and of the prediction
        if name not in table or table[name].isna().any():
            continue
        numbers = table[name].to_numpy(float).reshape(whole, -1)
        if (numbers[:, 0] != numbers[:, 1:].sum(axis=1)).any():
            why = "the instances of the classes are not those of all together"
            raise DamagedError(path, why)
    return table.iloc[:: len(expected)]


def _check_values(
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
    owner = np.repeat(np.arange(len(frames)), counts)
    lacking = {}
    for name in scores.COLUMNS:
        lacks = np.array([name not in frame for frame in frames], np.bool_)
        lacking[name] = np.repeat(lacks, counts)
    columns = []
    for name in scores.COLUMNS:
        if name not in scores.RARE or not lacking[name].all():
            columns.append(name)
    whole = pd.DataFrame(columns=columns)
    if frames:
        whole = pd.concat(frames, ignore_index=True).reindex(columns=columns)
    for wrong, rule in scores.impossible(whole, lacking):
        for number in np.unique(owner[wrong]).tolist():
            cell, row = places[number]
            if cell in believed.cells:
                case = whole["case"].iloc[np.flatnonzero(wrong & (owner == number))[0]]
                error = DamagedError(file(cell, row.extra), f"case {case}: {rule}")
                believed.leave_out(cell, error)
    kept = np.array([cell in believed.cells for cell, _ in places], np.bool_)
    if not kept.all():
        whole = whole[kept[owner]]
    return Scores(whole, [place for place in places if place[0] in believed.cells], counts[kept])


# Other files


def _check_small(cell: CellFolder, known: Record) -> None:
    """Check what else of a cell is text: its losses, and the digests of its initial weights.

    Raises:
        DamagedError: One cannot be read, or is not that of the cell.
    """
    for path in (cell.losses, cell.initial):
        name = path.name
        if name not in known.digests and not os.path.lexists(path):
            continue
        text = _bytes(cell, known, path)
        if known.digests:
            continue
        try:
            if path == cell.initial:
                plain.convert(json.loads(text), dict[str, str])
            else:
                parse_losses(text.decode())
        except (ValueError, plain.PlainError) as error:
            raise DamagedError(path, str(error)) from error


def _bytes(cell: CellFolder, known: Record, path: Path, most: int = files.MOST) -> bytes:
    """Return the bytes of a cell's file, whose digest is compared where there is one.

    Raises:
        DamagedError: It cannot be read, or is not that of the cell.
    """
    try:
        content = files.read_bytes(path, most)
    except OSError as error:
        raise DamagedError(path, files.reason(error)) from error
    if known.digests:
        name = path.relative_to(cell.path).as_posix()
        if known.digests.get(name) != sha256(content).hexdigest():
            raise DamagedError(path, "its digest is not that of its record: it was changed")
    return content


def _check_pictures(believed: Believed) -> None:
    """Leave out the cells of which a picture was changed; name pictures that cells share.

    The weights must be there; `bench verify` compares their digest.
    """
    shared: dict[Path, str] = {}
    for cell, known in list(believed.cells.items()):
        try:
            _check_own_pictures(cell, known)
        except UsageError as error:
            believed.leave_out(cell, error)
        for name, value in known.references.items():
            shared.setdefault(cell.shared(name), value)
    for path, value in shared.items():
        why = _why_other(path, value)
        if why:
            believed.damaged.append(of_file(path, why, "and pictures are drawn without it"))


def _check_own_pictures(cell: CellFolder, known: Record) -> None:
    """Refuse a cell of which a picture was changed.

    Raises:
        DamagedError: A picture cannot be read, or its digest is not that of the record.
    """
    checked = {cell.losses, cell.initial, *(cell.cases(row.extra) for row in known.rows)}
    if known.spec.volumes:
        checked |= {cell.volumes(row.extra) for row in known.rows}
    for name, value in known.digests.items():
        path = cell.path / name
        if path == cell.weights:
            packed = ProfileFolder(cell.path.parents[2]).manifest.is_file()
            if not path.is_file() and not (packed and not os.path.lexists(path)):
                raise DamagedError(path, "it is missing, or no regular file")
        elif path not in checked:
            why = _why_other(path, value)
            if why:
                raise DamagedError(path, why)


def _why_other(path: Path, value: str) -> str:
    """Return why a file is not the one with this digest, empty if it is."""
    try:
        if files.digest(path) == value:
            return ""
    except OSError as error:
        return files.reason(error)
    return "its digest is not that of its record: it was changed"
