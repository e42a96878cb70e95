"""The files of a cell's own: whether they are those that it wrote."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

from bench.spec import files, plain
from bench.spec.errors import UsageError
from bench.store.checks.believed import Believed
from bench.store.damage import DamagedError, of_file
from bench.store.layout import CellFolder, ProfileFolder
from bench.store.losses import parse_losses
from bench.store.record import Record


def content(cell: CellFolder, record: Record, path: Path, most: int = files.MOST) -> bytes:
    """Return the bytes of a cell's file, at most `most`; its digest is compared if there is one.

    Raises:
        DamagedError: It cannot be read, or is not that of the cell.
    """
    try:
        read = files.read_bytes(path, most)
    except OSError as error:
        raise DamagedError(path, files.reason(error)) from error
    if record.digests:
        name = path.relative_to(cell.path).as_posix()
        if record.digests.get(name) != sha256(read).hexdigest():
            raise DamagedError(path, "its digest is not that of its record: it was changed")
    return read


def check_small(cell: CellFolder, record: Record) -> None:
    """Check what else of a cell is text: its losses, and the digests of its initial weights.

    Raises:
        DamagedError: One cannot be read, or is not that of the cell.
    """
    for path in (cell.losses, cell.initial):
        name = path.name
        if name not in record.digests and not os.path.lexists(path):
            continue
        text = content(cell, record, path)
        if record.digests:  # `content` has compared the digest
            continue
        try:
            if path == cell.initial:
                plain.convert(json.loads(text), dict[str, str])
            else:
                parse_losses(text.decode())
        except (ValueError, plain.PlainError) as error:
            raise DamagedError(path, str(error)) from error


def check_pictures(believed: Believed) -> None:
    """Leave out the cells of which a picture was changed; name pictures that cells share.

    The weights must be there; `bench verify` compares their digest.
    """
    shared: dict[Path, str] = {}
    for cell, record in list(believed.cells.items()):
        try:
            _check_own_pictures(cell, record)
        except UsageError as error:
            believed.leave_out(cell, error)
        for name, value in record.references.items():
            shared.setdefault(cell.shared(name), value)
    for path, value in shared.items():
        why = _why_other(path, value)
        if why:
            believed.damaged.append(of_file(path, why, "and pictures are drawn without it"))


def _check_own_pictures(cell: CellFolder, record: Record) -> None:
    """Refuse a cell of which a picture was changed.

    Raises:
        DamagedError: A picture cannot be read, or its digest is not that of the record.
    """
    checked = {cell.losses, cell.initial, *(cell.cases(row.extra) for row in record.rows)}
    if record.spec.volumes:
        checked |= {cell.volumes(row.extra) for row in record.rows}
    for name, value in record.digests.items():
        path = cell.path / name
        if path == cell.weights:
            from_archive = ProfileFolder(cell.path.parents[2]).manifest.is_file()
            may_be_missing = from_archive and not os.path.lexists(path)
            if not path.is_file() and not may_be_missing:
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
