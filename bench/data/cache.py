"""Prepare a dataset once: read and check every sample, and write a cache to be memory-mapped.

The folder of the cache holds what was read (`images.u16`, `masks.u8`, `cases.csv`,
`reading.json`); below it, a folder for each choice of foreground labels has a manifest alone. So
another choice reads nothing again.
"""

from __future__ import annotations

import csv
import hashlib
import multiprocessing
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pooch
from numpy.typing import NDArray

from bench.data import hashes
from bench.data import manifest as manifests
from bench.data.hashes import Hashes
from bench.data.manifest import Manifest, Reading
from bench.spec import machine
from bench.spec.case import BACKGROUND, Case, Dataset, Decision, Sample
from bench.spec.config import safe_name
from bench.spec.dataset import Adapter, Item
from bench.spec.errors import UsageError
from bench.spec.note import Progress
from bench.spec.plain import content_hash

FORMAT = 3
"""Version of the cache's layout; another version is prepared anew."""
LIGHT = 20_000_000
"""Up to this number of bytes, reading a few files takes less time than starting processes."""
SMALL, MANY = 2_000_000, 8
"""Items of fewer bytes than this are handed to a process so many at once."""
MOST_LABELS = 256
"""Labels that the masks of a dataset may hold in all."""


Inside = Callable[[Path], bool]
"""Whether a path lies in a source's folder."""


@dataclass(frozen=True)
class _Source:
    """What is to be prepared."""

    adapter: Adapter
    root: Path
    items: list[Item]
    hashes: Hashes
    tables: dict[str, str]
    """SHA-256 of the tables that say what the images are, by name."""

    @cached_property
    def folder(self) -> Path:
        """The folder of the cache: its name depends on the rules and the content of the files."""
        items = [self._identity(item) for item in self.items]
        adapter = self.adapter
        tables = list(self.tables.values())
        key = content_hash([FORMAT, adapter.name, adapter.rules(), items, tables])
        return machine.cache_root() / f"{adapter.name}-{adapter.source}-{key[:16]}"

    @property
    def view(self) -> Path:
        """The folder of the manifest: its name depends on the choice of labels too."""
        return self.folder / f"foreground-{content_hash(self.adapter.choice())[:8]}"

    def _identity(self, item: Item) -> list[Any]:
        """Return all that decides what an item becomes, wherever the folder lies."""
        paths = (*item.files, *item.sides)
        content = hashes.relative(self.root, paths, self.hashes.digests)
        why = item.left_out.replace(str(self.root), "")
        known = [item.patient, item.spacing, item.official, item.key, list(item.how)]
        return [content, why, *known]


def find(adapter: Adapter, root: Path) -> Path | None:
    """Return the prepared dataset's folder; None if the source is not prepared or has changed."""
    folder = _source(adapter, root, 1).view
    return folder if manifests.exists(folder) else None


def _silent(name: str, done: int, total: int) -> None:
    """Tell nobody."""


def _source(adapter: Adapter, root: Path, jobs: int, progress: Progress = _silent) -> _Source:
    """List a source's items and hash their files; what cannot be used is marked as left out.

    Raises:
        UsageError: There are no items, or all are left out.
    """
    inside = _inside(root)
    items = [_refused(item, root, inside) for item in adapter.items(root)]
    paths = chain.from_iterable((*item.files, *item.sides) for item in items)
    known = hashes.read(
        root,
        list(dict.fromkeys(paths)),
        jobs,
        lambda done, total: progress(f"{adapter.name} (comparing files)", done, total),
    )
    items = [_unreadable(item, known) for item in items]
    if not items:
        raise UsageError(f"{root}: nothing is in it; expected images with masks")
    if all(item.left_out for item in items):
        more = f" ({len(items)} in all)" if len(items) > 1 else ""
        raise UsageError(_reason(items[0]) + more)
    tables = adapter.tables(root) if adapter.source == "real" else []
    of_tables = {path.name: pooch.file_hash(path) for path in tables}
    return _Source(adapter, root, items, known, of_tables)


def _refused(item: Item, root: Path, inside: Inside) -> Item:
    """Return an item, left out if a file lies outside the source's folder."""
    for path in (*item.files, *item.sides):
        if not inside(path):
            why = f"{path} leads out of {root}; copy it there or remove the link"
            return replace(item, files=(), sides=(), left_out=why)
    return item


def _inside(root: Path) -> Inside:
    """Return whether a path lies in a folder when links are followed; only links are looked at."""
    real = root.resolve()
    folders: dict[Path, bool] = {}

    def inside(path: Path) -> bool:
        if path.is_symlink():
            return path.resolve().is_relative_to(real)
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve().is_relative_to(real)
        return folders[path.parent]

    return inside


def _unreadable(item: Item, known: Hashes) -> Item:
    """Return an item, left out if a file is missing or the system cannot read it."""
    for path in (*item.files, *item.sides):
        if path not in known.errors or item.left_out:
            continue
        why = f"{path} {known.errors[path]}"
        if not path.is_file():
            why = f"{path} is no file; add it, or remove its header or row"
        return replace(item, files=(), sides=(), left_out=why)
    return item


def _reason(item: Item) -> str:
    """Return why an item is left out, with the name of its file; empty if it is not."""
    return f"{item.files[0]}: {item.left_out}" if item.left_out and item.files else item.left_out


def prepare(
    adapter: Adapter,
    root: Path,
    jobs: int = 1,
    progress: Progress = _silent,
) -> Path:
    """Return the folder of the prepared dataset; read the source only if it is new or has changed.

    Raises:
        UsageError: The layout is missing, no case can be used, the user must say which labels are
            foreground, or the cache is not writable.
    """
    source = _source(adapter, root, jobs, progress)
    if manifests.exists(source.view):
        return source.view
    if not (source.folder / manifests.READING).is_file():
        with _whole(source.folder) as work:
            _write(source, work, jobs, progress)
    reading = manifests.reading(source.folder)
    decision = adapter.decide(reading.census)
    manifest = _decided(source, reading, decision)
    with _whole(source.view) as work:
        manifests.write(manifest, work / manifests.FILE)
    return source.view


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Yield a folder to write in, and rename it to the target: this is never incomplete.

    Raises:
        UsageError: The cache cannot be written, or holds a damaged folder of this name.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            work = Path(scratch) / "prepared"
            work.mkdir()
            yield work
            work.rename(target)
    except OSError as error:
        if not target.is_dir():
            raise UsageError(
                f"cache {target.parent} cannot be written ({error.strerror}); set BENCH_CACHE"
            ) from error
        complete = (manifests.FILE, manifests.READING)
        if not any((target / name).is_file() for name in complete):
            raise UsageError(
                f"prepared dataset {target} is damaged (no manifest); "
                "remove the folder and run again"
            ) from error
        # Another process was faster.


def _decided(source: _Source, reading: Reading, decision: Decision) -> Manifest:
    """Return the manifest of a reading with a choice of foreground labels."""
    labels = list(reading.labels)
    foreground = tuple(label for label in labels if label in decision.foreground)
    pixels = sum(reading.labels[label] for label in foreground)
    how = dict(reading.how) | dict.fromkeys(decision.how, reading.cases)
    digest = reading.any_label_digest
    if set(foreground) != set(labels) - {BACKGROUND}:
        numbers = tuple(labels.index(label) for label in foreground)
        digest = digest_of(_open(source.folder, reading, numbers))
    values = {name: getattr(reading, name) for name in Reading.__struct_fields__}
    return Manifest(
        **{**values, "how": how},
        digest=digest,
        choice=source.adapter.choice(),
        foreground=foreground,
        foreground_share=pixels / sum(reading.labels.values()),
    )


@dataclass(frozen=True)
class _Read:
    """The result of reading an item: its samples, or why there are none."""

    samples: list[Sample]
    why: str = ""


def _read(work: tuple[Adapter, Item]) -> _Read:
    adapter, item = work
    if why := _reason(item):
        return _Read([], why)
    try:
        return _Read(list(adapter.read(item)))
    except UsageError as error:
        return _Read([], str(error))
    except Exception as error:  # a library may raise anything; the other files must continue
        if adapter.source != "real" or not item.files:
            raise
        reason = (str(error).strip() or "no reason is given").splitlines()[0]
        why = f"{item.files[0]} cannot be used ({type(error).__name__}: {reason}); look at the file"
        return _Read([], why)


def _add(
    digest: hashlib._Hash, case: Case, image: NDArray[np.uint16], mask: NDArray[np.uint8]
) -> None:
    """Add a case to the digest of its dataset: its record and its pixels."""
    digest.update(repr(asdict(case)).encode())
    digest.update(_bytes(image))
    digest.update(_bytes(mask))


def _bytes(pixels: NDArray[Any]) -> memoryview:
    """Return pixels as bytes in row order, without a copy where they lie so."""
    return np.ascontiguousarray(pixels).data


def digest_of(dataset: Dataset) -> str:
    """Return the SHA-256 over all that a method can depend on, cases set aside included."""
    digest = hashlib.sha256()
    for index, case in enumerate(dataset.cases):
        _add(digest, case, dataset.image(index), dataset.mask(index))
    _add_set_aside(digest, [dataset.cases[index].id for index in sorted(dataset.set_aside)])
    return digest.hexdigest()


def _add_set_aside(digest: hashlib._Hash, names: Sequence[str]) -> None:
    if names:
        digest.update(repr(("set aside", *names)).encode())


def _all(source: _Source, jobs: int, progress: Progress) -> Iterator[tuple[Item, _Read]]:
    """Yield each item with its result, in order; `jobs` processes read them."""
    items, name = source.items, source.adapter.name
    tasks = [(source.adapter, item) for item in items]
    size = sum(map(_size, chain.from_iterable(item.files for item in items)))
    light = len(items) < 8 and size < LIGHT
    if jobs == 1 or len(items) == 1 or light:
        for done, (item, task) in enumerate(zip(items, tasks, strict=True), 1):
            yield item, _read(task)
            progress(name, done, len(items))
        return
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(min(jobs, len(items)), context, _obey)
    try:
        at_once = MANY if size < len(items) * SMALL else 1
        results = pool.map(_read, tasks, chunksize=at_once)
        for done, (item, read) in enumerate(zip(items, results, strict=True), 1):
            yield item, read
            progress(name, done, len(items))
    except BrokenProcessPool as error:
        raise UsageError(
            f"{source.root}: a reading process was killed, as happens when memory runs out "
            f"(each of {jobs} holds a volume); free some and run again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _obey() -> None:
    """End at SIGTERM, by which the pool stops readers; the launcher's server ignores it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


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


def _write(source: _Source, work: Path, jobs: int, progress: Progress) -> None:
    """Write pixels, the table of cases, and what is known of the files."""
    adapter = source.adapter
    digest = hashlib.sha256()
    cases: list[Case] = []
    seen: set[str] = set()
    left_out: list[str] = []
    labels = _Labels()
    how: Counter[str] = Counter()
    official = {item.patient for item in source.items if item.official}
    others = {item.patient for item in source.items if not item.official and not item.left_out}
    set_aside: list[str] = []
    with (work / "images.u16").open("wb") as images, (work / "masks.u8").open("wb") as masks:
        for item, read in _all(source, jobs, progress):
            if read.why:
                left_out.append(read.why)
            file = str(item.files[-1]) if item.files else adapter.name
            for sample in read.samples:
                if why := _unusable(sample.id, seen):
                    left_out.append(f"{item.files[0] if item.files else adapter.name}: {why}")
                    continue
                height, width = sample.image.shape
                case = Case(sample.id, sample.patient, height, width, sample.spacing)
                seen.add(case.id.lower())
                cases.append(case)
                mask = labels.add(sample, file)
                binary = mask if len(labels.counts) == 2 else np.minimum(mask, 1)
                _add(digest, case, sample.image, binary)
                images.write(_bytes(sample.image))
                masks.write(_bytes(mask))
                how.update((*item.how, *sample.how))
                if case.patient in official and not item.official:
                    set_aside.append(case.id)
    if not cases:
        more = f" ({len(left_out)} in all)" if len(left_out) > 1 else ""
        raise UsageError(left_out[0] + more)
    _add_set_aside(digest, set_aside)
    _write_cases(work / "cases.csv", cases)
    known = source.hashes.digests
    reading = Reading(
        format=FORMAT,
        name=adapter.name,
        source=adapter.source,
        rules=adapter.rules(),
        cases=len(cases),
        patients=len({case.patient for case in cases}),
        sizes=tuple(sorted({(case.width, case.height) for case in cases})),
        spacing=tuple(sorted({case.spacing for case in cases if case.spacing})),
        labels=labels.counts,
        masks=tuple(labels.masks.items()),
        any_label_digest=digest.hexdigest(),
        how=dict(sorted(how.items())),
        official_test=tuple(sorted(official)),
        on_both_official_sides=tuple(sorted(official & others)),
        set_aside=tuple(set_aside),
        left_out=tuple(left_out),
        files=hashes.relative(source.root, known, known) | source.tables,
    )
    manifests.write(reading, work / manifests.READING)
    _check_unchanged(source)


def _check_unchanged(source: _Source) -> None:
    """Refuse files that changed after they were hashed: which content was read is unknown.

    Raises:
        UsageError: A file changed.
    """
    before = source.hashes.digests
    after = hashes.read(source.root, list(before)).digests
    for path in before:
        if after.get(path) != before[path]:
            raise UsageError(f"{path} changed while it was read; run again when it is complete")


def _write_cases(path: Path, cases: Sequence[Case]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "patient", "height", "width", "row_mm", "column_mm"])
        for case in cases:
            spacing = case.spacing or ("", "")
            table.writerow([case.id, case.patient, case.height, case.width, *spacing])


def _unusable(name: str, seen: set[str]) -> str:
    """Return why a case cannot have a name; empty if it can."""
    try:
        safe_name(name, "case")
    except UsageError as error:
        return str(error)
    if name.lower() in seen:
        return f"another case is named {name} already, whatever its case; rename one of them"
    return ""


def load(folder: Path) -> Dataset:
    """Open a prepared dataset; pixels are memory-mapped, not read.

    Raises:
        UsageError: A file of the cache is missing or has another size than its manifest says.
    """
    try:
        manifest = manifests.read(folder)
        numbers = {label: number for number, label in enumerate(manifest.labels)}
        foreground = tuple(numbers[label] for label in manifest.foreground)
        dataset = _open(folder.parent, manifest, foreground)
        return replace(dataset, digest=manifest.digest, how=manifest.assumed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"prepared dataset {folder.parent} is damaged ({error}); "
            "remove the folder and run again"
        ) from error


def _open(folder: Path, known: Reading, foreground: tuple[int, ...]) -> Dataset:
    """Open what was read, with the numbers of the labels that are foreground."""
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
        cases = tuple(_case(row) for row in csv.DictReader(file))
    images = np.memmap(folder / "images.u16", dtype=np.uint16, mode="r")
    masks = np.memmap(folder / "masks.u8", dtype=np.uint8, mode="r")
    sizes = [case.height * case.width for case in cases]
    starts = np.cumsum([0, *sizes]).tolist()
    if not starts[-1] == len(images) == len(masks) or len(cases) != known.cases:
        raise UsageError(
            f"prepared dataset {folder} is incomplete; remove the folder and run again"
        )
    aside = set(known.set_aside)
    return Dataset(
        name=known.name,
        source=known.source,
        digest="",
        cases=cases,
        images=images,
        masks=masks,
        starts=tuple(starts[:-1]),
        foreground=foreground,
        left_out=known.left_out,
        official=frozenset(known.official_test),
        set_aside=frozenset(i for i, case in enumerate(cases) if case.id in aside),
    )


def _case(row: dict[str, str]) -> Case:
    spacing = (float(row["row_mm"]), float(row["column_mm"])) if row["row_mm"] else None
    return Case(row["case"], row["patient"], int(row["height"]), int(row["width"]), spacing)
