"""Records of finished cells: those of older and of newer versions are read, damaged ones named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.spec import plain
from bench.spec.errors import UsageError
from bench.store import record
from bench.store.layout import CellFolder
from tests import written

ADDED = (
    "advantages",
    "own_training",
    "oracle",
    "network",
    "idle_parameters",
    "extras",
    "trials",
    "left_out",
    "official_test",
    "multiply_adds",
    "energy_joules",
)
"""What records had not from the start."""


def folder(root: Path, said: dict[str, Any]) -> CellFolder:
    (root / "cell.json").write_text(json.dumps(said))
    return CellFolder(root)


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    first = record.read(folder(tmp_path, written.record("unet:width=3", extras=["prior"])))
    (tmp_path / "cell.json").write_text(first.to_json())
    assert record.read(CellFolder(tmp_path)) == first
    assert [row.key for row in first.rows] == ["unet:width=3", "unet:width=3:prior"]
    assert first.competes
    assert record.read_hash(CellFolder(tmp_path)) == first.hash


def test_an_older_record_has_the_defaults_of_what_it_lacks(tmp_path: Path) -> None:
    said = written.record("unet")
    for name in ADDED:
        said.pop(name, None)
    for name in ("scheme", "tuning"):
        said["spec"].pop(name, None)
    hashed(said)
    old = record.read(folder(tmp_path, said))
    assert set(old.advantages.values()) == {"unknown"}
    assert (old.extras, old.trials, old.competes) == ((), 0, True)
    assert old.idle_parameters is not None
    assert math.isnan(old.idle_parameters)
    assert math.isnan(old.multiply_adds)
    assert (old.energy_joules.gpu, old.energy_joules.processor) == (None, None)
    assert old.scheme.name == ""


def test_a_newer_record_is_read_without_what_nobody_knows_here(tmp_path: Path) -> None:
    said = written.record("unet")
    known = record.read(folder(tmp_path, said))
    said["of_tomorrow"] = {"deep": [1]}
    said["spec"]["of_tomorrow"] = 1
    said["timings"]["of_tomorrow"] = 1.5
    again = record.read(folder(tmp_path, hashed(said)))
    assert again == msgspec.structs.replace(known, hash=again.hash)


def hashed(said: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the hash of its spec."""
    said["hash"] = plain.content_hash(said["spec"])
    return said


def wrong(said: dict[str, Any], *names: str, value: object) -> dict[str, Any]:
    """Return a record of which one field is something else."""
    place = said
    for name in names[:-1]:
        place = place[name]
    place[names[-1]] = value
    return said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 35', '"seed": 36'),
        ('"title": "UNET"', '"title": "FCN"'),
        ('"seal": "', '"seal": "0'),
        ('"seal"', '"sea"'),
        ("{", "{ "),
        ('"\n}\n', '"\n}\n\n'),
    ],
)
def test_a_record_that_was_changed_after_its_cell_ended_is_named(
    tmp_path: Path, old: str, new: str
) -> None:
    sealed = plain.convert(written.record("unet", digests={"train.csv": "0" * 64}), record.Record)
    text = sealed.to_json()
    assert old in text
    (tmp_path / "cell.json").write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match="its seal is not that of its text"):
        record.read(CellFolder(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\0\0",
        '{"hash": 5}',
        json.dumps(wrong(written.record("unet"), "spec", "seed", value="first")),
        json.dumps(wrong(written.record("unet"), "source", value="imagined")),
        json.dumps(wrong(written.record("unet"), "certificate", value=None)),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "cell.json").write_text(text)
    with pytest.raises(UsageError, match=r"cell\.json is damaged") as caught:
        record.read(CellFolder(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "cell.json").write_bytes(b'{"hash": "\xff"}')
    for read in (record.read, record.read_hash):
        with pytest.raises(UsageError, match=r"cell\.json is damaged"):
            read(CellFolder(tmp_path))


def test_a_cell_that_is_not_finished_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        record.read_hash(CellFolder(tmp_path / "f0-s35"))
    with pytest.raises(UsageError, match=r"cell\.json is damaged"):
        record.read_hash(CellFolder(tmp_path))
