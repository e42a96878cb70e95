"""One walk through a folder: the files that count, and how their names are compared."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bench.spec import files
from bench.spec.errors import UsageError

IGNORED = {
    "#recycle",
    "__macosx",
    "$recycle.bin",
    "@recycle",
    "recycler",
    "~snapshot",
    "@eadir",
    "desktop.ini",
    "lost+found",
    "system volume information",
    "thumbs.db",
}
"""Names that systems leave in folders, in lower case; names that begin with a dot are ignored
too."""
HEAD = 65536
"""Bytes that the header of a MetaImage may have."""
LONGEST = 120
"""Letters of a case's id that are taken from its name."""
_SUFFIX = re.compile(r"(\.nii\.gz|\.[^.]+)$", re.IGNORECASE)
_DATA = re.compile(
    rb"^[ \t]*(ElementDataFile)[ \t]*([=:])[ \t]*(.*?)\s*$", re.MULTILINE | re.IGNORECASE
)
ABSENT = (
    "is a link to a file that is not there; fetch it (git annex get, dvc pull) or remove the link"
)


@dataclass(frozen=True)
class Walk:
    """What lies below a folder, sorted by path."""

    files: tuple[Path, ...] = ()
    broken: tuple[tuple[Path, str], ...] = ()
    """Links that lead to nothing or out of the folder, each with the reason."""

    def select(self, suffixes: tuple[str, ...]) -> list[Path]:
        """Return the files with one of these suffixes, in any case."""
        return [path for path in self.files if path.name.lower().endswith(suffixes)]


def walk(folder: Path) -> Walk:
    """Return the files below a folder, without what systems leave there.

    Args:
        folder: May be absent; it then holds nothing.
    """
    files: list[Path] = []
    broken: list[tuple[Path, str]] = []
    inside = folder.resolve()
    for path in _below(folder):
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        if shown != str(path):
            broken.append((Path(shown), "has a name that is not UTF-8; rename it"))
        elif path.is_symlink() and not path.exists():
            broken.append((path, ABSENT))
        elif path.is_dir():
            if not path.resolve().is_relative_to(inside):
                broken.append((path, f"leads out of {folder}; copy it there or remove the link"))
        else:
            files.append(path)
    return Walk(tuple(sorted(files)), tuple(sorted(broken)))


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, and the links to folders, which are not followed."""
    for place, folders, names in os.walk(folder):
        kept = [name for name in folders if not ignored(name)]
        links = [name for name in kept if (Path(place) / name).is_symlink()]
        folders[:] = [name for name in kept if name not in links]
        for name in (*links, *names):
            if not ignored(name):
                yield Path(place) / name


def ignored(name: str) -> bool:
    """Return whether a name is one that systems leave behind."""
    return name.startswith(".") or name.lower() in IGNORED


def stem(path: Path) -> str:
    """Return a file's name without `.nii.gz` or a similar ending, composed (NFC)."""
    return unicodedata.normalize("NFC", _SUFFIX.sub("", path.name))


def same(text: str) -> str:
    """Return a name as it is compared: composed (NFC), in lower case."""
    return unicodedata.normalize("NFC", text).lower()


def case_id(text: str) -> str:
    """Return a text as a case's id, of letters, digits and `._-`.

    Where that loses letters of another script or cuts the text, a short digest is added.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]|\.(?=\.)", "_", text)
    if not text.isascii() or len(plain) > LONGEST:
        plain = plain[:LONGEST] + "-" + sha256(text.encode()).hexdigest()[:6]
    return plain if plain[0].isalnum() else f"x{plain}"


def data_of(head: bytes) -> tuple[bytes, str]:
    """Return the fields of a MetaImage header, and the data file that it names last.

    The name is empty where it is written in a way that other readers may understand otherwise.
    """
    named = _DATA.search(head)
    if not named:
        return head, ""
    plain = named[1] == b"ElementDataFile" and named[2] == b"="
    name = named[3].decode("utf-8", "replace") if plain else ""
    return head[: named.start()], name


def sides(path: Path) -> tuple[Path, ...]:
    """Return the files that a header needs beside it: `.raw` of `.mhd`, `.img` of `.hdr`.

    Raises:
        UsageError: The header names a file in another folder, or several files, or cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".hdr":
        return tuple(
            other
            for other in path.parent.iterdir()
            if other.suffix.lower() == ".img" and stem(other) == stem(path)
        )
    if suffix not in (".mhd", ".mha"):
        return ()
    try:
        name = data_of(files.read_head(path, HEAD))[1]
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({files.reason(error)}); repair it") from error
    if name.upper() == "LOCAL":
        return ()
    if suffix == ".mha":
        raise UsageError(
            f"{path} names the data file {name!r}; expected LOCAL: "
            "write it again, or as .mhd with its file beside it"
        )
    if not name or "%" in name or name.upper().startswith("LIST") or Path(name).name != name:
        raise UsageError(
            f"{path} names the data file {name!r}; expected one file beside it: "
            "write it as .mha, which holds both"
        )
    return (path.parent / name,)
