"""What the benchmarks share: one thread, interleaved repetitions, medians, and rows of a table."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

HEADER = (
    "| what | ours | peer | peer's | ratio | goal | met |\n| --- | ---: | --- | ---: | ---: | ---:"
    " | --- |"
)


@dataclass(frozen=True)
class Row:
    """One line of a table; figures are text already, with their units."""

    what: str
    ours: str
    peer: str
    """Against whom: a package and its version, a bare loop, or a limit."""
    theirs: str
    ratio: str
    goal: str = ""
    met: bool | None = None
    """None where the issue sets no goal for the line."""

    def markdown(self) -> str:
        """Return the line as Markdown."""
        met = {None: "", True: "yes", False: "**no**"}[self.met]
        return (
            f"| {self.what} | {self.ours} | {self.peer} | {self.theirs} | {self.ratio} |"
            f" {self.goal} | {met} |"
        )


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    return "\n".join([HEADER, *(row.markdown() for row in rows)])


def one_thread() -> None:
    """Keep PyTorch, OpenCV and BLAS of this process to one thread."""
    from bench.spec.machine import limit_threads

    limit_threads(1)


def race(
    contestants: Mapping[str, Callable[[], object]], repeats: int, block: float = 0.0
) -> dict[str, list[float]]:
    """Return each contestant's seconds a call, in turns of about `block` seconds.

    The turns keep caches as in real use.

    Two calls beforehand are not counted; the faster of them says how many calls fill a turn.
    """
    calls = {
        name: max(1, round(block / min(_seconds(compute), _seconds(compute))))
        for name, compute in contestants.items()
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, compute in contestants.items():
            times[name].append(_seconds(compute, calls[name]))
    return times


def _seconds(compute: Callable[[], object], calls: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        compute()
    return (time.perf_counter() - start) / calls


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median over repetitions of ours / theirs: disturbances of both cancel."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def milliseconds(seconds: Sequence[float]) -> str:
    """Return the median in milliseconds."""
    return f"{1e3 * statistics.median(seconds):.3g} ms"
