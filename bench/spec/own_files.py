"""Methods in a file of the user's own: copied into the cache and known by the file's digest.

So the name of such a method, and with it every hash of its cells, holds what the file said.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from bench.spec import installing
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.machine import cache_root

DIGITS = 12
"""Hex digits of a file's digest that a method's name carries."""
NAME = re.compile(rf"(?P<cls>[A-Za-z_]\w*)@(?P<digest>[0-9a-f]{{{DIGITS}}})")
"""The name of such a method: `AttentionUNet@0123456789ab`."""
_GIVEN = re.compile(r"(?P<path>.+?\.py):(?P<rest>[A-Za-z_]\w*(?:@?)(?::.*)?)")
"""A path, and behind it the class with its options."""


def is_given(text: str) -> bool:
    """Return whether a method is given by a file: `./my_method.py:AttentionUNet:width=8`."""
    return bool(_GIVEN.fullmatch(text)) or text.endswith(".py")


def enter(text: str) -> str:
    """Return the name of a method in a file, with its options; keep a copy of the file.

    Raises:
        UsageError: There is no such file, or no class is named.
    """
    match = _GIVEN.fullmatch(text)
    if match is None:
        raise UsageError(f"{text} names no class; expected FILE:CLASS, such as {text}:MyMethod")
    path = Path(match["path"]).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"method file {path} cannot be read ({error.strerror}); expected FILE:CLASS"
        ) from error
    digest = hashlib.sha256(content).hexdigest()[:DIGITS]
    copy = _copy(digest)
    if not copy.is_file():
        _write(copy, content)
    name, colon, options = match["rest"].partition(":")
    return f"{name}@{digest}{colon}{options}"


def _write(copy: Path, content: bytes) -> None:
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    except OSError as error:
        raise UsageError(
            f"cache {copy.parent} cannot be written ({error.strerror}); set BENCH_CACHE"
        ) from error


def _copy(digest: str) -> Path:
    """Return where the copy of a file of this digest lies."""
    return cache_root() / "methods" / f"{digest}.py"


def source(name: str) -> Path | None:
    """Return the copy of the file that a method's name means; None of an installed method.

    Raises:
        UsageError: The copy is not there, or has changed.
    """
    match = NAME.fullmatch(name)
    if match is None:
        return None
    copy = _copy(match["digest"])
    if not copy.is_file():
        raise UsageError(
            f"the file of {name} is not on this machine; give it again: FILE.py:{match['cls']} "
            "(a finished cell keeps it as method.py)"
        )
    if hashlib.sha256(copy.read_bytes()).hexdigest()[:DIGITS] != match["digest"]:
        raise UsageError(f"{copy} has changed; remove it and give the method's file again")
    return copy


@cache
def load(name: str) -> type[Any]:
    """Import the class of a method in a file.

    Raises:
        UsageError: The file cannot be imported, or has no such method.
    """
    from bench.spec.method import Method

    match = NAME.fullmatch(name)
    copy = source(name)
    assert match is not None
    assert copy is not None
    module_name = f"bench_method_{match['digest']}"
    spec = importlib.util.spec_from_file_location(module_name, copy)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a file of somebody else may fail in any way
        del sys.modules[module_name]
        installing.refuse_without(error)
        raise UsageError(
            f"the file of {match['cls']} cannot be imported ({type(error).__name__}: {error}); "
            "it may import installed packages alone, no files beside it"
        ) from error
    methods = {}
    for value in vars(module).values():
        if not (isinstance(value, type) and issubclass(value, Method)):
            continue
        if value.__module__ == module_name:  # else the file imported it
            methods[value.__name__] = value
    if match["cls"] not in methods:
        raise UsageError(
            f"the file has no method '{match['cls']}'; {did_you_mean(match['cls'], methods)} "
            "A method derives from bench.spec.method.Method"
        )
    return methods[match["cls"]]
