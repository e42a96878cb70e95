"""CT-Verse: VerSe and CTSpine1K as they are distributed, or slice folders with binary masks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.readers import volume
from bench.data.readers.slices import Slices
from bench.data.readers.walk import stem
from bench.spec.case import Census, Decision, Sample
from bench.spec.dataset import Item
from bench.spec.errors import UsageError
from bench.spec.options import option

VERTEBRAE = (*range(1, 26), 28)
"""C1 to L6, and T13."""
LABELS = {**dict.fromkeys((0, 26, 27), 0), **dict.fromkeys(VERTEBRAE, 1)}
"""26 and 27 are sacrum and coccyx."""
MASK = re.compile(r"(?P<stem>.+?)_(?:seg-vert_msk|seg)$")
COMPLETE = "completed_annotation"
"""Part of the name of CTSpine1K's folder with labels that replace VerSe's own."""
MISSPELT = {"conlon": "colon"}
"""A folder of labels in CTSpine1K, and the folder of its volumes."""
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
        "VerSe (rawdata/, derivatives/, or verse*.nii.gz with verse*_seg.nii.gz), CTSpine1K, "
        "or slices in index.csv"
    )

    def __post_init__(self) -> None:
        """Refuse a window without width."""
        if self.low >= self.high:
            raise UsageError(f"{self.name}: low={self.low:g} is not below high={self.high:g}")

    def rules(self) -> dict[str, Any]:
        """Return the rules of both layouts."""
        cut = {
            "vertebrae": self.vertebrae,
            "share": self.share,
            "window": [self.low, self.high],
            "version": 3,
        }
        return {**super().rules(), "volumes": cut}

    def items(self, root: Path) -> list[Item]:
        """List the volumes with their masks; leave out a volume without a mask, with a reason."""
        if (root / "index.csv").is_file():
            return super().items(root)
        files = volume.files(root, (".nii", ".nii.gz"))
        masks = {}
        for path in files:
            if match := MASK.match(stem(path)):
                masks[path] = match["stem"]
        images = [path for path in files if path not in masks]
        items: list[Item] = []
        pairs: dict[Path, Path] = {}
        # CTSpine1K's completed labels come last and replace VerSe's.
        for path in sorted(masks, key=lambda mask: (COMPLETE in str(mask), mask)):
            name = masks[path]
            image, why = _volume_of(path, name, images)
            if image in pairs and COMPLETE not in str(path):
                why = f"{image} has the mask {pairs[image]} already; remove one"
            if image is None or why:
                items.append(Item(_patient(name), (path,), left_out=why))
            else:
                pairs[image] = path
        for image in images:
            own = (pairs[image],) if image in pairs else ()
            why = "" if own else "there is no mask for this volume"
            items.append(Item(_patient(stem(image)), (image, *own), left_out=why))
        if not pairs:
            raise UsageError(f"{root} holds no volume with a mask; expected {self.layout}")
        return sorted(items, key=lambda item: str(item.files[0]))

    def read(self, item: Item) -> Iterator[Sample]:
        """Read a volume's slices, or one slice file."""
        if volume.is_volume(item.files[0]):
            yield from volume.samples(item, self._cutting())
        else:
            yield from super().read(item)

    def _cutting(self) -> volume.Cutting:
        """Return how volumes are cut into slices."""
        window = (self.low, self.high)
        return volume.Cutting(self.name, "verse", LABELS, self.vertebrae, self.share, window)

    def decide(self, census: Census) -> Decision:
        """Return the classes, the vertebrae of volumes, or what a mapping calls vertebra."""
        if self.classes:
            return self.classes.decide(census)
        vertebrae = self._cutting().foreground
        return Decision(vertebrae) if vertebrae & census.counts.keys() else super().decide(census)


def _patient(name: str) -> str:
    """Return VerSe's subject, which several series share, or the name itself."""
    match = VERSE.match(name)
    return match["subject"] if match else name.removesuffix("_ct")


def _volume_of(mask: Path, name: str, images: Sequence[Path]) -> tuple[Path | None, str]:
    """Return the volume of a mask, or why there is none.

    The volume is found by the mask's name, or else by VerSe's number.
    """
    same = [path for path in images if stem(path) in (name, f"{name}_ct")]
    match = VERSE.match(name)
    if not same and match:
        # CTSpine1K's `verse090_seg` is VerSe's `sub-verse400_split-verse090_ct` or
        # `sub-verse090_ct`.
        subject = match["subject"]
        same = [path for path in images if f"split-{subject}" in path.name]
        same = same or [path for path in images if _patient(stem(path)) == subject]
    near = same
    if len(same) > 1:
        near = [path for path in same if _source(path) == _source(mask)]
    if len(near) == 1:
        return near[0], ""
    if not same:
        return None, "there is no volume for this mask"
    why = (
        f"{len(same)} volumes have its name ({same[0]}, ...); "
        "put each beside its mask, or in folders of one name"
    )
    return None, why


def _source(path: Path) -> str:
    """Return the folder name that a volume and its mask have in common."""
    name = path.parent.name.lower()
    return MISSPELT.get(name, name)
