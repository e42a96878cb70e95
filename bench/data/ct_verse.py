"""CT-Verse, read from slice folders with binary masks."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.slices import Slices


@dataclass(frozen=True)
class CTVerse(Slices):
    """The `ct-verse/` folder of the data directory."""

    name = "ct-verse"
    title = "CT-Verse"
