"""Checkpoints: each has the digest of its bytes in its name; the last two are kept, a damaged one is passed over."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

KEPT = 2
FULL = 1 << 20
"""Bytes under which a disk on which a write has failed is taken to be full."""


def write(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint whole or not at all; return its file.

    Raises:
        OSError: The disk is full, or cannot be written.
    """
    beside = folder / ".checkpoint.pt"
    try:
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        full = shutil.disk_usage(folder).free < FULL  # PyTorch hides why a write failed
        beside.unlink(missing_ok=True)
        raise (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(beside)) if full else error
        ) from None
    path = folder / f"checkpoint-{step:08}-{_digest(beside)}.pt"
    beside.replace(path)
    for old in _files(folder)[KEPT:]:
        old.unlink()
    return path


def newest(folder: Path) -> Iterator[Path]:
    """Yield the checkpoints whose bytes are those that were written, the latest first; name the others."""
    for path in _files(folder):
        if path.stem.rpartition("-")[2] == _digest(path):
            yield path
        else:
            print(f"{path} is truncated or altered; the one before it is used")


def read(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds; nothing in it is executed."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:32]
