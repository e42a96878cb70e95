"""How long a list of cells would take on many machines.

Each free slot takes the next cell, until none is left.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def longest_first(cells: Sequence[T], seconds: Callable[[T], float]) -> list[T]:
    """Return cells in the order that leaves the least idle time at the end: longest first.

    Equals stay in their order.

    With it the last cell ends within a third of the best possible time (Graham 1969: 4/3 - 1/(3
    slots)). A cell of unknown length is best given an infinite one.
    """
    return sorted(cells, key=seconds, reverse=True)


@dataclass(frozen=True)
class Schedule:
    """Which slot takes which cell and when; times in seconds."""

    slots: int
    seconds: tuple[float, ...]
    """How long each cell takes, in the order in which they start."""
    starts: tuple[float, ...]
    takers: tuple[int, ...]
    """The slot of each cell, from 0."""

    @property
    def work(self) -> float:
        """Seconds of all cells together."""
        return math.fsum(self.seconds)

    @property
    def wall(self) -> float:
        """When the last cell ends."""
        return max(self._ends())

    @property
    def bound(self) -> float:
        """What no order can be faster than: the longest cell, or the work shared evenly."""
        return max(max(self.seconds), self.work / self.slots)

    @property
    def idle(self) -> float:
        """Share of the slots' time in which they have nothing to do, in [0, 1)."""
        return max(0.0, 1 - self.work / (self.slots * self.wall))

    @property
    def tail(self) -> float:
        """Seconds at the end, after the first slot has found nothing more to do."""
        return self.wall - min(self._ends())

    def _ends(self) -> list[float]:
        """Return when each slot has done its last cell; 0 of one that never had any."""
        ends = [0.0] * self.slots
        for seconds, start, slot in zip(self.seconds, self.starts, self.takers, strict=True):
            ends[slot] = start + seconds
        return ends


def schedule(seconds: Sequence[float], slots: int) -> Schedule:
    """Return what becomes of cells that take so long, started in this order as slots become free.

    Args:
        seconds: At least one cell's, each above 0.
        slots: Cells at once.
    """
    # A heap of (when it is free, the slot): the first is the slot that is free first.
    free_slots = [(0.0, slot) for slot in range(slots)]
    starts, takers = [], []
    for duration in seconds:
        start, slot = free_slots[0]
        heapq.heapreplace(free_slots, (start + duration, slot))
        starts.append(start)
        takers.append(slot)
    return Schedule(slots, tuple(seconds), tuple(starts), tuple(takers))
