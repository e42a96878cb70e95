"""The manifest of a prepared dataset: what was read, by which rules, and what was left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from bench.spec import plain
from bench.spec.errors import UsageError
from bench.spec.names import Source

FILE = "manifest.json"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a prepared dataset but its cases and pixels."""

    format: int
    name: str
    source: Source
    digest: str
    """SHA-256 over every case's id, patient, spacing and pixels."""
    rules: dict[str, Any]
    """The reader's settings that, together with the files, determine the pixels."""
    cases: int
    patients: int
    sizes: tuple[tuple[int, int], ...]
    """Width and height in pixels, each size once."""
    spacing: tuple[tuple[float, float], ...]
    """mm per pixel (row, column), each spacing once."""
    foreground_share: float
    official_test: tuple[str, ...] = ()
    """Patients that the publisher put on the test side."""
    on_both_official_sides: tuple[str, ...] = ()
    """Patients of whom the publisher has cases on the test side and on another."""
    left_out: tuple[str, ...] = ()
    """Files that could not be used, and why: one line for each."""
    files: dict[str, str] = {}
    """SHA-256 of every file that was read, by its path in the folder."""

    @property
    def reading(self) -> str:
        """An assumption of the reader that users must know; empty where there is none."""
        return str(self.rules.get("reading", ""))

    def write(self, folder: Path) -> None:
        """Write the manifest into the folder of a prepared dataset."""
        text = json.dumps(plain.builtins(self), indent=1)
        (folder / FILE).write_text(text, encoding="utf-8")


def exists(folder: Path) -> bool:
    """Return whether a folder holds a prepared dataset: the manifest is written last."""
    return (folder / FILE).is_file()


def read(folder: Path) -> Manifest:
    """Read the manifest of a prepared dataset.

    Raises:
        UsageError: The manifest is missing or damaged.
    """
    try:
        return plain.decode((folder / FILE).read_bytes(), Manifest)
    except (OSError, plain.PlainError) as error:
        raise UsageError(
            f"prepared dataset {folder} is damaged ({error}); remove the folder and run again"
        ) from error
