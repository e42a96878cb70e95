"""Files that may be anything: read up to a limit, and never waited for."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MOST = 2**26
"""Bytes of a text file that are read; a larger one is no text of this program."""
CHUNK = 2**20
"""Bytes that are hashed at a time."""


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        OSError: It is missing, a folder, a pipe or a device, larger than `most`, or cannot be read.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            why = f"its {size:,} bytes are more than the {most:,} that are read"
            raise OSError(errno.EFBIG, why, str(path))
        return file.read(most)


def read_head(path: Path, most: int) -> bytes:
    """Return the first bytes of a regular file.

    Raises:
        OSError: It is missing, a folder, a pipe or a device, or cannot be read.
    """
    with _opened(path) as file:
        return file.read(most)


def read_text(path: Path, most: int = MOST) -> str:
    """Return the text of a regular file; bytes that are no UTF-8 become question marks.

    Raises:
        OSError: As `read_bytes`.
    """
    return read_bytes(path, most).decode("utf-8", errors="replace")


def digest(path: Path) -> str:
    """Return the SHA-256 of a regular file's bytes, in hex.

    Raises:
        OSError: It is missing, a folder, a pipe or a device, or cannot be read.
    """
    sha256 = hashlib.sha256()
    with _opened(path) as file:
        while part := file.read(CHUNK):
            sha256.update(part)
    return sha256.hexdigest()


def reason(error: OSError) -> str:
    """Return why a file could not be read, without its name."""
    return error.strerror or type(error).__name__


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file, without waiting for who writes into a pipe.

    Raises:
        OSError: It is missing, or is no regular file.
    """
    waits_not = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, os.O_RDONLY | waits_not)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, "it is a folder", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        with os.fdopen(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)
