"""What long work says of how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

Phase = Literal["train", "test"]


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """How far a cell is."""

    phase: Phase
    step: int
    """Training steps, or tested cases, that are done."""
    steps: int
    seconds: float = 0.0
    """Of this phase, earlier attempts included."""
    loss: float | None = None
    """Mean training loss of the last steps."""
    validation_loss: float | None = None
    """Of the last validation."""
    validation_dice: float | None = None
    """Mean Dice of the validation cases by the kept weights, in [0, 1]; known after training."""
    validated: int = 0
    """Cases that are done of the validation under way."""


Tell = Callable[[Note], None]
"""Takes how far a cell is; may raise `Interrupted`."""

Progress = Callable[[str, int, int], None]
"""Takes the name of what is read or fetched, how much of it is done, and how much there is."""
