"""Results of two machines become one, and one becomes an archive that is read elsewhere."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.engine.verify import verify
from bench.spec.errors import UsageError
from bench.store import outside
from bench.store.cells import Store, keep_labels, read_labels
from bench.store.looks import read
from bench.store.merge import merge
from bench.store.pack import pack
from bench.store.results import Results
from tests.store import matrix
from tests.user import Bench

PROFILE = matrix.PROFILE.name


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    matrix.finished(tmp_path / "whole")
    return tmp_path / "whole"


def half(whole: Path, to: Path, without: str) -> Path:
    """Copy a results folder without some methods' cells."""
    shutil.copytree(whole, to)
    for cell in (to / PROFILE).glob("mr@*/*"):
        if cell.is_dir() and cell.name.startswith(without):
            shutil.rmtree(cell)
    return to


def test_two_halves_become_the_whole(whole: Path, tmp_path: Path) -> None:
    one, other = half(whole, tmp_path / "a", "unet"), half(whole, tmp_path / "b", "verdiff")
    merged = merge([one, other], tmp_path / "c")
    assert merged.cells == 3
    results = Results.load(Store(tmp_path / "c"))
    assert len(results.cells) == 3
    assert results.family == Results.load(Store(whole)).family
    folder = Store(tmp_path / "c").layout.profile(PROFILE)
    assert verify(folder).wrong == []
    assert set(folder.plan.read_text().splitlines()) == set(
        (whole / PROFILE / "plan.txt").read_text().splitlines()
    )


def test_conflicts_are_named_and_nothing_is_written(whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    matrix.finished(other)
    cell = next(other.rglob("unet/*/cell.json")).parent
    shutil.rmtree(cell)
    again = next(whole.rglob("unet/*/cell.json")).parent
    shutil.copytree(again, cell)
    split = next(other.rglob("split.csv"))
    split.write_text(split.read_text().replace("train", "unused", 1))
    with pytest.raises(UsageError) as caught:
        merge([whole, other], tmp_path / "c")
    assert "split.csv" in str(caught.value)
    assert not (tmp_path / "c").exists()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine").touch()
    with pytest.raises(UsageError, match="is not empty"):
        merge([whole, whole], tmp_path / "c")


def test_a_cell_that_both_ran_is_a_conflict(whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    matrix.finished(other)  # the same cells, at another time
    record = next(other.rglob("unet/*/cell.json"))
    mine = next(whole.rglob("unet/*/cell.json"))
    if record.read_bytes() == mine.read_bytes():
        assert merge([whole, other], tmp_path / "c").cells == 3
        return
    with pytest.raises(UsageError, match=r"unet/f0-s35 is in both folders"):
        merge([whole, other], tmp_path / "c")


@pytest.mark.parametrize("weights", [True, False])
def test_an_archive_is_a_results_folder_elsewhere(
    whole: Path, tmp_path: Path, weights: bool
) -> None:
    target = tmp_path / "results.zip"
    names = pack(whole, target, weights, {"mr": ("CC BY 4.0", "van der Graaf")}, {"unet": "2015"})
    assert any(name.endswith(".safetensors") for name in names) == weights
    assert not any("log.txt" in name for name in names)
    with zipfile.ZipFile(target) as archive:
        archive.extractall(tmp_path / "elsewhere")
    crate = json.loads((tmp_path / "elsewhere" / "ro-crate-metadata.json").read_text())
    by_id = {entity["@id"]: entity for entity in crate["@graph"]}
    assert by_id["#dataset-mr"]["license"] == "CC BY 4.0"
    assert by_id["#method-unet"]["citation"] == "2015"
    assert by_id["#method-fcn"]["citation"] == "unknown"
    assert {part["@id"] for part in by_id["./"]["hasPart"]} == {"manifest.csv", *names}
    store = Store(tmp_path / "elsewhere")
    findings = verify(store.layout.profile(PROFILE))
    assert findings.wrong == []
    assert bool(findings.remarks) != weights
    assert len(Results.load(store, pictures=True).cells) == 3
    pack(
        whole,
        tmp_path / "again.zip",
        weights,
        {"mr": ("CC BY 4.0", "van der Graaf")},
        {"unet": "2015"},
    )
    assert (tmp_path / "again.zip").read_bytes() == target.read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        pack(whole, target, weights, {}, {})


def test_the_commands(bench: Bench) -> None:
    matrix.finished(bench.home / "results")
    assert "files" in bench("pack", "results", "--to", "r.zip")
    with zipfile.ZipFile(bench.home / "r.zip") as archive:
        archive.extractall(bench.home / "unpacked")
    assert "what does not hold: 0" in bench("verify", "unpacked")
    bench("report", "--out", "unpacked", "--no-pictures")
    split = next((bench.home / "unpacked").rglob("split.csv"))
    split.write_text(split.read_text() + "\n")
    assert "split.csv is not what" in bench("verify", "unpacked", code=1)
    shutil.copytree(bench.home / "results", bench.home / "b")
    assert "3 cells" in bench("merge", "results", "b", "--into", "c")
    assert "two results folders" in bench("merge", "results", "--into", "d", code=2)
    cell = next((bench.home / "results").rglob("cases.csv"))
    cell.write_text("no")
    assert "is damaged" in bench("pack", "results", "--to", "s.zip", code=2)


def test_looks_are_kept_by_merging_and_packing(whole: Path, tmp_path: Path) -> None:
    one, other = half(whole, tmp_path / "a", "unet"), half(whole, tmp_path / "b", "verdiff")
    for root, date in ((one, "2026-01-01"), (other, "2026-02-02")):
        path = root / PROFILE / "looks.csv"
        path.write_text(f"{date},mr,35 36\n", encoding="utf-8")
    with (other / PROFILE / "looks.csv").open("a", encoding="utf-8") as file:
        file.write("2026-03-03,mr,35 36 37\n")
    merge([one, other], tmp_path / "c")
    looks = read(tmp_path / "c" / PROFILE / "looks.csv")
    assert [(look.date, len(look.seeds)) for look in looks] == [
        ("2026-01-01", 2),
        ("2026-03-03", 3),
    ]
    assert f"{PROFILE}/looks.csv" in pack(other, tmp_path / "results.zip", False, {}, {})


def test_a_volume_that_inflates_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "case.npz"
    outside.pack(path, np.zeros((40, 300, 300), bool))
    assert outside.unpack(path) is not None
    monkeypatch.setenv("BENCH_LARGEST_GB", "0.0001")
    assert outside.unpack(path) is None


def test_instances_that_inflate_beyond_the_limit_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "case.png"
    keep_labels(path, np.zeros((4, 300, 300), np.uint16))
    assert read_labels(path) is not None
    monkeypatch.setenv("BENCH_LARGEST_GB", "0.0001")
    assert read_labels(path) is None


@pytest.mark.parametrize("read_volume", [read_labels, outside.unpack])
def test_a_damaged_volume_reads_as_missing(
    tmp_path: Path, read_volume: Callable[[Path], object]
) -> None:
    """Whatever zlib, zipfile and NumPy raise, wherever its bytes changed."""
    path = tmp_path / "case.npz"
    numbers = np.random.default_rng(0).integers(0, 9, (4, 30, 30))
    if read_volume is read_labels:
        keep_labels(path, numbers.astype(np.uint16))
    else:
        outside.pack(path, numbers > 4)
    assert read_volume(path) is not None
    content = path.read_bytes()
    path.write_bytes(b"")
    assert read_volume(path) is None
    unread = 0
    places = range(0, len(content), 9)
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        unread += read_volume(path) is None
    assert unread > len(places) / 2  # some bytes, such as those of dates, change nothing
