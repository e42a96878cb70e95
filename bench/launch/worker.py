"""A cell's own process: its log, its progress, and how it ends."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from bench.spec.config import Cell
from bench.store.lease import BusyError
from bench.store.store import Store

NOTE_SECONDS = 1.0
BUSY = 3
"""Exit code of a cell that another run is at work on, or has finished."""
STOPPED = 4
"""Exit code of a cell that was told to stop, and left a checkpoint where it was training."""


def work(cell_json: str, root: str, device: str, after: int) -> None:
    """Run one cell in this process, whose output goes to the cell's log; a failure leaves its traceback.

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
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    cell, store = Cell.from_json(cell_json), Store(Path(root))
    noted = 0.0

    def report(status: dict[str, object]) -> None:
        nonlocal noted
        if asked:
            raise Interrupted
        if time.monotonic() - noted > NOTE_SECONDS:
            noted = time.monotonic()
            store.note(cell, status)

    try:
        with store.at_work(cell, after, lost=lambda: os._exit(BUSY)) as folder:
            with (folder / "log.txt").open("a", buffering=1) as log:
                os.dup2(log.fileno(), sys.stdout.fileno())
                os.dup2(log.fileno(), sys.stderr.fileno())
            faulthandler.enable(sys.stderr)
            try:
                run_cell(cell, store, folder, device, report)
            except Exception:
                store.fail(cell, traceback.format_exc())
                sys.exit(1)
    except Interrupted:
        sys.exit(STOPPED)
    except BusyError:
        sys.exit(BUSY)
    except OSError as error:  # a disk that is full, or gone, leaves no place to say it but this
        print(f"{cell.title}: {error}", file=sys.stderr)
        sys.exit(1)


def _end_with_launcher() -> None:
    """End this process when the launcher is gone: a cell that ran on could meet its own successor."""
    launcher = multiprocessing.parent_process()
    if launcher:
        launcher.join()
        os.kill(os.getpid(), signal.SIGKILL)
