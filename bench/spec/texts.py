"""Text files of users: their encoding is known, guessed and said so, or refused."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from bench.spec import files
from bench.spec.errors import UsageError

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # it begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""The byte order marks, and the encoding that each stands for."""
GUESS = "cp1252"
"""The encoding of what is no UTF-8 and has no mark: that of Windows in western Europe."""
LARGEST = 2**30
"""Bytes of a table that are read."""
TABLE = "save it as CSV UTF-8"
"""What mends a table in another format."""
UNPACK = "unpack it"
"""What mends a compressed one."""
FORMATS = (
    (b"PK\x03\x04", "is a workbook or an archive", TABLE),
    (b"\xd0\xcf\x11\xe0", "is a workbook of an older Excel", TABLE),
    (b"PAR1", "is a Parquet file", TABLE),
    (b"SQLite format 3", "is a database", TABLE),
    (b"{\\rtf", "is a text with formats (RTF)", TABLE),
    (b"%PDF", "is a PDF", TABLE),
    (b"\x89PNG", "is a picture", TABLE),
    (b"\xff\xd8\xff", "is a picture", TABLE),
    (b"\x1f\x8b", "is compressed by gzip", UNPACK),
    (b"BZh", "is compressed by bzip2", UNPACK),
    (b"\xfd7zXZ", "is compressed by xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "is compressed by Zstandard", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "is compressed by 7-Zip", UNPACK),
    (b"version https://git-lfs", "is a pointer of Git LFS", "fetch the file (git lfs pull)"),
)
"""How files begin that hold no text of a table: what each is, and the remedy."""


def read_text(path: Path) -> tuple[str, str]:
    """Return the text of a file, and its encoding.

    Raises:
        UsageError: The file cannot be read, or its encoding is not known.
    """
    try:
        content = files.read_bytes(path, LARGEST)
    except OSError as error:
        why = files.reason(error)
        raise UsageError(f"{path} cannot be read ({why}); expected a CSV file") from error
    return decode(content, str(path))


def decode(content: bytes, source: str) -> tuple[str, str]:
    """Return the text of bytes, and their encoding: that of the mark, UTF-8, or cp1252.

    Raises:
        UsageError: The bytes are no text in one of these.
    """
    for beginning, what, remedy in FORMATS:
        if content.startswith(beginning):
            raise UsageError(f"{source} {what}; expected text: {remedy}")
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return _decoded(content[len(mark) :], encoding, source), encoding
    if b"\0" in content:
        raise UsageError(
            f"{source} holds zero bytes, as UTF-16 without its mark does; save it as UTF-8"
        )
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text = _decoded(content, GUESS, source)
    controls = {character for character in text if unicodedata.category(character) == "Cc"}
    if controls - set("\t\r\n"):
        raise UsageError(
            f"{source} is no UTF-8, and {GUESS} gives control characters; save it as UTF-8"
        )
    return text, GUESS


def _decoded(content: bytes, encoding: str, source: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        what = "neither UTF-8 nor cp1252" if encoding == GUESS else f"damaged {encoding}"
        raise UsageError(f"{source} is {what}; save it as UTF-8") from None


def assumed(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return a line `assumed: words` for each file whose encoding is a guess."""
    lines = []
    for path in paths:
        _, encoding = read_text(path)
        if encoding == GUESS:
            lines.append(f"assumed: {remark(path.name)}")
    return tuple(lines)


def remark(source: str) -> str:
    """Return a line that says that a text's encoding is a guess."""
    return (
        f"{source} is read as {GUESS} (Windows), because it is no UTF-8; "
        "save it as UTF-8 if names look wrong"
    )


def check_guess(cell: str, at: str, encoding: str) -> None:
    """Refuse a guessed text with a no-break blank at an end: in other encodings it is a letter.

    Raises:
        UsageError: It has one.
    """
    bare = cell.strip(" \t")
    if encoding == GUESS and bare != bare.strip("\u00a0"):
        raise UsageError(
            f"{at}: {cell[:80]!r} has a letter of another encoding or a no-break blank at an end; "
            "expected UTF-8: save it as UTF-8"
        )
