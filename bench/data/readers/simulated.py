"""The phantom of a dataset, read like any other dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data import phantom
from bench.spec.case import Place, Sample
from bench.spec.dataset import Adapter, Item


@dataclass(frozen=True)
class Simulated(Adapter):
    """Simulated patients of one modality, used when a dataset's files are not on this machine."""

    name: str = ""
    title: str = ""
    patients: int = 0
    slices: int = 1

    source = "phantom"

    def rules(self) -> dict[str, Any]:
        """Return the phantom's version and extent."""
        known = {"phantom": phantom.VERSION, "patients": self.patients, "slices": self.slices}
        return {**known, "places": 1}

    def items(self, root: Path) -> list[Item]:
        """List the patients; no file is read."""
        return [Item(f"p{number:03d}") for number in range(self.patients)]

    def read(self, item: Item) -> Iterator[Sample]:
        """Simulate one patient's cases."""
        for position in range(self.slices):
            drawn = phantom.render(self.name, int(item.patient[1:]), position, self.slices)
            yield Sample(
                f"{item.patient}_{position:02d}",
                item.patient,
                drawn.image,
                drawn.mask,
                drawn.spacing,
                place=self._place(item.patient, position),
            )

    def _place(self, patient: str, position: int) -> Place | None:
        """Return where a slice lies; films of one patient are no volume."""
        return None if self.name == "xray" else Place(patient, position)
