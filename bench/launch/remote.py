"""Cells that a scheduler runs elsewhere: their state is read from the results folder, never from the scheduler."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.launch.base import Ended, Watch
from bench.spec.config import Cell
from bench.store.store import Store, last_line

FOLLOW_SECONDS = 2.0
GRACE_SECONDS = 10.0
"""How long a shared disk may take to show what an ended attempt has written."""
ATTEMPTS = 3
"""How often a cell is started whose process vanishes without a word."""


def attempt(cell_json: str, root: str, device: str, timeout: float | None) -> None:
    """Run one cell here, as the local launcher does."""
    from bench.launch import local

    cell = Cell.from_json(cell_json)
    local.preload()
    local.run([cell], Store(Path(root)), 1, device, timeout=timeout)


@contextmanager
def stoppable() -> Iterator[None]:
    """Have SIGTERM raise KeyboardInterrupt as Ctrl-C does."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def follow(
    cells: Sequence[Cell],
    store: Store,
    gone: Callable[[], Mapping[str, str]],
    again: Callable[[Sequence[Cell]], None],
    watch: Watch,
    ended: Ended,
) -> None:
    """Wait until every cell is finished or has failed; one whose attempt vanished is started again.

    Args:
        cells: What was handed to the scheduler.
        store: Where results go.
        gone: Returns the hashes of the cells that the scheduler no longer has, and what it knows of
            why.
        again: Hands cells over once more.
        watch: Shows the state.
        ended: Is told of each cell.
    """
    left = {cell.hash: cell for cell in cells}
    attempts = dict.fromkeys(left, 1)
    since: dict[str, float] = {}
    while left:
        now, missing = time.monotonic(), gone()
        for name, cell in list(left.items()):
            if (status := store.status(cell)) != "waiting":
                ended(left.pop(name), last_line(store.error(cell)) if status == "failed" else "")
        lost = []
        for name, cell in list(left.items()):
            if name not in missing:
                since.pop(name, None)
            elif now - since.setdefault(name, now) > GRACE_SECONDS:
                del since[name]
                attempts[name] += 1
                if attempts[name] <= ATTEMPTS:
                    lost.append(cell)
                else:
                    reason = f"its process vanished {ATTEMPTS} times: {missing[name]}"
                    store.fail(cell, f"{reason}\n")
                    ended(left.pop(name), reason)
        if lost:
            again(lost)
        watch([cell for cell in left.values() if store.looks_held(cell)], 0)
        if left:
            time.sleep(FOLLOW_SECONDS)
