"""Prepare a dataset once: read and check every sample, and write a cache to be memory-mapped."""

from __future__ import annotations

import csv
import hashlib
import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray

from bench.data import manifest as manifests
from bench.data.manifest import Manifest
from bench.spec import machine
from bench.spec.case import Case, Dataset, Sample
from bench.spec.config import safe_name
from bench.spec.dataset import Adapter, Item
from bench.spec.errors import UsageError
from bench.spec.note import Progress
from bench.spec.plain import content_hash

FORMAT = 2
"""Version of the cache's layout; another version is prepared anew."""
LIGHT = 20_000_000
"""Up to this number of bytes, reading a few files takes less time than starting processes."""
TABLES = ("index.csv", "patients.csv")
"""Tables beside the images that list the patients."""


def find(adapter: Adapter, root: Path) -> Path | None:
    """Return the prepared dataset's folder; None if the source is not prepared or has changed."""
    folder = _folder(adapter, root, _items(adapter, root))
    return folder if manifests.exists(folder) else None


def _items(adapter: Adapter, root: Path) -> list[Item]:
    """Return the items of a source, with those that cannot be used marked as left out.

    Raises:
        UsageError: There are no items, or all are left out.
    """
    inside = root.resolve()
    items = [_refused(item, root, inside) for item in adapter.items(root)]
    if not items:
        raise UsageError(f"{root}: nothing is in it; expected images with masks")
    if all(item.left_out for item in items):
        raise UsageError(_reason(items[0]))
    return items


def _refused(item: Item, root: Path, inside: Path) -> Item:
    """Return an item, left out if a file is missing or lies outside the source's folder."""
    for path in item.files:
        if not path.resolve().is_relative_to(inside):
            why = f"{path} leads out of {root}; copy it there or remove the link"
            return replace(item, files=(), left_out=why)
    for path in item.files:
        if not path.is_file():
            return replace(item, files=(), left_out=f"{path} is no file; remove it or its row")
    return item


def _reason(item: Item) -> str:
    """Return why an item is left out, with the name of its file; empty if it is not."""
    return f"{item.files[0]}: {item.left_out}" if item.left_out and item.files else item.left_out


def _folder(adapter: Adapter, root: Path, items: list[Item]) -> Path:
    """Return the folder of the cache, without reading any file.

    The folder's name depends on the rules and on the names, sizes and times of the files.
    """
    stats = []
    for path in chain.from_iterable(item.files for item in items):
        stat = path.stat()
        stats.append((str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns))
    patients = [(item.patient, item.spacing) for item in items]
    key = content_hash([FORMAT, adapter.name, adapter.rules(), patients, stats])
    return machine.cache_root() / f"{adapter.name}-{adapter.source}-{key[:16]}"


def prepare(
    adapter: Adapter,
    root: Path,
    jobs: int = 1,
    progress: Progress = lambda name, done, total: None,
) -> Path:
    """Return the folder of the prepared dataset; read the source only if it is new or has changed.

    Raises:
        UsageError: The layout is missing, no case can be used, or the cache is not writable.
    """
    items = _items(adapter, root)
    folder = _folder(adapter, root, items)
    if manifests.exists(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            work = Path(scratch) / "prepared"
            work.mkdir()
            _write(adapter, root, items, work, jobs, progress)
            work.rename(folder)
    except OSError as error:
        if folder.is_dir() and not manifests.exists(folder):
            raise UsageError(
                f"prepared dataset {folder} is damaged (no manifest); "
                "remove the folder and run again"
            ) from error
        if not folder.is_dir():  # else another process was faster
            raise UsageError(
                f"cache {folder.parent} cannot be written ({error.strerror}); set BENCH_CACHE"
            ) from error
    return folder


@dataclass(frozen=True)
class _Read:
    """The result of reading an item: its samples, why there are none, its files' SHA-256."""

    samples: list[Sample]
    why: str
    files: dict[str, str]


def _read(work: tuple[Adapter, Item, Path]) -> _Read:
    adapter, item, root = work
    samples, why = [], _reason(item)
    if not why:
        try:
            samples = list(adapter.read(item))
        except UsageError as error:
            samples, why = [], str(error)
        except Exception as error:  # a library may raise anything; the other files must continue
            if adapter.source != "real" or not item.files:
                raise
            reason = (str(error).strip() or "no reason is given").splitlines()[0]
            samples = []
            why = (
                f"{item.files[0]} cannot be used ({type(error).__name__}: {reason}); "
                "look at the file"
            )
    files = {str(path.relative_to(root)): pooch.file_hash(path) for path in item.files}
    return _Read(samples, why, files)


def identity(case: Case, image: NDArray[np.uint16], mask: NDArray[np.uint8]) -> bytes:
    """Return a case's bytes for the digest of its dataset: all that a method can depend on."""
    return repr(asdict(case)).encode() + image.tobytes() + mask.tobytes()


def _all(
    adapter: Adapter, root: Path, items: list[Item], jobs: int, progress: Progress
) -> Iterator[_Read]:
    """Yield the result of each item in order; `jobs` processes read them."""
    tasks = [(adapter, item, root) for item in items]
    files = chain.from_iterable(item.files for item in items)
    light = len(items) < 8 and sum(path.stat().st_size for path in files) < LIGHT
    if jobs == 1 or len(items) == 1 or light:
        for done, task in enumerate(tasks, 1):
            yield _read(task)
            progress(adapter.name, done, len(items))
        return
    pool = ProcessPoolExecutor(min(jobs, len(items)), multiprocessing.get_context("forkserver"))
    try:
        for done, read in enumerate(pool.map(_read, tasks), 1):
            yield read
            progress(adapter.name, done, len(items))
    except BrokenProcessPool as error:
        raise UsageError(
            f"{root}: a reading process was killed, as happens when memory runs out "
            f"(each of {jobs} holds a volume); free some and run again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _write(
    adapter: Adapter, root: Path, items: list[Item], work: Path, jobs: int, progress: Progress
) -> None:
    """Write pixels, case table and manifest; the digest covers all that a method can depend on."""
    digest = hashlib.sha256()
    cases: list[Case] = []
    seen: set[str] = set()
    left_out: list[str] = []
    files: dict[str, str] = {}
    foreground = 0
    with (work / "images.u16").open("wb") as images, (work / "masks.u8").open("wb") as masks:
        for read in _all(adapter, root, items, jobs, progress):
            files |= read.files
            if read.why:
                left_out.append(read.why)
            for sample in read.samples:
                height, width = sample.image.shape
                if why := _unusable(sample.id, seen):
                    left_out.append(f"{next(iter(read.files), adapter.name)}: {why}")
                    continue
                case = Case(sample.id, sample.patient, height, width, sample.spacing)
                seen.add(case.id.lower())
                cases.append(case)
                digest.update(identity(case, sample.image, sample.mask))
                images.write(sample.image.tobytes())
                masks.write(sample.mask.tobytes())
                foreground += int(sample.mask.sum())
    if not cases:
        more = f" ({len(left_out)} in all)" if len(left_out) > 1 else ""
        raise UsageError(left_out[0] + more)
    with (work / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "patient", "height", "width", "row_mm", "column_mm"])
        for case in cases:
            spacing = case.spacing or ("", "")
            table.writerow([case.id, case.patient, case.height, case.width, *spacing])
    tables = []
    if adapter.source == "real":
        tables = [root / name for name in TABLES if (root / name).is_file()]
    official = {item.patient for item in items if item.official}
    others = {item.patient for item in items if not item.official}
    pixels_in_all = sum(case.height * case.width for case in cases)
    manifest = Manifest(
        format=FORMAT,
        name=adapter.name,
        source=adapter.source,
        digest=digest.hexdigest(),
        rules=adapter.rules(),
        cases=len(cases),
        patients=len({case.patient for case in cases}),
        sizes=tuple(sorted({(case.width, case.height) for case in cases})),
        spacing=tuple(sorted({case.spacing for case in cases if case.spacing})),
        foreground_share=foreground / pixels_in_all,
        official_test=tuple(sorted(official)),
        on_both_official_sides=tuple(sorted(official & others)),
        left_out=tuple(left_out),
        files=files | {path.name: pooch.file_hash(path) for path in tables},
    )
    manifest.write(work)


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
        with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
            cases = tuple(_case(row) for row in csv.DictReader(file))
        images = np.memmap(folder / "images.u16", dtype=np.uint16, mode="r")
        masks = np.memmap(folder / "masks.u8", dtype=np.uint8, mode="r")
        sizes = [case.height * case.width for case in cases]
        starts = np.cumsum([0, *sizes]).tolist()
        if not starts[-1] == len(images) == len(masks) or len(cases) != manifest.cases:
            raise UsageError(
                f"prepared dataset {folder} is incomplete; remove the folder and run again"
            )
        return Dataset(
            manifest.name,
            manifest.source,
            manifest.digest,
            cases,
            images,
            masks,
            tuple(starts[:-1]),
            manifest.left_out,
            frozenset(manifest.official_test),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"prepared dataset {folder} is damaged ({error}); remove the folder and run again"
        ) from error


def _case(row: dict[str, str]) -> Case:
    spacing = (float(row["row_mm"]), float(row["column_mm"])) if row["row_mm"] else None
    return Case(row["case"], row["patient"], int(row["height"]), int(row["width"]), spacing)
