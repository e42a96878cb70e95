"""The loop of all launchers: it starts cells and reads from the disk what became of them."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.launch.base import Ended, Gone, Launcher, Watch
from bench.spec.config import Cell
from bench.store.cells import Store


def follow(
    cells: Sequence[Cell],
    store: Store,
    launcher: Launcher,
    watch: Watch = lambda running, elsewhere: None,
    ended: Ended = lambda cell, reason: None,
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Run cells until each is finished or has failed.

    What is done or failed is read from the results folder alone, so a launcher holds no state that
    a crash could lose.

    Args:
        cells: What is still to do, in the order in which they should start.
        store: Where results go.
        launcher: Where the cells run.
        watch: Shows the state.
        ended: Is told of each cell.
        stopping: Is called before cells are told to stop.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; cells left checkpoints and continue next time.
    """
    matrix = _Matrix(cells, store, launcher, ended)
    with asked_to_stop() as asked:
        try:
            while matrix.unfinished and not asked:
                matrix.start()
                matrix.wait_and_collect()
                watch(list(matrix.running.values()), launcher.elsewhere)
            if asked:
                if matrix.running:
                    stopping()
                raise KeyboardInterrupt
        finally:
            launcher.cancel()


class _Matrix:
    """The cells of a run that are neither finished nor failed."""

    def __init__(
        self, cells: Sequence[Cell], store: Store, launcher: Launcher, ended: Ended
    ) -> None:
        self.waiting = list(cells)
        self.running: dict[str, Cell] = {}
        """Cells that the launcher has, by hash."""
        self.store = store
        self.launcher = launcher
        self.ended = ended
        self._attempts: Counter[str] = Counter()
        """How often each cell was started, by hash."""
        self._gone_since: dict[str, float] = {}
        """When the launcher was first found to have lost a cell, by hash."""

    @property
    def unfinished(self) -> bool:
        return bool(self.waiting or self.running)

    def start(self) -> None:
        """Hand waiting cells to the launcher, as many as it takes."""
        for cell in self.launcher.submit(self.waiting):
            self.waiting.remove(cell)
            self.running[cell.hash] = cell
            self._attempts[cell.hash] += 1

    def wait_and_collect(self) -> None:
        """Wait a moment; take back the cells that have ended, and those that the launcher lost."""
        gone = self.launcher.wait()
        for cell_hash, cell in list(self.running.items()):
            status = self.store.status(cell)  # "waiting" until the disk has an end of the cell
            if status != "waiting":
                self._end(cell_hash, self.store.reason(cell) if status == "failed" else "")
            elif cell_hash not in gone:
                self._gone_since.pop(cell_hash, None)
            elif gone[cell_hash].busy:
                self._attempts[cell_hash] -= 1  # it did not vanish, so this attempt does not count
                self._gone_since.pop(cell_hash, None)
                self._wait_again(cell_hash)
            elif self._gone_for_good(cell_hash):
                self._lost(cell_hash, gone[cell_hash])

    def _gone_for_good(self, cell_hash: str) -> bool:
        """Return whether a cell has been gone for so long that the disk would show its end."""
        now = time.monotonic()
        since = self._gone_since.setdefault(cell_hash, now)
        return now - since >= self.launcher.grace_seconds

    def _lost(self, cell_hash: str, gone: Gone) -> None:
        """Start a cell again whose process vanished, or give it up."""
        self._gone_since.pop(cell_hash)
        if self._attempts[cell_hash] < self.launcher.attempts:
            self._wait_again(cell_hash)
            return
        reason = gone.why
        if self._attempts[cell_hash] > 1:
            reason = f"its process vanished {self._attempts[cell_hash]} times: {gone.why}"
        try:
            self.store.fail(self.running[cell_hash], f"{reason}\n")
        except OSError as error:  # a full disk
            reason = f"{reason} ({error})"
        self._end(cell_hash, reason)

    def _wait_again(self, cell_hash: str) -> None:
        self.waiting.append(self.running.pop(cell_hash))

    def _end(self, cell_hash: str, reason: str) -> None:
        """Forget a cell, and tell that it ended; `reason` is empty if it did not fail."""
        self._gone_since.pop(cell_hash, None)
        self.ended(self.running.pop(cell_hash), reason)


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """Yield a list that is no longer empty once SIGINT, SIGTERM or SIGHUP has come.

    An exception that a signal raises can be swallowed where it strikes, in a finaliser for example;
    a note cannot. A signal that the run was started to ignore (shells do so for SIGINT in the
    background) stays ignored.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # None: a handler that Python did not install, and so cannot put back.
    untouched = (signal.SIG_IGN, None)
    numbers = [number for number in wanted if signal.getsignal(number) not in untouched]
    handlers = {number: signal.signal(number, lambda *_: asked.append(1)) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
