"""What a person sees while a matrix runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.spec.config import Cell
from bench.spec.errors import printable
from bench.spec.note import Note
from bench.spec.words import count, shortened_apart
from bench.store.cells import Store

LINE_SECONDS = 15.0
"""How often a running matrix prints a line where the output is no terminal."""
SHOWN = 16
"""Running cells that are shown one by one, so that they fit on a terminal's page."""
TEST_SHARE = 0.1
"""Share of a cell's time that prediction is assumed to need; diffusions need more."""
EARLY = 0.1
"""Share of the work up to which no time left is estimated: the first steps say little."""
SHORTEST = 16
"""Characters that the name of a running cell keeps, however long its state is."""
GAPS = 2
"""Characters between a cell's name and how far it is."""


def clock(seconds: float) -> str:
    """Return a duration with its units: `45 s`, `4 min 30 s`, `2 h 05 min`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def losses(note: Note) -> str:
    """Return what a cell's last note says of its losses and its validation Dice, if anything."""
    parts = []
    if note.loss is not None:
        parts.append(f"loss {note.loss:.3g}")
    if note.validation_loss is not None:
        parts.append(f"val {note.validation_loss:.3g}")
    if note.validation_dice is not None:
        parts.append(f"val Dice {100 * note.validation_dice:.1f}")
    return ", ".join(parts)


def share_done(note: Note | None) -> float:
    """Return the share of a cell that its last note says is done, in [0, 1]."""
    if note is None:
        return 0.0
    share = min(1.0, max(0.0, note.step / max(1, note.steps)))
    if note.phase == "train":
        return share * (1 - TEST_SHARE)
    return 1 - TEST_SHARE + share * TEST_SHARE


def seconds_left(note: Note) -> float | None:
    """Return how many seconds a cell still needs, by its pace in all attempts so far.

    None while it is too early to say. In the test it is the rest of the test.
    """
    if note.phase == "test":
        return note.seconds * (note.steps / note.step - 1) if note.step else None
    share = share_done(note)
    return note.seconds * (1 / share - 1) if share > EARLY else None


@dataclass
class Board:
    """The state of a matrix, drawn live or told in lines."""

    console: Console
    store: Store
    total: int
    """Cells of the matrix, finished ones included."""
    done: int
    """Cells that were finished before this run began."""
    failed: int = 0
    """Cells that failed, in earlier runs too."""
    _elsewhere: int = 0
    """Cells that another run works on."""
    _began: float = field(default_factory=time.monotonic)
    _finished: int = 0
    """Cells that this run finished, those that failed included."""
    _starts: dict[str, float] = field(default_factory=dict)
    """When each cell of this run was first seen at work, by its hash."""
    _done_before: dict[str, float] = field(default_factory=dict)
    """The share of each of these cells that was done then, by an attempt of an earlier run."""
    _live: Live | None = None
    _spoke: float = 0.0
    """When the last line was printed; 0 before the first, which is then due at once."""

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
        """Show the running cells, and how many others another run works on."""
        self._elsewhere = elsewhere
        for cell in running:
            if cell.hash not in self._starts:
                self._starts[cell.hash] = time.monotonic()
                self._done_before[cell.hash] = share_done(self.store.progress(cell))
        if self._live:
            self._live.update(self._picture(running))
        elif time.monotonic() - self._spoke > LINE_SECONDS and (running or elsewhere):
            self._spoke = time.monotonic()
            self._print(f"{self._summary(running)}. Running: {self._listed(running)}")

    def _listed(self, running: Sequence[Cell]) -> str:
        """Return the running cells as a line names them."""
        if not running:
            return "none here"
        cells = "; ".join(f"{cell.title} {self._state(cell)}" for cell in running[:SHOWN])
        if len(running) > SHOWN:
            cells += f" and {len(running) - SHOWN} more"
        return cells

    def ended(self, cell: Cell, reason: str) -> None:
        """Say that a cell is finished, or why it has failed if there is a reason."""
        self._finished += 1
        now = time.monotonic()
        took = clock(now - self._starts.get(cell.hash, now))
        if reason:
            self.failed += 1
            self._print(Text("failed", "red"), f" {cell.title} after {took}: {printable(reason)}")
        else:
            self.done += 1
            self._print(Text("done", "green"), f"   {cell.title} in {took}")

    def stopping(self) -> None:
        """Say that cells are given the time to write checkpoints."""
        self._print("stopping: writing checkpoints ...")

    def _print(self, *words: object) -> None:
        self.console.print(*words, soft_wrap=True, highlight=False, markup=False)

    def _summary(self, running: Sequence[Cell]) -> str:
        """Return how far the whole matrix is, in words."""
        parts = [f"{self.done}/{count(self.total, 'cell')} done", f"{self.failed} failed"]
        if self._elsewhere:
            parts.append(f"{self._elsewhere} in another run")
        parts.append(f"{clock(time.monotonic() - self._began)} gone")
        left = self._seconds_left(running)
        if left is not None:
            parts.append(f"about {clock(left)} left")
        return ", ".join(parts)

    def _seconds_left(self, running: Sequence[Cell]) -> float | None:
        """Estimate the time left from the work of this run; None before a tenth of it is done."""
        shares = sum(share_done(self.store.progress(cell)) for cell in running)
        worked = self._finished + shares - sum(self._done_before.values())
        pending = self.total - self.done - self.failed  # cells at work included
        if not pending or worked < EARLY * (self._finished + pending):
            return None
        elapsed = time.monotonic() - self._began
        return elapsed * (pending - shares) / worked

    def _state(self, cell: Cell) -> str:
        """Return how far a running cell is, in words."""
        note = self.store.progress(cell)
        if note is None:
            return "starting"
        text = ", ".join(filter(None, (f"{note.phase} {note.step}/{note.steps}", losses(note))))
        left = seconds_left(note)
        return text if left is None else f"{text}, {clock(left)} left"

    def _picture(self, running: Sequence[Cell]) -> Group:
        """Return the matrix's line and bar, and one line a cell, none wider than the terminal.

        Names of cells are shortened where they and their states do not fit side by side.
        """
        width = self.console.width
        bar = Table.grid()  # a bar alone ends no line: what follows would be drawn into it
        ended = self.done + self.failed
        bar.add_row(ProgressBar(total=self.total, completed=ended, width=width))
        states = {cell.title: self._state(cell) for cell in running[:SHOWN]}
        longest = max(map(len, states.values()), default=0)
        names = shortened_apart(list(states), max(SHORTEST, width - longest - GAPS))
        column = max(map(len, names.values()), default=0)
        lines = [self._summary(running)]
        lines += [f"{names[title]:{column}}{' ' * GAPS}{state}" for title, state in states.items()]
        if len(running) > SHOWN:
            lines.append(f"and {count(len(running) - SHOWN, 'cell')} more")
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        return Group(texts[0], bar, *texts[1:])
