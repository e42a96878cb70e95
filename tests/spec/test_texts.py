"""Text files of users: their encoding is known, guessed and said so, or refused by name."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.spec import csvs, texts
from bench.spec.errors import UsageError


@given(st.text(st.characters(codec="cp1252", exclude_categories=("Cc", "Cf", "Zs")), max_size=9))
def test_what_is_no_utf_8_is_read_as_windows_writes_it_and_says_so(name: str) -> None:
    content = f"Müller{name}".encode("cp1252")
    text, encoding = texts.decode(content, "mine.csv")
    table = csvs.parse("file\na\n", "mine.csv", ["file"], encoding=encoding)
    if encoding == "cp1252":
        assert text == f"Müller{name}"
        assert "read as cp1252" in table.remark
    else:
        assert content.decode("utf-8") == text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,patient\na,b\n".encode("utf-16-le"), "holds zero bytes, as UTF-16 without its mark"),
        (b"\xff\xfe\x00", "is damaged utf-16-le; save it as UTF-8"),
        (b"\xef\xbb\xbf\xff", "is damaged utf-8; save it as UTF-8"),
        (b"M\x81ller", "is neither UTF-8 nor cp1252; save it as UTF-8"),
        (b"M\xfcller\x1b", "cp1252 gives control characters; save it as UTF-8"),
    ],
)
def test_an_unknown_encoding_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=f"mine.csv .*{says}"):
        texts.decode(content, "mine.csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            gzip.compress(b"file,patient", mtime=0),
            "is compressed by gzip; expected text: unpack it",
        ),
        (lzma.compress(b"file,patient"), "is compressed by xz; expected text: unpack it"),
        (bz2.compress(b"file,patient"), "is compressed by bzip2; expected text: unpack it"),
        (
            bytes.fromhex("d0cf11e0a1b11ae1") + bytes(9),
            "is a workbook of an older Excel; .* as CSV",
        ),
        (b"PAR1\x15\x04", "is a Parquet file; .* save it as CSV"),
        (b"\x89PNG\r\n\x1a\n\x00", "is a picture; .* save it as CSV"),
        (b"%PDF-1.7\n%\xe2", "is a PDF; .* save it as CSV"),
        (b"{\\rtf1\\ansi file,patient}", r"is a text with formats \(RTF\); .* save it as CSV"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a pointer of Git LFS; .*git lfs pull",
        ),
    ],
)
def test_another_format_is_called_what_it_is(content: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=f"mine.csv {says}"):
        texts.decode(content, "mine.csv")


def test_a_workbook_is_named() -> None:
    with pytest.raises(UsageError, match=r"is a workbook or an archive; .* save it as CSV UTF-8"):
        texts.decode(b"PK\x03\x04\x14\x00", "mine.xlsx")
