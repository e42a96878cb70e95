"""`bench data`, as a user calls it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.user import Bench

Make = Callable[..., Path]


def test_data_list_and_preview(bench: Bench, slices: Make) -> None:
    data = slices()
    rows = json.loads(
        bench(
            "data",
            "list",
            "--datasets",
            "mr,xray",
            "--data",
            str(data),
            "--profile",
            "smoke",
            "--json",
        )
    )
    told = [(row["name"], row["source"], row["patients"], row["cases"]) for row in rows]
    assert told == [("mr", "real", 6, 12), ("xray", "phantom", 5, 5)]
    out = bench("data", "preview", "--datasets", "mr", "--data", str(data), "--to", "sheets")
    with Image.open(bench.home / out.strip()) as sheet:
        assert min(sheet.size) > 300


def test_slices_that_make_no_volume_are_told_before_a_run(bench: Bench, slices: Make) -> None:
    data = slices(slice=4)
    said = bench("data", "check", "--datasets", "mr", "--data", str(data))
    assert "mr: volumes" in said
    assert "two slices of volume 1 have the number 4 (1_0 and 1_1); correct the table" in said


def test_data_prepare_and_check_tell_what_was_read_and_what_is_odd(
    bench: Bench, slices: Make
) -> None:
    data = slices()
    (data / "mr" / "labels" / "3_0.png").unlink()
    out = bench("data", "prepare", "mr", "--from", str(data / "mr"))
    assert "mr: 6 patients, 11 cases of 44x60 pixels" in out
    assert "3_0.png is not there" in out
    manifest = json.loads(bench("data", "prepare", "mr", "--from", str(data / "mr"), "--json"))
    assert len(manifest["files"]) == 23  # index.csv too: it decides who the patients are
    path = data / "mr" / "images" / "1_0.png"
    assert manifest["files"]["images/1_0.png"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "mr: left out" in bench("data", "check", "--datasets", "mr", "--data", str(data))
    for part in ("images", "labels"):
        shutil.copy(data / "mr" / part / "1_0.png", data / "mr" / part / "5_0.png")
    told = bench("data", "check", "--datasets", "mr", "--data", str(data), "--json", code=1)
    rows, _ = json.JSONDecoder().raw_decode(told)
    assert [row["kind"] for row in rows if row["grave"]] == ["identical"]
    assert "--from nowhere is not there" in bench(
        "data", "prepare", "mr", "--from", "nowhere", code=2
    )
