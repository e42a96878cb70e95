"""A table of printed results, read digit by digit: what is printed says also how far it was rounded."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from bench.spec.errors import UsageError

MEANS, STDS = ("dice_mean", "iou_mean"), ("dice_std", "iou_std")
NUMBERS = ("dice_mean", "dice_std", "iou_mean", "iou_std")
NEEDED = ("method", "dataset", *MEANS)
IMAGES = ("n", "cases")
"""Columns that hold the number of test images; `bench report` writes the second."""
LAYOUT = "method,dataset,dice_mean,dice_std,iou_mean,iou_std"
MISSING = {"", "-", "–", "—", "na", "n/a", "nan", "none"}
PERCENT_ABOVE = 1.5
"""A table with a number above this is in percent: no mean and no std of fractions is."""
FINEST = 1e-6
"""The least rounding allowed for, as a fraction: smoothing terms and floats make scores differ
beyond it."""


@dataclass(frozen=True)
class Printed:
    """A number as printed: its value as a fraction, and its decimals when written in percent."""

    value: float
    decimals: int

    @property
    def half(self) -> float:
        """Half a unit of the last printed digit, as a fraction: the true value is no farther than this."""
        return max(FINEST, 0.005 * 10.0**-self.decimals)

    @property
    def low(self) -> float:
        """The least that this can have been rounded from."""
        return max(0.0, self.value - self.half)

    @property
    def high(self) -> float:
        """The most that this can have been rounded from."""
        return self.value + self.half

    def __str__(self) -> str:
        return f"{100 * self.value:.{max(0, self.decimals)}f}"


@dataclass(frozen=True)
class Cell:
    """The scores that a table prints for a method on a dataset."""

    table: str
    method: str
    dataset: str
    dice_mean: Printed | None = None
    dice_std: Printed | None = None
    iou_mean: Printed | None = None
    iou_std: Printed | None = None
    n: int | None = None
    """The number of test images, where it is known."""


@dataclass(frozen=True)
class Results:
    """The cells of a file, and how its numbers were read."""

    cells: tuple[Cell, ...]
    percent: bool
    absent: tuple[str, ...]
    """Columns of stds that the file does not have."""


def read(path: Path, name: str | None = None) -> Results:
    """Read a table of printed results, called `name` or as its file is.

    Columns are method, dataset, dice_mean, dice_std, iou_mean, iou_std, and if known n (test
    images) and table. The stds may be left out, as columns or in single cells, as may single means.
    Other columns are ignored.

    Raises:
        UsageError: The file cannot be read, lacks a column, or holds a number that cannot be; with
            line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise UsageError(
            f"table {path} cannot be read ({why}); expected a csv with the columns {LAYOUT}"
        ) from error
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        lines = [
            (reader.line_num, [field.strip() for field in row])
            for row in reader
            if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise UsageError(
            f"{path} line {reader.line_num}: {error}; expected a csv with the columns {LAYOUT}"
        ) from error
    if not lines:
        raise UsageError(f"{path} is empty; expected the columns {LAYOUT}")
    header, rows = lines[0][1], lines[1:]
    _check_header(header, path)
    if not rows:
        raise UsageError(
            f"{path} has no line below its header; expected one for each method and dataset"
        )
    for number, row in rows:
        _check_length(row, header, f"{path} line {number}")
    taken = [
        (
            number,
            row,
            {
                name: _number(row[header.index(name)], f"{path} line {number}, column {name}")
                for name in NUMBERS
                if name in header
            },
        )
        for number, row in rows
    ]
    every = [each for _, _, found in taken for each in found.values() if each]
    percent = any(signed or value > Decimal(str(PERCENT_ABOVE)) for value, signed in every)
    cells = []
    for number, row, found in taken:
        at = f"{path} line {number}"
        printed = {
            name: _printed(each[0], name, percent, at) for name, each in found.items() if each
        }
        counted = next((name for name in IMAGES if name in header), None)
        cells.append(
            Cell(
                table=(row[header.index("table")] if "table" in header else "")
                or name
                or path.stem,
                method=_name(row, header, "method", at),
                dataset=_name(row, header, "dataset", at),
                n=(
                    _images(row[header.index(counted)], f"{at}, column {counted}")
                    if counted
                    else None
                ),
                **printed,
            )
        )
    return Results(tuple(cells), percent, tuple(name for name in STDS if name not in header))


def _check_header(header: Sequence[str], path: Path) -> None:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise UsageError(
            f"{path} line 1: columns are separated by semicolons or tabs; expected commas between"
            f" columns and points in numbers: {LAYOUT}"
        )
    for name in (*NEEDED, *STDS):
        if header.count(name) > 1:
            raise UsageError(f"{path} line 1: column {name} is there twice; remove one")
        if name not in header:
            others = [each for each in header if each not in (*NEEDED, *STDS)]
            near = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
            hint = f"; is '{near[0]}' meant?" if near else ""
            if name in NEEDED or near:
                raise UsageError(
                    f"{path} line 1: column {name} is missing{hint}; expected {LAYOUT}"
                )


def _check_length(row: Sequence[str], header: Sequence[str], at: str) -> None:
    """Refuse a line of another length than the header; decimal commas are the usual cause of a longer one."""
    if len(row) < len(header):
        raise UsageError(
            f"{at}: column {header[len(row)]} is missing, {len(row)} fields where the header has "
            f"{len(header)}; leave a field empty for what is not known"
        )
    if len(row) > len(header):
        split = (
            i
            for i, name in enumerate(header)
            if name in NUMBERS and (row[i] + row[i + 1]).isdigit()
        )
        first = next(split, None)
        if first is None:
            raise UsageError(
                f"{at}: {len(row)} fields where the header has {len(header)}; put names that hold"
                " commas in quotes"
            )
        raise UsageError(
            f"{at}, column {header[first]}: '{row[first]},{row[first + 1]}' has a decimal comma;"
            f" write {row[first]}.{row[first + 1]}"
        )


def _number(text: str, at: str) -> tuple[Decimal, bool] | None:
    """Return the number that a field holds and whether it carries a percent sign; nothing where it is missing."""
    if text.lower() in MISSING:
        return None
    bare = text.removesuffix("%").rstrip()
    if "," in bare:
        raise UsageError(f"{at}: '{text}' has a decimal comma; write {bare.replace(',', '.')}")
    try:
        value = Decimal(bare)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise UsageError(
            f"{at}: '{text}' is no number; expected one such as 83.25 or 0.8325, or nothing"
        )
    if value < 0:
        what = "std" if at.endswith("_std") else "mean"
        raise UsageError(
            f"{at}: {text} is negative; expected a {what} between 0 and 100 % (0 and 1 as a"
            " fraction)"
        )
    return value, bare != text


def _printed(value: Decimal, name: str, percent: bool, at: str) -> Printed:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # infinities and NaN are refused above
    fraction = float(value) / (100 if percent else 1)
    if fraction > 1:
        unit = (
            "percent, because a number is above 1.5"
            if percent
            else "fractions, because no number is above 1.5"
        )
        raise UsageError(
            f"{at}, column {name}: {value} is more than 100 % (the table is read as {unit});"
            f" expected {'0 to 100' if percent else '0 to 1'}"
        )
    return Printed(fraction, -exponent - (0 if percent else 2))


def _name(row: Sequence[str], header: Sequence[str], name: str, at: str) -> str:
    text = row[header.index(name)]
    if not text:
        raise UsageError(f"{at}, column {name}: nothing is there; expected the {name}'s name")
    return text


def _images(text: str, at: str) -> int | None:
    if text.lower() in MISSING:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(
            f"{at}: '{text}' is no number of images; expected a whole one from 1, or nothing"
        )
    return int(text)
