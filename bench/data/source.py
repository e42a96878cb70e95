"""What is to be prepared: a source's items and the digests of their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import pooch

from bench.data import hashes
from bench.data.hashes import Hashes
from bench.spec import machine
from bench.spec.dataset import Adapter, Item
from bench.spec.errors import UsageError
from bench.spec.note import Progress
from bench.spec.plain import content_hash

FORMAT = 6
"""Version of the cache: of its layout and of how files are read; another one is prepared anew."""
EMPTY = sha256().hexdigest()
"""The digest of a file without any byte."""
Inside = Callable[[Path], bool]
"""Returns whether a path lies in a source's folder."""


@dataclass(frozen=True)
class Source:
    """What is to be prepared."""

    adapter: Adapter
    root: Path
    """The user's folder."""
    items: list[Item]
    hashes: Hashes
    """The digests of the items' files."""
    tables: dict[str, str]
    """SHA-256 of the tables that say what the images are, by name."""

    @cached_property
    def folder(self) -> Path:
        """The folder of the cache: its name depends on the rules and the content of the files."""
        items = [self._identity(item) for item in self.items]
        adapter = self.adapter
        tables = list(self.tables.values())
        key = content_hash([FORMAT, adapter.name, adapter.rules(), items, tables])
        return machine.cache_root() / f"{adapter.name}-{adapter.source}-{key[:16]}"

    @property
    def view(self) -> Path:
        """The folder of the manifest: its name depends on the choice of labels too."""
        return self.folder / f"foreground-{content_hash(self.choice)[:8]}"

    @property
    def choice(self) -> dict[str, Any]:
        """What decides which labels are foreground, and whether they are instances."""
        choice = self.adapter.choice()
        return {**choice, "instances": True} if self.adapter.instances else choice

    def _identity(self, item: Item) -> list[Any]:
        """Return all that decides what an item becomes; it is the same wherever the folder lies."""
        paths = (*item.files, *item.beside)
        content = hashes.relative(self.root, paths, self.hashes.digests)
        why = item.left_out.replace(str(self.root), "")  # reasons name files by their whole path
        facts = [item.patient, item.spacing, item.official, item.key, list(item.how)]
        return [content, why, *facts]


def silent(name: str, done: int, total: int) -> None:
    """Tell nobody of the progress."""


def find_source(adapter: Adapter, root: Path, jobs: int, progress: Progress = silent) -> Source:
    """List a source's items and hash their files; what cannot be used is marked as left out.

    Args:
        adapter: Lists the items.
        root: The user's folder.
        jobs: Threads that hash.
        progress: Is told of the hashing.

    Raises:
        UsageError: There are no items, or all are left out.
    """
    inside = _inside(root)
    items = [_refused(item, root, inside) for item in adapter.items(root)]
    paths = chain.from_iterable((*item.files, *item.beside) for item in items)
    hashed = hashes.read(
        root,
        list(dict.fromkeys(paths)),
        jobs,
        lambda done, total: progress(f"{adapter.name} (comparing files)", done, total),
    )
    items = _once([_unreadable(item, hashed) for item in items])
    if not items:
        raise UsageError(f"{root}: nothing is in it; expected images with masks")
    if all(item.left_out for item in items):
        more = f" (the first of {len(items)} refusals)" if len(items) > 1 else ""
        raise UsageError(reason(items[0]) + more)
    tables = adapter.tables(root) if adapter.source == "real" else []
    of_tables = {path.name: pooch.file_hash(path) for path in tables}
    return Source(adapter, root, items, hashed, of_tables)


def _refused(item: Item, root: Path, inside: Inside) -> Item:
    """Return an item, left out if a file lies outside the source's folder."""
    for path in (*item.files, *item.beside):
        if not inside(path):
            why = f"{path} leads out of {root}; copy it there or remove the link"
            return replace(item, files=(), beside=(), left_out=why)
    return item


def _once(items: list[Item]) -> list[Item]:
    """Return items, those left out whose files are, by links, those of an earlier item.

    Links alone are looked for: readers refuse a table that names one file twice.
    """
    first: dict[tuple[Path, ...], Item] = {}
    checked = []
    for item in items:
        files = tuple(path.resolve() if path.is_symlink() else path for path in item.files)
        other = first.setdefault(files, item)
        if files and other.files != item.files:
            why = f"{item.files[0]} is the same file as {other.files[0]}; remove one of them"
            checked.append(replace(item, files=(), beside=(), left_out=why))
        else:
            checked.append(item)
    return checked


def _inside(root: Path) -> Inside:
    """Return what says whether a path lies in a folder when links are followed.

    To follow links takes time: it is done of files that are links, and once of each folder.
    """
    real_root = root.resolve()
    is_inside: dict[Path, bool] = {}  # by folder

    def inside(path: Path) -> bool:
        if path.is_symlink():
            return path.resolve().is_relative_to(real_root)
        if path.parent not in is_inside:
            is_inside[path.parent] = path.parent.resolve().is_relative_to(real_root)
        return is_inside[path.parent]

    return inside


def _unreadable(item: Item, hashed: Hashes) -> Item:
    """Return an item, left out if a file is missing or unreadable, or mask and image are equal."""
    for path in (*item.files, *item.beside):
        if hashed.digests.get(path) == EMPTY and not item.left_out:
            why = f"{path} is empty; copy it again"
            return replace(item, files=(), beside=(), left_out=why)
        if path not in hashed.errors or item.left_out:
            continue
        why = f"{path} {hashed.errors[path]}"
        if not path.is_file():
            why = f"{path} is no file; add it, or remove its header or row"
        return replace(item, files=(), beside=(), left_out=why)
    contents = [hashed.digests.get(path, str(path)) for path in item.files]
    has_equal_files = len(set(contents)) < len(contents)
    # Headers may be equal: the pixels are in the files beside them.
    if has_equal_files and not item.beside and not item.left_out:
        why = f"{item.files[0]} and {item.files[-1]} hold the same"
        why += "; put image and mask in their places"
        return replace(item, files=(), beside=(), left_out=why)
    return item


def reason(item: Item) -> str:
    """Return why an item is left out, with the name of its file; empty if it is not."""
    return f"{item.files[0]}: {item.left_out}" if item.left_out and item.files else item.left_out
