"""A cell's own process: its log, its progress, and how it ends."""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Sized
from pathlib import Path

from bench.spec.config import Cell
from bench.spec.errors import printable, visible
from bench.spec.note import Note
from bench.spec.processes import end_with_launcher
from bench.store.cells import Store
from bench.store.lease import BusyError

NOTE_SECONDS = 1.0
"""Between two notes of a cell's progress."""
BUSY = 3
"""Exit code of a cell that another run works on, or has finished."""
STOPPED = 4
"""Exit code of a cell that was told to stop, and left a checkpoint where it was training."""


class Reporter:
    """Writes a cell's progress where launchers look, and stops the cell when asked to."""

    def __init__(self, cell: Cell, store: Store, asked: Sized) -> None:
        self.cell, self.store, self.asked = cell, store, asked
        self._written = 0.0

    def __call__(self, note: Note) -> None:
        """Take note of the progress, once a second at most.

        Raises:
            Interrupted: The cell was told to stop.
        """
        from bench.engine.train import Interrupted

        if self.asked:
            raise Interrupted
        if time.monotonic() - self._written > NOTE_SECONDS:
            self._written = time.monotonic()
            self.store.note(self.cell, note)


def work(cell_json: str, root: str, device: str, after: int) -> None:
    """Run one cell in this process, whose output goes to the cell's log.

    A failure leaves its traceback in the cell's folder.

    Args:
        cell_json: The cell.
        root: The results folder.
        device: A PyTorch device.
        after: The number of the lease that was found free.
    """
    from bench.engine.cell import run_cell
    from bench.engine.train import Interrupted

    asked: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher stops its cells by SIGTERM
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal: the launcher hears it too
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    end_with_launcher()
    cell, store = Cell.from_json(cell_json), Store(Path(root))
    try:
        with store.at_work(cell, after, lost=lambda: os._exit(BUSY)) as folder:
            with folder.log.open("a", buffering=1, encoding="utf-8") as log:
                os.dup2(log.fileno(), sys.stdout.fileno())
                os.dup2(log.fileno(), sys.stderr.fileno())
            sys.stdout, sys.stderr = log_to(1), log_to(2)
            faulthandler.enable(sys.stderr)
            try:
                run_cell(cell, store, folder, device, Reporter(cell, store, asked))
            except Exception:
                store.fail(cell, traceback.format_exc())
                sys.exit(1)
    except Interrupted:
        sys.exit(STOPPED)
    except BusyError:
        sys.exit(BUSY)
    except OSError as error:  # a disk that is full, or gone, leaves no other place to say it
        print(printable(f"{cell.title}: {error}"), file=sys.stderr)
        sys.exit(1)


class _Log(io.TextIOWrapper):
    """What this process prints, with its controls shown: names in it may hold anything."""

    def write(self, text: str) -> int:
        """Write lines; what goes back to the beginning of a line, as progress does, ends it."""
        lines = text.replace("\r", "\n").expandtabs().split("\n")
        super().write("\n".join(map(visible, lines)))
        return len(text)


def log_to(number: int) -> io.TextIOWrapper:
    """Return a stream that writes UTF-8 to an open file, as logs are, whatever the locale is."""
    buffer = os.fdopen(number, "wb", closefd=False)
    return _Log(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
