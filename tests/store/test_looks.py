from __future__ import annotations

from pathlib import Path

import pytest

from bench.spec.errors import UsageError
from bench.store.looks import add, read


def test_each_number_of_seeds_is_one_look(tmp_path: Path) -> None:
    path = tmp_path / "looks.csv"
    assert read(path) == ()
    assert add(path, {"mr": (35,), "xray": (35, 36)}) == read(path)
    assert [(look.column, look.seeds) for look in read(path)] == [("xray", (35, 36))]
    before = path.read_bytes()
    add(path, {"mr": (35,), "xray": (35, 36)})
    assert path.read_bytes() == before
    looks = add(path, {"mr": (35, 36), "xray": (35, 36, 37)})
    assert [look.seeds for look in looks if look.column == "xray"] == [(35, 36), (35, 36, 37)]
    assert read(path) == looks


@pytest.mark.parametrize("content", [b"2026-01-01,mr", b"a,b,c d\n", b"\xff\xfe", b"a,b,c,d\n"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "looks.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"looks\.csv is damaged") as caught:
        read(path)
    assert "\n" not in str(caught.value)
