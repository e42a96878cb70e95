"""MR, read from slice folders; SPIDER's T2 slices by default."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.slices import MAPPINGS, Slices
from bench.options import option


@dataclass(frozen=True)
class MR(Slices):
    """The `mr/` folder of the data directory."""

    labels: str = option("spider-t2", "how label values become vertebra or background", choices=tuple(MAPPINGS))

    name = "mr"
    title = "MR"
