"""Removes what a cell left on disk, and nothing else."""

from __future__ import annotations

import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from bench.spec.errors import UsageError
from bench.store.cells import Store
from bench.store.layout import CellFolder
from bench.store.lease import BusyError, Leases, hold
from bench.store.plan import Place, State, place_of

_REMOVED = ".removed-"
"""Begins the names of what is being removed: beside the profiles, where no reader looks."""


def remains(store: Store, profile: str, place: Place) -> list[Path]:
    """Return the folders that a cell left, finished or not.

    Raises:
        UsageError: One of them is reached through a link, so that something else would be removed.
    """
    folder = _folder(store, profile, place)
    paths = []
    for path in (folder.path, folder.working.path):
        if not path.is_symlink() and not path.exists():
            continue
        real = store.root.resolve() / path.relative_to(store.root)
        if path.resolve() != real:
            raise UsageError(
                f"{path} leads to {path.resolve()}, and links are not followed; remove it by hand"
            )
        paths.append(path)
    return paths


def size(folder: Path) -> int:
    """Return the bytes of all files in a folder; links count as themselves."""
    return sum(sizes(folder).values())


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each file in a folder, by its path; links count as themselves."""
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return {str(path.relative_to(folder)): path.lstat().st_size for path in paths}


def remove(store: Store, profile: str, place: Place, leases: Leases) -> bool:
    """Remove what a cell left; return False if its state has changed meanwhile.

    A rename takes it out of every reader's sight first. What an earlier removal left, because it
    was killed, goes too.

    Raises:
        BusyError: Another process is at work on the cell, as far as was observed.
        UsageError: It is reached through a link, or cannot be deleted.
    """
    folder = _folder(store, profile, place)
    work = folder.working
    if not remains(store, profile, place):
        return False
    free = leases.free(work.path)
    if free is None:
        raise BusyError(f"another run is at work on {folder.path}")
    try:
        work.path.mkdir(exist_ok=True)  # a finished cell has none, and is held by it all the same
        with hold(work.path, free, lambda: None):
            if place_of(folder, held_by_me=True).state != _seen(place):
                return False
            for path in remains(store, profile, place):  # the finished one first
                path.rename(store.root / f"{_REMOVED}{uuid.uuid4().hex}")
    except OSError as error:
        raise UsageError(
            f"{folder.path} cannot be removed ({error.strerror}); see who may write there"
        ) from error
    for path in store.root.glob(f"{_REMOVED}*"):
        delete(path)
    return True


def delete(path: Path) -> None:
    """Remove a folder, or whatever else has its name; of a link the link alone.

    Raises:
        UsageError: It cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # another process may remove it at the same time
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} cannot be deleted; remove it by hand")


def _seen(place: Place) -> State:
    """Return the state that a glance at a cell's files gives: damage shows to a check alone."""
    return "done" if place.state == "damaged" else place.state


def _folder(store: Store, profile: str, place: Place) -> CellFolder:
    return store.layout.profile(profile).cell(place.dataset, place.method, place.label)
