"""Prepare a dataset once: read and check every sample, and write a cache to be memory-mapped.

The folder of the cache holds what was read: `images.u16`, `masks.u8`, `cases.csv` and
`reading.json`. Images of at most 256 grey values lie packed in `images.u8`, a byte a pixel, and
their grey values in `levels.u16`. Below it, each choice of foreground labels has a folder with a
manifest alone, so another choice reads nothing again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import manifest as manifests
from bench.data.digest import digest_of, with_instances
from bench.data.levels import levels_of, numbered
from bench.data.manifest import OF_ALL, Manifest, Reading
from bench.data.pack import CODES, IMAGES, LEVELS, MASKS, MOST_GREYS
from bench.data.scratch import scratch
from bench.data.source import Source, find_source, silent
from bench.data.writing import write
from bench.spec import formulas, machine
from bench.spec.case import BACKGROUND, Case, Dataset, Decision, Packed, Place
from bench.spec.dataset import Adapter
from bench.spec.errors import UsageError
from bench.spec.note import Progress


def find(adapter: Adapter, root: Path) -> Path | None:
    """Return the prepared dataset's folder; None if the source is not prepared or has changed."""
    folder = find_source(adapter, root, jobs=1).view
    return folder if manifests.exists(folder) else None


def find_by_digest(name: str, digest: str) -> Path | None:
    """Return the folder of a dataset with this digest, by whichever options it was prepared.

    A folder that is damaged, or that an older version prepared, is not it.
    """
    for file in sorted(machine.cache_root().glob(f"{name}-*/*/{manifests.FILE}")):
        with suppress(UsageError):
            if manifests.read(file.parent).digest == digest:
                return file.parent
    return None


def prepare(
    adapter: Adapter,
    root: Path,
    jobs: int = 1,
    progress: Progress = silent,
) -> Path:
    """Return the folder of the prepared dataset; read the source only if it is new or has changed.

    Raises:
        UsageError: The layout is missing, no case can be used, the user must say which labels are
            foreground, or the cache is not writable.
    """
    source = find_source(adapter, root, jobs, progress)
    if manifests.exists(source.view):
        return source.view
    if not (source.folder / manifests.READING).is_file():
        with _whole(source.folder) as work:
            write(source, work, jobs, progress)
    reading = manifests.reading(source.folder)
    decision = adapter.decide(reading.census)
    manifest = _decided(source, reading, decision)
    with _whole(source.view) as work:
        manifests.write(manifest, work / manifests.FILE)
    return source.view


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Yield a folder to write in, and rename it to the target, so the target is never incomplete.

    Raises:
        UsageError: The cache cannot be written, or holds a damaged folder of this name.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch(target) as folder:
            work = folder / "prepared"
            work.mkdir()
            yield work
            work.rename(target)
    except OSError as error:
        if _is_elsewhere(error, target.parent):
            raise  # of a file of the user's
        if not target.is_dir():
            why = error.strerror or error
            raise UsageError(
                f"cache {target.parent} cannot be written ({why}); set BENCH_CACHE"
            ) from error
        complete = (manifests.FILE, manifests.READING)
        if not any((target / name).is_file() for name in complete):
            raise UsageError(
                f"prepared dataset {target} is damaged (no manifest); "
                "remove the folder and run again"
            ) from error
        # Another process was faster.


def _is_elsewhere(error: OSError, folder: Path) -> bool:
    """Return whether an error names a file that is neither in a folder nor on the way to it."""
    if not isinstance(error.filename, str):
        return False
    path = Path(error.filename)
    return folder not in (path, *path.parents) and path not in folder.parents


def _decided(source: Source, reading: Reading, decision: Decision) -> Manifest:
    """Return the manifest of a reading with a choice of foreground labels."""
    labels = list(reading.labels)
    foreground = tuple(label for label in labels if label in decision.foreground)
    foreground_pixels = sum(reading.labels[label] for label in foreground)
    # What was decided, and for how many cases.
    how = dict(reading.how) | dict.fromkeys(decision.how, OF_ALL)
    classes = {}
    for name, own in decision.classes:
        classes[name] = tuple(label for label in labels if label in own)
    void = tuple(label for label in labels if label in decision.void)
    digest = reading.any_label_digest  # of every label but the background as one foreground
    if classes or set(foreground) != set(labels) - {BACKGROUND}:
        digest = digest_of(_open(source.folder, reading, foreground, classes, void))
    instances: dict[str, int] = {}
    if source.adapter.instances:
        instances = levels_of(source.adapter.name, foreground, reading.census)
        # The digest gets the number of each pixel's instance; no label has to be foreground for it.
        label_maps = _open(source.folder, reading, (), {}, ())
        with_numbers = replace(label_maps, levels=numbered(labels, instances))
        digest = with_instances(digest, with_numbers)
    of_reading = {name: getattr(reading, name) for name in Reading.__struct_fields__}
    return Manifest(
        **{**of_reading, "how": how},
        digest=digest,
        choice=source.choice,
        instances=instances,
        foreground=foreground,
        foreground_share=foreground_pixels / sum(reading.labels.values()),
        classes=classes,
        void=void,
    )


def load(folder: Path) -> Dataset:
    """Open a prepared dataset; pixels are memory-mapped, not read.

    Raises:
        UsageError: A file of the cache is missing or has another size than its manifest says.
    """
    try:
        manifest = manifests.read(folder)
        dataset = _open(
            folder.parent, manifest, manifest.foreground, manifest.classes, manifest.void
        )
        instances = numbered(list(manifest.labels), manifest.instances)
        return replace(dataset, digest=manifest.digest, how=manifest.assumed, levels=instances)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"prepared dataset {folder.parent} is damaged ({error}); "
            "remove the folder and run again"
        ) from error


def _open(
    folder: Path,
    reading: Reading,
    foreground: Sequence[str],
    classes: Mapping[str, Sequence[str]],
    void: Sequence[str],
) -> Dataset:
    """Open what was read, with the labels that are foreground, of a class, or void.

    The digest is left empty, for it depends on these labels.
    """
    number_of = {label: number for number, label in enumerate(reading.labels)}
    numbers_of_classes = []
    for own in classes.values():
        numbers_of_classes.append(tuple(number_of[label] for label in own))
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cases = tuple(map(_case, rows))
    is_packed = np.array([row["bits"] == "8" for row in rows], bool)
    sizes = np.array([case.height * case.width for case in cases], np.int64)
    images, greys = (_mapped(folder / name, np.dtype(np.uint16)) for name in (IMAGES, LEVELS))
    codes, masks = (_mapped(folder / name, np.dtype(np.uint8)) for name in (CODES, MASKS))
    lengths = [len(pixels) for pixels in (images, greys, codes, masks)]
    expected = [
        sizes[~is_packed].sum(),
        MOST_GREYS * is_packed.sum(),
        sizes[is_packed].sum(),
        sizes.sum(),
    ]
    if lengths != expected or len(cases) != reading.cases:
        raise UsageError(
            f"prepared dataset {folder} is incomplete; remove the folder and run again"
        )
    packed_cases = np.flatnonzero(is_packed).tolist()
    rows_of_greys = {index: row for row, index in enumerate(packed_cases)}
    image_starts = np.where(is_packed, _starts(sizes * is_packed), _starts(sizes * ~is_packed))
    ids_set_aside = set(reading.set_aside)
    return Dataset(
        name=reading.name,
        source=reading.source,
        digest="",
        cases=cases,
        images=images,
        masks=masks,
        starts=tuple(_starts(sizes).tolist()),
        packed=Packed(codes, greys.reshape(-1, MOST_GREYS), rows_of_greys),
        image_starts=tuple(image_starts.tolist()),
        foreground=tuple(number_of[label] for label in foreground),
        classes=tuple(classes),
        numbers=tuple(numbers_of_classes),
        void=tuple(number_of[label] for label in void),
        left_out=reading.left_out,
        twins=reading.twins,
        official=frozenset(reading.official_test),
        # The publisher's split uses them on no side.
        set_aside=frozenset(i for i, case in enumerate(cases) if case.id in ids_set_aside),
    )


def _mapped(path: Path, kind: np.dtype[Any]) -> NDArray[Any]:
    """Map a file of pixels into memory; an empty one cannot be mapped."""
    if not path.stat().st_size:
        return np.zeros(0, kind)
    return np.memmap(path, kind, mode="r")


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each part begins, for parts of these sizes that follow one another."""
    return np.cumsum(sizes) - sizes


def _case(row: dict[str, str]) -> Case:
    spacing = (float(row["row_mm"]), float(row["column_mm"])) if row["row_mm"] else None
    place = None
    if row.get("volume"):
        thickness = float(row["slice_mm"]) if row["slice_mm"] else None
        place = Place(formulas.as_it_was(row["volume"]), int(row["position"]), thickness)
    patient = formulas.as_it_was(row["patient"])
    return Case(row["case"], patient, int(row["height"]), int(row["width"]), spacing, place)
