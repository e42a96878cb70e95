"""Files that cannot be used: each is refused by name in one line, and the rest is as it was."""

from __future__ import annotations

import faulthandler
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import cache
from bench.data.readers import limits, masks
from bench.spec import registry
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from tests.data import bad_files
from tests.data.bad_files import MAKERS, MB

NAMES = sorted(MAKERS)
ALLOWED = {"header_of_a_link", "numpy_that_is_too_large"}
"""What `bench score` reads: links that its user made, and masks of any size."""
SOME = 6
"""One of so many is tried in each run of the tests; all of them under `long`."""


@pytest.fixture(autouse=True)
def _not_for_ever() -> Iterator[None]:
    """End the tests with a traceback where one file hangs."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def folder(root: Path) -> Path:
    """Make a folder of one good pair."""
    rng = np.random.default_rng(0)
    for kind, values in (
        ("images", rng.integers(0, 200, (bad_files.HEIGHT, bad_files.WIDTH)).astype(np.uint8)),
        ("masks", bad_files.pixels() * 255),
    ):
        (root / kind).mkdir(parents=True)
        Image.fromarray(values).save(root / kind / "good_1.png")
    return root


def refused(root: Path, kind: str, name: str, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Return what is told where a file is bad; the good pair is used as without it."""
    other = {"images": "masks", "masks": "images"}[kind]
    (root / other / "bad_1.png").write_bytes((root / other / "good_1.png").read_bytes())
    MAKERS[name](root / kind / "bad_1")
    adapter = registry.dataset(Spec.parse(f"{root}:pattern={{patient}}_*:foreground=>0"))
    dataset = cache.load(cache.prepare(adapter, root))
    assert [case.id for case in dataset.cases] == ["good_1"], "it was used"
    assert capfd.readouterr() == ("", ""), "a library wrote on the terminal"
    return list(dataset.left_out)


def is_named(lines: list[str], kind: str) -> bool:
    """Return whether lines are each one line of a sane length, and one names the file."""
    for line in lines:
        assert line.isprintable()
        assert len(line) < 700
        assert "Traceback" not in line
    return any(f"{kind}/bad_1" in line or f"{kind}/absent.raw" in line for line in lines)


@pytest.mark.parametrize("name", NAMES[::SOME])
def test_a_bad_image_is_named_and_the_others_go_on(
    name: str, tmp_path: Path, own_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert is_named(refused(folder(tmp_path / "set"), "images", name, capfd), "images")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("name", NAMES)
def test_every_bad_file_is_named_and_the_others_go_on(
    name: str, kind: str, tmp_path: Path, own_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert is_named(refused(folder(tmp_path / "set"), kind, name, capfd), kind)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted({*NAMES} - ALLOWED))
def test_a_bad_mask_from_outside_is_an_error_of_one_line(name: str, tmp_path: Path) -> None:
    """`bench score` reads masks by their own names, without a cache."""
    place = tmp_path / "set" / "masks"
    place.mkdir(parents=True)
    MAKERS[name](place / "bad_1")
    for path in place.iterdir():
        if path.suffix == ".raw":
            continue
        with pytest.raises((UsageError, masks.UnfitError)) as error:
            masks.decoded(masks.read(path), path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["nifti_that_inflates", "metaimage_that_inflates", "tiff_that_inflates"]
)
def test_what_inflates_is_refused_before_memory_goes(
    name: str, tmp_path: Path, own_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "set")
    tracemalloc.start()
    try:
        refused(root, "images", name, capfd)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Making it takes 64 MB by itself.
    assert peak < 80 * MB


def test_a_deflated_file_is_held_to_the_limit(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set")
    (root / "masks" / "film_1.png").write_bytes((root / "masks" / "good_1.png").read_bytes())
    syntax = bad_files.DeflatedExplicitVRLittleEndian
    rng = np.random.default_rng(1)
    values = rng.integers(0, 200, (bad_files.HEIGHT, bad_files.WIDTH), np.uint8)
    bad_files.dicom(root / "images" / "film_1", syntax, PixelData=values.tobytes())
    adapter = registry.dataset(Spec.parse(f"{root}:pattern={{patient}}_*"))
    assert len(cache.load(cache.prepare(adapter, root)).cases) == 2
    bad_files.dicom(root / "images" / "film_1", syntax, PixelData=bytes(40 * MB))
    monkeypatch.setenv(limits.VARIABLE, "0.02")
    (line,) = cache.load(cache.prepare(adapter, root)).left_out
    assert line.endswith("unpacks to more than 0.02 GB; reduce it, or set BENCH_LARGEST_GB")
