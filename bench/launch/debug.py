"""Cells in this process, one after the other, so that a breakpoint works."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import ClassVar

from bench.launch.base import Gone, Request
from bench.launch.follow import asked_to_stop
from bench.launch.worker import Reporter
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.store.lease import BusyError


class Debug:
    """Runs each cell where `bench run` itself runs; its output is shown, not logged."""

    flags: ClassVar[tuple[str, ...]] = ()
    here: ClassVar[bool] = True
    attempts: ClassVar[int] = 1
    grace_seconds: ClassVar[float] = 0.0

    def __init__(self, request: Request) -> None:
        self.request = request
        self.elsewhere: int = 0
        self._gone: dict[str, Gone] = {}

    def check(self) -> str:
        """Refuse what one process cannot do.

        Raises:
            UsageError: Several cells at once, or a time limit, were asked for.
        """
        if self.request.jobs not in (None, 1):
            raise UsageError("--launcher debug runs one cell at a time; leave --jobs out")
        if self.request.timeout is not None:
            raise UsageError("--launcher debug kills nothing; leave --timeout out")
        return f"one after the other in this process on {self.request.device}"

    def submit(self, cells: Sequence[Cell]) -> list[Cell]:
        """Run the first cell to its end.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; the cell left a checkpoint.
        """
        from bench.engine.cell import run_cell
        from bench.engine.train import Interrupted

        if not cells:
            return []
        store = self.request.store
        cell = Cell.from_json(cells[0].to_json())  # with its options in the order of any launcher
        self._gone[cell.hash] = Gone("the cell ended without a result")
        with asked_to_stop() as asked:
            try:
                with store.at_work(cell) as folder:
                    reporter = Reporter(cell, store, asked)
                    run_cell(cell, store, folder, self.request.device, reporter)
            except Interrupted:
                raise KeyboardInterrupt from None
            except BusyError as error:
                self._gone[cell.hash] = Gone(str(error))
            except Exception:
                traceback.print_exc()
                store.fail(cell, traceback.format_exc())
        return [cells[0]]

    def wait(self) -> Mapping[str, Gone]:
        """Return the cells that have run; each has ended when `submit` returns."""
        return self._gone

    def cancel(self) -> None:
        """Do nothing: no cell runs any more."""
