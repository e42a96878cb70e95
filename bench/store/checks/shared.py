"""The files that the cells of a profile share: its settings, splits and plan."""

from __future__ import annotations

import os

from bench.data.splits import parse_splits
from bench.spec import files, plain
from bench.spec.errors import UsageError
from bench.spec.names import Column
from bench.store.cells import OUTSIDE, Settings
from bench.store.checks.believed import Believed
from bench.store.damage import of_file
from bench.store.record import Record

AGAIN = "and bench run makes it anew"
"""What follows the removal of a file that every run writes."""


def check_settings(believed: Believed) -> None:
    """Name a `profile.json` that is not that of its cells."""
    path = believed.folder.settings
    profiles = []
    for record in believed.cells.values():
        if record.spec.profile:  # what is from outside has none
            profiles.append(record.spec.profile)
    if believed.cells and believed.folder.path.name == OUTSIDE:
        profiles.append({"name": OUTSIDE})
    try:
        kept_settings = plain.decode(files.read_bytes(path), Settings)
    except FileNotFoundError:
        if any(record.digests for record in believed.cells.values()):
            believed.damaged.append(of_file(path, "it is missing", AGAIN))
        return
    except (OSError, plain.PlainError) as error:
        believed.damaged.append(of_file(path, _said(error), AGAIN))
        return
    if profiles and kept_settings.profile not in profiles:
        why = "it is not the profile of any of its cells"
        believed.damaged.append(of_file(path, why, AGAIN))


def check_splits(believed: Believed) -> None:
    """Read the split of each column; name one with which its cells were not made."""
    columns: dict[Column, list[Record]] = {}
    for cell_record in believed.cells.values():
        if cell_record.spec.split:  # what is from outside may have none
            columns.setdefault(cell_record.column, []).append(cell_record)
    for column, records in columns.items():
        path = believed.folder.split(column)
        try:
            splits = parse_splits(path)
        except UsageError as error:
            missing = not os.path.lexists(path)
            if any(record.digests for record in records) or not missing:
                why = "it is missing" if missing else str(error)
                believed.damaged.append(of_file(path, why, AGAIN))
            continue
        hashes = [plain.content_hash(split.sides) for split in splits]
        wanted = {(record.spec.fold, record.spec.split) for record in records}
        # A slice, because the file may have fewer folds than the cells.
        if all(hashes[fold : fold + 1] == [split] for fold, split in wanted):
            believed.splits[column] = splits
        else:
            why = "it is not the split that its cells were made with"
            believed.damaged.append(of_file(path, why, AGAIN))


def check_plan(believed: Believed) -> None:
    """Name a plan that has lines which are no cells."""
    path = believed.folder.plan
    wrong = believed.folder.foreign()
    if wrong:
        why = f"{len(wrong)} of its lines name no cell, such as {wrong[0][:80]!r}"
        after = "and the next bench run writes its cells down again"
        believed.damaged.append(of_file(path, why, after))


def _said(error: Exception) -> str:
    """Return an error in words."""
    return files.reason(error) if isinstance(error, OSError) else str(error)
