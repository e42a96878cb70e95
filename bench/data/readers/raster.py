"""PNG, JPEG, BMP and GIF, upright and bright as their own headers say; TIFF is in `tiff`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bench.data.readers import content, tiff
from bench.data.readers.picture import BY_PALETTE, TRANSPARENT, TURNED, Picture
from bench.spec.errors import UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "PPM", "TGA", "PCX")
"""What a file may hold, whatever its suffix: no programs (EPS), and nothing of several sizes."""
MODES = ("1", "L", "P", "I", "I;16", "I;16B", "RGB")
"""Pillow's names of what is read: grey of any depth, colours, and numbers of a palette."""
COLOURS = ("CMYK", "YCbCr")
HEAD = 4096
"""Bytes at the beginning of a WebP that name its parts."""
ORIENTATION = 274
"""EXIF's tag."""


def read(path: Path, largest: int) -> Picture:
    """Read a raster file, turned as its EXIF orientation says.

    Raises:
        UsageError: The file cannot be decoded, is larger than `largest`, holds several pages, is
            partly transparent, or has a colour model that is not read.
    """
    if _is_tiff(path):
        return tiff.read(path, largest)
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, largest**2
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(image, path, largest)
            return _picture(image, path)
    except Image.DecompressionBombError:
        raise UsageError(
            f"{path} has more than {largest} x {largest} pixels: "
            "reduce it, or raise the limit by the option largest"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if remedy := content.remedy(path):
            raise UsageError(f"{path} {remedy}") from error
        way = "copy it again"
        if isinstance(error, UnidentifiedImageError):
            way = "copy it again, or convert it (a JPEG of 12 bits or without loss is not read)"
        raise UsageError(
            f"{path} cannot be decoded ({error}); expected a whole PNG, TIFF or JPEG: {way}"
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _is_tiff(path: Path) -> bool:
    """Return whether a file begins as a TIFF does, whatever its suffix."""
    try:
        with path.open("rb") as file:
            return file.read(4) in tiff.MAGIC
    except OSError:
        return False  # its reader will say why


def _check_size(image: Image.Image, path: Path, largest: int) -> None:
    if max(image.size) > largest:
        raise UsageError(
            f"{path} has {image.width} x {image.height} pixels, "
            f"expected {largest} a side at most: "
            "reduce it, or raise the limit by the option largest"
        )
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise UsageError(f"{path} holds {pages} pages, expected one image: export each as a file")


def _picture(image: Image.Image, path: Path) -> Picture:
    """Return a picture as it is shown."""
    _check_depth(image, path)
    _check_inks(image, path)
    _check_whole(image, path)
    turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)  # others say nothing
    upright = ImageOps.exif_transpose(image) if turned else image
    opaque = _opaque(upright, path)
    values = np.asarray(opaque)
    palette = _palette(opaque)
    if palette is not None and values.max() >= len(palette):
        raise UsageError(
            f"{path} uses colour {values.max()} of a palette of {len(palette)}; export it again"
        )
    polarity = "polarity: as stored" if palette is None else BY_PALETTE
    orientation = TURNED if turned else "orientation: as stored"
    how = (
        f"format: {image.format}",
        orientation,
        polarity,
    )
    stored = (image.height, image.width) if turned else None
    return Picture(values, palette, lossy=_is_lossy(image, path), how=how, stored=stored)


def _is_lossy(image: Image.Image, path: Path) -> bool:
    """Return whether a picture was compressed as JPEG is; a WebP says so by its parts."""
    if image.format != "WEBP":
        return image.format in ("JPEG", "MPO")
    with path.open("rb") as file:
        return b"VP8L" not in file.read(HEAD)


def _check_whole(image: Image.Image, path: Path) -> None:
    """Refuse a GIF that shows a part of its picture alone, and says nothing of the rest."""
    tiles: Any = getattr(image, "tile", [])
    if image.format == "GIF" and tiles and tuple(tiles[0][1]) != (0, 0, *image.size):
        raise UsageError(f"{path} shows a part of its picture alone; expected the whole: export it")


def _check_depth(image: Image.Image, path: Path) -> None:
    """Refuse colours of 16 bits, of which Pillow drops 8."""
    tiles: Any = getattr(image, "tile", [])
    raw = str(tiles[0][3]) if tiles else ""
    if image.mode in ("RGB", "RGBA", "LA") and ";16" in raw:
        raise UsageError(f"{path} has colours of 16 bits, expected 8, or grey values: convert it")


def _check_inks(image: Image.Image, path: Path) -> None:
    """Refuse a JPEG of four inks that does not say by Adobe's mark whether they are inverted."""
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        raise UsageError(
            f"{path} has CMYK inks without Adobe's mark, so it is unknown whether they are "
            "inverted; convert it to grey or RGB"
        )


def _opaque(image: Image.Image, path: Path) -> Image.Image:
    """Return an image as grey, index or RGB values; an alpha channel must be opaque everywhere."""
    if image.mode == "P" and "transparency" in image.info and _is_transparent(image):
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "PA"):
        if _is_transparent(image):
            raise UsageError(f"{path} {TRANSPARENT}")
        return image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode in COLOURS:
        return image.convert("RGB")
    if image.mode not in MODES:
        raise UsageError(
            f"{path} has the colour model {image.mode}, expected grey or RGB: export it again"
        )
    return image


def _is_transparent(image: Image.Image) -> bool:
    """Return whether a pixel is not opaque."""
    return image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def _palette(image: Image.Image) -> NDArray[np.uint8] | None:
    """Return the colours (n, 3) of an image of palette numbers."""
    if image.mode != "P":
        return None
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
