from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest
from PIL import Image

from bench.data import cache
from bench.data.readers.mr import MR
from bench.data.readers.simulated import Simulated
from bench.data.source import Source
from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from tests.conftest import picture

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


def test_a_copy_is_the_same_dataset_and_is_not_read_again(
    slices: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = slices()
    folder = prepare(data)
    os.utime(data / "mr" / "images" / "1_0.png", (1, 1))
    shutil.copytree(data, tmp_path / "copy")
    monkeypatch.setattr(
        "bench.data.readers.slices.Slices.read", lambda *_: pytest.fail("read again")
    )
    assert prepare(data) == prepare(tmp_path / "copy") == folder


@pytest.mark.parametrize("old", [False, True])
def test_a_file_that_changed_is_noticed_though_its_size_and_time_are_as_before(
    slices: Make, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old:  # files that did not change lately are not hashed again
        monkeypatch.setattr("bench.data.hashes.RECENT", -(10**12))
    data = slices()
    path = data / "mr" / "labels" / "1_0.bmp"
    mask = np.zeros((60, 44), np.uint8)
    mask[:20] = 1
    (data / "mr" / "labels" / "1_0.png").unlink()
    image = data / "mr" / "images" / "1_0.png"
    Image.open(image).save(image.with_suffix(".bmp"))
    index = data / "mr" / "index.csv"
    index.write_text(index.read_text().replace("1_0.png", "1_0.bmp"))
    Image.fromarray(mask).save(path)
    before = cache.load(prepare(data))
    times = path.stat()
    Image.fromarray(mask[::-1]).save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    after = cache.load(prepare(data))
    assert after.digest != before.digest
    assert after.mask(0)[-1].all()
    assert not after.mask(0)[0].any()


def test_another_choice_of_labels_reads_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "own"
    labels = np.zeros((60, 44), np.uint8)
    labels[:20], labels[20:30] = 1, 2
    for number in range(3):
        for kind, values in (("images", picture(number)[0]), ("masks", labels)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / kind / f"p{number}.png")
    one = registry.dataset(Spec.parse(f"{root}:pattern={{patient}}:foreground=1"))
    first = cache.load(cache.prepare(one, root))
    monkeypatch.setattr("bench.data.readers.folder.Folder.read", lambda *_: pytest.fail("again"))
    both = registry.dataset(Spec.parse(f"{root}:pattern={{patient}}:foreground=1+2"))
    second = cache.load(cache.prepare(both, root))
    assert first.mask(0).sum() == 20 * 44
    assert second.mask(0).sum() == 30 * 44
    assert first.digest != second.digest


def test_an_unreadable_file_is_left_out_and_the_cache_is_not_blamed(
    slices: Make, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    data = slices(patients=5, each=1)
    damaged = data / "mr" / "images" / "1_0.png"
    read = pooch.file_hash

    def failing(path: Path) -> str:
        if Path(path) == damaged:
            raise OSError(5, "Input/output error")
        return str(read(path))

    monkeypatch.setattr("bench.data.hashes.pooch.file_hash", failing)
    dataset = cache.load(prepare(data))
    (line,) = dataset.left_out
    assert "1_0.png cannot be read (Input/output error); look at its" in line
    assert len(dataset.cases) == 4


def test_a_file_that_changes_while_it_is_read_is_refused(
    slices: Make, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    data = slices(patients=7, each=1)
    read = MR.read

    def touched(self: MR, item: Any) -> Any:
        with item.files[0].open("ab") as file:
            file.write(b" ")
        yield from read(self, item)

    monkeypatch.setattr(MR, "read", touched)
    with pytest.raises(UsageError, match=r"1_0.png changed while it was read; run again"):
        prepare(data)


def test_workers_do_not_change_the_digest(
    slices: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = slices(patients=10)
    alone = cache.load(prepare(data)).digest
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "other"))
    assert cache.load(prepare(data, jobs=2)).digest == alone


def test_progress_counts_to_the_end(slices: Make, own_cache: Path) -> None:
    told: list[tuple[int, int]] = []
    cache.prepare(
        registry.dataset(Spec("mr")),
        slices() / "mr",
        1,
        lambda name, done, total: told.append((done, total)),
    )
    assert told == [(i, 12) for i in range(1, 13)]


@pytest.mark.parametrize(
    "name", ["images.u8", "levels.u16", "masks.u8", "cases.csv", "manifest.json"]
)
def test_a_damaged_cache_is_never_trusted(slices: Make, name: str, own_cache: Path) -> None:
    folder = prepare(slices(patients=4))
    path = folder / name if name == "manifest.json" else folder.parent / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match="remove the folder and run again"):
        cache.load(folder)


def test_what_a_library_makes_of_a_strange_file_does_not_stop_the_others(
    slices: Make, monkeypatch: pytest.MonkeyPatch, own_cache: Path
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
    assert "cannot be used (ZeroDivisionError: by zero); look at the file" in dataset.left_out[0]


def test_an_unwritable_cache_is_one_line(
    slices: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match=r"cannot be written .*set BENCH_CACHE"):
        prepare(slices())


def test_a_dataset_is_found_by_its_digest_beside_a_damaged_one(own_cache: Path) -> None:
    folder = cache.prepare(Simulated(name="xray", title="X-ray", patients=3), Path())
    damaged = folder.parents[1] / "xray-phantom-0" / folder.name
    damaged.mkdir(parents=True)
    (damaged / "manifest.json").write_text("{}")
    assert cache.find_by_digest("xray", cache.load(folder).digest) == folder
    assert cache.find_by_digest("xray", "0" * 64) is None


def test_a_phantom_is_prepared_like_any_dataset() -> None:
    adapter = Simulated(name="xray", title="X-ray", patients=3, slices=2)
    dataset = cache.load(cache.prepare(adapter, Path()))
    assert (dataset.name, dataset.source, len(dataset.cases)) == ("xray", "phantom", 6)
    assert dataset.patients == ["p000", "p001", "p002"]
    assert all(
        (case.height, case.width, case.spacing) == (750, 250, None) for case in dataset.cases
    )
    assert not np.array_equal(dataset.image(0), dataset.image(1))


def test_an_error_of_a_users_file_is_not_called_the_caches(
    slices: Make, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(source: Source, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(source.root / "images" / "1_0.png"))

    monkeypatch.setattr("bench.data.cache.write", write)
    with pytest.raises(PermissionError, match=r"images/1_0\.png"):
        prepare(slices())
