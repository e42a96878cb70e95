from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data import cache
from bench.data.readers.mr import MR
from bench.data.readers.simulated import Simulated
from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.names import Spec

Make = Callable[..., Path]


def prepare(data: Path, jobs: int = 1) -> Path:
    return cache.prepare(registry.dataset(Spec("mr")), data / "mr", jobs)


def test_preparing_twice_reads_once(slices: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = slices()
    folder = prepare(data)
    monkeypatch.setattr(
        "bench.data.readers.slices.Slices.read", lambda *_: pytest.fail("read again")
    )
    assert prepare(data) == folder
    assert cache.find(registry.dataset(Spec("mr")), data / "mr") == folder


def test_a_touched_file_is_read_again_but_the_digest_is_of_the_pixels(slices: Make) -> None:
    data = slices()
    before = prepare(data)
    os.utime(data / "mr" / "images" / "1_0.png", (1, 1))
    after = prepare(data)
    assert before != after
    assert cache.load(before).digest == cache.load(after).digest


def test_workers_do_not_change_the_digest(
    slices: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = slices(patients=10)
    alone = cache.load(prepare(data)).digest
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "other"))
    assert cache.load(prepare(data, jobs=2)).digest == alone


def test_progress_counts_to_the_end(slices: Make) -> None:
    told: list[tuple[int, int]] = []
    cache.prepare(
        registry.dataset(Spec("mr")),
        slices() / "mr",
        1,
        lambda name, done, total: told.append((done, total)),
    )
    assert told == [(i, 12) for i in range(1, 13)]


@pytest.mark.parametrize("name", ["images.u16", "masks.u8", "cases.csv", "manifest.json"])
def test_a_damaged_cache_is_never_trusted(slices: Make, name: str) -> None:
    folder = prepare(slices(patients=4))
    path = folder / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match="remove the folder and run again"):
        cache.load(folder)


def test_a_reader_that_is_killed_ends_the_preparation_in_one_line(
    slices: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The system kills a process when memory runs out: nothing may hang or leave half a cache."""
    (tmp_path / "killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    import killer  # type: ignore[import-not-found]

    with pytest.raises(
        UsageError, match="a reading process was killed, as happens when memory runs out"
    ):
        cache.prepare(killer.Killed(), slices(patients=12) / "mr", 2)
    assert not [path for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")]


KILLER = """
import os, signal
from dataclasses import dataclass
from bench.data.readers.mr import MR
from bench.spec.names import Spec

@dataclass(frozen=True)
class Killed(MR):
    def read(self, item):
        if item.patient == "3":
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().read(item)
"""


def test_what_a_library_makes_of_a_strange_file_does_not_stop_the_others(
    slices: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strange(*_: Any) -> None:
        raise ZeroDivisionError("float division\nby zero")

    data = slices(patients=3)
    read = MR.read
    monkeypatch.setattr(
        MR, "read", lambda self, item: strange() if item.patient == "1" else read(self, item)
    )
    dataset = cache.load(cache.prepare(registry.dataset(Spec("mr")), data / "mr"))
    assert len(dataset.left_out) == 2
    assert (
        "cannot be used (ZeroDivisionError: float division); look at the file"
        in dataset.left_out[0]
    )


def test_an_unwritable_cache_is_one_line(
    slices: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match=r"cannot be written .*set BENCH_CACHE"):
        prepare(slices())


def test_a_phantom_is_prepared_like_any_dataset() -> None:
    adapter = Simulated(name="xray", title="X-ray", patients=3, slices=2)
    dataset = cache.load(cache.prepare(adapter, Path()))
    assert (dataset.name, dataset.source, len(dataset.cases)) == ("xray", "phantom", 6)
    assert dataset.patients == ["p000", "p001", "p002"]
    assert all(
        (case.height, case.width, case.spacing) == (750, 250, None) for case in dataset.cases
    )
    assert not np.array_equal(dataset.image(0), dataset.image(1))
