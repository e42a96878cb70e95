"""Write what was read of a source: pixels, the table of cases, and what is known of the files."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data import digest as digests
from bench.data import hashes, twins
from bench.data import manifest as manifests
from bench.data.manifest import OF_ALL, Reading
from bench.data.pack import CODES, IMAGES, LEVELS, MASKS, PIXELS
from bench.data.readers.picture import FACING
from bench.data.reading import PackedSample, ReadItem, read_all
from bench.data.source import FORMAT, Source
from bench.spec import formulas
from bench.spec.case import BACKGROUND, Case, Sample
from bench.spec.dataset import Item
from bench.spec.errors import UsageError
from bench.spec.names import safe_name
from bench.spec.note import Progress

HEADINGS = ("case", "patient", "height", "width", "row_mm", "column_mm", "bits")
OF_PLACES = ("volume", "position", "slice_mm")
"""The columns of the table of cases: what a case is, and where it lies in its volume."""
MOST_LABELS = 256
"""Labels that the masks of a dataset may hold in all."""


@dataclass
class _Labels:
    """The labels that were met so far, numbered in this order; 0 is the background."""

    counts: dict[str, int] = field(default_factory=lambda: {BACKGROUND: 0})
    masks: dict[tuple[str, ...], str] = field(default_factory=dict)

    def add(self, sample: Sample, file: str) -> NDArray[np.uint8]:
        """Count a mask's labels, and return the mask in the dataset's numbers.

        Raises:
            UsageError: The masks hold too many labels.
        """
        counts = _counts(sample)
        held = tuple(label for label, count in counts.items() if count)
        self.masks.setdefault(held, file)
        for label in held:
            self.counts[label] = self.counts.get(label, 0) + counts[label]
        if len(self.counts) > MOST_LABELS:
            raise UsageError(
                f"{file} and others hold more than {MOST_LABELS} labels in all; "
                "expected label maps: export the masks with few values"
            )
        numbers = list(self.counts)
        if list(sample.labels) == numbers[: len(sample.labels)]:
            return sample.mask
        table = np.zeros(256, np.uint8)
        for code, label in enumerate(sample.labels):
            table[code] = numbers.index(label) if label in self.counts else 0
        return np.asarray(cv2.LUT(sample.mask, table))


def _counts(sample: Sample) -> dict[str, int]:
    """Return the number of a mask's pixels with each label."""
    if len(sample.labels) == 2:
        ones = int(np.count_nonzero(sample.mask))
        counts = [sample.mask.size - ones, ones]
    else:
        counts = (
            cv2.calcHist([sample.mask], [0], None, [256], [0, 256]).ravel().astype(int).tolist()
        )
    return dict(zip(sample.labels, counts, strict=False))


class _Pixels:
    """The files of a cache that hold pixels, while they are written."""

    def __init__(self, work: Path) -> None:
        self._files = {name: (work / name).open("wb") for name in PIXELS}

    def __enter__(self) -> _Pixels:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, read: PackedSample, image: NDArray[np.uint16], mask: NDArray[np.uint8]) -> None:
        """Write the image and the mask of a case."""
        if read.packed is None:
            self._files[IMAGES].write(digests.as_bytes(image))
        else:
            codes, levels = read.packed
            self._files[CODES].write(digests.as_bytes(codes))
            self._files[LEVELS].write(digests.as_bytes(levels))
        self._files[MASKS].write(digests.as_bytes(mask))


class _Kept:
    """What of a source is kept: its cases, and all that is known of its files.

    Args:
        source: Where the items are from.
        pixels: The files that pixels are written to.
    """

    def __init__(self, source: Source, pixels: _Pixels) -> None:
        self._source, self._pixels = source, pixels
        self._digest = hashlib.sha256()
        self._cases: list[Case] = []
        self._packed: list[bool] = []
        self._marks: list[bytes] = []
        self._seen: set[str] = set()
        self._left_out: list[str] = []
        self._labels = _Labels()
        self._how: Counter[str] = Counter()
        self._set_aside: list[str] = []
        self._by_header: dict[str, dict[str, None]] = {}
        self._official = {item.patient for item in source.items if item.official}

    def add(self, item: Item, read: ReadItem) -> None:
        """Keep an item's samples, or why there are none."""
        if read.why:
            self._left_out.append(read.why)
        while read.samples:  # each is forgotten before the next is read
            self._add(item, read.samples.pop(0))

    def _add(self, item: Item, one: PackedSample) -> None:
        sample, image = one.sample, one.image
        file, mask_file = "", ""
        if item.files:
            file, mask_file = str(item.files[0]), str(item.files[-1])
        if why := _unusable(sample.id, self._seen):
            self._left_out.append(f"{file or self._source.adapter.name}: {why}")
            return
        height, width = image.shape
        case = Case(sample.id, sample.patient, height, width, sample.spacing, sample.place)
        self._seen.add(case.id.lower())
        self._cases.append(case)
        self._packed.append(one.packed is not None)
        self._marks.append(one.mark)
        mask = self._labels.add(sample, mask_file or self._source.adapter.name)
        binary = mask if len(self._labels.counts) == 2 else np.minimum(mask, 1)
        digests.add(self._digest, case, image, binary)
        self._pixels.add(one, image, mask)
        self._how.update((*item.how, *sample.how))
        if sample.whose:
            self._by_header.setdefault(sample.whose, {})[case.patient] = None
        if case.patient in self._official and not item.official:
            self._set_aside.append(case.id)

    def finish(self, work: Path) -> None:
        """Write the table of cases, and what is known of the files, into a folder.

        Raises:
            UsageError: No case can be used.
        """
        if not self._cases:
            first, *others = self._left_out
            raise UsageError(
                first + (f" (the first of {len(self._left_out)} refusals)" if others else "")
            )
        digests.add_set_aside(self._digest, self._set_aside)
        alike = twins.doubted([case.patient for case in self._cases])
        for line in (*alike, *twins.of_one_header(self._by_header)):
            self._how[f"assumed: {line}"] = OF_ALL
        ways = [line for line in self._how if line.startswith(FACING)]
        if len(ways) > 1:
            line = f"images lie in {len(ways)} ways by their headers, and are used as stored"
            self._how[f"assumed: {line}"] = OF_ALL
        _write_cases(work / "cases.csv", self._cases, self._packed)
        manifests.write(self._reading(), work / manifests.READING)

    def _reading(self) -> Reading:
        """Return what is known of the files."""
        source, cases = self._source, self._cases
        digest_of_file = source.hashes.digests
        others: set[str] = set()
        for item in source.items:
            if not item.official and not item.left_out:
                others.add(item.patient)
        return Reading(
            format=FORMAT,
            name=source.adapter.name,
            source=source.adapter.source,
            rules=source.adapter.rules(),
            cases=len(cases),
            patients=len({case.patient for case in cases}),
            sizes=tuple(sorted({(case.width, case.height) for case in cases})),
            spacing=tuple(sorted({case.spacing for case in cases if case.spacing})),
            labels=self._labels.counts,
            masks=tuple(self._labels.masks.items()),
            any_label_digest=self._digest.hexdigest(),
            how=dict(sorted(self._how.items())),
            official_test=tuple(sorted(self._official)),
            on_both_official_sides=tuple(sorted(self._official & others)),
            set_aside=tuple(self._set_aside),
            left_out=tuple(self._left_out),
            twins=twins.identical(cases, self._marks),
            files=hashes.relative(source.root, digest_of_file, digest_of_file) | source.tables,
        )


def write(source: Source, work: Path, jobs: int, progress: Progress) -> None:
    """Write pixels, the table of cases, and what is known of the files.

    Raises:
        UsageError: No case can be used, or a file changed while it was read.
    """
    with _Pixels(work) as pixels:
        kept = _Kept(source, pixels)
        for item, read in read_all(source, jobs, progress):
            kept.add(item, read)
    kept.finish(work)
    _check_unchanged(source)


def _check_unchanged(source: Source) -> None:
    """Refuse files that changed after they were hashed: which content was read is unknown.

    Raises:
        UsageError: A file changed.
    """
    before = source.hashes.digests
    after = hashes.read(source.root, list(before)).digests
    for path in before:
        if after.get(path) != before[path]:
            raise UsageError(f"{path} changed while it was read; run again when it is complete")


def _write_cases(path: Path, cases: Sequence[Case], packed: Sequence[bool]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*HEADINGS, *OF_PLACES])
        for case, few in zip(cases, packed, strict=True):
            spacing = case.spacing or ("", "")
            bits = 8 if few else 16
            whose = formulas.harmless(case.patient)
            lies: tuple[object, ...] = ("", "", "")
            if case.place:
                thickness = "" if case.place.thickness is None else case.place.thickness
                lies = (formulas.harmless(case.place.volume), case.place.position, thickness)
            table.writerow([case.id, whose, case.height, case.width, *spacing, bits, *lies])


def _unusable(name: str, seen: set[str]) -> str:
    """Return why a case cannot have a name; empty if it can."""
    try:
        safe_name(name, "case")
    except UsageError as error:
        return str(error)
    if name.lower() in seen:
        return f"another case is named {name} already, whatever its case; rename one of them"
    return ""
