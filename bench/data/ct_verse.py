"""CT-Verse: VerSe and CTSpine1K as they are distributed, or slice folders with binary masks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data import volume
from bench.data.adapter import Item
from bench.data.case import Sample
from bench.data.slices import Slices
from bench.errors import UsageError
from bench.options import option

VERTEBRAE = (*range(1, 26), 28)
"""C1 to L6, and T13."""
LABELS = {**dict.fromkeys((0, 26, 27), 0), **dict.fromkeys(VERTEBRAE, 1)}
"""26 and 27 are sacrum and coccyx."""
MASK = re.compile(r"(?P<stem>.+?)_(?:seg-vert_msk|seg)$")
VERSE = re.compile(r"^(?:sub-)?(?P<subject>verse\d+)")


@dataclass(frozen=True)
class CTVerse(Slices):
    """The `ct-verse/` folder of the data directory: sagittal slices of CT volumes."""

    vertebrae: int = option(3, "different vertebrae that a slice of a volume must show", low=1)
    share: float = option(0.01, "share of its pixels that must be vertebra", low=0, high=1)
    low: float = option(-250.0, "HU that become black")
    high: float = option(1000.0, "HU that become white")

    name = "ct-verse"
    title = "CT-Verse"
    layout = (
        "VerSe (rawdata/, derivatives/, or verse*.nii.gz with verse*_seg.nii.gz), CTSpine1K, or slices in index.csv"
    )

    def __post_init__(self) -> None:
        """Refuse a window without width."""
        if self.low >= self.high:
            raise UsageError(f"{self.name}: low={self.low:g} is not below high={self.high:g}")

    def rules(self) -> dict[str, Any]:
        """Return the rules of both layouts."""
        cut = {"vertebrae": self.vertebrae, "share": self.share, "window": [self.low, self.high], "version": 1}
        return {**super().rules(), "volumes": cut}

    def items(self, root: Path) -> list[Item]:
        """List the volumes that have a mask; what has none is left out and said so."""
        if (root / "index.csv").is_file():
            return super().items(root)
        files = volume.files(root, (".nii", ".nii.gz"))
        masks = {path: found["stem"] for path in files if (found := MASK.match(volume.stem(path)))}
        images = {volume.stem(path): path for path in files if path not in masks}
        items, used = [], set()
        # CTSpine1K's labels alone complete VerSe's: they come last, and stay
        for path, stem in sorted(masks.items(), key=lambda each: ("completed_annotation" in str(each[0]), each[0])):
            image = images.get(stem) or images.get(f"{stem}_ct") or _of_verse(stem, images)
            patient = _patient(stem)
            if image is None:
                items.append(Item(patient, (path,), left_out="there is no volume for this mask"))
                continue
            items = [each for each in items if each.files[0] != image]
            items.append(Item(patient, (image, path)))
            used.add(image)
        alone = sorted(set(images.values()) - used)
        items += [Item(_patient(volume.stem(p)), (p,), left_out="there is no mask for this volume") for p in alone]
        if not used:
            raise UsageError(f"{root} holds no volume with a mask; expected {self.layout}")
        return sorted(items, key=lambda each: str(each.files[0]))

    def read(self, item: Item) -> Iterator[Sample]:
        """Read a volume's slices, or one slice file."""
        if volume.is_volume(item.files[0]):
            yield from volume.samples(item, LABELS, self.name, self.vertebrae, self.share, (self.low, self.high))
        else:
            yield from super().read(item)


def _patient(stem: str) -> str:
    """Return VerSe's subject, which several series share, or the name itself."""
    found = VERSE.match(stem)
    return found["subject"] if found else stem.removesuffix("_ct")


def _of_verse(stem: str, images: dict[str, Path]) -> Path | None:
    """Return VerSe's volume of a mask's number, where there is one alone."""
    found = VERSE.match(stem)
    same = [path for name, path in sorted(images.items()) if found and _patient(name) == found["subject"]]
    return same[0] if len(same) == 1 else None
