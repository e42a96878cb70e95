"""Read the items of a source, here or in processes; one that cannot be read says why."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data import twins
from bench.data.pack import Numbered, pack, unpack
from bench.data.pool import Pool, watched
from bench.data.readers import limits
from bench.data.source import Source, reason
from bench.spec import processes
from bench.spec.case import Sample
from bench.spec.dataset import Adapter, Item
from bench.spec.errors import UsageError
from bench.spec.note import Progress

LIGHT, FEW = 20_000_000, 8
"""Fewer items than `FEW` with fewer bytes than `LIGHT` are read sooner than processes start."""
SMALL, MANY = 2_000_000, 8
"""Where items have fewer bytes than `SMALL` on average, a process is handed `MANY` at once: to hand
over takes time, too."""
LACKS_MEMORY = re.compile(
    r"(allocate|insufficient)\b.{0,40}\b(memory|bytes)|bad_alloc|out of memory", re.IGNORECASE
)
"""What OpenCV, ITK and others say where memory could not be had."""


@dataclass(frozen=True)
class PackedSample:
    """A sample as it is stored: a byte a pixel, where its grey values are few."""

    sample: Sample
    packed: Numbered | None
    """Numbers of grey values, and the grey values; None where these are too many."""
    mark: bytes
    """The digest of its image, by which equal images are found."""

    @classmethod
    def of(cls, sample: Sample) -> PackedSample:
        """Return a sample in as few bytes as it takes."""
        packed = pack(sample.image)
        return cls(sample, packed, twins.mark(*(packed or (sample.image,))))

    def light(self) -> PackedSample:
        """Return it without the image where that is packed: fewer bytes for another process."""
        if self.packed is None:
            return self
        no_image = np.zeros((0, 0), np.uint16)
        return replace(self, sample=replace(self.sample, image=no_image))

    @property
    def image(self) -> NDArray[np.uint16]:
        """The image (H, W) in 65535 steps, unpacked where `light` left it out."""
        if self.packed is None or self.sample.image.size:
            return self.sample.image
        return unpack(*self.packed)


@dataclass(frozen=True)
class ReadItem:
    """The result of reading an item: its samples, or why there are none."""

    samples: list[PackedSample]
    why: str = ""


def _read(adapter: Adapter, item: Item) -> ReadItem:
    """Read an item.

    Raises:
        MemoryError: Its file takes more memory than a reader may.
    """
    if why := reason(item):  # it was left out already
        return ReadItem([], why)
    if not _is_of_user(adapter, item):  # an error of a simulation is one of this code
        return ReadItem(list(map(PackedSample.of, adapter.read(item))))
    try:
        return ReadItem(list(map(PackedSample.of, adapter.read(item))))
    except Exception as error:  # a library may raise anything; the other files must continue
        if _lacks_memory(error) or _lacks_memory(error.__cause__):
            raise MemoryError(
                f"{item.files[0]} takes more than {limits.memory() / 1e9:.3g} GB to read, of "
                f"{processes.memory() / 1e9:.3g} GB; remove it, or set {limits.SHARE_VARIABLE}"
            ) from error
        if isinstance(error, UsageError):
            return ReadItem([], str(error))
        said = (str(error).strip() or "no reason is given").splitlines()[-1]
        why = f"{item.files[0]} cannot be used ({type(error).__name__}: {said}); look at the file"
        return ReadItem([], why)


def _is_of_user(adapter: Adapter, item: Item) -> bool:
    """Return whether an item is files, which may hold anything, and no simulation."""
    return adapter.source == "real" and bool(item.files)


def _lacks_memory(error: BaseException | None) -> bool:
    """Return whether an error says that memory could not be had, as each library says it."""
    return isinstance(error, MemoryError) or bool(LACKS_MEMORY.search(str(error or "")))


@contextmanager
def _guarded() -> Iterator[None]:
    """Hold what is read within to its share of memory, and keep libraries from the terminal.

    Their logs and warnings would name no file. Where a file is wrong, they raise an error too.
    """
    before = logging.root.manager.disable
    with warnings.catch_warnings(), processes.at_most(limits.memory()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def _read_light(adapter: Adapter, item: Item) -> ReadItem:
    """Read an item in a process of the pool."""
    read = _read(adapter, item)
    return replace(read, samples=[sample.light() for sample in read.samples])


def read_all(source: Source, jobs: int, progress: Progress) -> Iterator[tuple[Item, ReadItem]]:
    """Yield each item with its result, in order; up to `jobs` processes read them.

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
    """Return whether one process is as fast as several: of a single item, or of small ones."""
    return len(items) == 1 or (len(items) < FEW and _bytes(items) < LIGHT)


def _here(source: Source) -> Iterator[ReadItem]:
    """Read the items in this process."""
    seconds = limits.seconds()
    for item in source.items:
        yield _read_here(source.adapter, item, seconds)


def _read_here(adapter: Adapter, item: Item, seconds: float) -> ReadItem:
    """Read an item in this process, which is ended if a library does not return in time."""
    if not _is_of_user(adapter, item):
        return _read(adapter, item)
    with watched(_named(item), seconds), _guarded():
        return _read(adapter, item)


def _by_pool(source: Source, jobs: int) -> Iterator[ReadItem]:
    """Read the items in processes; if a library crashes, its file alone is left out.

    Raises:
        UsageError: A process was killed, or took too long.
    """
    work = partial(_read_light, source.adapter)
    at_once = MANY if _bytes(source.items) < len(source.items) * SMALL else 1
    pool = Pool(work, source.items, jobs, limits.seconds(), at_once, within=_guarded)
    for item, read in zip(source.items, pool.results(), strict=True):
        if isinstance(read, ReadItem):
            yield read
        elif read.crashed:
            yield ReadItem([], f"{_named(item)} {read.why}; write it again in another way")
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
    """Return the bytes of a file, 0 where it cannot be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0  # its reader will say why
