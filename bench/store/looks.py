"""Looks at results of several seeds, written down, so that p can be corrected for them.

Whoever adds seeds and reports after each, until a difference has its star, finds one too often.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from bench.spec import files
from bench.spec.errors import UsageError


@dataclass(frozen=True)
class Look:
    """A report of a column's results of several seeds; one more under the same seeds is none."""

    date: str
    """Of the first such report (UTC)."""
    column: str
    """The column's key."""
    seeds: tuple[int, ...]


def read(path: Path) -> tuple[Look, ...]:
    """Return the looks in a file, none where there is no file.

    Raises:
        UsageError: The file is damaged.
    """
    looks: dict[tuple[str, tuple[int, ...]], Look] = {}
    try:
        text = files.read_bytes(path).decode()
        for date, column, seeds in csv.reader(text.splitlines()):
            look = Look(date, column, tuple(map(int, seeds.split())))
            looks.setdefault((column, look.seeds), look)  # merged folders may have had it both
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, csv.Error) as error:
        why = files.reason(error) if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{path} is damaged ({why}): it counts the reports of several seeds; restore it, or "
            "remove it and say in the paper how often you looked"
        ) from error
    return tuple(looks.values())


def add(path: Path, seeds: Mapping[str, tuple[int, ...]]) -> tuple[Look, ...]:
    """Write down a look at the columns with several seeds that is no repetition; return all looks.

    Args:
        path: The file.
        seeds: The seeds of each column's results.

    Raises:
        UsageError: The file is damaged.
        OSError: It cannot be written.
    """
    earlier_looks = read(path)
    before = {(look.column, look.seeds) for look in earlier_looks}
    today = datetime.now(timezone.utc).date().isoformat()
    new = []
    for column, of_column in sorted(seeds.items()):
        if len(of_column) > 1 and (column, of_column) not in before:
            new.append(Look(today, column, of_column))
    if new:
        with path.open("a", newline="", encoding="utf-8") as file:
            for look in new:
                csv.writer(file).writerow([look.date, look.column, " ".join(map(str, look.seeds))])
    return (*earlier_looks, *new)
