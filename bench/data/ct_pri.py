"""CT-Pri, read from slice folders with binary masks."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.slices import Slices


@dataclass(frozen=True)
class CTPri(Slices):
    """The `ct-pri/` folder of the data directory."""

    name = "ct-pri"
    title = "CT-Pri"
