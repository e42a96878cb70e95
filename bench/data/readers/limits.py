"""How large a file may be when it is unpacked, and what its reading may take.

What is larger is refused before memory goes.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from bench.spec import processes
from bench.spec.errors import UsageError

VARIABLE = "BENCH_LARGEST_GB"
"""The environment variable that sets the limit."""
DEFAULT = 4.0
"""Gigabytes of one file: 1,000 slices of 1024 x 1024 pixels of 32 bits."""
SECONDS_VARIABLE = "BENCH_READ_SECONDS"
"""The environment variable that says how long the reading of one file may take."""
SECONDS = 600.0
SHARE_VARIABLE = "BENCH_READ_SHARE"
"""The environment variable that says how much of the machine's memory the reading may take."""
SHARE = 0.5
LARGEST = 8192
"""Longest side in pixels that an image may have, where no option says otherwise."""
CHUNK = 1 << 20
"""Bytes that are unpacked at a time."""


def most() -> int:
    """Return how many bytes the pixels of one file may take.

    Raises:
        UsageError: The environment variable holds no number above 0.
    """
    return int(1e9 * _number(VARIABLE, DEFAULT, 1e6, "gigabytes"))


def seconds() -> float:
    """Return how long the reading of one file may take.

    Raises:
        UsageError: The environment variable holds no number above 0.
    """
    return _number(SECONDS_VARIABLE, SECONDS, 1e6, "seconds")


def memory() -> int:
    """Return how many bytes of memory the reading of one file may take.

    Raises:
        UsageError: The environment variable holds no share.
    """
    return int(_number(SHARE_VARIABLE, SHARE, 1.0, "a share of memory") * processes.memory())


def _number(variable: str, usual: float, highest: float, what: str) -> float:
    """Return the number that an environment variable holds, or the usual one."""
    text = os.environ.get(variable, "")
    try:
        number = float(text or usual)
    except ValueError:
        number = 0.0
    if not 0 < number <= highest:
        raise UsageError(
            f"{variable}={text}: expected {what} above 0, {highest:g} at most, such as {usual:g}"
        )
    return number


def check(path: Path, size: int) -> None:
    """Refuse a file whose pixels take more bytes than one file may.

    Raises:
        UsageError: They do.
    """
    limit = most()
    if size > limit:
        raise UsageError(
            f"{path} says that its pixels take {size / 1e9:,.3g} GB, expected {limit / 1e9:g} GB "
            f"at most; reduce it, or set {VARIABLE}"
        )


def check_archive(path: Path) -> None:
    """Refuse a zip, such as `.npz`, whose members take more bytes than one file may.

    Raises:
        UsageError: They do.
        zipfile.BadZipFile: It is no zip.
    """
    with zipfile.ZipFile(path) as archive:
        check(path, sum(member.file_size for member in archive.infolist()))


def check_sides(path: Path, sides: Sequence[int], largest: int) -> None:
    """Refuse a picture by its sides in pixels, as its header says them, before it is decoded.

    Raises:
        UsageError: A side is below 1, or longer than `largest`.
    """
    shown = " x ".join(map(str, sides))
    if min(sides, default=0) < 1:
        raise UsageError(f"{path} has {shown} pixels, expected one 2D image: export it again")
    if max(sides) > largest:
        raise UsageError(
            f"{path} has {shown} pixels, expected one 2D image of {largest} a side at most: "
            "reduce it, or raise the limit by the option largest"
        )


def check_zlib(path: Path, begins: int, size: int) -> None:
    """Refuse data that do not unpack to exactly so many bytes (zlib, or gzip).

    Raises:
        UsageError: They are damaged, cut off, or of another size.
    """
    try:
        with path.open("rb") as file:
            file.seek(begins)
            count = _unpacked(file, size, zlib.MAX_WBITS | 32)  # zlib or gzip, as it begins
    except zlib.error as error:
        raise UsageError(
            f"{path} cannot be unpacked ({error}); expected whole compressed data: copy it again"
        ) from error
    if count != size:
        more = "more than" if count > size else f"{count:,} of"
        raise UsageError(
            f"{path} unpacks to {more} the {size:,} bytes that its header says; write it again"
        )


def check_deflated(path: Path, begins: int) -> None:
    """Refuse deflated data that unpack to more bytes than one file may have, or are damaged.

    Raises:
        UsageError: They do, or are.
    """
    limit = most()
    try:
        with path.open("rb") as file:
            file.seek(begins)
            count = _unpacked(file, limit, -zlib.MAX_WBITS)
    except zlib.error as error:
        raise UsageError(
            f"{path} cannot be unpacked ({error}); expected whole compressed data: copy it again"
        ) from error
    if count > limit:
        raise UsageError(
            f"{path} unpacks to more than {limit / 1e9:g} GB; reduce it, or set {VARIABLE}"
        )


def _unpacked(file: BinaryIO, most_bytes: int, window: int) -> int:
    """Return how many bytes compressed data unpack to; the count ends where they are too many.

    Raises:
        zlib.error: They are damaged or cut off.
    """
    inflating = zlib.decompressobj(window)
    count = 0
    waiting = b""
    while not inflating.eof and count <= most_bytes:
        waiting = waiting or file.read(CHUNK)
        if not waiting:
            raise zlib.error("they are cut off")
        count += len(inflating.decompress(waiting, CHUNK))
        waiting = inflating.unconsumed_tail
    return count
