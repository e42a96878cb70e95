"""Two results folders become one: same protocol, same data; nothing is overwritten."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.spec import files
from bench.spec.errors import SeveralError, UsageError
from bench.store import check
from bench.store.cells import Store
from bench.store.layout import CellFolder, ProfileFolder, read_or_empty, write
from bench.store.results import finished_profiles


@dataclass
class Merged:
    """What a merged folder will hold: each file with where it is from."""

    files: dict[str, Path] = field(default_factory=dict)
    """By the path in the merged folder."""
    lines: dict[str, dict[str, None]] = field(default_factory=dict)
    """The lines of each profile's plan and looks, by the path in the merged folder."""
    datasets: dict[tuple[str, str, str], tuple[str, Path]] = field(default_factory=dict)
    """The digest of each profile's dataset, and which folder has it first."""
    conflicts: list[str] = field(default_factory=list)
    cells: int = 0
    """Cells that one folder or both have."""


def merge(sources: Sequence[Path], into: Path) -> Merged:
    """Copy the finished cells of several results folders into a new one.

    Raises:
        UsageError: A line for each conflict: two files of one name and other content, another
            version of a dataset, something damaged; or the new folder is not empty.
    """
    if into.exists() and any(into.iterdir()):
        raise UsageError(f"--into {into} is not empty; choose a new folder")
    merged = Merged()
    for source in sources:
        profiles = finished_profiles(Store(source))
        if not profiles:
            raise UsageError(f"{source} has no finished cell; expected a results folder")
        for profile in sorted(profiles):
            _add(merged, source, Store(source).layout.profile(profile))
    if merged.conflicts:
        raise SeveralError(merged.conflicts)
    for name, path in merged.files.items():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for name, lines in merged.lines.items():
        if lines:
            write(into / name, "".join(f"{line}\n" for line in lines))
    return merged


def kept(folder: ProfileFolder, weights: bool = True) -> list[Path]:
    """Return the files of a profile that others need: finished cells and what they share.

    Args:
        folder: The profile's folder.
        weights: Whether trained weights are among them.

    Raises:
        UsageError: Something is damaged.
    """
    believed, _ = check.cases(folder, pictures=True)
    if believed.damaged:
        raise SeveralError(damage.line for damage in believed.damaged)
    paths = [folder.settings, folder.family, folder.looks]
    for cell, record in believed.cells.items():
        paths += [cell.record, *cell.kept()]
        paths += [cell.shared(name) for name in record.references]
        if record.spec.split:
            paths.append(folder.split(record.column))
    left_out = set()
    if not weights:
        left_out = {cell.weights for cell in believed.cells}
    unique = dict.fromkeys(path for path in paths if path.is_file())
    return [path for path in unique if path not in left_out]


def _add(merged: Merged, source: Path, folder: ProfileFolder) -> None:
    """Add a profile of a results folder; name what does not go together."""
    try:
        paths = kept(folder)
    except UsageError as error:
        merged.conflicts.append(str(error))
        return
    believed = check.records(folder)
    for record in believed.cells.values():
        dataset = record.spec.dataset
        place = (folder.path.name, dataset.name, dataset.source)
        digest, first = merged.datasets.setdefault(place, (dataset.digest, source))
        line = (
            f"{dataset.name} ({dataset.source}) is {dataset.version} in {source}, but "
            f"{digest[:8]} in {first}: other data; merge them apart"
        )
        if digest != dataset.digest and line not in merged.conflicts:
            merged.conflicts.append(line)
    owners: dict[Path, CellFolder] = {}
    for cell in believed.cells:
        owners.update(dict.fromkeys((cell.record, *cell.kept()), cell))
    cells_in_conflict: set[CellFolder] = set()  # a conflict is told once for each cell
    for path in paths:
        if path == folder.looks:  # both folders' looks count
            continue
        name = path.relative_to(source).as_posix()
        other = merged.files.setdefault(name, path)
        owner = owners.get(path)
        if other == path:  # no earlier folder has a file of this name
            if owner is not None and path == owner.record:
                merged.cells += 1
        elif files.digest(other) != files.digest(path) and owner not in cells_in_conflict:
            what = name if owner is None else owner.name
            merged.conflicts.append(
                f"{what} is in both folders, with other content: {other} and {path}; remove one"
            )
            if owner is not None:
                cells_in_conflict.add(owner)
    for path in (folder.plan, folder.looks):
        name = path.relative_to(source).as_posix()
        lines = read_or_empty(path).splitlines()
        merged.lines.setdefault(name, {}).update(dict.fromkeys(lines))
