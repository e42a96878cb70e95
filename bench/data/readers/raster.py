"""PNG, TIFF, JPEG, BMP and GIF, upright and bright as their own headers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bench.data.readers.picture import Picture
from bench.spec.errors import UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
MODES = ("1", "L", "P", "I", "F", "I;16", "I;16B", "I;16L", "RGB")
"""Pillow's names of what is read: grey of any depth, colours, and numbers of a palette."""
COLOURS = ("CMYK", "YCbCr")
BITS, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 258, 262, 274, 339
"""Tags of TIFF; the third is EXIF's too."""
UNSIGNED, SIGNED = (1,), (2,)
"""Values of SampleFormat."""


def read(path: Path, largest: int) -> Picture:
    """Read a raster file, turned as its EXIF orientation says.

    Raises:
        UsageError: The file cannot be decoded, is larger than `largest`, holds several pages, is
            partly transparent, or has a colour model that is not read.
    """
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, largest**2
    try:
        # By its path, Pillow 13 garbles a TIFF without compression that its orientation turns.
        with path.open("rb") as file, Image.open(file) as image:
            _check_size(image, path, largest)
            return _picture(image, path)
    except Image.DecompressionBombError:
        raise UsageError(
            f"{path} has more than {largest} x {largest} pixels: "
            "reduce it, or raise the limit by the option largest"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UsageError(
            f"{path} cannot be decoded ({error}); expected a whole PNG, TIFF or JPEG: copy it again"
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


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
    """Return a picture as it is shown; Pillow turns a TIFF by itself."""
    how = [f"format: {image.format}"]
    tags: Any = getattr(image, "tag_v2", {})
    _check_depth(image, path)
    _check_inks(image, path)
    inverted = _is_white_zero(image)
    turn = image.getexif().get(ORIENTATION, 1)
    how.append(f"orientation: {'as stored' if turn == 1 else 'turned as EXIF says'}")
    upright = image if image.format == "TIFF" else ImageOps.exif_transpose(image)
    opaque = _opaque(upright, path)
    values = _typed(np.asarray(opaque), image.mode, tags.get(SAMPLE_FORMAT, UNSIGNED))
    if inverted:
        values = _inverted(values)
    how.append(f"polarity: {'WhiteIsZero, inverted' if inverted else 'as stored'}")
    palette = _palette(opaque)
    if palette is not None and values.max() >= len(palette):
        raise UsageError(
            f"{path} uses colour {values.max()} of a palette of {len(palette)}; export it again"
        )
    return Picture(values, palette, how=tuple(how))


def _check_depth(image: Image.Image, path: Path) -> None:
    """Refuse colours of 16 bits, of which Pillow drops 8."""
    tags: Any = getattr(image, "tag_v2", {})
    tiles: Any = getattr(image, "tile", [])
    raw = str(tiles[0][3]) if tiles else ""
    if image.mode in ("RGB", "RGBA", "LA") and (";16" in raw or max(tags.get(BITS, (8,))) > 8):
        raise UsageError(f"{path} has colours of 16 bits, expected 8, or grey values: convert it")


def _check_inks(image: Image.Image, path: Path) -> None:
    """Refuse a JPEG of four inks that does not say by Adobe's mark whether they are inverted."""
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        raise UsageError(
            f"{path} has CMYK inks without Adobe's mark, so it is unknown whether they are "
            "inverted; convert it to grey or RGB"
        )


def _typed(values: NDArray[Any], mode: str, sample_format: tuple[int, ...]) -> NDArray[Any]:
    """Return a TIFF's numbers with their sign, which Pillow does not look at in two modes."""
    if mode == "L" and sample_format == SIGNED:
        return values.view(np.int8)
    if mode == "I" and sample_format == UNSIGNED and values.min(initial=0) < 0:
        return values.view(np.uint32)
    return values


def _is_white_zero(image: Image.Image) -> bool:
    """Return whether a TIFF stores white as 0 and Pillow does not invert it (above 8 bits)."""
    tags: Any = getattr(image, "tag_v2", {})
    return tags.get(PHOTOMETRIC) == 0 and image.mode in ("I", "F", "I;16", "I;16B", "I;16L")


def _inverted(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "u":
        return np.iinfo(values.dtype).max - values
    return -values.astype(np.float64)


def _opaque(image: Image.Image, path: Path) -> Image.Image:
    """Return an image as grey, index or RGB values; an alpha channel must be opaque everywhere."""
    if image.mode == "P" and "transparency" in image.info and _is_transparent(image):
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "PA"):
        if _is_transparent(image):
            raise UsageError(
                f"{path} has transparent pixels, expected none: export it without an alpha channel"
            )
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
