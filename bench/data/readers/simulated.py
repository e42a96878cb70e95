"""The phantom of a dataset, read like any other dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import phantom
from bench.data.readers.classes import Classes
from bench.spec.case import Census, Decision, Sample
from bench.spec.dataset import Adapter, Item


@dataclass(frozen=True)
class Simulated(Adapter):
    """Simulated patients of one modality, used when a dataset's files are not on this machine."""

    name: str = ""
    title: str = ""
    patients: int = 0
    slices: int = 1
    labels: str = ""
    """Which labels by level are which class; empty where vertebra is foreground."""

    source = "phantom"

    def rules(self) -> dict[str, Any]:
        """Return the phantom's version and extent."""
        known = {"phantom": phantom.VERSION, "patients": self.patients, "slices": self.slices}
        return known | ({"levels": 1} if self.labels else {})

    @property
    def classes(self) -> Classes | None:
        """The classes, if there are any."""
        return Classes.parse(self.labels) if self.labels else None

    def choice(self) -> dict[str, Any]:
        """Return the classes, if there are any."""
        return {"classes": self.classes.text} if self.classes else {}

    def decide(self, census: Census) -> Decision:
        """Return the labels of each class, or vertebra as foreground."""
        return self.classes.decide(census) if self.classes else super().decide(census)

    def items(self, root: Path) -> list[Item]:
        """List the patients; no file is read."""
        return [Item(f"p{number:03d}") for number in range(self.patients)]

    def read(self, item: Item) -> Iterator[Sample]:
        """Simulate one patient's cases."""
        for position in range(self.slices):
            number = int(item.patient[1:])
            drawn = phantom.render(
                self.name, number, position, self.slices, levels=bool(self.labels)
            )
            sample = Sample(
                f"{item.patient}_{position:02d}",
                item.patient,
                drawn.image,
                drawn.mask,
                drawn.spacing,
            )
            if self.labels:
                held, codes = np.unique(drawn.mask, return_inverse=True)
                mask = codes.reshape(drawn.mask.shape).astype(np.uint8)
                sample = replace(sample, mask=mask, labels=tuple(map(str, held.tolist())))
            yield sample
