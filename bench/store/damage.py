"""What is not as a cell left it: named in one line, and removed by one command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.spec.errors import UsageError


@dataclass(frozen=True)
class Damage:
    """Something in a results folder that cannot be believed."""

    path: Path
    """What `bench clean damaged` removes: a cell's folder, or a file that is no cell's."""
    line: str
    """Names the file, what is wrong with it, and the remedy."""


class DamagedError(UsageError):
    """A file of a finished cell cannot be believed, so nothing of the cell is."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(
            f"{file} is damaged ({why}); bench clean damaged removes its cell, "
            "and bench run makes it anew"
        )


def of_cell(folder: Path, error: UsageError) -> Damage:
    """Return the damage of a cell, whose folder goes as a whole."""
    return Damage(folder, str(error))


def of_file(file: Path, why: str, after: str) -> Damage:
    """Return the damage of a file that is no cell's; `after` says what follows its removal."""
    return Damage(file, f"{file} is damaged ({why}); bench clean damaged removes it, {after}")
