"""What `bench tune` may choose for a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Between:
    """The values of an option that are tried: a range of numbers."""

    low: float
    high: float
    log: bool = False


Space = Mapping[str, Between | tuple[Any, ...]]
"""Options by name, each a range or a tuple of values."""
