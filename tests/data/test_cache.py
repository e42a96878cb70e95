from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.data import cache
from bench.data.simulated import Simulated
from bench.errors import UsageError

Make = Callable[..., Path]


def prepare(data: Path, jobs: int = 1) -> Path:
    return cache.prepare(registry.dataset("mr"), data / "mr", jobs)


def test_preparing_twice_reads_once(slices: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = slices()
    folder = prepare(data)
    monkeypatch.setattr("bench.data.slices.Slices.read", lambda *_: pytest.fail("read again"))
    assert prepare(data) == folder
    assert cache.find(registry.dataset("mr"), data / "mr") == folder


def test_a_touched_file_is_read_again_but_the_digest_is_of_the_pixels(slices: Make) -> None:
    data = slices()
    before = prepare(data)
    os.utime(data / "mr" / "images" / "1_0.png", (1, 1))
    after = prepare(data)
    assert before != after
    assert cache.load(before).digest == cache.load(after).digest


def test_workers_do_not_change_the_digest(slices: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = slices(patients=10)
    alone = cache.load(prepare(data)).digest
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "other"))
    assert cache.load(prepare(data, jobs=2)).digest == alone


def test_progress_counts_to_the_end(slices: Make) -> None:
    told: list[tuple[int, int]] = []
    cache.prepare(registry.dataset("mr"), slices() / "mr", 1, lambda done, total: told.append((done, total)))
    assert told == [(i, 12) for i in range(1, 13)]


@pytest.mark.parametrize("name", ["images.u16", "masks.u8", "cases.csv", "manifest.json"])
def test_a_damaged_cache_is_never_trusted(slices: Make, name: str) -> None:
    folder = prepare(slices(patients=4))
    path = folder / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match="remove the folder and run again"):
        cache.load(folder)


def test_an_unwritable_cache_is_one_line(slices: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match=r"cannot be written .*set BENCH_CACHE"):
        prepare(slices())


def test_a_phantom_is_prepared_like_any_dataset() -> None:
    adapter = Simulated(name="xray", title="X-ray", patients=3, slices=2)
    dataset = cache.load(cache.prepare(adapter, Path()))
    assert (dataset.name, dataset.source, len(dataset.cases)) == ("xray", "phantom", 6)
    assert dataset.patients == ["p000", "p001", "p002"]
    assert all((case.height, case.width, case.spacing) == (750, 250, None) for case in dataset.cases)
    assert not np.array_equal(dataset.image(0), dataset.image(1))
