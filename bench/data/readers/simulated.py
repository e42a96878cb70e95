"""The phantom of a dataset, read like any other dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import phantom
from bench.data.phantom.levels import LOWEST_DISC
from bench.data.readers.classes import Classes
from bench.spec.case import Census, Decision, Place, Sample
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
        known["places"] = 2
        return known | ({"levels": 2} if self.has_levels else {})

    @property
    def has_levels(self) -> bool:
        """Whether masks have a number for each vertebra and disc."""
        return bool(self.labels) or self.instances

    @property
    def classes(self) -> Classes | None:
        """The classes, if there are any."""
        return Classes.parse(self.labels) if self.labels else None

    def choice(self) -> dict[str, Any]:
        """Return the classes, if there are any."""
        return {"classes": self.classes.text} if self.classes else {}

    def decide(self, census: Census) -> Decision:
        """Return the labels of each class, or vertebra as foreground."""
        if self.classes:
            return self.classes.decide(census)
        if not self.has_levels:
            return super().decide(census)
        vertebrae = {label for label in census.counts if 0 < int(label) < LOWEST_DISC}
        return Decision(frozenset(vertebrae))

    def items(self, root: Path) -> list[Item]:
        """List the patients; no file is read."""
        return [Item(f"p{number:03d}") for number in range(self.patients)]

    def read(self, item: Item) -> Iterator[Sample]:
        """Simulate one patient's cases."""
        for position in range(self.slices):
            number = int(item.patient[1:])
            drawn = phantom.render(self.name, number, position, self.slices, levels=self.has_levels)
            sample = Sample(
                f"{item.patient}_{position:02d}",
                item.patient,
                drawn.image,
                drawn.mask,
                drawn.spacing,
                place=self._place(item.patient, position),
            )
            if self.has_levels:
                held, codes = np.unique(drawn.mask, return_inverse=True)
                mask = codes.reshape(drawn.mask.shape).astype(np.uint8)
                sample = replace(sample, mask=mask, labels=tuple(map(str, held.tolist())))
            yield sample

    def _place(self, patient: str, position: int) -> Place | None:
        """Return where a slice lies; films of one patient are no volume."""
        if self.name == "xray":
            return None
        return Place(patient, position, phantom.distance(self.name, int(patient[1:]), self.slices))
