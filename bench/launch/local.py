"""Cells on this machine: each a process, forked from a server that has PyTorch loaded already."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.launch.base import LEAVE_SECONDS, POLL_SECONDS, Ended, Watch
from bench.launch.worker import BUSY, STOPPED, work
from bench.spec.config import Cell
from bench.store import lease
from bench.store.store import Store, last_line


def preload(modules: Sequence[str] = ()) -> None:
    """Have the server load PyTorch, and what else is slow, before it forks anything.

    It starts with the first process that is forked. PyTorch loads its compiler at the first use of
    an optimiser or a counter, though nothing here is compiled: two seconds that each cell would
    spend anew.
    """
    loaded = ["bench.launch.base.server", "bench.engine.cell", "torch._dynamo", *modules]
    multiprocessing.get_context("forkserver").set_forkserver_preload(loaded)


@dataclass
class Attempt:
    """A cell's process."""

    cell: Cell
    process: BaseProcess
    memory_kills: int
    """How often the kernel had run out of memory when it began."""
    began: float = field(default_factory=time.monotonic)
    note: dict[str, Any] | None = None
    """The last sign of progress, and since when it has not changed."""
    since: float = field(default_factory=time.monotonic)


def run(
    cells: Sequence[Cell],
    store: Store,
    jobs: int,
    device: str,
    watch: Watch = lambda running, elsewhere: None,
    ended: Ended = lambda cell, reason: None,
    timeout: float | None = None,
) -> None:
    """Run cells, `jobs` at a time; a cell that dies costs only itself, one that another run holds is waited for.

    Args:
        cells: What is still to do.
        store: Where results go.
        jobs: Processes at once.
        device: A PyTorch device.
        watch: Shows the state.
        ended: Is told of each cell.
        timeout: Seconds without a sign of progress after which a cell is killed; None waits for
            ever.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; the cells left checkpoints, and go on from there next
            time.
    """
    context = multiprocessing.get_context("forkserver")
    waiting, elsewhere, leases = list(cells), list[Cell](), lease.Watch()
    taken: dict[str, list[float]] = {}
    running: dict[int, Attempt] = {}
    with asked_to_stop() as asked:
        try:
            while waiting or running or elsewhere:
                if asked:
                    raise KeyboardInterrupt
                if not waiting:
                    waiting, elsewhere = elsewhere, []
                while waiting and len(running) < jobs:
                    cell = _next(waiting, taken)
                    if store.status(cell) != "waiting":  # another run has ended it meanwhile
                        ended(cell, last_line(error) if (error := store.error(cell)) else "")
                    elif (after := store.free(cell, leases)) is None:
                        elsewhere.append(cell)
                    else:
                        words = (
                            cell.to_json(),
                            str(store.root.resolve()),
                            device,
                            after,
                        )  # it starts in another folder
                        process: BaseProcess = context.Process(target=work, args=words)
                        process.start()
                        running[process.sentinel] = Attempt(cell, process, _memory_kills())
                if running:
                    wait(list(running), timeout=POLL_SECONDS)
                elif elsewhere:
                    time.sleep(POLL_SECONDS)
                if timeout is not None:
                    _kill_silent(running.values(), store, timeout)
                for sentinel in [
                    s for s, attempt in running.items() if attempt.process.exitcode is not None
                ]:
                    attempt = running.pop(sentinel)
                    if attempt.process.exitcode in (BUSY, STOPPED):
                        elsewhere.append(attempt.cell)
                    else:
                        taken.setdefault(attempt.cell.method, []).append(
                            time.monotonic() - attempt.began
                        )
                        ended(attempt.cell, _reason(attempt, store))
                watch([attempt.cell for attempt in running.values()], len(elsewhere))
        finally:
            stop([attempt.process for attempt in running.values()])


def stop(processes: Sequence[BaseProcess]) -> None:
    """Have cells write their checkpoints and end; kill those that do not in time."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + LEAVE_SECONDS
    for process in processes:
        process.join(timeout=max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """Yield a list that is no longer empty once SIGINT or SIGTERM has come.

    An exception raised by a signal may be swallowed where it strikes (in a finaliser, say): a note
    is not. A signal that whoever started the run has it ignore (as a shell does for SIGINT in the
    background) stays ignored.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, lambda *_: asked.append(1)) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _kill_silent(attempts: Collection[Attempt], store: Store, timeout: float) -> None:
    """Kill cells whose note has not changed for so long; by a clock that nobody sets."""
    now = time.monotonic()
    for attempt in attempts:
        note = store.progress(attempt.cell)
        if note != attempt.note:
            attempt.note, attempt.since = note, now
        elif now - attempt.since > timeout and attempt.process.exitcode is None:
            attempt.process.kill()
            attempt.process.join()
            why = (
                f"TimeoutError: no sign of progress for {timeout:g} s (--timeout), so it was killed"
            )
            with suppress(OSError):  # a full disk: _reason says what is left to say
                store.fail(attempt.cell, f"{why}\n")


def _next(waiting: list[Cell], taken: Mapping[str, Sequence[float]]) -> Cell:
    """Take out the cell to start next: of the first dataset that waits, one that takes longest as far as is known.

    So whole columns of a table come early, the last cells are short ones, and no processor waits
    long for another. A method that was not timed yet comes before all that were.
    """
    here = [cell for cell in waiting if cell.dataset == waiting[0].dataset]
    lasts = [
        sum(taken[c.method]) / len(taken[c.method]) if c.method in taken else float("inf")
        for c in here
    ]
    chosen = here[lasts.index(max(lasts))]
    waiting.remove(chosen)
    return chosen


def _reason(attempt: Attempt, store: Store) -> str:
    """Return why a cell failed, empty if it did not; a process that died without a word is given one."""
    if attempt.process.exitcode == 0:
        return ""
    if not store.error(attempt.cell):
        reason = _how(attempt.process.exitcode or 0, _memory_kills() > attempt.memory_kills)
        try:
            store.fail(attempt.cell, f"{reason}\n")
        except OSError as error:
            return f"{reason} ({error})"
    return last_line(store.error(attempt.cell))


def _how(code: int, memory: bool) -> str:
    """Return how a process ended that left no error."""
    if code >= 0:
        return f"the cell's process ended without a result: exit code {code}"
    name = signal.Signals(-code).name
    if name == "SIGKILL":
        why = (
            "the machine was out of memory; try --jobs 1"
            if memory
            else "by hand, or by what limits its memory"
        )
        return f"the cell's process was killed by SIGKILL: {why}"
    if name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"):
        return f"the cell's process crashed in native code ({name}); its stack is in log.txt"
    return f"the cell's process was killed by {name}"


def _memory_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory; 0 where it does not say."""
    try:
        words = Path("/proc/vmstat").read_text().split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError):
        return 0
