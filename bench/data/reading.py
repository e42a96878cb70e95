"""Read the items of a source in processes, and write what they hold."""

from __future__ import annotations

import csv
import hashlib
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data import digest as digests
from bench.data import hashes, twins
from bench.data import manifest as manifests
from bench.data.manifest import Reading
from bench.data.pack import CODES, IMAGES, LEVELS, MASKS, PIXELS, Numbered, pack, unpack
from bench.data.pool import Pool, watched
from bench.data.readers import limits
from bench.data.source import FORMAT, Source, reason
from bench.spec import formulas, processes
from bench.spec.case import BACKGROUND, Case, Sample
from bench.spec.dataset import Adapter, Item
from bench.spec.errors import UsageError
from bench.spec.names import safe_name
from bench.spec.note import Progress

LIGHT = 20_000_000
"""Up to this number of bytes, reading a few files takes less time than starting processes."""
SMALL, MANY = 2_000_000, 8
"""Items of fewer bytes than this are handed to a process so many at once."""
LACKS_MEMORY = re.compile(
    r"(allocate|insufficient)\b.{0,40}\b(memory|bytes)|bad_alloc|out of memory", re.IGNORECASE
)
"""What OpenCV, ITK and others say where memory could not be had."""
HEADINGS = ("case", "patient", "height", "width", "row_mm", "column_mm", "bits")
OF_PLACES = ("volume", "position", "slice_mm")
"""The columns of the table of cases: what a case is, and where it lies in its volume."""
MOST_LABELS = 256
"""Labels that the masks of a dataset may hold in all."""


@dataclass(frozen=True)
class _Packed:
    """A sample as it is stored: a byte a pixel, where its grey values are few."""

    sample: Sample
    packed: Numbered | None
    """Numbers of grey values, and the grey values."""
    mark: bytes
    """The digest of its image."""

    @classmethod
    def of(cls, sample: Sample) -> _Packed:
        """Return a sample in as few bytes as it takes."""
        packed = pack(sample.image)
        return cls(sample, packed, twins.mark(*(packed or (sample.image,))))

    def light(self) -> _Packed:
        """Return it without the image where that is packed, to be sent to another process."""
        if self.packed is None:
            return self
        return replace(self, sample=replace(self.sample, image=np.zeros((0, 0), np.uint16)))

    @property
    def image(self) -> NDArray[np.uint16]:
        """The image (H, W) in 65535 steps."""
        if self.packed is None or self.sample.image.size:
            return self.sample.image
        return unpack(*self.packed)


@dataclass(frozen=True)
class _Read:
    """The result of reading an item: its samples, or why there are none."""

    samples: list[_Packed]
    why: str = ""


def _read(adapter: Adapter, item: Item) -> _Read:
    """Read an item.

    Raises:
        UsageError: The machine's memory is too small for it.
    """
    if why := reason(item):
        return _Read([], why)
    if not _is_of_user(adapter, item):
        return _Read(list(map(_Packed.of, adapter.read(item))))
    try:
        return _Read(list(map(_Packed.of, adapter.read(item))))
    except Exception as error:  # a library may raise anything; the other files must continue
        if _lacks_memory(error) or _lacks_memory(error.__cause__):
            raise MemoryError(
                f"{item.files[0]} takes more than {limits.memory() / 1e9:.3g} GB to read, of "
                f"{processes.memory() / 1e9:.3g} GB; remove it, or set {limits.SHARE_VARIABLE}"
            ) from error
        if isinstance(error, UsageError):
            return _Read([], str(error))
        said = (str(error).strip() or "no reason is given").splitlines()[-1]
        why = f"{item.files[0]} cannot be used ({type(error).__name__}: {said}); look at the file"
        return _Read([], why)


def _is_of_user(adapter: Adapter, item: Item) -> bool:
    """Return whether an item is files, which may hold anything, and no simulation."""
    return adapter.source == "real" and bool(item.files)


def _lacks_memory(error: BaseException | None) -> bool:
    """Return whether an error says that memory could not be had, as each library says it."""
    return isinstance(error, MemoryError) or bool(LACKS_MEMORY.search(str(error or "")))


@contextmanager
def _guarded() -> Iterator[None]:
    """Hold what is read within to its share of memory, and keep libraries from the terminal.

    What they log and warn of a file is an error where something is wrong.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings(), processes.at_most(limits.memory()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def _read_light(adapter: Adapter, item: Item) -> _Read:
    """Read an item in a process of the pool."""
    read = _read(adapter, item)
    return replace(read, samples=[one.light() for one in read.samples])


def _all(source: Source, jobs: int, progress: Progress) -> Iterator[tuple[Item, _Read]]:
    """Yield each item with its result, in order; `jobs` processes read them.

    Raises:
        UsageError: A file is not read in time, or takes more memory than it may.
    """
    items, name = source.items, source.adapter.name
    reads = _here(source) if jobs == 1 or _is_light(items) else _by_pool(source, jobs)
    try:
        for done, item in enumerate(items, 1):
            yield item, next(reads)
            progress(name, done, len(items))
    except MemoryError as error:
        raise UsageError(str(error) or "there is not enough memory; free some") from error


def _is_light(items: Sequence[Item]) -> bool:
    """Return whether reading takes less time than starting processes."""
    return len(items) == 1 or (len(items) < 8 and _bytes(items) < LIGHT)


def _here(source: Source) -> Iterator[_Read]:
    """Read the items in this process."""
    seconds = limits.seconds()
    for item in source.items:
        yield _read_here(source.adapter, item, seconds)


def _read_here(adapter: Adapter, item: Item, seconds: float) -> _Read:
    """Read an item in this process, which ends where a library does not return."""
    if not _is_of_user(adapter, item):
        return _read(adapter, item)
    with watched(_named(item), seconds), _guarded():
        return _read(adapter, item)


def _by_pool(source: Source, jobs: int) -> Iterator[_Read]:
    """Read the items in processes.

    Raises:
        UsageError: A reader was killed; what a library's crash costs is its own file.
    """
    work = partial(_read_light, source.adapter)
    at_once = MANY if _bytes(source.items) < len(source.items) * SMALL else 1
    pool = Pool(work, source.items, jobs, limits.seconds(), at_once, within=_guarded)
    for item, read in zip(source.items, pool.results(), strict=True):
        if isinstance(read, _Read):
            yield read
        elif read.crashed:
            yield _Read([], f"{_named(item)} {read.why}; write it again in another way")
        else:
            raise UsageError(
                f"{_named(item)} {read.why}; run again, remove it, or see "
                f"{limits.SECONDS_VARIABLE} and {limits.SHARE_VARIABLE}"
            )


def _named(item: Item) -> str:
    """Return an item's first file, or whose it is where it has none."""
    return str(item.files[0]) if item.files else f"patient {item.patient}"


def _bytes(items: Sequence[Item]) -> int:
    """Return the bytes of all files of items."""
    return sum(map(_size, chain.from_iterable(item.files for item in items)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # its reader will say why


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

    def add(self, read: _Packed, image: NDArray[np.uint16], mask: NDArray[np.uint8]) -> None:
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
        self._official = {item.patient for item in source.items if item.official}

    def add(self, item: Item, read: _Read) -> None:
        """Keep an item's samples, or why there are none."""
        if read.why:
            self._left_out.append(read.why)
        while read.samples:  # each is forgotten before the next is read
            self._add(item, read.samples.pop(0))

    def _add(self, item: Item, one: _Packed) -> None:
        sample, image, name = one.sample, one.image, self._source.adapter.name
        if why := _unusable(sample.id, self._seen):
            self._left_out.append(f"{item.files[0] if item.files else name}: {why}")
            return
        height, width = image.shape
        case = Case(sample.id, sample.patient, height, width, sample.spacing, sample.place)
        self._seen.add(case.id.lower())
        self._cases.append(case)
        self._packed.append(one.packed is not None)
        self._marks.append(one.mark)
        mask = self._labels.add(sample, str(item.files[-1]) if item.files else name)
        binary = mask if len(self._labels.counts) == 2 else np.minimum(mask, 1)
        digests.add(self._digest, case, image, binary)
        self._pixels.add(one, image, mask)
        self._how.update((*item.how, *sample.how))
        if case.patient in self._official and not item.official:
            self._set_aside.append(case.id)

    def finish(self, work: Path) -> None:
        """Write the table of cases, and what is known of the files, into a folder.

        Raises:
            UsageError: No case can be used.
        """
        if not self._cases:
            first, *others = self._left_out
            raise UsageError(first + (f" ({len(self._left_out)} in all)" if others else ""))
        digests.add_set_aside(self._digest, self._set_aside)
        for line in twins.look_alike([case.patient for case in self._cases]):
            self._how[f"assumed: {line}"] = len(self._cases)
        _write_cases(work / "cases.csv", self._cases, self._packed)
        manifests.write(self._reading(), work / manifests.READING)

    def _reading(self) -> Reading:
        """Return what is known of the files."""
        source, cases = self._source, self._cases
        known = source.hashes.digests
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
            files=hashes.relative(source.root, known, known) | source.tables,
        )


def write(source: Source, work: Path, jobs: int, progress: Progress) -> None:
    """Write pixels, the table of cases, and what is known of the files.

    Raises:
        UsageError: No case can be used, or a file changed while it was read.
    """
    with _Pixels(work) as pixels:
        kept = _Kept(source, pixels)
        for item, read in _all(source, jobs, progress):
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
