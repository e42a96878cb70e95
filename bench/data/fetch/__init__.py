"""Datasets that anyone may have, fetched from where they are published; the others are their owners' to give."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from bench.data.fetch import hub, zenodo
from bench.data.fetch.sources import Offer, Progress, Source, inside, room
from bench.spec.errors import UsageError

RECORD = "fetched.json"
"""Beside the data: what they are, on what terms, and their digests. It is there when everything
else is."""


def fetched(source: Source, to: Path) -> bool:
    """Return whether all of a source is in the data directory."""
    try:
        record = json.loads((to / source.folder / RECORD).read_text(encoding="utf-8"))
        return bool(record["source"]["name"] == source.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def offer(source: Source) -> Offer:
    """Ask the server what it has.

    Raises:
        UsageError: It does not answer, or not as expected.
    """
    found = zenodo.offer(source) if source.doi else hub.offer(source)
    for file in found.files:
        inside(file.name, source.home)
    return found


def fetch(source: Source, to: Path, progress: Progress) -> Path:
    """Fetch a source into the data directory, and return its folder, which appears when it is whole.

    Raises:
        UsageError: The folder holds other data, the disk is too small or not writable, the transfer
            stopped (the next call goes on), or the content is not what the server says.
    """
    folder, work = to / source.folder, to / f".{source.name}.part"
    if fetched(source, to):
        return folder
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(
                f"{folder} holds other data; expected no such folder, since two datasets in one"
                " would pass for one: choose another --to"
            )
        found = offer(source)
        room(
            missing(found, work),
            to,
            f"{source.name} (zips are counted twice: they are unpacked beside)",
        )
        ready = work / "ready"
        ready.mkdir(parents=True, exist_ok=True)
        (zenodo if source.doi else hub).fetch(source, found, work, progress)
        record = {
            "source": asdict(source),
            "revision": found.revision,
            "files": {file.name: file.digest for file in found.files},
        }
        (ready / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        ready.rename(folder)
        shutil.rmtree(work)
    except OSError as error:
        raise UsageError(
            f"{to} cannot be written ({error.strerror or error}); mend that or choose another --to,"
            " and run the same command again"
        ) from error
    return folder


def missing(found: Offer, work: Path) -> int:
    """Return the bytes that are still to be written."""
    needed = 0
    for file in found.files:
        is_zip = file.name.endswith(".zip")
        if not (work / "ready" / (Path(file.name).stem if is_zip else file.name)).exists():
            there = [
                p.stat().st_size
                for p in (work / file.name, work / f"{file.name}.part")
                if p.is_file()
            ]
            needed += max(0, file.size - max(there, default=0)) + file.size * is_zip
    return needed
