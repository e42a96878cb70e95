"""CT-Pri: a folder of images and masks of any format, or slice folders with binary masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.readers.folder import (
    ENDING,
    FILE,
    FOREGROUND,
    IMAGE_ENDING,
    PATIENTS,
    PATTERN,
    WHOSE,
    Folder,
)
from bench.data.readers.slices import INDEX, Slices
from bench.spec.case import Census, Decision, Sample
from bench.spec.dataset import Item
from bench.spec.errors import UsageError
from bench.spec.options import option

OF_NAMES = ("pattern", "patients", "file", "patient", "ending", "image_ending")
"""Options that have no effect where `index.csv` lists the files."""


@dataclass(frozen=True)
class CTPri(Slices):
    """The `ct-pri/` folder of the data directory."""

    pattern: str = option("", PATTERN, free=True)
    foreground: str = option("", FOREGROUND, free=True)
    ending: str = option("", ENDING, free=True)
    image_ending: str = option("", IMAGE_ENDING, free=True)

    patients: str = option("", PATIENTS, free=True)
    file: str = option("", FILE, free=True)
    patient: str = option("", WHOSE, free=True)

    name = "ct-pri"
    title = "CT-Pri"

    @property
    def _own(self) -> Folder:
        return Folder(
            pattern=self.pattern,
            foreground=self.foreground,
            labels=self.labels if self.classes else "",
            largest=self.largest,
            ending=self.ending,
            image_ending=self.image_ending,
            patients=self.patients,
            file=self.file,
            patient=self.patient,
        )

    def tables(self, root: Path) -> list[Path]:
        """Return `index.csv`, or else the table of patients of the folder.

        Raises:
            UsageError: Options say how names are read, and there is `index.csv`.
        """
        if not (root / INDEX).is_file():
            return self._own.tables(root)
        given = [name for name in OF_NAMES if getattr(self, name)]
        if given:
            raise UsageError(
                f"{root / INDEX} says which files belong together and whose they are; "
                f"leave out {given[0]}={getattr(self, given[0])}, or remove the table"
            )
        return super().tables(root)

    def rules(self) -> dict[str, Any]:
        """Return the rules of both layouts."""
        return {**super().rules(), "folder": self._own.rules()}

    def choice(self) -> dict[str, Any]:
        """Return which labels the user calls foreground."""
        return self._own.choice()

    def decide(self, census: Census) -> Decision:
        """Return which labels are foreground, for both layouts."""
        return self._own.decide(census)

    def items(self, root: Path) -> list[Item]:
        """List the slices of `index.csv`, or else the images of the folder."""
        if root / INDEX in self.tables(root):
            return super().items(root)
        return self._own.items(root)

    def read(self, item: Item) -> Iterator[Sample]:
        """Read one image and its mask."""
        yield from self._own.read(item) if item.key else super().read(item)
