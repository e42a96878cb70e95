"""Patient splits: 70/10/20, K folds or the user's own, from a fixed seed, stored as plain text."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.spec import csvs
from bench.spec.case import SIDES, UNUSED, Side, Split
from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.spec.names import Scheme
from bench.spec.plain import content_hash

COLUMNS = ("fold", "patient", "side")
HEADER = ",".join(COLUMNS)
Row = tuple[int, tuple[str, str, str]]
"""A line's number, and its fold, patient and side."""


@dataclass(frozen=True)
class Splitting:
    """How patients are split (70/10/20, K folds, a file), and which share of training is used."""

    folds: int = 1
    file: Path | None = None
    """The user's own split, of one fold or several, in the form of `write_splits`."""
    fraction: float = 1.0
    """Share of each fold's training patients that is used. A larger share includes all patients
    of a smaller one."""

    def __post_init__(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            UsageError: The fraction is not in (0, 1], or both a file and folds are given.
        """
        if not 0 < self.fraction <= 1:
            raise UsageError(
                f"--fraction {self.fraction:g} is no share of patients; "
                "expected more than 0, 1 at most"
            )
        if self.file and self.folds > 1:
            raise UsageError(
                f"--folds {self.folds} and --split {self.file}: the file says how many folds; "
                "give one"
            )

    @cached_property
    def own(self) -> list[Split]:
        """The splits of the file; none if there is no file."""
        return parse_splits(self.file) if self.file else []

    @property
    def count(self) -> int:
        """The number of folds."""
        return len(self.own) or self.folds

    @property
    def scheme(self) -> Scheme:
        """The name of this way to split in tables and files."""
        parts = []
        if self.file:
            digest = content_hash([split.sides for split in self.own])
            parts.append(f"own-{digest[:8]}")
        if self.fraction < 1:
            parts.append(f"fraction{self.fraction:g}")
        return Scheme(self.count, "-".join(parts))

    def split(self, patients: Sequence[str], official: Collection[str] = ()) -> list[Split]:
        """Split patients.

        Raises:
            UsageError: There are too few patients, or the file does not fit them.
        """
        splits = self.own or make_splits(patients, self.folds, official)
        if self.file:
            check_splits(splits, self.file, patients)
        return [_thinned(split, self.fraction) for split in splits]


def _thinned(split: Split, fraction: float) -> Split:
    """Return the split with a share of its training patients, at least one; others are unused."""
    import numpy as np

    train = sorted(patient for patient, side in split.sides.items() if side == "train")
    order = np.random.Generator(np.random.Philox(SEED)).permutation(len(train))
    kept = {train[i] for i in order[: max(1, round(fraction * len(train)))]}
    sides = dict(split.sides)
    for patient in train:
        if patient not in kept:
            sides[patient] = "unused"
    return Split(sides)


def make_splits(
    patients: Sequence[str], folds: int = 1, official: Collection[str] = ()
) -> list[Split]:
    """Split patients once (70 % train, 10 % validation, 20 % test), or into K folds.

    In a cross-validation each patient is tested once, and an eighth of the others are used for
    validation. The order of `patients` does not matter.

    Args:
        patients: All patients.
        folds: Number of folds; 1 for a single split.
        official: The test side of a single split, if the publisher of the dataset chose one.

    Raises:
        UsageError: There are too few patients to have one on every side.
    """
    import numpy as np

    names = sorted(set(patients))
    needed = {1: 3, 2: 4}.get(folds, folds)
    if len(names) < needed or folds < 1:
        raise UsageError(
            f"{len(names)} patients cannot be split: expected at least {needed} (folds={folds}), "
            "for none may be on two sides; add patients or leave the dataset out"
        )
    generator = np.random.Generator(np.random.Philox(SEED))
    order = [names[i] for i in generator.permutation(len(names))]
    if folds == 1 and official:
        if len(names) - len({*official} & {*names}) < 2:
            raise UsageError(
                f"{len(official)} of {len(names)} patients are on the publisher's test side; "
                "expected two others, to train and to validate: if the numbers of patients "
                "begin anew on each side, give a table of patients; or split anew with --folds"
            )
        return [_assign(order, [name for name in order if name in official])]
    if folds == 1:
        return [_assign(order, order[: max(1, round(0.2 * len(order)))])]
    return [_assign(order, order[fold::folds]) for fold in range(folds)]


def _assign(order: list[str], test: list[str]) -> Split:
    rest = [name for name in order if name not in set(test)]
    validation = rest[: max(1, round(len(rest) / 8))]
    sides: dict[str, Side] = {name: "train" for name in rest}
    sides.update({name: "validation" for name in validation})
    sides.update({name: "test" for name in test})
    return Split({name: sides[name] for name in sorted(sides)})


def write_splits(splits: Sequence[Split]) -> str:
    """Return splits as CSV text: fold, patient, side; names with commas or quotes are in quotes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for fold, split in enumerate(splits):
        writer.writerows((fold, patient, side) for patient, side in split.sides.items())
    return text.getvalue()


def read_splits(path: Path, patients: Sequence[str]) -> list[Split]:
    """Read splits back and check them against the dataset's patients.

    Raises:
        UsageError: The file is damaged, puts a patient on two sides, or does not fit the patients.
    """
    splits = parse_splits(path)
    check_splits(splits, path, patients)
    return splits


def parse_splits(path: Path) -> list[Split]:
    """Read a split file: one of `write_splits`, or any table with the columns of its header.

    Raises:
        UsageError: The file is missing or damaged, or puts a patient on two sides.
    """
    text, encoding = csvs.read_text(path)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if next(filter(str.strip, lines), "") == HEADER:
        rows = list(_written(lines, path))
    else:
        rows = _tabled(text, path, encoding)
    folds: dict[int, dict[str, Side]] = {}
    for line, (fold, patient, name) in rows:
        at = f"{path} line {line}"
        if not fold.strip().isdecimal() or not patient:
            raise UsageError(f"{at}: {','.join((fold, patient, name))!r}, expected {HEADER}")
        known = (*SIDES, UNUSED)
        side = next((side for side in known if side == name.strip()), None)
        if side is None:
            raise UsageError(f"{at}: side '{name}', expected one of {', '.join(known)}")
        sides = folds.setdefault(int(fold), {})
        if patient in sides:
            raise UsageError(
                f"{at}: patient {patient} is on two sides of fold {int(fold)}, "
                "or named twice; remove one line"
            )
        sides[patient] = side
    if list(folds) != list(range(len(folds))) or not folds:
        raise UsageError(f"{path} is no split file: expected the header {HEADER} and folds from 0")
    for number, sides in folds.items():
        for side in SIDES:
            if side not in sides.values():
                raise UsageError(
                    f"{path}: fold {number} has no {side} patient, expected one at least"
                )
    return [Split(sides) for sides in folds.values()]


def _tabled(text: str, path: Path, encoding: str) -> list[Row]:
    """Return the rows of a table that another program wrote."""
    table = csvs.parse(text, str(path), COLUMNS, encoding=encoding)
    if not all(table.has(name) for name in COLUMNS):
        raise UsageError(f"{path} is no split file: expected the header {HEADER} and folds from 0")
    fold, patient, side = COLUMNS
    rows = []
    for row in table.rows:
        values = (table.value(row, fold), table.value(row, patient), table.value(row, side))
        rows.append((row.line, values))
    return rows


def _written(lines: list[str], path: Path) -> Iterator[Row]:
    """Yield the rows of a file of `write_splits`; a name keeps the blanks at its ends.

    Older versions wrote names as they are: `0,Smith, John,train`. Such a line has more commas than
    three values need, or is no CSV.
    """
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    for number, line in filled[1:]:
        try:
            values = next(csv.reader([line], strict=True))
        except csv.Error:
            values = []
        if len(values) != len(COLUMNS):
            fold, _, rest = line.partition(",")
            patient, comma, side = rest.rpartition(",")
            if not comma:
                raise UsageError(f"{path} line {number}: {line!r}, expected {HEADER}")
            values = [fold, patient, side]
        yield number, (values[0], values[1], values[2])


def check_splits(splits: Sequence[Split], path: Path, patients: Sequence[str]) -> None:
    """Refuse splits that do not name exactly the dataset's patients.

    Raises:
        UsageError: A patient is missing in the file or in the dataset.
    """
    for number, split in enumerate(splits):
        for patient in sorted(set(patients) - set(split.sides))[:1]:
            raise UsageError(
                f"{path} does not fit the dataset: fold {number} lacks patient {patient}; "
                f"give it a side, {UNUSED} to leave it out"
            )
        for patient in sorted(set(split.sides) - set(patients))[:1]:
            raise UsageError(
                f"{path} does not fit the dataset: it has no patient {patient}; remove the line"
            )
