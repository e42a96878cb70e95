"""The one reader of CSV: what any program writes is read as it was meant, or refused by name."""

from __future__ import annotations

import codecs
import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.spec import csvs, texts
from bench.spec.errors import UsageError

HEADINGS = ("file", "patient", "row_mm", "column_mm")
NAMES = st.sampled_from(["NA", "None", "null", "nan", "N/A", "001", "1e5", "True", "-", '"', "a,b"])
PRINTABLE = st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
TEXTS = (
    st.text(st.one_of(PRINTABLE, st.sampled_from(' ,;"')), max_size=8)
    .map(lambda text: text.strip(csvs.BLANKS))
    .filter(lambda text: not text.startswith('="'))
)
VALUES = st.one_of(NAMES, TEXTS)
ROWS = st.lists(st.lists(VALUES, min_size=4, max_size=4).filter(any), max_size=6)
"""Rows that are not blank."""
MARKED = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}


def spelled(data: st.DataObject, heading: str) -> str:
    """Draw another spelling of a heading: its case, the blanks around it and between its words."""
    words = data.draw(st.sampled_from([heading, heading.upper(), heading.title()]))
    joint = data.draw(st.sampled_from(["_", "-", " ", "  ", " _ "]))
    around = data.draw(st.sampled_from(["", " ", "  "]))
    return around + words.replace("_", joint) + around


@given(ROWS, st.sampled_from(list(csvs.DELIMITERS)), st.data())
def test_a_table_is_read_in_any_dialect(
    rows: list[list[str]], delimiter: str, data: st.DataObject
) -> None:
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=delimiter,
        lineterminator=data.draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    )
    writer.writerow([spelled(data, heading) for heading in HEADINGS])
    for row in rows:
        writer.writerow(row)
        if data.draw(st.booleans()):
            writer.writerow([])
    encoding = data.draw(st.sampled_from(list(MARKED)))
    mark = MARKED[encoding] if encoding != "utf-8" or data.draw(st.booleans()) else b""
    content = mark + text.getvalue().encode(encoding)
    decoded, known = texts.decode(content, "mine.csv")
    table = csvs.parse(decoded, "mine.csv", HEADINGS, encoding=known)
    assert (table.delimiter, table.encoding, table.remark) == (delimiter, encoding, "")
    values = [[table.value(row, heading) for heading in HEADINGS] for row in table.rows]
    assert values == rows


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_rows_know_their_lines(blank: list[bool]) -> None:
    lines = ["" if none else f"a{number}" for number, none in enumerate(blank, 2)]
    table = csvs.parse("\n".join(["file", *lines]), "mine.csv", ["file"])
    for row in table.rows:
        assert row.values == (f"a{row.line}",)
    assert len(table.rows) == blank.count(False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; expected the columns file, patient"),
        ("\n ,\n", "is empty"),
        ("file,patient\na\n", "line 2: column patient is missing, 1 fields where the header has 2"),
        ("file,patient\na,b,c\n", "line 2: 3 fields where the header has 2; put names that hold"),
        ("file,patient,row_mm\na,b,0,5\n", "line 2, column row_mm: '0,5' has a decimal comma"),
        ("file;patient,x\na,b\n", "its header holds commas and semicolons, and which"),
        ("File,file,patient\na,b,c\n", "line 1: the columns File and file are one name"),
        ("row mm,row_mm\n1,2\n", "line 1: the columns row mm and row_mm are one name"),
        ("file,file\na,b\n", "line 1: column file is there twice"),
        ('file,patient\na,"b\nc"\n', r"line 2: patient 'b\\nc' holds control .* \(U\+000A\)"),
        ("file,patient\na\tb,c\n", r"line 2: file 'a\\tb' holds control characters"),
        ("file,patient\na,b\u200bc\n", r"line 2: patient .* cannot be seen \(U\+200B\)"),
        ("file,patient\na,b\u202ec\n", r"line 2: patient .* cannot be seen \(U\+202E\)"),
        ("file,patient\na,b\ufeffc\n", r"line 2: patient .* cannot be seen \(U\+FEFF\)"),
        ("file,patient\na,b\u200d\n", r"line 2: patient .* cannot be seen \(U\+200D\)"),
        ("file,patient\na,b\u2028c\n", r"line 2: patient .* cannot be seen \(U\+2028\)"),
        ('file,patient\na,\t"b"\n', r"line 2: .* has a quote behind a blank"),
        ('file,patient\na,\u00a0"b"\n', r"line 2: .* has a quote behind a blank"),
        ("file,patient,notes\na,B, C,\nd,e,f\n", "line 2: 4 fields where the header has 3; put"),
        ("file,patient,notes\na,B, C,\nd,E, F,\n", "line 2: 4 fields where the header has 3"),
        ("file,patient,\na,b,,\nd,e,\n", "line 2: 4 fields where the header has 2"),
        ("file,patient,row_mm,notes\na,b,0,5,\n", "line 2, column row_mm: '0,5' has a decimal"),
        ("sep=|\nfile|patient\n", r"line 1: 'sep=\|' says what separates columns"),
        ("sep=;\nfile;patient\na\n", "line 3: column patient is missing"),
        ("# of R\nfile,patient\na,b\n", "line 1 begins with '#'; expected the headings file, pat"),
        ("\n# of R, by me\nfile,patient\na,b\n", "line 2 begins with '#'"),
        ("file,patient\na,b\x0c\n", r"line 2: patient 'b\\x0c' holds control"),
        ('file,patient\na,b\nc,"d\ne,f\n', "line 3: unexpected end of data; expected quotes"),
        ('file,patient\n"a"b,c\n', "line 2: ',' expected after"),
        (",file,patient\nx,a,b\n", "line 2: 'x' is in column 1, which has no heading"),
        ("file,,patient\na,1,b\n", "line 2: '1' is in column 2, which has no heading"),
        ("file,patient,\na,b,1\n", "line 2: 3 fields where the header has 2"),
        (",file,patient\n1,a,b\n1,c,d\n", "is in column 1, which has no heading"),
        ("file,patient\n'a','b'\n'c','d'\n", "of column file stand in single quotes; expected"),
    ],
)
def test_what_could_be_misread_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=rf"^mine\.csv.*{says}") as refusal:
        pairs(csvs.parse(text, "mine.csv", ["file", "patient"], numbers=["row_mm"]))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "file,patient\na,b\n",
        "file,patient,\na,b\n",
        "file,patient\na,b,,\n",
        "file,,patient\na,,b\n",
        ",file,patient\n7,a,b\n",  # pandas writes its index without a heading
        '"","file","patient"\n"1","a","b"\n',  # R writes the numbers of the rows
        'file;"patient"\na;b',
        'file, "patient"\n a, "b"\n',
        "notes, long;file;patient\nx;a;b\n",
        "file\tpatient\n\n\na\tb\n",
        "file,patient\n\u00a0a,b \n",
        "file,patient\n\u3000a,b\u3000\n",
        "sep=;\nfile;patient\na;b\n",
        "sep=,\r\nfile,patient\r\na,b\r\n",
        '"sep=\t"\nfile\tpatient\na\tb\n',
        "#,file,patient\n1,a,b\n",
        'file,patient\n="a",="b"\n',
        'file,patient\n"=""a""",b\n',
        "file,patient,notes\na,b,\x07\n",
        "file,patient,notes\na,b,'x'\n",
        "file,patient\r\na,b\r\n\x1a",  # DOS ends texts so
    ],
)
def test_programs_write_tables_in_many_ways(text: str) -> None:
    table = csvs.parse(text, "mine.csv", ["file", "patient"])
    (row,) = table.rows
    assert (table.value(row, "file"), table.value(row, "Patient ")) == ("a", "b")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("M\u00a0A", "M A"),
        ("5\u202f%", "5 %"),
        ("\u5c71\u3000\u592a", "\u5c71\u3000\u592a"),
        ("\u0639\u0644\u06cc\u200c\u0631", "\u0639\u0644\u06cc\u200c\u0631"),
        ('="001"', "001"),
        ('5" disk', '5" disk'),
        ('"""a"""', '"a"'),
    ],
)
def test_a_value_is_read_as_it_was_meant(written: str, value: str) -> None:
    table = csvs.parse(f"file,patient\na,{written}\n", "mine.csv", ["file", "patient"])
    assert pairs(table) == [("a", value)]


def pairs(table: csvs.CsvTable) -> list[tuple[str, str]]:
    """Return the files and patients of a table."""
    table.require("file", "patient")
    return [(table.value(row, "file"), table.value(row, "patient")) for row in table.rows]


@pytest.mark.parametrize(
    "name", ["1.23457E+11", "1,23457E+11", "1e+15", "########", "#N/A", "#NV", "#REF!", "#ZÄHL?"]
)
def test_what_a_spreadsheet_writes_in_the_place_of_names_is_refused(name: str) -> None:
    """Patients of long numbers would become one."""
    table = csvs.parse(f"file;patient\na;{name}\n", "mine.csv", ["file", "patient"])
    with pytest.raises(UsageError, match=r"mine\.csv line 2: patient .* format the column as text"):
        table.named(table.rows[0], "patient")


@pytest.mark.parametrize("name", ["1E5", "12E+3", "#1", "#", "#Anna", "A#N", "123456789012"])
def test_a_name_like_a_number_is_a_name(name: str) -> None:
    table = csvs.parse(f"file;patient\na;{name}\n", "mine.csv", ["file", "patient"])
    assert table.named(table.rows[0], "patient") == name


@pytest.mark.parametrize("name", ["Novotn\u00a0", "\u00a0b", "b \u00a0 "])
def test_a_letter_of_another_encoding_is_no_blank(name: str) -> None:
    """The byte A0 is a letter in the encodings of DOS and China."""
    text = f"file,patient\na,{name}\n"
    with pytest.raises(UsageError, match=r"mine\.csv line 2: .* save it as UTF-8"):
        csvs.parse(text, "mine.csv", ["file", "patient"], encoding="cp1252")


@pytest.mark.parametrize("heading", ["RowMM", "row_mm [mm]", "Row (mm)_mm", "rows_mm"])
def test_a_heading_that_may_be_meant_is_known(heading: str) -> None:
    table = csvs.parse(f"file,{heading}\n", "mine.csv", ["file"])
    assert table.near("row_mm") == heading
    assert not table.near("column_mm")
    assert csvs.parse("file,row.mm,row\n", "mine.csv", ["file"]).column("row_mm") == 1


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes("Datei;patient\na;b\n".encode("utf-8-sig"))
    table = csvs.read(path, ["file"])
    with pytest.raises(UsageError, match=r"mine.csv has no column 'file'; .*Datei, patient"):
        table.require("patient", "file")
    with pytest.raises(UsageError, match=r"cannot be read \(No such file"):
        csvs.read(tmp_path / "none.csv", ["file"])
    with pytest.raises(UsageError, match=r"cannot be read \(it is a folder"):
        csvs.read(tmp_path, ["file"])


@given(st.decimals(allow_nan=False, allow_infinity=False), st.booleans())
def test_a_number_has_a_point_or_a_comma(value: Decimal, comma: bool) -> None:
    text = str(value)
    read = csvs.number(text.replace(".", ",") if comma else text)
    assert (read, read.as_tuple()) == (value, value.as_tuple())


@pytest.mark.parametrize("text", ["1.234,5", "1,234.5"])
def test_a_number_with_both_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="holds a comma and a point"):
        csvs.number(text)


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3", "1e99999999999999999999", "1 000", "1_0", "nan", "inf", "٣", ".", "0x1", "1e"],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        csvs.number(text)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_one_line(content: bytes) -> None:
    refusal = ""
    try:
        text, encoding = texts.decode(b"file,patient\n" + content, "mine.csv")
        table = csvs.parse(text, "mine.csv", ["file", "patient"], encoding=encoding)
        assert all(len(row.values) == len(table.headings) for row in table.rows)
    except UsageError as error:
        refusal = str(error)
    assert refusal.isprintable()
    assert not refusal or refusal.startswith("mine.csv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file|patient\na|b\n", r"line 1 is one column, 'file\|patient'; expected headings that"),
        ("| file | patient |\n|---|---|\n| a | b |\n", "line 1 is one column"),
        ("file  patient\na  b\n", "line 1 is one column"),
        ('"file,patient"\n"a,b"\n', "line 1 is one column, 'file,patient'"),
        ("sep=;\nfile,patient\na,b\n", "line 2 is one column"),
        ("'file','patient'\n'a','b'\n", "'file' stands in other quotes"),
        ("“file”,“patient”\na,b\n", "“file” stands in other quotes"),
        ('[{"file": "a", "patient": "b"}]', "holds JSON; expected a table"),
        ('{"file": ["a"], "patient": ["b"]}', "holds JSON; expected a table"),
        ("<!DOCTYPE html><html><body>Log in, please, now</body>", "holds a web page or XML"),
        ("file,patient\u2028a,b\u2028c,d", r"U\+2028"),
    ],
)
def test_what_is_no_csv_is_called_what_it_is(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refusal:
        csvs.parse(text, "mine.csv", ["file", "patient"])
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    "numbers",
    [
        ["123456789012345000", "123456789012345000", "123456789012346000"],
        ["1234567890123450", "1234567890123460", "1234567890123470", "7"],
    ],
)
def test_numbers_that_a_spreadsheet_rounded_are_no_names(numbers: list[str]) -> None:
    text = "file,patient\n" + "".join(f"a,{number}\n" for number in numbers)
    table = csvs.parse(text, "mine.csv", ["file", "patient"])
    with pytest.raises(UsageError, match="is what a spreadsheet writes where it rounds a number"):
        table.named(table.rows[0], "patient")


@pytest.mark.parametrize(
    "numbers", [["1234567890123450"], ["123456789012345000", "123456789012345678"], ["150000"]]
)
def test_long_numbers_that_may_be_whole_are_names(numbers: list[str]) -> None:
    text = "file,patient\n" + "".join(f"a,{number}\n" for number in numbers)
    table = csvs.parse(text, "mine.csv", ["file", "patient"])
    assert [table.named(row, "patient") for row in table.rows] == numbers


def test_a_lacking_column_says_how_the_text_was_read() -> None:
    table = csvs.parse("ÎÄ¼þ,patient\na,b\n", "mine.csv", ["file"], encoding="cp1252")
    with pytest.raises(UsageError, match=r"has no column '文件'.* is read as cp1252"):
        table.require("文件")
