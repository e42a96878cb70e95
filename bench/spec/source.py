"""Which code a method is: code that was edited is another method."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bench.spec import files
from bench.spec.errors import UsageError

if TYPE_CHECKING:
    from bench.spec.method import Method

OWN = ("bench", "verdiff", "verdiff_bench_methods")
"""Packages whose code is known by `PROTOCOL` and the method's `revision`."""
SUFFIXES = (".py", ".pyx", ".so", ".pyd", ".c", ".cpp", ".cu", ".json", ".toml", ".yaml", ".yml")
"""What of a package decides what it computes; weights that lie beside it are too large to read."""


def digest_of(cls: type[Method]) -> str:
    """Return the SHA-256 of the source of a method: of its file, or of its package's files.

    Returns:
        64 hex digits; for a method of this project its `revision`.

    Raises:
        UsageError: The source cannot be read.
    """
    top = cls.__module__.partition(".")[0]
    if top in OWN:
        return cls.revision
    sha256 = hashlib.sha256()
    try:
        for name, path in _files(sys.modules[top]):
            sha256.update(f"{name} {files.digest(path)}\n".encode())
    except OSError as error:
        raise UsageError(
            f"the source of {cls.__module__}.{cls.__name__} cannot be read ({error}); "
            "its results could not be told from those of edited code"
        ) from error
    return sha256.hexdigest()


def _files(module: ModuleType) -> list[tuple[str, Path]]:
    """Return the files of a module or of a whole package, with their names in it."""
    roots = [Path(root) for root in getattr(module, "__path__", [])]
    if not roots:
        path = Path(module.__file__ or "")
        return [(path.name, path)]
    inside = []
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                inside.append((path.relative_to(root).as_posix(), path))
    return inside
