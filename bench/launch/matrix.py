"""What a run will do: datasets found and prepared, and the matrix of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data import cache
from bench.data.readers.simulated import Simulated
from bench.data.splits import Splitting
from bench.launch import schedule
from bench.spec import machine, registry
from bench.spec.config import Cell, DatasetRef
from bench.spec.dataset import Adapter
from bench.spec.errors import UsageError
from bench.spec.names import Column, DatasetId, Spec
from bench.spec.note import Progress
from bench.spec.plain import content_hash
from bench.spec.profile import Profile
from bench.store import check
from bench.store.cells import Store
from bench.store.plan import Plan

if TYPE_CHECKING:
    from bench.spec.method import Method

Tuning = Callable[[Cell], Cell]
"""Returns a tuned method's cell with the options that its study found best."""
FOLDERS = "ct-verse/, ct-pri/, mr/ or xray/"
"""What a data folder holds, as errors say it."""


@dataclass(frozen=True)
class FoundDataset:
    """A dataset's reader and the folder that it reads; the folder is None for a phantom."""

    adapter: Adapter
    root: Path | None

    @property
    def _folder(self) -> Path:
        """The folder that the reader is given; a phantom reads nothing in it."""
        return self.root or Path()

    def prepared(self) -> DatasetRef | None:
        """Return the prepared dataset; None where it is not prepared yet."""
        folder = cache.find(self.adapter, self._folder)
        return dataset_ref(folder) if folder else None

    def prepare(self, progress: Progress = lambda name, done, total: None) -> DatasetRef:
        """Prepare the dataset, or take it from the cache.

        Raises:
            UsageError: The layout is not there, no case can be used, or the cache is not writable.
        """
        folder = cache.prepare(self.adapter, self._folder, machine.cores(), progress)
        return dataset_ref(folder)


def dataset_ref(folder: Path) -> DatasetRef:
    """Return a prepared dataset as cells know it; a damaged one is refused here."""
    dataset = cache.load(folder)
    identity = DatasetId(dataset.name, dataset.source, dataset.digest)
    return DatasetRef(id=identity, cache=str(folder))


def find(
    specs: Sequence[Spec], data: Path | None, profile: Profile, real_only: bool = False
) -> list[FoundDataset]:
    """Find each dataset under the data directory; what is not there is its phantom.

    Raises:
        UsageError: The data directory is not there, a dataset's options do not fit, or `real_only`
            meets a phantom.
    """
    if data is not None and not data.is_dir():
        raise UsageError(f"--data {data} is not there; expected a folder with {FOLDERS} in it")
    adapters = [registry.dataset(spec) for spec in specs]
    for adapter in adapters:
        # A dataset that is named by its path.
        if adapter.folder is not None and not adapter.folder.is_dir():
            raise UsageError(
                f"dataset {adapter.folder} is not there; "
                "expected a folder with images/ and masks/ in it"
            )
    if data is not None and not any(_has_folder(adapter, data) for adapter in adapters):
        wanted = ", ".join(f"{adapter.name}/" for adapter in adapters)
        raise UsageError(f"--data {data} has none of {wanted} in it; leave --data out for phantoms")
    pairs = zip(specs, adapters, strict=True)
    return [_find(spec, adapter, data, profile, real_only) for spec, adapter in pairs]


def without_data(specs: Sequence[Spec], data: Path | None, profile: Profile) -> list[Spec]:
    """Return the datasets that have neither files under the data directory nor a phantom."""
    lacking = []
    for spec in specs:
        adapter = registry.dataset(spec)
        has_phantom = adapter.name in profile.phantom_patients
        if not _has_folder(adapter, data) and not has_phantom:
            lacking.append(spec)
    return lacking


def _has_folder(adapter: Adapter, data: Path | None) -> bool:
    """Return whether a dataset is named by its path, or has a folder of its name under `data`."""
    if adapter.folder is not None:
        return True
    return data is not None and (data / adapter.name).is_dir()


def _find(
    spec: Spec, adapter: Adapter, data: Path | None, profile: Profile, real_only: bool
) -> FoundDataset:
    """Return a dataset with its folder, or its phantom."""
    root = adapter.folder
    if root is None and data is not None:
        root = data / adapter.name
    if root and root.is_dir():
        return FoundDataset(adapter, root)
    why = f"{root} is not there" if root else "no --data folder is given"
    if real_only:
        raise UsageError(f"--real-only, but {why} for '{adapter.name}'")
    # A phantom takes `labels=` where it names classes. Where it chooses one foreground of real
    # files, `classes` is None; readers that know no classes lack it.
    classes = getattr(adapter, "classes", None)
    options_of_phantoms = ("instances=", "labels=") if classes else ("instances=",)
    if any(not pair.startswith(options_of_phantoms) for pair in spec.options):
        raise UsageError(f"'{spec}' has options for real files, but {why}; give --data DIR")
    if adapter.name not in profile.phantom_patients:
        raise UsageError(f"'{adapter.name}' has no phantom, and {why}; give --data DIR")
    simulated = Simulated(
        name=adapter.name,
        title=adapter.title,
        patients=profile.phantom_patients[adapter.name],
        slices=profile.phantom_slices[adapter.name],
        labels=classes.text if classes else "",
        instances=adapter.instances,
    )
    return FoundDataset(simulated, None)


def cells(
    profile: Profile,
    datasets: Sequence[DatasetRef],
    methods: Sequence[Spec],
    store: Store,
    splitting: Splitting,
    seeds: Sequence[int],
    device: str = "cpu",
    deterministic: bool = False,
    tuning: Tuning | None = None,
    volumes: bool = False,
) -> list[Cell]:
    """Return the matrix, dataset by dataset, so that whole columns of a table come early.

    A tuned method gets the best options of its study; each dataset and fold has a study of its own.
    With `volumes`, the slices of a volume are stacked and scored in 3D too.

    Raises:
        UsageError: A method cannot be built or was not tuned, a split on disk does not fit, or
            there are too few patients.
    """
    built = {spec: registry.method(spec, profile.scale) for spec in methods}
    digests_of_code = {spec: registry.source(spec) for spec in methods}
    matrix = []
    for dataset in dict.fromkeys(datasets):
        splits = _splits(profile, dataset, store, splitting)
        for seed in seeds:
            for fold, split in enumerate(splits):
                for spec, method in built.items():
                    cell = Cell(
                        profile=profile,
                        dataset=dataset,
                        method=spec,
                        options=asdict(method),
                        seed=seed,
                        fold=fold,
                        scheme=splitting.scheme,
                        split=split,
                        precision=_precision(method, device),
                        deterministic=deterministic,
                        volumes=volumes,
                        source=digests_of_code[spec],
                    )
                    if tuning and method.tuned:
                        cell = tuning(cell)
                    matrix.append(cell)
    return matrix


def _splits(profile: Profile, dataset: DatasetRef, store: Store, splitting: Splitting) -> list[str]:
    """Return the content hash of each fold's split."""
    prepared = cache.load(Path(dataset.cache))
    plan = Plan(store, profile.name)
    splits = plan.splits(dataset.id, prepared.patients, splitting, prepared.official)
    if len(splits) != splitting.count:
        path = store.layout.profile(profile).split(Column(dataset.id, splitting.scheme))
        raise UsageError(
            f"{path} has {len(splits)} folds, expected {splitting.count}; remove it, and run again"
        )
    return [content_hash(split.sides) for split in splits]


def _precision(method: Method, device: str) -> str:
    """Return the precision of a method on a device."""
    if method.bf16 and device.startswith("cuda"):
        return "bfloat16"
    return "float32"


def longest_first(matrix: Sequence[Cell], store: Store) -> list[Cell]:
    """Return cells in the order for a cluster: those first that took longest before.

    Equals stay in their order. A cell that was never timed counts as infinitely long.
    """
    if not matrix:
        return []
    means = dict(mean_seconds(store, matrix[0].profile.name))

    def seconds(cell: Cell) -> float:
        return means.get((cell.dataset.id.digest, cell.method.key), math.inf)

    return schedule.longest_first(matrix, seconds)


def mean_seconds(store: Store, profile: str) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield each pair of a dataset's digest and a method's key, and its cells' mean seconds.

    The last attempt of a cell that was interrupted is but a part of it; its training is counted
    over all attempts.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    believed = check.records(store.layout.profile(profile))
    for record in believed.cells.values():
        times = record.timings
        if times is None:  # from outside
            continue
        pair = (record.spec.dataset.digest, record.spec.method)
        longest = max(times.train_seconds, times.total_seconds_of_last_attempt)
        seconds.setdefault(pair, []).append(longest)
    for pair, values in seconds.items():
        yield pair, sum(values) / len(values)
