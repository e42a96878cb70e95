"""TIFF of any depth, byte order and compression, upright and bright as its tags say (TIFF 6.0)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.readers import limits
from bench.data.readers.picture import BY_PALETTE, TRANSPARENT, Picture, check_numbers
from bench.spec.errors import UsageError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins; the last two are its large form."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, INKS, YCBCR = 0, 1, 2, 3, 5, 6
"""Values of PhotometricInterpretation that are read."""
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, INKS: 4, YCBCR: 3}
"""Channels of each, without additional ones."""
ALPHA = (1, 2)
"""Values of ExtraSamples that stand for transparency."""
JPEG = (6, 7)
"""Compressions whose decoder returns red, green and blue."""
MOST_PAGES = 100_000
"""Pages of a file that are counted; one alone is read."""
CMYK = 1
"""The value of InkSet that is read."""
PHOTOMETRIC, ORIENTATION, INK_SET, NO_DATA = 262, 274, 332, 42113
TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: values.swapaxes(0, 1)[:, ::-1],
    7: lambda values: values[::-1, ::-1].swapaxes(0, 1),
    8: lambda values: values.swapaxes(0, 1)[::-1],
}
"""For each value of Orientation, how the picture is set upright."""


def read(path: Path, largest: int) -> Picture:
    """Read a TIFF of one page.

    Raises:
        UsageError: It cannot be decoded, is larger than `largest`, holds several pages or other
            channels, is partly transparent, or has a colour model that is not read.
    """
    import tifffile

    _check_chain(path)
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            _check(file, page, path, largest)
            stored = page.asarray()
            colormap = page.colormap
    except UsageError:
        raise
    except Exception as error:  # a decoder may raise anything
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"{path} cannot be decoded ({said}); expected a whole TIFF: copy it again, or write "
            "it as PNG"
        ) from error
    check_numbers(stored, path)
    values = _only(stored, page, path)
    padding = _padding(values, page)
    model = int(page.photometric)
    palette = None if colormap is None or model != PALETTE else _palette(colormap)
    if palette is not None and values.max() >= len(palette):
        raise UsageError(
            f"{path} uses colour {values.max()} of a palette of {len(palette)}; export it again"
        )
    if model == WHITE_IS_ZERO:
        values = _inverted(values, page.bitspersample)
    if model == INKS:
        values = np.asarray(Image.fromarray(values, "CMYK").convert("RGB"))
    if model == YCBCR and page.compression not in JPEG:
        values = np.asarray(Image.fromarray(values, "YCbCr").convert("RGB"))
    tag = page.tags.get(ORIENTATION)
    orientation = tag.value if tag else 1
    polarity = "polarity: as stored" if palette is None else BY_PALETTE
    if model == WHITE_IS_ZERO:
        polarity = "polarity: WhiteIsZero, inverted"
    how = ["format: TIFF", polarity]
    size: tuple[int, int] | None = None
    if orientation in TURNS:
        size = (values.shape[0], values.shape[1])
        values = TURNS[orientation](values)
        padding = None if padding is None else TURNS[orientation](padding)
        how.append("orientation: turned as EXIF says")
    else:
        how.append("orientation: as stored")
    if padding is not None:
        how.append(f"padding: pixels of {page.nodata:g} (GDAL_NODATA) are no part of an image")
    return Picture(
        np.ascontiguousarray(values),
        palette,
        lossy=page.compression in JPEG,
        padding=padding,
        how=tuple(how),
        stored=size,
    )


def _padding(values: NDArray[Any], page: Any) -> NDArray[np.bool_] | None:
    """Return where pixels (H, W) have no data, as GDAL writes it; None where all or none have."""
    if NO_DATA not in page.tags or values.ndim != 2:
        return None
    padding: NDArray[np.bool_] = values == page.nodata
    return padding if padding.any() and not padding.all() else None


def _check(file: Any, page: Any, path: Path, largest: int) -> None:
    """Refuse what is no single whole picture of a known colour model.

    Raises:
        UsageError: It is none.
    """
    height, width = page.imagelength, page.imagewidth
    if max(height, width) > largest:
        raise UsageError(
            f"{path} has {width} x {height} pixels, expected {largest} a side at most: "
            "reduce it, or raise the limit by the option largest"
        )
    limits.check(path, page.nbytes)
    pages = len(file.pages)
    if pages == 1 and not file.is_ome:  # some programs store a whole stack as one page
        pages = math.prod(file.series[0].shape) // page.size
    if pages > 1 or page.imagedepth > 1:
        raise UsageError(
            f"{path} holds {max(pages, page.imagedepth)} pages, expected one image: "
            "export each as a file"
        )
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    size = path.stat().st_size
    if not parts or any(not count or begin + count > size for begin, count in parts):
        raise UsageError(f"{path} lacks parts of its picture; copy it again")
    if PHOTOMETRIC not in page.tags:
        raise UsageError(
            f"{path} does not say by its tag PhotometricInterpretation whether 0 is black or "
            "white; write it again with the tag"
        )
    model = int(page.photometric)
    ink = page.tags.get(INK_SET)
    if model not in CHANNELS or (model == INKS and ink and ink.value != CMYK):
        name = getattr(page.photometric, "name", model)
        raise UsageError(
            f"{path} has the colour model {name}, expected grey or RGB: export it again"
        )
    if CHANNELS[model] > 1 and page.bitspersample > 8:
        raise UsageError(f"{path} has colours of 16 bits, expected 8, or grey values: convert it")


def _check_chain(path: Path) -> None:
    """Refuse a list of pages that leads back to one of them, or out of the file.

    Raises:
        UsageError: It does.
    """
    seen: set[int] = set()
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(16)
        order: Literal["little", "big"] = "little" if begin[:2] == b"II" else "big"
        large = begin[2:4] in (b"+\0", b"\0+")
        width, count_bytes, entry = (8, 8, 20) if large else (4, 2, 12)
        place = int.from_bytes(begin[width : 2 * width], order)
        while place:
            if place in seen or place >= size or len(seen) > MOST_PAGES:
                raise UsageError(
                    f"{path} has a list of pages that does not end; write it again, or as PNG"
                )
            seen.add(place)
            file.seek(place)
            entries = int.from_bytes(file.read(count_bytes), order)
            file.seek(place + count_bytes + entries * entry)
            place = int.from_bytes(file.read(width), order)


def _only(stored: NDArray[Any], page: Any, path: Path) -> NDArray[Any]:
    """Return the channels of the colour model: (H, W), or (H, W, C).

    Raises:
        UsageError: Another channel holds more than one value, or a pixel is transparent.
    """
    count = CHANNELS[int(page.photometric)]
    shape = (page.imagelength, page.imagewidth)
    if page.samplesperpixel > 1 and stored.shape[1:] == shape:
        stored = np.moveaxis(stored, 0, -1)
    values = stored.reshape(*shape, page.samplesperpixel)
    if page.samplesperpixel < count:
        raise UsageError(
            f"{path} holds {page.samplesperpixel} channels, expected {count}: export it again"
        )
    kinds = (*page.extrasamples, *(0,) * page.samplesperpixel)
    for place in range(count, page.samplesperpixel):
        other = values[..., place]
        most = np.iinfo(other.dtype).max if other.dtype.kind in "iu" else 1
        if kinds[place - count] in ALPHA and not (other == most).all():
            raise UsageError(f"{path} {TRANSPARENT}")
        if (other != other.flat[0]).any():
            raise UsageError(
                f"{path} holds {page.samplesperpixel} channels, expected {count}: "
                "export the one that is meant"
            )
    return values[..., 0] if count == 1 else values[..., :count]


def _palette(colormap: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return colours (n, 3) of 8 bits; some programs store such numbers in the tag's 16."""
    colours = colormap.T
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def _inverted(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return values that grow with brightness."""
    if values.dtype == np.bool_:
        return ~values
    if values.dtype.kind == "u":
        inverted: NDArray[Any] = np.full_like(values, 2**bits - 1) - values
        return inverted
    return -values.astype(np.float64)
