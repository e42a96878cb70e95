"""Cells on this machine: each a process, forked from a server that has PyTorch loaded already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.config import Cell
from bench.store import BusyError, Store, last_line

POLL_SECONDS = 0.5
Watch = Callable[[Sequence[Cell]], None]
Ended = Callable[[Cell, str], None]


BUSY = 3
"""Exit code of a cell that another run is at work on."""


def preload(modules: Sequence[str] = ()) -> None:
    """Have the server load PyTorch, and what else is slow, before it forks anything.

    It starts with the first process that is forked.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(["bench.cell", *modules])


def _child(cell_json: str, root: str, device: str) -> None:
    """Run one cell in its own process; keep its output and, if it fails, its traceback."""
    from bench.cell import run_cell

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher stops its cells by SIGTERM
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    cell, store = Cell.from_json(cell_json), Store(Path(root))
    noted = 0.0

    def report(status: dict[str, object]) -> None:
        nonlocal noted
        if time.monotonic() - noted > POLL_SECONDS:
            noted = time.monotonic()
            store.note(cell, status)

    try:
        with store.at_work(cell) as work, (work / "log.txt").open("a", buffering=1) as log:
            os.dup2(log.fileno(), sys.stdout.fileno())
            os.dup2(log.fileno(), sys.stderr.fileno())
            try:
                run_cell(cell, store, work, device, report)
            except Exception:
                store.fail(cell, traceback.format_exc())
                sys.exit(1)
    except BusyError:
        sys.exit(BUSY)


def _end_with_launcher() -> None:
    """End this process when the launcher is gone: a cell that ran on could meet its own successor."""
    launcher = multiprocessing.parent_process()
    if launcher:
        launcher.join()
        os.kill(os.getpid(), signal.SIGKILL)


def run(
    cells: Sequence[Cell],
    store: Store,
    jobs: int,
    device: str,
    watch: Watch,
    ended: Ended,
    timeout: float | None = None,
) -> None:
    """Run cells, `jobs` at a time; a cell that dies costs only itself.

    Args:
        cells: What is still to do.
        store: Where results go.
        jobs: Processes at once.
        device: A PyTorch device.
        watch: Called about twice a second with the cells at work.
        ended: Called with a cell and why it failed, empty if it did not.
        timeout: Seconds without a sign of progress after which a cell is killed; None waits for ever.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; the cells were stopped, and go on from their checkpoints next time.
    """
    context = multiprocessing.get_context("forkserver")
    root = str(store.root.resolve())  # the server's children start in another folder
    waiting = list(cells)
    began: dict[int, float] = {}
    signs: dict[int, tuple[dict[str, Any], float]] = {}
    taken: dict[str, list[float]] = {}
    running: dict[int, tuple[BaseProcess, Cell]] = {}
    asked: list[int] = []
    # An exception raised by a signal may be swallowed where it strikes (in a finaliser, say): a note is not.
    # A signal that whoever started the run has it ignore (as a shell does for SIGINT in the background) stays ignored.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, lambda *_: asked.append(1)) for number in numbers}
    try:
        while waiting or running:
            if asked:
                raise KeyboardInterrupt
            while waiting and len(running) < jobs:
                cell = _next(waiting, taken)
                process: BaseProcess = context.Process(target=_child, args=(cell.to_json(), root, device))
                process.start()
                running[process.sentinel] = (process, cell)
                began[process.sentinel] = time.monotonic()
            wait(list(running), timeout=POLL_SECONDS)
            if timeout is not None:
                _kill_silent(running, signs, store, timeout)
            for sentinel in [s for s, (process, _) in running.items() if process.exitcode is not None]:
                ended_process, cell = running.pop(sentinel)
                taken.setdefault(cell.method, []).append(time.monotonic() - began.pop(sentinel))
                ended(cell, _reason(ended_process, cell, store))
            watch([cell for _, cell in running.values()])
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join(timeout=10)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _kill_silent(
    running: Mapping[int, tuple[BaseProcess, Cell]],
    signs: dict[int, tuple[dict[str, Any], float]],
    store: Store,
    timeout: float,
) -> None:
    """Kill cells whose note has not changed for so long; by a clock that nobody sets."""
    now = time.monotonic()
    for sentinel, (process, cell) in running.items():
        note = store.progress(cell)
        before, since = signs.get(sentinel, (None, now))
        signs[sentinel] = (note, since if note == before else now)
        if now - signs[sentinel][1] > timeout and process.exitcode is None:
            store.fail(cell, f"TimeoutError: no sign of progress for {timeout:g} s (--timeout), so it was killed\n")
            process.kill()


def _next(waiting: list[Cell], taken: Mapping[str, Sequence[float]]) -> Cell:
    """Take out the cell to start next: of the first dataset that waits, one that takes longest as far as is known.

    So whole columns of a table come early, the last cells are short ones, and no processor waits long for another. A
    method that was not timed yet comes before all that were.
    """
    here = [cell for cell in waiting if cell.dataset == waiting[0].dataset]
    lasts = [sum(taken[c.method]) / len(taken[c.method]) if c.method in taken else float("inf") for c in here]
    chosen = here[lasts.index(max(lasts))]
    waiting.remove(chosen)
    return chosen


def _reason(process: BaseProcess, cell: Cell, store: Store) -> str:
    """Return why a cell failed, empty if it did not; a process that died without a word is given one."""
    if process.exitcode == 0:
        return ""
    if process.exitcode == BUSY:
        return "another run is at work on it"
    if not store.error(cell):
        code = process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = "; the system may be out of memory, try --jobs 1" if code == -signal.SIGKILL else ""
        reason = f"the cell's process ended without a result: {how}{hint}"
        try:
            store.fail(cell, f"{reason}\n")
        except OSError as error:
            return f"{reason} ({error})"
    return last_line(store.error(cell))
