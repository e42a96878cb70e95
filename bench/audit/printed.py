"""Read a table of printed results, and to how many digits each number was rounded or cut."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from bench.spec import csvs
from bench.spec.csvs import CsvRow, CsvTable
from bench.spec.errors import UsageError

MEANS, STDS = ("dice_mean", "iou_mean"), ("dice_std", "iou_std")
NUMBERS = ("dice_mean", "dice_std", "iou_mean", "iou_std")
"""The columns of numbers."""
NEEDED = ("method", "dataset", *MEANS)
"""The columns that a table must have."""
IMAGES = "n"
"""The column that holds the number of test images."""
_WHOLE = re.compile(r"([0-9]{1,9})([.,]0)?")
"""A number of images; pandas may write it as `40.0`."""
LAYOUT = "method,dataset,dice_mean,dice_std,iou_mean,iou_std"
"""The header that errors show."""
_FOLDED = {csvs.folded(name) for name in (*NEEDED, *STDS)}
"""The columns of a table as `csvs.folded` writes them, to see near misses among headings."""
MISSING = {"", "-", "–", "—", "na", "n/a", "nan", "none"}
"""What stands in a table where there is no number, in lower case."""
PERCENT_ABOVE = 1.5
"""A table with a number above this is in percent: no mean or std of fractions is so large."""
PLAIN_PERCENT = 10
"""From this mean in percent on, the other mean is above 1 %: IoU is D / (2 - D) at least."""
FINEST = 1e-6
"""The smallest rounding error that is assumed, as a fraction. Smoothing terms of Dice and
floating-point errors change scores by less."""
LARGEST_STD = 0.5
"""No std of fractions is larger."""
MORE_DECIMALS = 2
"""A fraction needs so many decimals more than the same number in percent."""
FEW_DECIMALS = 3
"""From so many decimals on, decimals alone tell fractions from percent."""
TELLING = 3
"""Numbers with decimals that two rows hardly share by chance."""
LONGEST = 40
"""Characters of a printed number."""
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
        """The highest value that can be printed so: cut after the last digit, not rounded."""
        return self.value + 2 * self.half

    @property
    def middle(self) -> float:
        """The middle of the values that can be printed so."""
        return self.value + self.half / 2

    @property
    def reach(self) -> float:
        """How far they are from the middle at most."""
        return 1.5 * self.half

    def times(self, power: int) -> Printed:
        """Return the number as it is if it was printed in a unit 10^power times as large."""
        return Printed(self.value * 10.0**power, self.decimals - power)

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
    at: str = ""
    """The file and line, for errors."""
    plain: tuple[str, ...] = ()
    """Columns of numbers that may be in another unit than the table: those without a % sign."""
    percent: bool = True
    """Whether the table was read as percent."""
    repeats: str = ""
    """Which line above it repeats, and in what; nothing where it stands alone."""

    @property
    def numbers(self) -> tuple[Printed | None, ...]:
        """The scores, None where one is not given."""
        return (self.dice_mean, self.dice_std, self.iou_mean, self.iou_std)


@dataclass(frozen=True)
class Results:
    """The cells of a file, and how its numbers were read."""

    cells: tuple[PrintedCell, ...]
    percent: bool
    """Whether the numbers were read as percent, not as fractions."""
    absent: tuple[str, ...]
    """Columns of stds that the file does not have."""
    remark: str = ""
    """How the text was read if that is a guess."""


def read(path: Path, name: str | None = None) -> Results:
    """Read a table of printed results; its name is `name` or that of the file.

    Columns are method, dataset, dice_mean, dice_std, iou_mean, iou_std, and if known n (test
    images) and table. The columns of stds may be missing, and single means and stds may be empty.
    Other columns are ignored.

    Raises:
        UsageError: The file cannot be read, lacks a column, or holds an impossible number; the
            message gives line and column.
    """
    table = csvs.read(path, NEEDED, numbers=NUMBERS)
    _check_header(table)
    if not table.rows:
        raise UsageError(
            f"{path} has no line below its header; expected one for each method and dataset"
        )
    numbers = [_numbers(table, row) for row in table.rows]
    percent = any(_in_percent(fields.values()) for fields in numbers)
    if percent:
        _check_mixture(table, numbers)
    cells = []
    for row, fields in zip(table.rows, numbers, strict=True):
        at = table.at(row)
        scores = {
            column: _printed(value, column, percent, at) for column, (value, _) in fields.items()
        }
        title = table.value(row, "table") if table.has("table") else ""
        method = _name(table, row, "method")
        dataset = _name(table, row, "dataset")
        n = None
        if table.has(IMAGES):
            n = _images(table.value(row, IMAGES), f"{at}, column {IMAGES}")
        plain = tuple(column for column, (_, signed) in fields.items() if not signed)
        title = title or name or path.stem
        cells.append(
            PrintedCell(
                title,
                method,
                dataset,
                n=n,
                at=at,
                plain=plain,
                percent=percent,
                repeats="",
                **scores,
            )
        )
    absent = tuple(column for column in STDS if not table.has(column))
    lines = [row.line for row in table.rows]
    return Results(tuple(_compared(cells, lines)), percent, absent, table.remark)


def _compared(cells: Sequence[PrintedCell], lines: Sequence[int]) -> Iterator[PrintedCell]:
    """Yield the cells, each with what it repeats of those above it."""
    names: dict[tuple[str, ...], int] = {}
    numbers: dict[tuple[Printed | None, ...], int] = {}
    for place, cell in enumerate(cells):
        name = (cell.table, cell.method, cell.dataset)
        # The places of the first cell with this name, and with these numbers: its own if it is new.
        same_name = names.setdefault(name, place)
        same_numbers = numbers.setdefault(cell.numbers, place) if _is_telling(cell) else place
        repeats = ""
        if same_name != place:
            numbers_agree = cells[same_name].numbers == cell.numbers
            how = "with the same numbers" if numbers_agree else "with other numbers"
            repeats = f"line {lines[place]} has the names of line {lines[same_name]}, {how}"
        elif same_numbers != place:
            first = cells[same_numbers]
            repeats = (
                f"line {lines[place]} has the numbers of line {lines[same_numbers]} "
                f"({first.method}, {first.dataset})"
            )
        yield replace(cell, repeats=repeats)


def _is_telling(cell: PrintedCell) -> bool:
    """Return whether two cells hardly share these numbers by chance: enough digits, not 0 or 1."""
    given = [number for number in cell.numbers if number]
    telling = [one for one in given if one.decimals > 0 and 0 < one.value < 1]
    return len(telling) >= TELLING


def _numbers(table: CsvTable, row: CsvRow) -> dict[str, Number]:
    """Return the numbers of a row by their columns, without the missing ones."""
    numbers = {}
    for name in NUMBERS:
        if table.has(name):
            at = f"{table.at(row)}, column {name}"
            number = _number(table.value(row, name), at, table.delimiter)
            if number:
                numbers[name] = number
    return numbers


def _in_percent(numbers: Iterable[Number]) -> bool:
    """Return whether one of the numbers can only be a percentage."""
    return any(signed or value > Decimal(str(PERCENT_ABOVE)) for value, signed in numbers)


def _like_fractions(numbers: Mapping[str, Number]) -> bool:
    """Return whether the means of a row look like fractions: none above 1, one above 0."""
    means = [numbers[name][0] for name in MEANS if name in numbers]
    return bool(means) and 0 < max(means) <= 1


def _check_mixture(table: CsvTable, numbers: Sequence[Mapping[str, Number]]) -> None:
    """Refuse fractions in a table of percent, between rows or within one.

    Raises:
        UsageError: A row is in fractions and another in percent, or numbers of one row are.
    """
    printed = itertools.chain.from_iterable(fields.values() for fields in numbers)
    in_percent = [number for number in printed if _in_percent([number])]
    finest = max(_decimals(value) for value, _ in in_percent)
    first = next(place for place, fields in enumerate(numbers) if _in_percent(fields.values()))
    for row, fields in zip(table.rows, numbers, strict=True):
        at = table.at(row)
        if any(signed for _, signed in fields.values()):
            _check_decimals(fields, finest, at)
            continue
        if _like_fractions(fields) and not _in_percent(fields.values()):
            raise UsageError(
                f"{at} looks like fractions, line {table.rows[first].line} like percent; "
                "expected one of them in all rows: put % behind numbers that are percent"
            )
        means = sorted(fields[name][0] for name in MEANS if name in fields)
        if len(means) == len(MEANS) and 0 < means[0] <= 1 and means[1] >= PLAIN_PERCENT:
            raise UsageError(
                f"{at}: one mean looks like a fraction ({means[0]}), the other like percent "
                f"({means[1]}); expected one of them: put % behind numbers that are percent"
            )
        _check_decimals(fields, finest, at)


def _decimals(value: Decimal) -> int:
    """Return how many decimals a number was printed with."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # infinities and NaN are no numbers of a table
    return -exponent


def _check_decimals(fields: Mapping[str, Number], finest: int, at: str) -> None:
    """Refuse numbers that have the size and the decimals of fractions, in a table of percent.

    Raises:
        UsageError: One has; its name and value are told.
    """
    for name, (value, signed) in fields.items():
        most = LARGEST_STD if name in STDS else 1
        decimals = _decimals(value)
        fine = decimals >= max(FEW_DECIMALS, finest + MORE_DECIMALS)
        if not signed and 0 < value <= most and fine:
            raise UsageError(
                f"{at}: {name} {value} looks like a fraction, other numbers like percent; "
                "expected one of them: put % behind numbers that are percent"
            )


def other_units(cell: PrintedCell) -> Iterator[tuple[PrintedCell, str]]:
    """Yield the cell as it is if some of its numbers are in another unit, and their columns."""
    doubtful = [name for name in cell.plain if _doubtful(cell, name)]
    power = 2 if cell.percent else -2
    for count in range(1, len(doubtful) + 1):
        for names in itertools.combinations(doubtful, count):
            scores = {name: getattr(cell, name).times(power) for name in names}
            yield replace(cell, **scores), " and ".join(names)


def _doubtful(cell: PrintedCell, name: str) -> bool:
    """Return whether a number may be in another unit than the table.

    In a table of percent it is small enough for a fraction. In one of fractions it is a std that is
    too large for its mean.
    """
    number: Printed = getattr(cell, name)
    if cell.percent:
        most = LARGEST_STD if name in STDS else 1.0
        return 0 < number.times(2).value <= most
    if name not in STDS:
        return False
    mean: Printed | None = getattr(cell, MEANS[STDS.index(name)])
    middle = min(1.0, mean.value) if mean else 0.5
    return number.low > math.sqrt(middle * (1 - middle))


def _check_header(table: CsvTable) -> None:
    """Refuse a table that lacks a column, or has one of a similar name.

    Raises:
        UsageError: A column is missing.
    """
    expected = (*NEEDED, *STDS)
    others = [heading for heading in table.headings if csvs.folded(heading) not in _FOLDED]
    for name in expected:
        if not table.has(name):
            near = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
            hint = f"; is '{near[0]}' meant?" if near else ""
            if name in NEEDED or near:
                raise UsageError(
                    f"{table.source} line 1: column {name} is missing{hint}; expected {LAYOUT}"
                )


def _number(text: str, at: str, delimiter: str) -> Number | None:
    """Return the number in a field; None where it is missing."""
    if text.lower() in MISSING:
        return None
    bare = text.removesuffix("%").rstrip()
    if "," in bare and delimiter == ",":
        raise UsageError(f"{at}: '{text}' has a decimal comma; write {bare.replace(',', '.')}")
    try:
        value = csvs.number(bare)
        if len(bare) > LONGEST or abs(_decimals(value)) > LONGEST:
            raise ValueError(f"'{bare[:LONGEST]}' has too many digits or too large an exponent")
    except ValueError as error:
        if "," in bare and "." in bare:
            raise UsageError(f"{at}: {error}") from None
        raise UsageError(
            f"{at}: '{text[:LONGEST]}' is no number; "
            "expected one such as 83.25 or 0.8325, or nothing"
        ) from None
    if value < 0:
        what = "std" if at.endswith("_std") else "mean"
        raise UsageError(
            f"{at}: {text} is negative; "
            f"expected a {what} between 0 and 100 % (0 and 1 as a fraction)"
        )
    has_percent_sign = bare != text
    return value, has_percent_sign


def _printed(value: Decimal, name: str, percent: bool, at: str) -> Printed:
    """Return a number as a fraction.

    Raises:
        UsageError: It is more than 1.
    """
    decimals = _decimals(value)
    if percent:
        fraction = float(value) / 100
        unit, expected = "percent, because a number is above 1.5", "0 to 100"
    else:
        fraction, decimals = float(value), decimals - 2
        unit, expected = "fractions, because no number is above 1.5", "0 to 1"
    if fraction > 1:
        raise UsageError(
            f"{at}, column {name}: {value} is more than 100 % (the table is read as {unit}); "
            f"expected {expected}"
        )
    return Printed(fraction, decimals)


def _name(table: CsvTable, row: CsvRow, name: str) -> str:
    """Return the text of a column that may not be empty.

    Raises:
        UsageError: It is.
    """
    text = table.value(row, name)
    if not text:
        raise UsageError(
            f"{table.at(row)}, column {name}: nothing is there; expected the {name}'s name"
        )
    return text


def _images(text: str, at: str) -> int | None:
    """Return a number of images, None where it is missing.

    Raises:
        UsageError: It is no whole number from 1.
    """
    if text.lower() in MISSING:
        return None
    digits = _WHOLE.fullmatch(text)
    if not digits or int(digits[1]) < 1:
        raise UsageError(
            f"{at}: '{text[:LONGEST]}' is no number of images; "
            "expected a whole one from 1, or nothing"
        )
    return int(digits[1])
