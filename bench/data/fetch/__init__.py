"""Fetch datasets that anyone may use, from the servers on which they are published.

All other datasets must be requested from their owners.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from bench.data.fetch import hub, zenodo
from bench.data.fetch.collections import Collection, Offer, inside, room
from bench.spec.errors import UsageError
from bench.spec.note import Progress

RECORD = "fetched.json"
"""A file beside the data with their collection, licence and digests; it is written last."""


def fetched(collection: Collection, to: Path) -> bool:
    """Return whether all of a collection is in the data directory."""
    try:
        record = json.loads((to / collection.folder / RECORD).read_text(encoding="utf-8"))
        return bool(record["source"]["name"] == collection.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def offer(collection: Collection) -> Offer:
    """Return the list of files that the server has for a collection.

    Raises:
        UsageError: The server does not answer, or not as expected.
    """
    offered = zenodo.offer(collection) if collection.doi else hub.offer(collection)
    for file in offered.files:
        inside(file.name, collection.home)
    return offered


def fetch(collection: Collection, to: Path, progress: Progress) -> Path:
    """Fetch a collection into the data directory, and return its folder.

    The folder appears only when it is complete.

    Raises:
        UsageError: The folder holds other data, the disk is too small or not writable, the transfer
            stopped (the next call continues it), or the content is not what the server says.
    """
    folder = to / collection.folder
    work = to / f".{collection.name}.part"
    if fetched(collection, to):
        return folder
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(
                f"{folder} holds other data; expected no such folder, "
                "since two datasets in one would pass for one: choose another --to"
            )
        offered = offer(collection)
        what = f"{collection.name} (zips are counted twice: they are unpacked beside)"
        room(missing(offered, work), to, what)
        ready = work / "ready"
        ready.mkdir(parents=True, exist_ok=True)
        server = zenodo if collection.doi else hub
        server.fetch(collection, offered, work, progress)
        record = {
            "source": asdict(collection),
            "revision": offered.revision,
            "files": {file.name: file.digest for file in offered.files},
        }
        (ready / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        ready.rename(folder)
        shutil.rmtree(work)
    except OSError as error:
        raise UsageError(
            f"{to} cannot be written ({error.strerror or error}); "
            "fix that or choose another --to, and run the same command again"
        ) from error
    return folder


def missing(offered: Offer, work: Path) -> int:
    """Return the bytes that are still to be written."""
    needed = 0
    for file in offered.files:
        is_zip = file.name.endswith(".zip")
        name = Path(file.name).stem if is_zip else file.name
        if (work / "ready" / name).exists():
            continue
        parts = (work / file.name, work / f"{file.name}.part")
        fetched_bytes = max((part.stat().st_size for part in parts if part.is_file()), default=0)
        needed += max(0, file.size - fetched_bytes)
        if is_zip:
            needed += file.size
    return needed
