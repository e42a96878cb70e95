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
    known = record.read(cell)
    dataset, method, label = cell.place
    spec = known.spec
    place_in_record = (spec.dataset.key, spec.method, Label(spec.fold, spec.seed, known.scheme).key)
    if place_in_record != (dataset, method, label):
        raise DamagedError(cell.record, f"it is of another cell, {'/'.join(place_in_record)}")
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
        _ = spec.augmentation, known.scheme.title  # each raises where its values cannot be
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
