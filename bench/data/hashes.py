"""SHA-256 of source files; a file that did not change since it was read is not read again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from stat import S_ISREG

import pooch

from bench.spec import machine

RECENT = 2_000_000_000
"""A file that changed less than so many nanoseconds ago may change again with the same times, so
its digest is not remembered."""

LONG = 2_000_000_000
"""Hashing more bytes than this takes seconds."""
SMALL, MANY = 2_000_000, 32
"""Files of fewer bytes than this are handed to a thread so many at once: to hand over one takes as
long as to hash it."""

Hint = list[int]
"""Size, time of content, time of change and inode: no tool can set back the third."""


@dataclass(frozen=True)
class Hashes:
    """The digests of files, and why some have none."""

    digests: dict[Path, str] = field(default_factory=dict)
    errors: dict[Path, str] = field(default_factory=dict)


def read(
    root: Path,
    files: Sequence[Path],
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Hashes:
    """Return the digests of files below a folder.

    The first call reads all; later calls read those whose size, times or inode changed. Where this
    takes long, `progress` is told how many are done.
    """
    ledger = machine.cache_root() / "hashes" / f"{_name(root)}.json"
    remembered = _load(ledger)
    hints: dict[Path, Hint] = {}
    errors: dict[Path, str] = {}
    digests: dict[Path, str] = {}
    for path in files:
        try:
            hints[path] = _hint(path)
        except OSError as error:
            errors[path] = _why(error)
            continue
        entry = remembered.get(_within(root, path))
        if entry and entry[1:] == hints[path]:
            digests[path] = str(entry[0])
    fresh = [path for path in hints if path not in digests]
    now = time.time_ns()
    size = sum(hints[path][0] for path in fresh)
    long = size > LONG
    at_once = MANY if size < len(fresh) * SMALL else 1
    groups = [fresh[start : start + at_once] for start in range(0, len(fresh), at_once)]
    with ThreadPoolExecutor(jobs) as pool:
        hashed = chain.from_iterable(pool.map(_digests, groups))
        results = zip(fresh, hashed, strict=True)
        for done, (path, (digest, why)) in enumerate(results, 1):
            if long:
                progress(done, len(fresh))
            if why:
                errors[path] = why
            else:
                digests[path] = digest
    if fresh:
        lasting = (path for path in digests if now - hints[path][2] > RECENT)
        _save(ledger, {_within(root, path): [digests[path], *hints[path]] for path in lasting})
    return Hashes(digests, errors)


def _name(root: Path) -> str:
    return sha256(os.fsencode(root.resolve())).hexdigest()[:16]


def _hint(path: Path) -> Hint:
    """Return what tells a file from another one of its name.

    Raises:
        OSError: It is not there, or no file: opening a pipe would wait for ever.
    """
    stat = path.stat()
    if not S_ISREG(stat.st_mode):
        raise OSError(f"{path} is no file")
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _digest(path: Path) -> tuple[str, str]:
    """Return a file's digest, or why it cannot be read."""
    try:
        return pooch.file_hash(path), ""
    except OSError as error:
        return "", _why(error)


def _digests(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """Return `_digest` of each file."""
    return list(map(_digest, paths))


def _why(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error}); look at its permissions and its disk"


def _load(ledger: Path) -> dict[str, list[str | int]]:
    """Return the remembered digests and hints by path; none if they cannot be read."""
    try:
        remembered = json.loads(ledger.read_bytes())
    except (OSError, ValueError):
        return {}
    return remembered if isinstance(remembered, dict) else {}


def _save(ledger: Path, digests: dict[str, list[str | int]]) -> None:
    """Remember digests where that is possible; without them, the next call reads more."""
    unfinished = ledger.with_name(f".{ledger.name}-{os.getpid()}")
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(digests), encoding="utf-8", errors="surrogateescape")
        unfinished.replace(ledger)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def relative(root: Path, paths: Iterable[Path], digests: dict[Path, str]) -> dict[str, str]:
    """Return digests by the files' paths in the folder."""
    return {_within(root, path): digests[path] for path in paths if path in digests}


def _within(root: Path, path: Path) -> str:
    """Return a file's path in its folder; `Path.relative_to` takes ten times as long."""
    whole, beginning = path.as_posix(), root.as_posix()
    return whole if beginning == "." else whole[len(beginning) :].lstrip("/")
