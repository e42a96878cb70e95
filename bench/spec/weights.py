"""Files of weights that a user gives, known by their digest.

So no path is part of a result's identity.
"""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path

import msgspec
import pooch

from bench.spec import plain
from bench.spec.errors import UsageError
from bench.spec.machine import cache_root

SHORT = 16
"""Hex digits of a digest that stand for a file in a name."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an entered file is, and what tells whether it has changed."""

    path: str
    bytes: int
    mtime_ns: int


def enter(text: str) -> str:
    """Return the short digest of the file at a path, and remember where the file is.

    Hashing takes seconds a gigabyte; a file that was hashed before and has not changed since is not
    read again.

    Raises:
        UsageError: There is no such file, it cannot be read, or the cache is not writable.
    """
    path = _file(text)
    stat = path.stat()
    place = Place(path=str(path), bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)
    for entry in _folder().glob("*.json"):
        if _read(entry) == place:
            return entry.stem[:SHORT]
    try:
        digest: str = pooch.file_hash(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from error
    _write(_folder() / f"{digest}.json", place)
    return digest[:SHORT]


def _file(text: str) -> Path:
    """Return the path of a file that is there."""
    try:
        path = Path(text).expanduser().resolve()
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError):  # no right to look, no such user, no valid name
        is_file = False
    if not is_file:
        raise UsageError(f"'{text}' is no file; expected the path of one, without ':' and ','")
    return path


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
    place = _read(_folder() / f"{sha256(digest)}.json")
    path = Path(place.path if place else "")
    if not path.is_file():
        raise UsageError(
            f"the file of the digest {digest} is no longer where it was: {path}; "
            "give its path again"
        )
    stat = path.stat()
    if place != Place(path=str(path), bytes=stat.st_size, mtime_ns=stat.st_mtime_ns):
        raise UsageError(f"{path} has changed since it was given as {digest}; give its path again")
    return path


def _folder() -> Path:
    return cache_root() / "weights"


def _record(digest: str) -> Path | None:
    """Return the entry of a short digest, named by the whole one; None where there is none."""
    return next(_folder().glob(f"{digest}*.json"), None)


def _read(entry: Path) -> Place | None:
    """Return where an entered file is; None where the entry is damaged."""
    try:
        return plain.decode(entry.read_bytes(), Place)
    except (OSError, plain.PlainError):
        return None


def _write(target: Path, place: Place) -> None:
    """Write an entry whole or not at all: other processes may read it at the same time."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{platform.node()}.{os.getpid()}")
        beside.write_text(json.dumps(plain.builtins(place)), encoding="utf-8")
        beside.replace(target)
    except OSError as error:
        raise UsageError(
            f"cache {target.parent} cannot be written ({error.strerror}); set BENCH_CACHE"
        ) from error
