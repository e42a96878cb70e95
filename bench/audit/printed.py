"""Read a table of printed results, and to how many digits each number was rounded."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Sequence
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
"""A table with a number above this is in percent: no mean or std of fractions is so large."""
FINEST = 1e-6
"""The smallest rounding error that is assumed, as a fraction. Smoothing terms of Dice and
floating-point errors change scores by less."""
Number = tuple[Decimal, bool]
"""A number as it is printed, and whether it has a percent sign."""


@dataclass(frozen=True)
class Printed:
    """A printed number: its value as a fraction, and its number of decimals in percent."""

    value: float
    decimals: int

    @property
    def half(self) -> float:
        """Half a unit of the last printed digit, as a fraction: the largest rounding error."""
        return max(FINEST, 0.005 * 10.0**-self.decimals)

    @property
    def low(self) -> float:
        """The lowest value that can have been rounded to this."""
        return max(0.0, self.value - self.half)

    @property
    def high(self) -> float:
        """The highest value that can have been rounded to this."""
        return self.value + self.half

    def __str__(self) -> str:
        return f"{100 * self.value:.{max(0, self.decimals)}f}"


@dataclass(frozen=True)
class PrintedCell:
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

    cells: tuple[PrintedCell, ...]
    percent: bool
    """Whether the numbers were read as percent, not as fractions."""
    absent: tuple[str, ...]
    """Columns of stds that the file does not have."""


def read(path: Path, name: str | None = None) -> Results:
    """Read a table of printed results; its name is `name` or that of the file.

    Columns are method, dataset, dice_mean, dice_std, iou_mean, iou_std, and if known n (test
    images) and table. The columns of stds may be missing, and single means and stds may be empty.
    Other columns are ignored.

    Raises:
        UsageError: The file cannot be read, lacks a column, or holds an impossible number; the
            message gives line and column.
    """
    lines = _lines(path)
    header, rows = lines[0][1], lines[1:]
    _check_header(header, path)
    if not rows:
        raise UsageError(
            f"{path} has no line below its header; expected one for each method and dataset"
        )
    for number, row in rows:
        _check_length(row, header, f"{path} line {number}")
    numbers = [_numbers(row, header, f"{path} line {number}") for number, row in rows]
    percent = any(_in_percent(fields.values()) for fields in numbers)
    counted = next((column for column in IMAGES if column in header), None)
    cells = []
    for (number, row), fields in zip(rows, numbers, strict=True):
        at = f"{path} line {number}"
        scores = {
            column: _printed(value, column, percent, at) for column, (value, _) in fields.items()
        }
        table = row[header.index("table")] if "table" in header else ""
        method = _name(row, header, "method", at)
        dataset = _name(row, header, "dataset", at)
        n = None
        if counted:
            n = _images(row[header.index(counted)], f"{at}, column {counted}")
        cells.append(PrintedCell(table or name or path.stem, method, dataset, n=n, **scores))
    absent = tuple(column for column in STDS if column not in header)
    return Results(tuple(cells), percent, absent)


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the lines of a csv that are not empty: their numbers and their fields."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise UsageError(
            f"table {path} cannot be read ({why}); expected a csv with the columns {LAYOUT}"
        ) from error
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        stripped = ((reader.line_num, [field.strip() for field in row]) for row in reader)
        lines = [(number, row) for number, row in stripped if any(row)]
    except csv.Error as error:
        raise UsageError(
            f"{path} line {reader.line_num}: {error}; expected a csv with the columns {LAYOUT}"
        ) from error
    if not lines:
        raise UsageError(f"{path} is empty; expected the columns {LAYOUT}")
    return lines


def _numbers(row: Sequence[str], header: Sequence[str], at: str) -> dict[str, Number]:
    """Return the numbers of a line by their columns, without the missing ones."""
    numbers = {}
    for name in NUMBERS:
        if name in header:
            number = _number(row[header.index(name)], f"{at}, column {name}")
            if number:
                numbers[name] = number
    return numbers


def _in_percent(numbers: Iterable[Number]) -> bool:
    """Return whether one of the numbers can only be a percentage."""
    return any(signed or value > Decimal(str(PERCENT_ABOVE)) for value, signed in numbers)


def _check_header(header: Sequence[str], path: Path) -> None:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise UsageError(
            f"{path} line 1: columns are separated by semicolons or tabs; "
            f"expected commas between columns and points in numbers: {LAYOUT}"
        )
    for name in (*NEEDED, *STDS):
        if header.count(name) > 1:
            raise UsageError(f"{path} line 1: column {name} is there twice; remove one")
        if name not in header:
            others = [column for column in header if column not in (*NEEDED, *STDS)]
            near = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
            hint = f"; is '{near[0]}' meant?" if near else ""
            if name in NEEDED or near:
                raise UsageError(
                    f"{path} line 1: column {name} is missing{hint}; expected {LAYOUT}"
                )


def _check_length(row: Sequence[str], header: Sequence[str], at: str) -> None:
    """Refuse a line that is not as long as the header; decimal commas usually make it longer."""
    if len(row) < len(header):
        raise UsageError(
            f"{at}: column {header[len(row)]} is missing, {len(row)} fields where the header has "
            f"{len(header)}; leave a field empty for what is not known"
        )
    if len(row) > len(header):
        for place, name in enumerate(header):
            whole, decimals = row[place], row[place + 1]
            if name in NUMBERS and (whole + decimals).isdigit():
                raise UsageError(
                    f"{at}, column {name}: '{whole},{decimals}' has a decimal comma; "
                    f"write {whole}.{decimals}"
                )
        raise UsageError(
            f"{at}: {len(row)} fields where the header has {len(header)}; "
            "put names that hold commas in quotes"
        )


def _number(text: str, at: str) -> Number | None:
    """Return the number in a field; None where it is missing."""
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
            f"{at}: {text} is negative; "
            f"expected a {what} between 0 and 100 % (0 and 1 as a fraction)"
        )
    return value, bare != text


def _printed(value: Decimal, name: str, percent: bool, at: str) -> Printed:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # infinities and NaN are refused above
    if percent:
        fraction, decimals = float(value) / 100, -exponent
        unit, expected = "percent, because a number is above 1.5", "0 to 100"
    else:
        fraction, decimals = float(value), -exponent - 2
        unit, expected = "fractions, because no number is above 1.5", "0 to 1"
    if fraction > 1:
        raise UsageError(
            f"{at}, column {name}: {value} is more than 100 % (the table is read as {unit}); "
            f"expected {expected}"
        )
    return Printed(fraction, decimals)


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
