"""What a file holds that its reader cannot read: a web page, another format, a pointer."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from bench.data.readers.walk import stem
from bench.spec import files
from bench.spec.errors import UsageError

HEAD = 512
LFS = b"version https://git-lfs"
PAGE = (b"<!doctype html", b"<html")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
"""Suffixes of which each is read whichever of their formats the file holds."""
MAGIC = (
    (0, b"\x89PNG", "PNG", (".png", *PICTURES)),
    (0, b"\xff\xd8\xff", "JPEG", (".jpg", *PICTURES)),
    (0, b"GIF8", "GIF", (".gif", *PICTURES)),
    (0, b"II*\0", "TIFF", (".tif", *PICTURES)),
    (0, b"MM\0*", "TIFF", (".tif", *PICTURES)),
    (0, b"\x93NUMPY", "NumPy", (".npy",)),
    (0, b"ObjectType", "MetaImage", (".mha", ".mhd")),
    (128, b"DICM", "DICOM", (".dcm",)),
    (344, b"n+1\0", "NIfTI", (".nii", ".nii.gz")),
)
"""Formats that are read: where their mark begins, the mark, their name, and the suffixes under
which they are read, the usual one first."""
OTHERS = (
    (b"NRRD", "NRRD"),
    (b"\x89HDF", "HDF5"),
    (b"PK\x03\x04", "a zip archive"),
    (b"%PDF", "PDF"),
)
"""Formats that are not read, by their marks."""


def remedy(path: Path) -> str:
    """Return what a file is that cannot be read as its name says, and what helps; else empty."""
    try:
        head = files.read_head(path, HEAD)  # which waits for no pipe
    except OSError:
        return ""  # its reader says why
    if head.startswith(LFS):
        return "is a pointer of Git LFS, expected the file itself: fetch it (git lfs pull)"
    if head.lstrip().lower().startswith(PAGE):
        return "is a web page, as a failed download leaves it; download it again"
    name = path.name.lower()
    for begins, mark, kind, suffixes in MAGIC:
        if head[begins:].startswith(mark) and not name.endswith(suffixes):
            return f"holds {kind}, which its name does not say; {_rename(path, suffixes[0])}"
    for mark, kind in OTHERS:
        if head.startswith(mark):
            return f"holds {kind}, which is not read; convert it"
    return ""


def refuse(path: Path, error: Exception, expected: str) -> NoReturn:
    """Say in one line why a file cannot be read, and what was expected.

    Raises:
        UsageError: Always: the reader's `error`, or what helps if the file is of another kind.
    """
    if instead := remedy(path):
        raise UsageError(f"{path} {instead}") from error
    if isinstance(error, UsageError):
        raise error
    why = (str(error).strip() or type(error).__name__).splitlines()[-1]
    raise UsageError(
        f"{path} cannot be read ({why}); expected {expected}: copy it again, or export it anew"
    ) from error


def under_no_suffix(path: Path) -> str:
    """Return what a file of no known suffix holds, if that is read, and what helps; else empty."""
    try:
        head = files.read_head(path, HEAD)
    except OSError:
        return ""
    for begins, mark, kind, suffixes in MAGIC:
        if head[begins:].startswith(mark):
            return f", but it holds {kind}: {_rename(path, suffixes[0])}"
    return ""


def _rename(path: Path, suffix: str) -> str:
    """Return the advice to give a file a suffix; the end of a UID, `1.2.840.5`, is none."""
    has_suffix = not path.suffix[1:].isdigit()
    return f"rename it to {stem(path) if has_suffix else path.name}{suffix}"
