"""MR: MRSpineSeg and SPIDER as they are distributed, or slice folders (SPIDER's T2 by default)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.readers import volume
from bench.data.readers.slices import LABELS, MAPPINGS, Slices, with_joined
from bench.data.readers.walk import same, stem
from bench.spec.case import Census, Decision, Sample
from bench.spec.dataset import Item
from bench.spec.errors import UsageError
from bench.spec.options import option

MRSPINESEG = {**dict.fromkeys((0, 1, *range(11, 20)), 0), **dict.fromkeys(range(2, 11), 1)}
"""Labels: 1 is the sacrum, 2 to 10 are the vertebrae L5 to T9, 11 to 19 the discs."""
SPIDER = {
    **dict.fromkeys((0, 100, *range(201, 226)), 0),
    **dict.fromkeys((*range(1, 26), *range(101, 126)), 1),
}
"""Labels: 1 to 25 are the vertebrae from L5 upwards, 101 to 125 those that are partly visible, 100
is the canal, 201 to 225 are the discs."""
CASE = re.compile(r"case(?P<number>\d+)$", re.IGNORECASE)
SERIES = re.compile(r"(?P<patient>.+?)_(?P<sequence>t1|t2|t2_SPACE)$", re.IGNORECASE)
FOLDERS = {"mr": "mask", "source": "label"}
"""MRSpineSeg's folders of images and masks, for both layouts of its archives."""


@dataclass(frozen=True)
class MR(Slices):
    """The `mr/` folder of the data directory."""

    labels: str = option("spider-t2", LABELS, choices=tuple(MAPPINGS), free=True)
    sequence: str = option("t2", "of SPIDER's volumes", choices=("t1", "t2", "t2_SPACE"))
    vertebrae: int = option(3, "different vertebrae that a slice of a volume must show", low=1)
    share: float = option(0.01, "share of its pixels that must be vertebra", low=0, high=1)

    name = "mr"
    title = "MR"
    layout = (
        "MRSpineSeg (train/MR/Case*.nii.gz with train/Mask/mask_case*.nii.gz), "
        "SPIDER (images/*.mha with masks/*.mha), or slices in index.csv"
    )

    def rules(self) -> dict[str, Any]:
        """Return the rules of all layouts."""
        cut = {
            "sequence": self.sequence,
            "vertebrae": self.vertebrae,
            "share": self.share,
            "version": 2,
        }
        return {**super().rules(), "volumes": cut}

    def items(self, root: Path) -> list[Item]:
        """List the volumes; leave out a volume without a mask, with a reason."""
        if (root / "index.csv").is_file():
            return super().items(root)
        items = [*_spider(root, self.sequence), *_mrspineseg(root)]
        if all(item.left_out for item in items):
            raise UsageError(f"{root} holds no volume with a mask; expected {self.layout}")
        return sorted(items, key=lambda item: str(item.files[0]))

    def read(self, item: Item) -> Iterator[Sample]:
        """Read a volume's slices, or one slice file."""
        if volume.is_volume(item.files[0]):
            spider = item.files[0].suffix.lower() == ".mha"
            yield from volume.samples(item, self._cuttings()[0 if spider else 1])
        else:
            yield from super().read(item)

    def _cuttings(self) -> tuple[volume.Cutting, volume.Cutting]:
        """Return how volumes of SPIDER and of MRSpineSeg are cut into slices."""
        size = (self.vertebrae, self.share)
        return (
            volume.Cutting(self.name, "spider", SPIDER, *size),
            volume.Cutting(self.name, "mrspineseg", MRSPINESEG, *size),
        )

    def decide(self, census: Census) -> Decision:
        """Return the classes, the vertebrae of volumes, or what a mapping calls vertebra."""
        if self.classes:
            decision = self.classes.decide(census)
            return with_joined(decision, census) if self.instances else decision
        spider, mrspineseg = self._cuttings()
        vertebrae = spider.foreground | mrspineseg.foreground
        return Decision(vertebrae) if vertebrae & census.counts.keys() else super().decide(census)


def _spider(root: Path, sequence: str) -> list[Item]:
    items = []
    files = volume.files(root, volume.SUFFIXES)
    masks: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in files:
        if path.parent.name.lower() == "masks":
            masks[path.parent.parent, same(path.name)].append(path)
    for path in files:
        name = SERIES.match(stem(path))
        if path.parent.name.lower() != "images":
            continue
        if not name or path.suffix.lower() != ".mha":
            items.append(_unnamed(path, "1_t2.mha"))
            continue
        if name["sequence"].lower() != sequence.lower():
            continue
        own = masks.get((path.parent.parent, same(path.name)), [])
        items.append(_item(name["patient"], path, own))
    return items


def _mrspineseg(root: Path) -> list[Item]:
    files = volume.files(root, (".nii", ".nii.gz"))
    masks: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    for path in files:
        if name := CASE.search(stem(path)):
            masks[path.parent.parent, path.parent.name.lower(), name["number"]].append(path)
    items = []
    for path in files:
        name = CASE.match(stem(path))
        folder = FOLDERS.get(path.parent.name.lower())
        if folder is None:
            continue
        if not name:
            items.append(_unnamed(path, "Case8.nii.gz"))
            continue
        part = path.parent.parent
        own = masks.get((part, folder, name["number"]), [])
        items.append(_item(f"{part.name}-case{name['number']}", path, own))
    return items


def _unnamed(path: Path, example: str) -> Item:
    """Return the item of a volume whose name is none of its collection's."""
    why = f"its name is none of this collection's; expected one such as {example}: write it so"
    return Item(stem(path), (path,), left_out=why)


def _item(patient: str, image: Path, masks: list[Path]) -> Item:
    if not masks:
        return Item(patient, (image,), left_out="there is no mask for this volume")
    if len(masks) > 1:
        why = f"{masks[0]} and {masks[1].name} are both its mask; remove one"
        return Item(patient, (image,), left_out=why)
    return Item(patient, (image, masks[0]))
