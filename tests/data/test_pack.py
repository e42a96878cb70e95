"""Images in the cache: what lies there is what was read, whatever its depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench.data import cache
from bench.data.augment import PAPER
from bench.data.digest import digest_of
from bench.data.grid import OnGrid
from bench.data.pack import pack, unpack
from bench.data.source import find_source
from bench.data.stream import Stream
from bench.spec import registry
from bench.spec.dataset import Adapter
from bench.spec.names import Spec

DEEP = ("p1", "p4")
"""Patients whose images have more than 256 grey values."""


@given(
    st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 90), st.sampled_from([1, 2, 70_000])
)
def test_an_image_comes_back_as_it_was(seed: int, most: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (height, width) if height * width < 200_000 else (1, width)
    values = rng.choice(1 << 16, most, replace=False).astype(np.uint16)
    image = rng.choice(values, (height, width))
    packed = pack(image)
    assert (packed is None) == (len(np.unique(image)) > 256)
    if packed:
        assert packed[0].dtype == np.uint8
        assert np.array_equal(unpack(*packed), image)


def mixed(root: Path) -> Adapter:
    """Return the reader of six images, of which two have 16 bits."""
    rng = np.random.default_rng(0)
    for number in range(6):
        name = f"p{number}"
        image = rng.integers(0, 256, (30 + number, 50), dtype=np.uint8)
        mask = np.zeros(image.shape, np.uint8)
        mask[5:20, 8:30] = 255
        values = image
        if name in DEEP:
            values = image.astype(np.uint16) * 200 + rng.integers(0, 200, image.shape, np.uint16)
        for kind, pixels in (("images", values), ("masks", mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / kind / f"{name}.png")
    return registry.dataset(Spec.parse(f"{root}:pattern={{patient}}"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_images_of_8_bits_take_a_byte_and_are_what_was_read(
    jobs: int, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.data.reading.LIGHT", 0)
    adapter = mixed(tmp_path / "films")
    folder = cache.prepare(adapter, tmp_path / "films", jobs)
    dataset = cache.load(folder)
    for index, item in enumerate(find_source(adapter, tmp_path / "films", 1).items):
        (sample,) = adapter.read(item)
        assert dataset.image(index).dtype == np.uint16
        assert np.array_equal(dataset.image(index), sample.image)
        assert np.array_equal(dataset.mask(index), sample.mask)
    assert digest_of(dataset) == dataset.digest
    sizes = [case.height * case.width for case in dataset.cases]
    deep = [case.patient in DEEP for case in dataset.cases]
    bytes_of = {path.name: path.stat().st_size for path in folder.parent.iterdir()}
    assert bytes_of["images.u16"] == 2 * sum(np.array(sizes)[deep])
    assert bytes_of["images.u8"] == sum(np.array(sizes)[~np.array(deep)])
    assert bytes_of["levels.u16"] == 2 * 256 * deep.count(False)
    with pytest.raises(PermissionError, match="is sealed"):
        dataset.without([0]).image(0)


def test_the_network_sees_the_same_pixels_as_from_16_bits(tmp_path: Path, own_cache: Path) -> None:
    """The stream of a cache of before, with all images in 16 bits, is that of a packed one."""
    adapter = mixed(tmp_path / "films")
    dataset = cache.load(cache.prepare(adapter, tmp_path / "films"))
    flat = np.concatenate([dataset.image(index).ravel() for index in range(len(dataset.cases))])
    before = replace(dataset, images=flat, packed=None, image_starts=())
    for grid in (None, (32, 48)):
        new, old = (
            Stream(OnGrid(cases, grid), [0, 1, 3], 35, 1, PAPER) for cases in (dataset, before)
        )
        for step in range(4):
            assert new.at(step).images.tobytes() == old.at(step).images.tobytes()
            assert new.at(step).masks.tobytes() == old.at(step).masks.tobytes()
