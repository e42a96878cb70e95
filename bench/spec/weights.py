"""Files of weights that a user gives: they are known by their digest.

So no path is part of a result's identity.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pooch

from bench.spec.errors import UsageError
from bench.spec.machine import cache_root

SHORT = 16
"""Hex digits of a digest that stand for a file in a name."""


def enter(text: str) -> str:
    """Return the short digest of the file at a path, and remember where the file is.

    Hashing takes seconds a gigabyte; a file that was hashed before and has not changed since is not
    read again.

    Raises:
        UsageError: There is no such file, it cannot be read, or the cache is not writable.
    """
    try:
        path = Path(text).expanduser().resolve()
        stat = path.stat() if path.is_file() else None
    except (OSError, RuntimeError, ValueError):
        # no right to look, no such user, a name that cannot be one
        stat = None
    if stat is None:
        raise UsageError(f"'{text}' is no file; expected the path of one, without ':' and ','")
    record = {"path": str(path), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    for known in _folder().glob("*.json"):
        if _read(known) == record:
            return known.stem[:SHORT]
    try:
        digest: str = pooch.file_hash(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error
    _write(_folder() / f"{digest}.json", record)
    return digest[:SHORT]


def known(digest: str) -> bool:
    """Return whether a short digest stands for a file that was entered on this machine."""
    return bool(re.fullmatch(rf"[0-9a-f]{{{SHORT}}}", digest)) and _record(digest) is not None


def sha256(digest: str) -> str:
    """Return the whole digest of an entered file.

    Raises:
        UsageError: No such file was entered.
    """
    record = _record(digest)
    if record is None:
        raise UsageError(f"no file of the digest {digest} was given on this machine; give its path")
    return record.stem


def find(digest: str) -> Path:
    """Return where the file of a digest is; that it is the same file is told by its size and time.

    Raises:
        UsageError: No such file was entered, it was moved, or it has changed since.
    """
    record = _read(_folder() / f"{sha256(digest)}.json")
    path = Path(record["path"])
    if not path.is_file():
        raise UsageError(
            f"the file of the digest {digest} is no longer where it was: {path}; give its path"
            " again"
        )
    stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) != (record["bytes"], record["mtime_ns"]):
        raise UsageError(f"{path} has changed since it was given as {digest}; give its path again")
    return path


def _folder() -> Path:
    return cache_root() / "weights"


def _record(digest: str) -> Path | None:
    return next(_folder().glob(f"{digest}*.json"), None)


def _read(record: Path) -> dict[str, Any]:
    """Return a record; one that is damaged stands for no file."""
    try:
        record_of = json.loads(record.read_text(encoding="utf-8"))
        return {
            "path": str(record_of["path"]),
            "bytes": int(record_of["bytes"]),
            "mtime_ns": int(record_of["mtime_ns"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {"path": "", "bytes": -1, "mtime_ns": -1}


def _write(target: Path, record: dict[str, Any]) -> None:
    """Write a record whole or not at all: other processes may read it at the same time."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=target.parent, delete=False, encoding="utf-8"
        ) as file:
            json.dump(record, file)
        Path(file.name).replace(target)
    except OSError as error:
        raise UsageError(
            f"cache {target.parent} cannot be written ({error.strerror}); set BENCH_CACHE"
        ) from error
