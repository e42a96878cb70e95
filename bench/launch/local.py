"""Cells on this machine: each is a process, forked from a server that has loaded PyTorch."""

from __future__ import annotations

import math
import multiprocessing
import signal
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import ClassVar

from bench.launch.base import LEAVE_SECONDS, POLL_SECONDS, Gone, Request
from bench.launch.places import Places
from bench.launch.worker import BUSY, STOPPED, work
from bench.spec import devices, machine
from bench.spec.config import Cell
from bench.spec.note import Note
from bench.store.lease import Leases

PAUSE_SECONDS = 5.0
"""Where more seconds lie between two looks at cells, this process was stopped (Ctrl-Z, SIGSTOP)."""
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
"""Signals by which native code ends a process."""


def preload(modules: Sequence[str] = ()) -> None:
    """Have the server load PyTorch, and what else is slow, before it forks anything.

    The server starts with the first process that is forked. PyTorch loads its compiler at the first
    use of an optimiser or a counter, though nothing here is compiled: two seconds that each cell
    would spend again.
    """
    first = ("bench.launch.server", "bench.engine.cell", "torch._dynamo")
    last = "bench.launch.loaded"  # it freezes what was loaded before it
    loaded = [*first, *modules, last]
    multiprocessing.get_context("forkserver").set_forkserver_preload(loaded)


def default_jobs(device_names: Sequence[str], threads: int) -> int:
    """Return how many cells run at once: as many as the cores hold, or one on each GPU.

    Args:
        device_names: All GPUs that are used, or the one processor.
        threads: Threads of each cell.
    """
    if device_names[0].startswith("cuda"):
        return len(device_names)
    return max(1, machine.cores() // threads)


@dataclass
class Attempt:
    """A cell's process."""

    cell: Cell
    process: BaseProcess
    device: str
    memory_kills: int
    """How many processes the kernel had killed for lack of memory when this one began."""
    began: float = field(default_factory=time.monotonic)
    note: Note | None = None
    """The last sign of progress."""
    since: float = field(default_factory=time.monotonic)
    """When the note was first seen, moved on by the time in which this process was stopped."""


class Local:
    """Runs `jobs` cells at a time on this machine."""

    flags: ClassVar[tuple[str, ...]] = ()
    here: ClassVar[bool] = True
    attempts: ClassVar[int] = 1
    grace_seconds: ClassVar[float] = 0.0

    def __init__(self, request: Request) -> None:
        self.request = request
        self.devices = devices.all_of(request.device)
        self.jobs = request.jobs or default_jobs(self.devices, request.threads)
        self._places = Places(self.devices)
        self.elsewhere: int = 0
        self._running: dict[int, Attempt] = {}
        """The processes that run, by their sentinels, on which one can wait."""
        self._gone: dict[str, Gone] = {}
        """The cells that have left, by hash; one that is started again is taken out."""
        self._leases = Leases()
        self._looked: float = time.monotonic()
        """When the cells' progress was looked at last."""
        self._seconds: dict[str, list[float]] = {}
        """How long each ended cell of a method took, by the method's key."""

    def check(self) -> str:
        """Have the server load what cells need; nothing can be wrong here."""
        preload(self.request.modules)
        return f"{self.jobs} at a time on {', '.join(self.devices)}"

    def submit(self, cells: Sequence[Cell]) -> list[Cell]:
        """Start cells while there is room; a cell that another run works on is passed over."""
        started: list[Cell] = []
        if len(self._running) >= self.jobs:
            return started
        self.elsewhere = 0
        for cell in self._in_order(cells):
            if self.request.store.status(cell) != "waiting":
                # Another run has ended it meanwhile: there is nothing to start, nor to explain.
                self._gone[cell.hash] = Gone("")
                started.append(cell)
                continue
            device = self._places.choose(cell)
            if device is None:  # another cell may have room
                continue
            lease = self.request.store.free(cell, self._leases)
            if lease is None:
                self.elsewhere += 1
                continue
            self._start(cell, device, lease)
            started.append(cell)
            if len(self._running) >= self.jobs:
                break
        return started

    def _start(self, cell: Cell, device: str, lease: int) -> None:
        """Start the process of a cell; `lease` is the number of its last lease, which is free."""
        self._gone.pop(cell.hash, None)  # how its last attempt ended
        root = str(self.request.store.root.resolve())  # the process starts in another folder
        arguments = (cell.to_json(), root, device, lease)
        context = multiprocessing.get_context("forkserver")
        process: BaseProcess = context.Process(target=work, args=arguments)
        process.start()
        self._places.take(device, cell)
        self._running[process.sentinel] = Attempt(cell, process, device, _memory_kills())

    def _in_order(self, cells: Sequence[Cell]) -> Iterator[Cell]:
        """Yield cells dataset by dataset, and within one those first that will take longest.

        So whole columns of a table come early, the last cells are short ones, and no processor
        waits long for another.
        """
        datasets = dict.fromkeys(cell.dataset for cell in cells)
        for dataset in datasets:
            of_dataset = [cell for cell in cells if cell.dataset == dataset]
            yield from sorted(of_dataset, key=self._expected_seconds, reverse=True)

    def _expected_seconds(self, cell: Cell) -> float:
        """Return the mean seconds of a method's ended cells; infinite where none has ended."""
        seconds = self._seconds.get(cell.method.key)
        if not seconds:
            return math.inf
        return statistics.mean(seconds)

    def wait(self) -> Mapping[str, Gone]:
        """Wait until a process ends, for a moment at most, and return the cells that have left."""
        if self._running:
            wait(list(self._running), timeout=POLL_SECONDS)
        elif self.elsewhere:  # until another run has ended a cell, or left it
            time.sleep(POLL_SECONDS)
        if self.request.timeout is not None:
            self._kill_silent(self.request.timeout)
        for sentinel, attempt in list(self._running.items()):
            code = attempt.process.exitcode
            if code is None:
                continue
            del self._running[sentinel]
            out_of_memory = _memory_kills() > attempt.memory_kills
            self._gone[attempt.cell.hash] = _why_gone(code, out_of_memory)
            peak = self.request.store.peak_device_memory(attempt.cell)
            self._places.leave(attempt.device, attempt.cell, peak)
            if code not in (BUSY, STOPPED):
                took = time.monotonic() - attempt.began
                self._seconds.setdefault(attempt.cell.method.key, []).append(took)
        return self._gone

    def _kill_silent(self, timeout: float) -> None:
        """Kill cells whose note has not changed for `timeout` seconds.

        The clock is one that nobody can set, and this process's own.
        """
        store, now = self.request.store, time.monotonic()
        since_last_look, self._looked = now - self._looked, now
        if since_last_look > PAUSE_SECONDS:  # its cells were perhaps stopped too
            for attempt in self._running.values():
                attempt.since += since_last_look
        for attempt in self._running.values():
            note = store.progress(attempt.cell)
            if note != attempt.note:
                attempt.note, attempt.since = note, now
            elif now - attempt.since > timeout and attempt.process.exitcode is None:
                attempt.process.kill()
                attempt.process.join()
                why = f"no sign of progress for {timeout:g} s (--timeout), so it was killed"
                with suppress(OSError):  # a full disk: the exit code says what is left to say
                    store.fail(attempt.cell, f"TimeoutError: {why}\n")

    def cancel(self) -> None:
        """Have the cells write their checkpoints and end."""
        stop([attempt.process for attempt in self._running.values()])


def stop(processes: Sequence[BaseProcess]) -> None:
    """Have cells write their checkpoints and end; kill those that do not in time."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + LEAVE_SECONDS
    for process in processes:
        process.join(timeout=max(0.0, deadline - time.monotonic()))
        process.kill()  # without effect if it has ended
        process.join()


def _why_gone(code: int, out_of_memory: bool) -> Gone:
    """Return how a process ended, by its exit code.

    It is shown only where the process wrote neither a result nor an error, which say more.
    """
    if code in (BUSY, STOPPED):
        return Gone("", busy=True)
    if code >= 0:
        return Gone(f"the cell's process ended without a result: exit code {code}")
    name = signal.Signals(-code).name  # below 0 it is the signal that ended the process
    if name == "SIGKILL":
        why = "by hand, or by what limits its memory"
        if out_of_memory:
            why = "the machine was out of memory; try --jobs 1"
        return Gone(f"the cell's process was killed by SIGKILL: {why}")
    if name in CRASHES:
        return Gone(f"the cell's process crashed in native code ({name}); its stack is in log.txt")
    return Gone(f"the cell's process was killed by {name}")


def _memory_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory; 0 where unknown."""
    try:
        words = Path("/proc/vmstat").read_text(encoding="utf-8").split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError):
        return 0
