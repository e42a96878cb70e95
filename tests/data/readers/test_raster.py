"""Raster files come out upright and bright, whatever their headers say."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image

from bench.data.readers import raster, tiff
from bench.data.readers.picture import Picture, colours, luminance
from bench.spec.errors import UsageError

STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.T,
    6: lambda shown: np.rot90(shown),
    7: lambda shown: shown[::-1, ::-1].T,
    8: lambda shown: np.rot90(shown, -1),
}
"""How a picture is stored for each EXIF orientation (EXIF 2.3, tag 274)."""
GREYS = st_numpy.arrays(np.uint8, (6, 4), elements=st.integers(0, 255))


def read(save: Callable[[Path], object], name: str = "a.png") -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        save(path)
        return raster.read(path, 100)


@settings(max_examples=60, deadline=None)
@given(GREYS, st.sampled_from(sorted(STORED)), st.sampled_from(["a.png", "a.tif", "a.PNG"]))
def test_a_turned_picture_comes_out_as_it_is_shown(
    shown: np.ndarray, orientation: int, name: str
) -> None:
    film = Image.fromarray(np.ascontiguousarray(STORED[orientation](shown)))
    exif = Image.Exif()
    exif[raster.ORIENTATION] = orientation
    picture = read(lambda path: film.save(path, exif=exif), name)
    np.testing.assert_array_equal(picture.values, shown)


def white_is_zero(path: Path, values: np.ndarray) -> None:
    """Write a TIFF of which 0 is white: the values of another are inverted by their tag."""
    Image.fromarray(values).save(path, "TIFF")
    content = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, start)[0]):
        place = start + 2 + 12 * entry
        if struct.unpack_from("<H", content, place)[0] == tiff.PHOTOMETRIC:
            struct.pack_into("<H", content, place + 8, 0)
    path.write_bytes(content)


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.uint16])
def test_white_is_zero_at_any_depth(kind: type) -> None:
    shown = (
        np.arange(24).reshape(6, 4) % 2 * 100 if kind is np.bool_ else np.arange(24).reshape(6, 4)
    )
    most = 1 if kind is np.bool_ else 255 if kind is np.uint8 else 24
    stored = (most - (shown > 0) if kind is np.bool_ else most - shown).astype(kind)
    picture = read(lambda path: white_is_zero(path, stored), "a.tif")
    values = picture.values.astype(float)
    order = np.argsort(shown, axis=None, kind="stable")
    assert (np.diff(values.ravel()[order]) >= 0).all()
    assert values.max() > values.min()


@settings(max_examples=40, deadline=None)
@given(st_numpy.arrays(np.uint8, (6, 4), elements=st.integers(0, 7)), st.permutations(range(8)))
def test_a_palette_is_read_by_its_colours(shown: np.ndarray, order: list[int]) -> None:
    """The number of a colour in the palette means nothing."""
    grey = np.arange(8, dtype=np.uint8) * 30
    place = np.argsort(order)
    palette = Image.fromarray(place[shown].astype(np.uint8))
    palette.putpalette(np.repeat(grey[order], 3).tolist())
    picture = read(palette.save)
    np.testing.assert_array_equal(colours(picture), grey[shown])
    assert "polarity: by the palette" in picture.how


def test_colours_become_luminance() -> None:
    red = np.zeros((6, 4, 3), np.uint8)
    red[..., 0] = 200
    assert luminance(read(Image.fromarray(red).save))[0, 0] == pytest.approx(200 * 0.299)


@pytest.mark.parametrize(("mode", "message"), [("LAB", "colour model"), ("LA", "transparent")])
def test_what_cannot_be_read_is_refused(mode: str, message: str) -> None:
    image = Image.new(mode, (4, 6), 100)
    with pytest.raises(UsageError, match=message):
        read(lambda path: image.save(path, "TIFF"), "a.tif")


def test_a_file_that_is_a_program_or_of_several_sizes_is_no_picture() -> None:
    """Pillow would start another program for EPS, and choose one size of an icon."""
    colour = Image.new("RGB", (40, 40), 7)
    for kind in ("EPS", "ICO"):
        with pytest.raises(UsageError, match=r"cannot be decoded .*expected a whole PNG"):
            read(lambda path, kind=kind: colour.save(path, kind))


def test_a_gif_that_leaves_a_part_of_its_picture_open_is_refused() -> None:
    def save(path: Path) -> None:
        Image.fromarray(np.eye(6, 4, dtype=np.uint8) * 255).save(path, "GIF")
        content = bytearray(path.read_bytes())
        content[8:10] = struct.pack("<H", 9)  # the height of the whole
        path.write_bytes(content)

    with pytest.raises(UsageError, match="shows a part of its picture alone"):
        read(save, "a.gif")


@pytest.mark.parametrize(
    ("kind", "how", "lossy"),
    [
        ("JPEG", {}, True),
        ("PNG", {}, False),
        ("WEBP", {}, True),
        ("WEBP", {"lossless": True}, False),
        ("TIFF", {"compression": "jpeg"}, True),
        ("TIFF", {"compression": "tiff_lzw"}, False),
    ],
)
def test_compression_with_loss_is_known_whatever_the_suffix(
    kind: str, how: dict[str, Any], lossy: bool
) -> None:
    image = Image.fromarray(np.eye(16, dtype=np.uint8) * 255)
    assert read(lambda path: image.save(path, kind, **how)).lossy == lossy
