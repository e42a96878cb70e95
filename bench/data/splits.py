"""Patient splits: 70/10/20, K folds or the user's own, from a fixed seed, stored as plain text."""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.spec import csvs, formulas, texts
from bench.spec.case import SIDES, UNUSED, Side, Split
from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.spec.names import Scheme
from bench.spec.plain import content_hash
from bench.spec.words import count

COLUMNS = ("fold", "patient", "side")
HEADER = ",".join(COLUMNS)
SIDES_OF: dict[str, Side] = {**{side: side for side in (*SIDES, UNUSED)}, "val": "validation"}
"""The sides by what a file may call them, in any case."""
FEW = 3
"""Patients that an error names."""
NEAR = 1000
"""Names at most that are compared with one that is missing: a comparison is slow."""
_FOLD = re.compile(r"([0-9]{1,9})([.,]0)?")
"""A fold; pandas may write it as `0.0`."""
_NUMBERED = re.compile(r"[0-9]+,.")
"""How the name of a patient begins if a line has a number before its fold."""
_ENDS = re.compile(r"[,\s]+$")
"""Empty columns at the end of a line."""
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
            UsageError: The fraction is not in (0, 1], both a file and folds are given, or the file
                is no split.
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
        _ = self.own  # a damaged file is refused at once

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
            splits = fitted(splits, patients)
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
    # One patient to test in each fold, one to train and one to validate. The last two are others
    # than those tested, so of two folds each has two patients; of more, other folds have them.
    needed = {1: 3, 2: 4}.get(folds, folds)
    if len(names) < needed or folds < 1:
        few = f" ({', '.join(names)})" if 0 < len(names) <= FEW else ""
        raise UsageError(
            f"{count(len(names), 'patient')}{few} cannot be split: expected at least {needed} "
            f"(folds={folds}), for none may be on two sides; if there are more, correct the "
            "pattern or the table of patients, else add patients or leave the dataset out"
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
    """Return the split with these test patients: an eighth of the others validate, the rest train.

    Args:
        order: All patients, in the drawn order.
        test: Those to test.
    """
    rest = [name for name in order if name not in set(test)]
    validation = rest[: max(1, round(len(rest) / 8))]
    sides: dict[str, Side] = {name: "train" for name in rest}
    sides.update({name: "validation" for name in validation})
    sides.update({name: "test" for name in test})
    return Split({name: sides[name] for name in sorted(sides)})


def write_splits(splits: Sequence[Split]) -> str:
    """Return splits as CSV text: fold, patient, side.

    Names with commas or quotes are in quotes; a name that a spreadsheet would compute has one
    before it, which is taken away when it is read.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for fold, split in enumerate(splits):
        for patient, side in split.sides.items():
            writer.writerow((fold, formulas.harmless(patient), side))
    return text.getvalue()


def read_splits(path: Path, patients: Sequence[str]) -> list[Split]:
    """Read splits back and check them against the dataset's patients.

    Raises:
        UsageError: The file is damaged, puts a patient on two sides, or does not fit the patients.
    """
    splits = fitted(parse_splits(path), patients)
    check_splits(splits, path, patients)
    return splits


def parse_splits(path: Path) -> list[Split]:
    """Read a split file: one of `write_splits`, or any table with the columns of its header.

    Raises:
        UsageError: The file is missing or damaged, or puts a patient on two sides.
    """
    text, encoding = texts.read_text(path)
    lines = _lines(text)
    if next(filter(str.strip, lines), "").rstrip() == HEADER:
        rows = list(_written(lines, path))
    else:
        rows = _tabled(text, path, encoding)
    folds: dict[int, dict[str, Side]] = {}
    for line, (fold, written, name) in rows:
        if not (fold + written + name).strip():
            continue  # spreadsheets end with such rows
        at, patient = f"{path} line {line}", formulas.as_it_was(written)
        digits = _FOLD.fullmatch(fold.strip())
        if not digits and fold.strip() and patient:
            raise UsageError(f"{at}: the fold is {fold[:80]!r}, expected a number such as 0")
        if not digits or not patient:
            given = ",".join((fold, patient, name))
            raise UsageError(f"{at}: {given[:200]!r}, expected {HEADER}")
        texts.check_guess(patient, at, encoding)
        side = SIDES_OF.get(name.strip().lower())
        if side is None:
            expected = ", ".join((*SIDES, UNUSED))
            raise UsageError(f"{at}: side {name[:80]!r}, expected one of {expected}")
        number = int(digits[1])
        sides = folds.setdefault(number, {})
        if patient in sides:
            raise UsageError(
                f"{at}: patient {patient} is on two sides of fold {number}, "
                "or named twice; remove one line"
            )
        sides[patient] = side
    _check_folds(folds, path)
    for number, sides in folds.items():
        for side in SIDES:
            if side not in sides.values():
                raise UsageError(
                    f"{path}: fold {number} has no {side} patient, expected one at least"
                    f"{_numbered(sides)}"
                )
    return [Split(folds[number]) for number in sorted(folds)]


def _lines(text: str) -> list[str]:
    """Return the lines of a text, whatever ends them; a name in quotes may hold such an end."""
    lines: list[str] = []
    for line in text.split("\n"):
        bare = line.removesuffix("\r")
        lines += [bare] if '"' in bare else bare.split("\r")
    return lines


def _numbered(names: Collection[str]) -> str:
    """Return a hint for rows that begin with their number, which was read as the fold."""
    if not all(_NUMBERED.match(name) for name in names):
        return ""
    return f"; the lines have a number before {HEADER}: remove it, or give it a heading"


def _check_folds(folds: Collection[int], path: Path) -> None:
    """Refuse folds that are not numbered from 0, or from 1.

    Raises:
        UsageError: There are none, or a number is missing.
    """
    if not folds:
        raise UsageError(f"{path} is no split file: expected the header {HEADER} and folds from 0")
    first = min(folds)
    if first > 1 or set(folds) != set(range(first, first + len(folds))):
        numbers = ", ".join(map(str, sorted(folds)[:5]))
        raise UsageError(
            f"{path} is no split file: its column fold holds {numbers}; "
            "expected folds from 0, or from 1, without a gap"
        )


def _tabled(text: str, path: Path, encoding: str) -> list[Row]:
    """Return the rows of a table that another program wrote."""
    table = csvs.parse(text, str(path), COLUMNS, encoding=encoding)
    if not all(table.has(name) for name in COLUMNS):
        raise UsageError(f"{path} is no split file: expected the header {HEADER} and folds from 0")
    fold, patient, side = COLUMNS
    rows = []
    for row in table.rows:
        values = (table.value(row, fold), table.named(row, patient), table.value(row, side))
        rows.append((row.line, values))
    return rows


def _written(lines: list[str], path: Path) -> Iterator[Row]:
    """Yield the rows of a file of `write_splits`; a name keeps the blanks at its ends.

    Older versions wrote names as they are: `0,Smith, John,train`. Such a line has more commas than
    three values need, or is no CSV.
    """
    numbered = enumerate(lines, 1)
    filled = [(number, line) for number, line in numbered if line.strip().strip(",")]
    for number, raw_line in filled[1:]:
        line = _ENDS.sub("", raw_line)
        try:
            values = next(csv.reader([line], strict=True))
        except csv.Error:
            values = []
        if len(values) != len(COLUMNS):
            fold, _, rest = line.partition(",")
            patient, comma, side = rest.rpartition(",")
            if not comma:
                raise UsageError(f"{path} line {number}: {raw_line[:200]!r}, expected {HEADER}")
            values = [fold, patient, side]
        yield number, (values[0], values[1], values[2])


def _plain(name: str) -> str:
    """Return a name for comparisons: composed, without quotes around it, or blanks at its ends."""
    text = unicodedata.normalize("NFC", csvs.with_plain_blanks(name)).strip(csvs.BLANKS)
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1].replace('""', '"').strip(csvs.BLANKS)
    return text


def fitted(splits: Sequence[Split], patients: Sequence[str]) -> list[Split]:
    """Return splits with the dataset's own spelling of names, where that is clear.

    A name that the dataset has is kept. Another may differ from one of the dataset's in the blanks
    at its ends, quotes around it, or how its accents are composed.
    """
    known = set(patients)
    spellings: dict[str, list[str]] = {}
    for patient in known:
        spellings.setdefault(_plain(patient), []).append(patient)
    result = []
    for split in splits:
        sides: dict[str, Side] = {}
        for name, side in split.sides.items():
            meant = [] if name in known else spellings.get(_plain(name), [])
            # One name is meant, and no other line of the fold has it.
            is_clear = len(meant) == 1 and meant[0] not in split.sides and meant[0] not in sides
            sides[meant[0] if is_clear else name] = side
        result.append(Split(sides))
    return result


def check_splits(splits: Sequence[Split], path: Path, patients: Sequence[str]) -> None:
    """Refuse splits that do not name exactly the dataset's patients.

    Raises:
        UsageError: A patient is missing in the file or in the dataset.
    """
    for number, split in enumerate(splits):
        unknown = sorted(set(split.sides) - set(patients))
        _check_case(number, unknown, set(patients) - set(split.sides), path)
        for patient in sorted(set(patients) - set(split.sides))[:1]:
            near = difflib.get_close_matches(patient, unknown[:NEAR], n=1, cutoff=0.5)
            if unknown and not near and len(unknown) == len(split.sides):
                raise UsageError(
                    f"{path} does not fit the dataset: none of its names, such as "
                    f"{unknown[0][:80]}, is a patient; expected those of the dataset, such as "
                    f"{patient}: write patients, not cases or files{_guess(path)}"
                )
            hint = f"; is {near[0][:80]!r} meant?" if near else ""
            raise UsageError(
                f"{path} does not fit the dataset: fold {number} lacks patient {patient}; "
                f"give it a side, {UNUSED} to leave it out{hint}{_guess(path)}"
            )
        for patient in unknown[:1]:
            raise UsageError(
                f"{path} does not fit the dataset: it has no patient {patient[:80]}; "
                f"remove the line{_guess(path)}"
            )


def _check_case(fold: int, unknown: Sequence[str], lacking: Collection[str], path: Path) -> None:
    """Refuse names of a split that differ from the dataset's by upper and lower case alone.

    Raises:
        UsageError: There are such.
    """
    spellings = {_plain(patient).casefold(): patient for patient in sorted(lacking)}
    differing = [name for name in unknown if _plain(name).casefold() in spellings]
    if not differing:
        return
    first = differing[0]
    more = f" (and {len(differing) - 1} more)" if differing[1:] else ""
    raise UsageError(
        f"{path} does not fit the dataset: in fold {fold} {first[:80]}{more} differs by case from "
        f"the dataset's {spellings[_plain(first).casefold()]}; write names as the dataset has them"
    )


def _guess(path: Path) -> str:
    """Return how the file was read if that is a guess, for the end of an error."""
    try:
        lines = texts.assumed([path])
    except UsageError:
        return ""
    return "".join(f" ({line})" for line in lines)
