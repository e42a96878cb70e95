"""CT-Pri: a folder of images and masks of any format, or slice folders with binary masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.readers.folder import PATTERN, Folder
from bench.data.readers.slices import Slices
from bench.spec.case import Sample
from bench.spec.dataset import Item
from bench.spec.options import option


@dataclass(frozen=True)
class CTPri(Slices):
    """The `ct-pri/` folder of the data directory."""

    pattern: str = option("", PATTERN, free=True)
    foreground: str = option(
        "", "mask values that are foreground, joined by +; 1 or the brightest where not given"
    )

    name = "ct-pri"
    title = "CT-Pri"

    @property
    def _own(self) -> Folder:
        return Folder(self.pattern, self.foreground, self.largest)

    def rules(self) -> dict[str, Any]:
        """Return the rules of both layouts."""
        return {**super().rules(), "folder": self._own.rules()}

    def items(self, root: Path) -> list[Item]:
        """List the slices of `index.csv`, or else the images of the folder."""
        if (root / "index.csv").is_file():
            return super().items(root)
        return self._own.items(root)

    def read(self, item: Item) -> Iterator[Sample]:
        """Read one image and its mask."""
        if item.files[1].parent.name == "labels":
            yield from super().read(item)
        else:
            yield from self._own.read(item)
