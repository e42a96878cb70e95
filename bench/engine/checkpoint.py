"""Checkpoints: the digest of its bytes is in each one's name, so a damaged one is noticed.

Two are kept, so that a training whose last one is damaged continues from the one before it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench.store.layout import CellFolder

FULL = 1 << 20
"""A disk on which a write has failed counts as full if it has fewer free bytes than this."""


def write(folder: CellFolder, step: int, state: dict[str, Any], before: Path | None = None) -> Path:
    """Write a checkpoint whole or not at all; return its file, and remove older ones.

    Args:
        folder: Where the checkpoints are.
        step: Steps that are done.
        state: What it holds.
        before: The one to keep beside it: the last that was written, or that the training continued
            from. All others are removed, among them damaged ones, whatever their step.

    Raises:
        OSError: The disk is full, or cannot be written.
    """
    beside = folder.path / ".checkpoint.pt"
    try:
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        full = shutil.disk_usage(folder.path).free < FULL  # PyTorch hides why a write failed
        beside.unlink(missing_ok=True)
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(beside)) from None
        raise error from None
    path = folder.checkpoint(step, _digest(beside))
    beside.replace(path)
    for old in folder.checkpoints():
        if old not in (path, before):
            old.unlink()
    return path


def newest(folder: CellFolder) -> Iterator[Path]:
    """Yield the checkpoints whose bytes are intact, the latest first; name the damaged ones."""
    for path in folder.checkpoints():
        if path.stem.rpartition("-")[2] == _digest(path):
            yield path
        else:
            print(f"{path} is truncated or altered; the one before it is used")


def read(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds; nothing in it is executed."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def step_of(path: Path) -> int:
    """Return the step of a checkpoint, from its name."""
    return int(path.name.split("-")[1])


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:32]
