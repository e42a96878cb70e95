"""The one reader of CSV: tables of users, whatever program wrote them, are read rightly or refused.

Columns are separated by commas, semicolons or tabs, which the header decides. The text is UTF-8,
UTF-16 with a byte order mark, or else cp1252, which `CsvTable.encoding` names. Every value is text:
`NA`, `None` and `null` are names like others. Excel's first line `sep=;` names what separates.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property, lru_cache
from pathlib import Path

from bench.spec.errors import UsageError, did_you_mean
from bench.spec.texts import GUESS, check_guess, read_text, remark

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may separate columns, and how errors call it."""
BLANKS = " \t\u00a0\u3000"
"""What is cut off both ends of a value: also the blank that does not break, and the wide one."""
DOS_END = "\x1a"
"""The last character of texts of DOS."""
JOINERS = "\u200c\u200d"
"""Characters without width that words of Persian or Hindi need between letters."""
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of what cannot be seen: controls, marks of direction, breaks of lines."""
_JOINTS = re.compile(r"[\s_.-]+")
"""What may stand between the words of a heading."""
_OTHER_BLANKS = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
"""Blanks that read as plain ones; the wide one of Chinese and Japanese stays."""
SPLITS = ("split", "set", "subset", "side", "partition", "fold", "phase")
"""Headings of columns that say on which side of a split a case is."""
CHANGING = (
    *SPLITS,
    *("exclude", "excluded", "include", "included", "use", "used", "keep", "quality"),
    *("site", "center", "centre", "hospital", "cohort", "study"),
    *("mask", "mask file", "mask path", "masks", "segmentation", "annotation"),
)
"""Headings of columns that may change which images are used, and how."""
_FORMULA = re.compile('="([^"]*)"')
"""How Excel writes text that looks like a number."""
_SEPARATOR = re.compile(r'"?sep=(.)"?[,;\t]*(?=[\r\n]|$)', re.IGNORECASE)
"""Excel's first line."""
_ROUNDED = re.compile(r"[1-9][0-9]{14}0+")
"""A number of more digits than spreadsheets keep: they write zeros behind the fifteenth."""
KEPT_DIGITS = 15
"""Digits of a number that spreadsheets keep."""
ROUNDED_DIGITS = 3
"""Zeros behind the fifteenth digits of a column that are no chance."""
_DAMAGED = re.compile(r"[+-]?[0-9]([.,][0-9]+)?e\+[0-9]{2,3}|#{2,}|#N/?[A-Z]|#[\w/]+[!?]", re.I)
"""A number that a spreadsheet shortened (`1.23E+11`), a cell too narrow, or an error (`#N/A`)."""
_SINGLE = re.compile("'.*'")
_OTHER_QUOTES = re.compile(
    "'.*'|[\u2018\u201a].*[\u2018\u2019]|[\u201c\u201e\u00ab].*[\u201c\u201d\u00bb]"
)
"""A text in quotes that are none of CSV: single ones, and those of word processors."""
_OTHER_TEXT = (
    (re.compile(r"\s*(\{\s*\"|\[\s*[\[{\"])"), "JSON"),
    (re.compile(r"\s*<(\?xml|!doctype|html|head|table)\b", re.IGNORECASE), "a web page or XML"),
)
"""How texts begin that are no table, and what they are."""
_UNIT = re.compile(r"[\[(].*?[\])]")
"""A unit in brackets, as headings have it."""
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
"""A number with a decimal point or comma."""
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
"""A number whose comma may be a decimal one or part thousands: `1,234`."""
_WHOLE = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class CsvRow:
    """The values of a row, as many as the table has headings."""

    line: int
    """The line of the file in which the row stands."""
    values: tuple[str, ...]


@dataclass(frozen=True)
class CsvTable:
    """A table as text; no value has blanks at its ends."""

    source: str
    """The file, as errors name it."""
    headings: tuple[str, ...]
    """As they are written; `column` finds them in any case, and `_`, `-` and `.` are blanks."""
    rows: tuple[CsvRow, ...]
    delimiter: str
    encoding: str

    @property
    def remark(self) -> str:
        """A line that says how the text was read if that is a guess; else empty."""
        if self.encoding != GUESS:
            return ""
        return remark(self.source)

    @property
    def guess(self) -> str:
        """What errors add if the encoding is a guess; else empty."""
        return f" ({self.remark})" if self.remark else ""

    @property
    def assumed(self) -> tuple[str, ...]:
        """A line `assumed: words` if the encoding is a guess; else none."""
        return (f"assumed: {remark(Path(self.source).name)}",) if self.remark else ()

    def column(self, name: str) -> int | None:
        """Return the place of a heading; None if the table lacks it."""
        return self._places.get(folded(name))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {folded(heading): place for place, heading in enumerate(self.headings) if heading}

    @cached_property
    def _quoted(self) -> frozenset[int]:
        """The columns whose values all stand in single quotes, as SQL writes texts."""
        columns = zip(*(row.values for row in self.rows), strict=True)
        return frozenset(
            place for place, values in enumerate(columns) if all(map(_SINGLE.fullmatch, values))
        )

    @cached_property
    def _rounded(self) -> frozenset[int]:
        """The columns of numbers of which a spreadsheet kept fifteen digits."""
        rounded = set()
        for place in range(len(self.headings)):
            values = {row.values[place] for row in self.rows}
            longer = [value for value in values if value.isdecimal() and len(value) > KEPT_DIGITS]
            zeros = sum(len(value) - KEPT_DIGITS for value in longer)
            if zeros >= ROUNDED_DIGITS and all(map(_ROUNDED.fullmatch, longer)):
                rounded.add(place)
        return frozenset(rounded)

    def has(self, name: str) -> bool:
        """Return whether there is a column of this name."""
        return self.column(name) is not None

    def near(self, name: str) -> str:
        """Return a heading that may be meant by a column that the table lacks; else empty."""
        if self.has(name):
            return ""
        others = {_letters(heading): heading for heading in self.headings if heading}
        near = difflib.get_close_matches(_letters(name), others, n=1, cutoff=0.9)
        return others[near[0]] if near else ""

    def unread(self, *used: str) -> tuple[str, ...]:
        """Return a line `assumed: words` of columns that may change what is used, but are not read.

        Args:
            used: The columns that are read.
        """
        known = set(map(folded, used))
        spare = [heading for heading in self.headings if heading and folded(heading) not in known]
        spare = [heading for heading in spare if folded(heading) in CHANGING]
        if not spare:
            return ()
        way = "; --split FILE keeps a split" if any(folded(h) in SPLITS for h in spare) else ""
        name = Path(self.source).name
        return (f"assumed: columns of {name} that are not read: {', '.join(spare)}{way}",)

    def require(self, *names: str) -> None:
        """Refuse a table that lacks a column.

        Raises:
            UsageError: A column is missing.
        """
        for name in names:
            if not self.has(name):
                hint = did_you_mean(name, filter(None, self.headings))
                raise UsageError(f"{self.source} has no column '{name}'; {hint}{self.guess}")

    def value(self, row: CsvRow, name: str) -> str:
        """Return a row's value in a column that the table has.

        Raises:
            UsageError: The value holds what cannot be seen.
        """
        place = self._places[folded(name)]
        if place in self._quoted:
            raise UsageError(
                f"{self.source}: the values of column {name} stand in single quotes; "
                'expected double quotes (") or none: replace them'
            )
        value = row.values[place]
        _check_characters(value, name, self.at(row), self.remark)
        return value

    def named(self, row: CsvRow, name: str) -> str:
        """Return a row's value in a column of names, such as those of patients.

        Raises:
            UsageError: `value` refuses it, or a spreadsheet wrote another text in its place, which
                several names may have.
        """
        value = self.value(row, name)
        rounded = self._places[folded(name)] in self._rounded and _ROUNDED.fullmatch(value)
        if rounded or _DAMAGED.fullmatch(value):
            why = "rounds" if rounded else "shortens"
            raise UsageError(
                f"{self.at(row)}: {name} {value[:80]!r} is what a spreadsheet writes where it "
                f"{why} a number, lacks room or finds an error; expected the name itself: "
                "format the column as text and save it again"
            )
        return value

    def at(self, row: CsvRow) -> str:
        """Return how errors name a row: its file and line."""
        return f"{self.source} line {row.line}"


def read(path: Path, expected: Collection[str], numbers: Collection[str] = ()) -> CsvTable:
    """Read a table from a file.

    Args:
        path: The file.
        expected: Columns that decide between two possible delimiters. That they are there is
            checked by `CsvTable.require`.
        numbers: Columns of numbers, for errors about decimal commas.

    Raises:
        UsageError: The file cannot be read, or is no table.
    """
    text, encoding = read_text(path)
    return parse(text, str(path), expected, numbers, encoding)


def parse(
    text: str,
    source: str,
    expected: Collection[str],
    numbers: Collection[str] = (),
    encoding: str = "utf-8",
) -> CsvTable:
    """Read a table from text; the arguments are those of `read`.

    Raises:
        UsageError: The text is no table: a row is longer or shorter than the header, two headings
            are one, or a quote is not closed.
    """
    _check_text(text, source)
    text, delimiter = _announced(text.removesuffix(DOS_END), source)
    _check_comment(text, source, expected)
    delimiter = delimiter or _delimiter(text, source, expected)
    try:
        records = list(_records(text, delimiter))
    except ValueError as error:
        raise UsageError(
            f"{source} {error}; "
            "expected quotes around whole values, and two quotes for one inside them"
        ) from error
    if not records:
        columns = ", ".join(expected)
        raise UsageError(
            f"{source} cannot be read as CSV: it is empty; expected the columns {columns}"
        )
    (line, header), *others = records
    headings = _headings(header, f"{source} line {line}")
    _check_divided(headings, expected, f"{source} line {line}")
    longest = _longest(header, [record for _, record in others], expected)
    rows = []
    for line, record in others:
        at = f"{source} line {line}"
        values = [_value(cell, at, encoding) for cell in record]
        values = _as_long(values, headings, longest, at, delimiter, numbers)
        rows.append(CsvRow(line, tuple(values)))
    table = CsvTable(source, headings, tuple(rows), delimiter, encoding)
    _check_unnamed(table)
    return table


def _check_text(text: str, source: str) -> None:
    """Refuse a text that is in another format.

    Raises:
        UsageError: It is.
    """
    for beginning, what in _OTHER_TEXT:
        if beginning.match(text):
            raise UsageError(f"{source} holds {what}; expected a table: save it as CSV UTF-8")


def _check_divided(headings: Sequence[str], expected: Collection[str], at: str) -> None:
    """Refuse a header that is one unknown column, or whose quotes are none of CSV.

    Raises:
        UsageError: It is: no table here has one column.
    """
    filled = [heading for heading in headings if heading]
    if filled and all(map(_OTHER_QUOTES.fullmatch, filled)):
        raise UsageError(
            f'{at}: {filled[0][:80]} stands in other quotes; expected double quotes (") or none: '
            "replace them"
        )
    if len(filled) == 1 and folded(filled[0]) not in map(folded, expected):
        raise UsageError(
            f"{at} is one column, {filled[0][:80]!r}; expected headings that "
            f"{_listed(DELIMITERS.values())} separate: remove the lines above them, or save "
            "the table with one of these"
        )


def _listed(words: Collection[str]) -> str:
    """Return words as a choice: `commas, semicolons or tabs`."""
    *others, last = words
    return f"{', '.join(others)} or {last}"


def _announced(text: str, source: str) -> tuple[str, str]:
    """Return the text with an empty line for Excel's `sep=;`, and what that names; else empty.

    Raises:
        UsageError: It names what separates no columns here.
    """
    first = _SEPARATOR.match(text)
    if not first:
        return text, ""
    if first[1] not in DELIMITERS:
        raise UsageError(
            f"{source} line 1: {first[0]!r} says what separates columns; "
            f"expected {_listed(DELIMITERS.values())}: save the table with one of these"
        )
    return text[first.end() :], first[1]


def _check_comment(text: str, source: str, expected: Collection[str]) -> None:
    """Refuse a first line that is a comment.

    Raises:
        UsageError: It begins with `#`, and is not the header.
    """
    lines = re.split(r"\r\n|\r|\n", text)
    filled_lines = ((n, line) for n, line in enumerate(lines, 1) if line.strip(BLANKS))
    number, first = next(filled_lines, (1, ""))
    if not first.lstrip(BLANKS + '"').startswith("#"):
        return
    names = {folded(name.strip(BLANKS + '"')) for name in re.split("[,;\t]", first)}
    if not names >= {folded(name) for name in expected}:
        raise UsageError(
            f"{source} line {number} begins with '#'; expected the headings "
            f"{', '.join(expected)}: remove the lines above them"
        )


def _value(cell: str, at: str, encoding: str) -> str:
    """Return a cell's text without blanks at its ends.

    Raises:
        UsageError: A quote follows a blank that is no space, or `check_guess` refuses the text.
    """
    check_guess(cell, at, encoding)
    value = with_plain_blanks(cell).strip(BLANKS)
    if value.startswith('"') and not cell.lstrip(" ").startswith('"'):
        raise UsageError(
            f"{at}: {cell[:80]!r} has a quote behind a blank; "
            "expected quotes around whole values: remove the blank"
        )
    formula = _FORMULA.fullmatch(value)
    return formula[1].strip(BLANKS) if formula else value


@lru_cache
def folded(heading: str) -> str:
    """Return a heading for comparisons: `Row_MM`, ` row mm `, `row.mm` and `row-mm` are one."""
    words = _JOINTS.sub(" ", unicodedata.normalize("NFC", heading))
    return words.strip().casefold()


def with_plain_blanks(text: str) -> str:
    """Return a text with spaces for blanks that do not break, or are narrow."""
    return _OTHER_BLANKS.sub(" ", text)


def _letters(heading: str) -> str:
    """Return a heading without its unit and all that is no letter or digit: `row_mm [mm]`."""
    bare = _UNIT.sub("", folded(heading))
    return "".join(filter(str.isalnum, bare))


def number(text: str, delimiter: str = "") -> Decimal:
    """Return a number that is written with a point or with a comma, `0.5` or `0,5`.

    Args:
        text: The number.
        delimiter: What separates the columns of its table. Where that is a comma, `1,234` may be
            1.234 or 1234.

    Raises:
        ValueError: It is none, holds both, or may be two; the message says which.
    """
    if "." in text and "," in text:
        raise ValueError(f"'{text}' holds a comma and a point; write it with one point alone")
    if delimiter == "," and _GROUPED.fullmatch(text):
        point, bare = text.replace(",", "."), text.replace(",", "")
        raise ValueError(f"'{text}' may be {point} or {bare}; write it without a comma")
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"'{text}' is no number; expected one such as 0.5 or 0,5")
    try:
        return Decimal(text.replace(",", "."))
    except InvalidOperation:
        raise ValueError(f"'{text}' is no number: its exponent is too large") from None


def _delimiter(text: str, source: str, expected: Collection[str]) -> str:
    """Return what separates the columns: what gives the expected ones, where several could."""
    headers: dict[str, list[str]] = {}
    for delimiter in DELIMITERS:
        try:
            _, headers[delimiter] = next(_records(text, delimiter), (1, []))
        except ValueError:
            continue
    splitting = [delimiter for delimiter, header in headers.items() if len(header) > 1]
    if not splitting:
        return next(iter(headers), ",")
    if len(splitting) == 1:
        return splitting[0]
    needed = {folded(name) for name in expected}
    fitting = [d for d in splitting if needed <= {folded(name) for name in headers[d]}]
    if len(fitting) == 1:
        return fitting[0]
    names = " and ".join(DELIMITERS[delimiter] for delimiter in splitting)
    raise UsageError(
        f"{source}: its header holds {names}, and which of them separate columns is not clear; "
        f"expected the columns {', '.join(expected)}: put headings that hold one in quotes"
    )


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line in which it begins.

    Raises:
        ValueError: A row is not written as CSV is; the message begins with its line.
    """
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    begin = 1
    try:
        for record in reader:
            if any(value.strip(BLANKS) for value in record):
                yield begin, record
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {begin}: {error}") from error


def _headings(record: Sequence[str], at: str) -> tuple[str, ...]:
    """Return the checked headings, without empty ones at the end."""
    for heading in record:
        _check_characters(" ".join(re.split(r"[ \t\r\n]+", heading)), "the heading", at)
    headings = [" ".join(heading.split()) for heading in record]
    while headings and not headings[-1]:
        headings.pop()
    seen: dict[str, str] = {}
    for heading in filter(None, headings):
        other = seen.get(folded(heading))
        if other == heading:
            raise UsageError(f"{at}: column {heading} is there twice; remove one")
        if other:
            raise UsageError(
                f"{at}: the columns {other} and {heading} are one name; rename or remove one"
            )
        seen[folded(heading)] = heading
    return tuple(headings)


def _longest(
    header: Sequence[str], records: Sequence[Sequence[str]], expected: Collection[str]
) -> int:
    """Return how many cells a row may have, if those without a heading are empty.

    They are as many as the header's own cells. Some programs end every row with a delimiter, but
    not the header: a name with a comma looks the same, if the last columns are empty. So this is
    read only where one of the last columns is needed, which is never empty.
    """
    lengths = {len(record) for record in records}
    extra = max(lengths, default=0) - len(header)
    if len(lengths) != 1 or extra <= 0:
        return len(header)
    last = {folded(heading) for heading in header[-extra:]}
    if not last & {folded(name) for name in expected}:
        return len(header)
    return len(header) + extra


def _as_long(
    values: list[str],
    headings: Sequence[str],
    longest: int,
    at: str,
    delimiter: str,
    numbers: Collection[str],
) -> list[str]:
    """Return the values of a row without empty ones beyond the header.

    Raises:
        UsageError: The row is shorter or longer than the header.
    """
    width = len(headings)
    if width < len(values) <= longest and not any(values[width:]):
        values = values[:width]
    if len(values) < width:
        raise UsageError(
            f"{at}: column {headings[len(values)] or len(values) + 1} is missing, "
            f"{len(values)} fields where the header has {width}; "
            "leave a field empty for what is not known"
        )
    if len(values) == width:
        return values
    number_columns = {folded(name) for name in numbers}
    for place, heading in enumerate(headings):
        whole, decimals = values[place], values[place + 1]
        are_digits = _WHOLE.fullmatch(whole) and _WHOLE.fullmatch(decimals)
        if delimiter == "," and folded(heading) in number_columns and are_digits:
            raise UsageError(
                f"{at}, column {heading}: '{whole},{decimals}' has a decimal comma; "
                f"write {whole}.{decimals}"
            )
    remedy = f"put names that hold {DELIMITERS[delimiter]} in quotes"
    if not values[-1]:
        remedy += f", and remove {DELIMITERS[delimiter]} at the ends of rows"
    raise UsageError(f"{at}: {len(values)} fields where the header has {width}; {remedy}")


def _check_characters(value: str, name: str, at: str, remark: str = "") -> None:
    """Refuse line breaks and other characters that cannot be seen.

    Raises:
        UsageError: The value holds one.
    """
    if value.isascii() and value.isprintable():
        return
    for character in value:
        unseen = unicodedata.category(character) in INVISIBLE
        if not unseen or (character in JOINERS and value.strip(JOINERS) == value):
            continue
        control = unicodedata.category(character) == "Cc"
        what = "control characters" if control else "characters that cannot be seen"
        raise UsageError(
            f"{at}: {name} {value[:80]!r} holds {what} "
            f"(U+{ord(character):04X}); expected plain text in one line{remark and f' ({remark})'}"
        )


def _check_unnamed(table: CsvTable) -> None:
    """Refuse values without a heading, but for the row numbers that pandas and R write first."""
    for place, heading in enumerate(table.headings):
        values = [row.values[place] for row in table.rows]
        numbered = place == 0 and all(_WHOLE.fullmatch(value) for value in values)
        row_numbers = numbered and len(set(values)) == len(values)
        if heading or not any(values) or row_numbers:
            continue
        row = next(row for row in table.rows if row.values[place])
        raise UsageError(
            f"{table.at(row)}: {row.values[place][:80]!r} is in column {place + 1}, which has no "
            "heading; name the column or remove it"
        )
