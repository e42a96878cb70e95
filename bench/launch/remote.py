"""What the launchers of clusters share: an attempt of one cell, on another machine."""

from __future__ import annotations

from pathlib import Path

from bench.launch.base import Request
from bench.launch.follow import follow
from bench.launch.local import Local
from bench.spec.config import Cell
from bench.store.cells import Store

FOLLOW_SECONDS = 2.0
"""How often a scheduler is asked what has become of its tasks."""


def attempt(cell_json: str, root: str, device: str, timeout: float | None) -> None:
    """Run one cell on this machine, as the local launcher does."""
    cell, store = Cell.from_json(cell_json), Store(Path(root))
    request = Request(store, cell.profile.threads, device, jobs=1, timeout=timeout)
    local = Local(request)
    local.check()
    follow([cell], store, local)
