"""The manifest of a prepared dataset: what was read, by which rules, and what was left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench.spec import plain
from bench.spec.case import LOSSY, Census
from bench.spec.errors import UsageError
from bench.spec.names import Source
from bench.spec.words import count

FILE, READING = "manifest.json", "reading.json"
"""The files of a `Manifest` and of a `Reading`, each in its own folder of the cache."""
FEW = 12
"""Labels that a line lists; there may be hundreds."""
ASSUMED = "assumed: "
"""How a line begins that says what a reader assumed; the user is told."""
OF_ALL = 0
"""In place of a number of cases: it was decided of the dataset as a whole."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """All that the files of a dataset say, whichever labels are foreground."""

    format: int
    name: str
    source: Source
    rules: dict[str, Any]
    """The reader's settings that, together with the files, determine the pixels."""
    cases: int
    patients: int
    sizes: tuple[tuple[int, int], ...]
    """Width and height in pixels, each size once."""
    spacing: tuple[tuple[float, float], ...]
    """mm per pixel (row, column), each spacing once."""
    labels: dict[str, int]
    """Pixels of each label, in the order of the numbers in `masks.u8`."""
    masks: tuple[tuple[tuple[str, ...], str], ...]
    """Each set of labels that a mask holds, with the file of the first such mask."""
    any_label_digest: str
    """`Manifest.digest` if every label but 0 is foreground."""
    how: dict[str, int] = {}
    """What was decided while reading, as `topic: words`, and for how many cases, or `OF_ALL`."""
    official_test: tuple[str, ...] = ()
    """Patients that the publisher put on the test side."""
    on_both_official_sides: tuple[str, ...] = ()
    """Patients of whom the publisher has cases on the test side and on another."""
    set_aside: tuple[str, ...] = ()
    """Cases of these patients that are on the other side: nothing sees them where the publisher's
    split is used."""
    left_out: tuple[str, ...] = ()
    """Files that could not be used, and why: one line for each."""
    twins: tuple[tuple[str, str], ...] = ()
    """Cases of two patients whose images are the same, a pair each."""
    files: dict[str, str] = {}
    """SHA-256 of every file that was read, by its path in the user's folder."""

    @property
    def census(self) -> Census:
        """The labels of all masks."""
        return Census(self.labels, dict(self.masks), LOSSY in self.how)


class Manifest(Reading, frozen=True, kw_only=True):
    """Everything about a prepared dataset but its cases and pixels."""

    digest: str
    """SHA-256 over every case's id, patient, spacing and pixels."""
    choice: dict[str, Any]
    """The options that say which labels are foreground."""
    foreground: tuple[str, ...]
    """The labels that are foreground."""
    foreground_share: float
    """Pixels of foreground as a share of all pixels."""
    classes: dict[str, tuple[str, ...]] = {}
    """The labels of each class; empty where there is one foreground."""
    void: tuple[str, ...] = ()
    """Labels that are left out of training and scores."""
    instances: dict[str, int] = {}
    """The number of the instance that each label names; empty where none are asked for."""

    @property
    def lines(self) -> tuple[str, ...]:
        """How the files were read, a line each: geometry, polarity, labels, names."""
        total = sum(self.labels.values())
        shares = [f"{label} ({100 * own / total:.3g} %)" for label, own in self.labels.items()]
        more = " ..." if len(shares) > FEW else ""
        lines = [
            line + self._of(number)
            for line, number in self.how.items()
            if not line.startswith(ASSUMED)
        ]
        lines += [
            f"labels of masks: {', '.join(shares[:FEW])}{more}",
            f"foreground: {', '.join(self.foreground[:FEW]) or 'none'}",
        ]
        lines += [f"class {name}: {', '.join(own)}" for name, own in self.classes.items()]
        if self.void:
            lines.append(f"void, left out of training and scores: {', '.join(self.void)}")
        if self.instances:
            lines.append(f"instances: {', '.join(list(self.instances)[:FEW])}")
        return (*lines, *(ASSUMED + line for line in self.assumed))

    @property
    def assumed(self) -> tuple[str, ...]:
        """What the reader assumed, a line each, for users."""
        lines = [
            line[len(ASSUMED) :] + self._of(number)
            for line, number in self.how.items()
            if line.startswith(ASSUMED)
        ]
        if self.set_aside:
            patients = count(len(self.on_both_official_sides), "patient")
            lines.append(
                f"{count(len(self.set_aside), 'case')} of {patients} of "
                "the publisher's test side lie on another side too; where the publisher's split "
                "is used, nothing sees them"
            )
        return tuple(lines)

    def _of(self, number: int) -> str:
        """Return of how many cases something was decided; empty where it is of them all at once."""
        return f" ({number} of {count(self.cases, 'case')})" if number != OF_ALL else ""


Known = TypeVar("Known", bound=Reading)
"""A `Reading` or a `Manifest`: what is known of a dataset."""


def write(known: Reading, file: Path) -> None:
    """Write a manifest, or a reading."""
    file.write_text(json.dumps(plain.builtins(known), indent=1), encoding="utf-8")


def exists(folder: Path) -> bool:
    """Return whether a folder holds a prepared dataset: the manifest is written last."""
    return (folder / FILE).is_file()


def read(folder: Path) -> Manifest:
    """Read the manifest of a prepared dataset.

    Raises:
        UsageError: The manifest is missing or damaged.
    """
    return _read(folder / FILE, Manifest)


def reading(folder: Path) -> Reading:
    """Read what is known of the files of a dataset.

    Raises:
        UsageError: It is missing or damaged.
    """
    return _read(folder / READING, Reading)


def _read(file: Path, kind: type[Known]) -> Known:
    """Read a file as what it is said to be; the errors are those of `read` and `reading`."""
    try:
        return plain.decode(file.read_bytes(), kind)
    except (OSError, plain.PlainError) as error:
        raise UsageError(
            f"prepared dataset {file.parent} is damaged ({error}); remove the folder and run again"
        ) from error
