"""Where cells run, never what they do.

Every launcher runs each cell by `local`, on whatever machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.spec.config import Cell

POLL_SECONDS = 0.5
LEAVE_SECONDS = 8.0
"""How long cells that are told to stop may take to write their checkpoints."""
Watch = Callable[[Sequence[Cell], int], None]
"""Called a few times a second with the cells at work, and how many others are at work in another
run."""
Ended = Callable[[Cell, str], None]
"""Called with a cell and why it failed, empty if it did not."""
