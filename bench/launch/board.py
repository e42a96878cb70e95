"""What a person sees while a matrix runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.spec.config import Cell
from bench.store.store import Store

LINE_SECONDS = 15.0
"""How often a running matrix prints a line where the output is no terminal."""
SHOWN = 16
"""Running cells that are told of one by one."""
TEST_SHARE = 0.1
"""Share of a cell's time that prediction is taken to need before the first cell has shown it."""


def clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def share_done(status: dict[str, Any]) -> float:
    """Return how much of a cell its last note says is done, in [0, 1]."""
    if not status:
        return 0.0
    part = float(status["step"]) / float(status["steps"])
    return (
        part * (1 - TEST_SHARE)
        if status["phase"] == "train"
        else 1 - TEST_SHARE + part * TEST_SHARE
    )


@dataclass
class Board:
    """The state of a matrix, drawn live or told in lines."""

    console: Console
    store: Store
    total: int
    """Cells of the matrix, finished ones included."""
    done: int
    """Cells finished before this run began."""
    failed: int = 0
    """Cells that failed, those included that failed before and are left so."""
    _elsewhere: int = 0
    _began: float = field(default_factory=time.monotonic)
    _finished: int = 0
    _starts: dict[str, float] = field(default_factory=dict)
    _live: Live | None = None
    _spoke: float = 0.0

    def __enter__(self) -> Board:
        """Start the live picture where there is a terminal."""
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Clear the live picture."""
        if self._live:
            self._live.stop()

    def watch(self, running: Sequence[Cell], elsewhere: int = 0) -> None:
        """Show the running cells, and how many others another run is at work on."""
        self._elsewhere = elsewhere
        for cell in running:
            self._starts.setdefault(cell.hash, time.monotonic())
        if self._live:
            self._live.update(self._picture(running))
        elif time.monotonic() - self._spoke > LINE_SECONDS and (running or elsewhere):
            self._spoke = time.monotonic()
            told = "; ".join(f"{cell.title} {self._told(cell)}" for cell in running[:SHOWN])
            more = f" and {len(running) - SHOWN} more" if len(running) > SHOWN else ""
            self.console.print(
                f"{self._summary(running)}. Running: {told or 'none here'}{more}",
                soft_wrap=True,
                highlight=False,
            )

    def ended(self, cell: Cell, reason: str) -> None:
        """Tell that a cell is finished or has failed."""
        self._finished += 1
        took = time.monotonic() - self._starts.get(cell.hash, time.monotonic())
        if reason:
            self.failed += 1
            self.console.print(
                f"[red]failed[/]  {cell.title} after {clock(took)}: ", Text(reason), soft_wrap=True
            )
        else:
            self.done += 1
            self.console.print(
                f"[green]done[/]    {cell.title} in {clock(took)}", highlight=False, soft_wrap=True
            )

    def _summary(self, running: Sequence[Cell]) -> str:
        left = self._left(running)
        return (
            f"{self.done}/{self.total} cells done, {self.failed} failed, "
            + (f"{self._elsewhere} in another run, " if self._elsewhere else "")
            + f"{clock(time.monotonic() - self._began)} gone"
            + (f", about {clock(left)} left" if left is not None else "")
        )

    def _left(self, running: Sequence[Cell]) -> float | None:
        """Estimate the time left from the work done so far; None before there is any."""
        shares = sum(share_done(self.store.progress(cell)) for cell in running)
        worked, gone = self._finished + shares, time.monotonic() - self._began
        pending = self.total - self.done - self.failed
        return None if worked < 0.05 else gone * (pending - shares) / worked

    def _told(self, cell: Cell) -> str:
        status = self.store.progress(cell)
        if not status:
            return "starting"
        left = ""
        if share_done(status) > 0.02:
            gone = time.monotonic() - self._starts[cell.hash]
            left = f", at most {clock(gone * (1 / share_done(status) - 1))} left"
        return f"{status['phase']} {status['step']}/{status['steps']}{left}"

    def _picture(self, running: Sequence[Cell]) -> Group:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            "matrix",
            ProgressBar(total=self.total, completed=self.done + self.failed, width=30),
            self._summary(running),
        )
        for cell in running[:SHOWN]:
            grid.add_row(
                cell.title,
                ProgressBar(total=1.0, completed=share_done(self.store.progress(cell)), width=30),
                self._told(cell),
            )
        return Group(grid)
