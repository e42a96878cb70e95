"""The record of a cell: whether it is its folder's, and can be."""

from __future__ import annotations

from bench.spec.errors import UsageError
from bench.spec.names import Label, safe_name
from bench.store import record
from bench.store.damage import DamagedError
from bench.store.layout import CellFolder
from bench.store.record import Record

DEPTH = 2
"""Parts of a path inside a cell's folder: a folder of pictures, and a picture."""


def record_of(cell: CellFolder) -> Record:
    """Read a record that is that of the folder in which it lies.

    Raises:
        DamagedError: It is none, is another's, or says what cannot be.
    """
    cell_record = record.read(cell)
    dataset, method, label = cell.place
    spec = cell_record.spec
    place_in_record = (
        spec.dataset.key,
        spec.method,
        Label(spec.fold, spec.seed, cell_record.scheme).key,
    )
    if place_in_record != (dataset, method, label):
        raise DamagedError(cell.record, f"it is of another cell, {'/'.join(place_in_record)}")
    profile = spec.profile.get("name", cell.profile)
    if profile != cell.profile:
        raise DamagedError(cell.record, f"it is of another profile, {profile!r}")
    why = _why_impossible(cell_record)
    if why:
        raise DamagedError(cell.record, why)
    try:
        safe_name(spec.dataset.name, "dataset")
        for extra in cell_record.extras:
            safe_name(extra, "row")
        for name in cell_record.references:
            safe_name(name, "file")
    except UsageError as error:
        raise DamagedError(cell.record, str(error)) from error
    for name in cell_record.digests:
        if not _is_inside(name):
            raise DamagedError(cell.record, f"{name[:80]!r} is no file of a cell")
    return cell_record


def _why_impossible(cell_record: Record) -> str:
    """Return what of a record cannot be, empty if all can."""
    spec = cell_record.spec
    if cell_record.source != spec.dataset.source:
        return f"its source is {cell_record.source}, its dataset's {spec.dataset.source}"
    if not 0 <= spec.fold < spec.folds or spec.seed < 0:
        return f"no cell has fold {spec.fold} of {spec.folds} and seed {spec.seed}"
    for counts in (cell_record.cases, cell_record.patients):
        if counts.get("test", 0) < 1 or min(counts.values()) < 0:
            return f"no cell has the cases or patients {counts}"
    if cell_record.parameters is not None and cell_record.parameters < 0:
        return "its parameters cannot be"
    if (
        cell_record.training is not None
        and cell_record.training.best_step > cell_record.training.steps
    ):
        return "its training cannot be"
    if not cell_record.outside and "torch" not in cell_record.versions:
        return "versions: missing PyTorch's"
    if not set(record.ADVANTAGES) <= set(cell_record.advantages):
        return f"advantages: expected {', '.join(record.ADVANTAGES)}"
    try:
        _ = spec.augmentation, cell_record.scheme.title  # each raises where its values cannot be
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
