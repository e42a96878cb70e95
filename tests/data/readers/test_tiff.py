"""TIFF: values are those that were written, in any depth, byte order and compression."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.readers import raster
from bench.data.readers.picture import Picture
from bench.spec.errors import UsageError

SHOWN = np.random.default_rng(5).integers(0, 100, (18, 20))
"""Brightness on the screen."""
STORED = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.T,
    6: lambda shown: shown.T[::-1],
    7: lambda shown: shown[::-1, ::-1].T,
    8: lambda shown: shown.T[:, ::-1],
}
"""How a picture is stored that an orientation sets upright (TIFF 6.0, section 8)."""


def read(values: np.ndarray, **how: Any) -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        tifffile.imwrite(path, values, **how)
        return raster.read(path, 100)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"]),
    order=st.sampled_from("<>"),
    packed=st.sampled_from([None, "lzw", "deflate", "packbits"]),
    tile=st.sampled_from([None, (16, 16)]),
    turn=st.sampled_from(list(STORED)),
    white=st.booleans(),
)
def test_what_was_written_is_read(
    kind: str, order: str, packed: str, tile: Any, turn: int, white: bool
) -> None:
    values = SHOWN.astype(kind)
    if white:
        values = np.iinfo(kind).max - values if kind.startswith("u") else -values
    picture = read(
        np.ascontiguousarray(STORED[turn](values)),
        byteorder=order,
        compression=packed,
        tile=tile,
        photometric="miniswhite" if white else "minisblack",
        extratags=[(274, 3, 1, turn, True)],
    )
    assert np.array_equal(picture.values, SHOWN)
    assert f"polarity: {'WhiteIsZero, inverted' if white else 'as stored'}" in picture.how


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_are_read_by_channels_or_pixels(planar: str) -> None:
    colours = np.stack([SHOWN, SHOWN + 1, SHOWN + 2], 2).astype(np.uint8)
    stored = colours if planar == "contig" else np.moveaxis(colours, 2, 0)
    picture = read(np.ascontiguousarray(stored), photometric="rgb", planarconfig=planar)
    assert np.array_equal(picture.values, colours)


@pytest.mark.parametrize("step", [1, 257])
def test_a_palette_is_read_whether_its_colours_have_8_bits_or_16(step: int) -> None:
    table = np.repeat(np.arange(255, -1, -1, dtype=np.uint16)[None] * step, 3, 0)
    picture = read(SHOWN.astype(np.uint8), photometric="palette", colormap=table)
    assert picture.palette is not None
    assert np.array_equal(picture.palette[picture.values][..., 0], 255 - SHOWN)
    assert "polarity: by the palette" in picture.how


def test_a_channel_without_information_is_dropped() -> None:
    values = np.dstack([SHOWN, np.full_like(SHOWN, 255)]).astype(np.uint8)
    for kind in ("unspecified", "unassalpha"):
        assert np.array_equal(read(values, photometric="minisblack", **extra(kind)).values, SHOWN)


def extra(kind: str) -> dict[str, Any]:
    return {"planarconfig": "contig", "extrasamples": [kind]}


STACK = np.stack([SHOWN, SHOWN[::-1], SHOWN]).astype(np.uint8)
TWO = np.dstack([SHOWN, SHOWN[::-1]]).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "how", "why"),
    [
        (STACK, {"photometric": "minisblack"}, "holds 3 pages"),
        (STACK, {"photometric": "minisblack", "truncate": True}, "holds 3 pages"),
        (STACK, {"imagej": True, "truncate": True}, "holds 3 pages"),
        (TWO, {"photometric": "minisblack", **extra("unspecified")}, "holds 2 channels"),
        (TWO, {"photometric": "minisblack", **extra("unassalpha")}, "transparent pixels"),
        (np.dstack([TWO, TWO])[..., :3], {"photometric": "cielab"}, "colour model CIELAB"),
        (STACK.astype(np.uint16), {"photometric": "rgb"}, "colours of 16 bits"),
        (SHOWN.astype(np.complex64), {"photometric": "minisblack"}, "type complex64"),
        (np.zeros((101, 5), np.uint8), {"photometric": "minisblack"}, "5 x 101 pixels"),
    ],
)
def test_what_is_not_one_picture_is_refused(
    values: np.ndarray, how: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        read(values, **how)


@pytest.mark.parametrize("packed", [None, "lzw", "deflate"])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, packed: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, SHOWN.astype(np.uint8), compression=packed)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match="copy it again"):
        raster.read(path, 100)


@pytest.mark.parametrize("turn", STORED)
def test_pixels_without_data_are_no_part_of_an_image(turn: int) -> None:
    values = SHOWN.astype("f4")
    values[:4] = -9999
    tags = [(274, "H", 1, turn, True), (42113, "s", 0, "-9999", True)]
    picture = read(np.ascontiguousarray(STORED[turn](values)), extratags=tags)
    assert picture.padding is not None
    assert np.array_equal(picture.padding, values == -9999)
    assert "padding: pixels of -9999 (GDAL_NODATA) are no part of an image" in picture.how


def test_a_value_without_data_that_no_pixel_has_changes_nothing() -> None:
    picture = read(SHOWN.astype("u1"), extratags=[(42113, "s", 0, "255", True)])
    assert picture.padding is None
    assert not any("padding" in line for line in picture.how)
