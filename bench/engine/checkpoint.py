"""Checkpoints, whose names hold the digest of their bytes, so that damage is noticed.

The two latest are kept, so that a training can continue from the earlier one if the last one is
damaged.
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
    """Write a checkpoint whole or not at all, remove older ones, and return its path.

    Args:
        folder: The folder of the checkpoints.
        step: Number of steps that are done.
        state: The content of the checkpoint.
        before: The other checkpoint to keep: the last one that was written, or the one from which
            the training continued. All others are removed, also damaged ones with a higher step.

    Raises:
        OSError: The disk is full, or cannot be written.
    """
    unfinished = folder.path / ".checkpoint.pt"
    try:
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        # PyTorch does not tell why a write failed.
        full = shutil.disk_usage(folder.path).free < FULL
        unfinished.unlink(missing_ok=True)
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(unfinished)) from None
        raise error from None
    path = folder.checkpoint(step, _digest(unfinished))
    unfinished.replace(path)
    for old in folder.checkpoints():
        if old not in (path, before):
            old.unlink()
    return path


def newest(folder: CellFolder) -> Iterator[Path]:
    """Yield the checkpoints whose bytes are intact, the latest first; print the damaged ones."""
    for path in folder.checkpoints():
        digest_in_name = path.stem.rpartition("-")[2]
        if digest_in_name == _digest(path):
            yield path
        else:
            print(f"{path} is truncated or altered; the training goes on from an earlier step")


def read(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint; code in the file is not executed."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def step_of(path: Path) -> int:
    """Return the step of a checkpoint, from its name `checkpoint-STEP-DIGEST.pt`."""
    return int(path.name.split("-")[1])


def _digest(path: Path) -> str:
    """Return the digest of a checkpoint's bytes that its name holds: half of a SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:32]
