"""What a run will do: datasets found and prepared, and the matrix of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.data import cache
from bench.data.readers.simulated import Simulated
from bench.data.splits import Scheme
from bench.spec import registry
from bench.spec.config import SEED, Cell, DatasetRef, Profile, content_hash
from bench.spec.dataset import Adapter
from bench.spec.errors import UsageError
from bench.store.store import Store

Progress = Callable[[str, int, int], None]
Tuning = Callable[[Cell], Cell]
"""Returns a tuned method's cell with the options that its study found best."""


@dataclass(frozen=True)
class Found:
    """A dataset's reader and the folder that it reads; the folder is None for a phantom."""

    adapter: Adapter
    root: Path | None

    @property
    def prepared(self) -> Path | None:
        """Return the prepared dataset's folder, None where it is still to do."""
        return cache.find(self.adapter, self.root or Path())


def find(
    specs: Sequence[str], data: Path | None, profile: Profile, real_only: bool = False
) -> list[Found]:
    """Find each dataset under the data directory; what is not there is its phantom.

    Raises:
        UsageError: The data directory is not there; a dataset's options do not fit; real_only meets
            a phantom.
    """
    if data is not None and not data.is_dir():
        raise UsageError(
            f"--data {data} is not there; expected a folder with ct-verse/, ct-pri/, mr/ or xray/"
            " in it"
        )
    found = []
    adapters = [registry.dataset(spec) for spec in specs]
    for adapter in adapters:
        if adapter.folder is not None and not adapter.folder.is_dir():
            raise UsageError(
                f"dataset {adapter.folder} is not there; expected a folder with images/ and masks/"
                " in it"
            )
    if data is not None and not any(a.folder or (data / a.name).is_dir() for a in adapters):
        wanted = ", ".join(f"{adapter.name}/" for adapter in adapters)
        raise UsageError(
            f"--data {data} has none of {wanted} in it; leave --data out to run on phantoms"
        )
    for spec, adapter in zip(specs, adapters, strict=True):
        root = adapter.folder or (data / adapter.name if data else None)
        if root and root.is_dir():
            found.append(Found(adapter, root))
            continue
        where = f"{root} is not there" if root else "no --data folder is given"
        if real_only:
            raise UsageError(f"--real-only, but {where} for '{adapter.name}'")
        if ":" in spec:
            raise UsageError(f"'{spec}' has options for real files, but {where}; give --data DIR")
        if adapter.name not in profile.phantom_patients:
            raise UsageError(f"'{adapter.name}' has no phantom, and {where}; give --data DIR")
        simulated = Simulated(
            name=adapter.name,
            title=adapter.title,
            patients=profile.phantom_patients[adapter.name],
            slices=profile.phantom_slices[adapter.name],
        )
        found.append(Found(simulated, None))
    return found


def prepare(found: Found, jobs: int, progress: Progress) -> DatasetRef:
    """Prepare a dataset, or take it from the cache."""
    adapter = found.adapter
    folder = cache.prepare(
        adapter, found.root or Path(), jobs, lambda done, total: progress(adapter.name, done, total)
    )
    return reference(folder)


def reference(folder: Path) -> DatasetRef:
    """Return a prepared dataset as cells know it; a damaged one is refused here, before anything trains."""
    dataset = cache.load(folder)
    return DatasetRef(
        name=dataset.name, source=dataset.source, digest=dataset.digest, cache=str(folder)
    )


def cells(
    profile: Profile,
    datasets: Sequence[DatasetRef],
    methods: Sequence[str],
    store: Store,
    scheme: Scheme,
    seeds: int,
    device: str = "cpu",
    tuning: Tuning | None = None,
) -> list[Cell]:
    """Return the matrix, dataset by dataset, so that whole columns of a table come early.

    A tuned method's options are its study's best (`tuning`), for each dataset and fold its own.

    Raises:
        UsageError: A method cannot be built or was not tuned, a split on disk does not fit, or
            there are too few patients.
    """
    built = {method: registry.method(method, profile.scale) for method in methods}
    options = {method: asdict(each) for method, each in built.items()}
    autocast = {method for method, each in built.items() if each.bf16 and device.startswith("cuda")}
    matrix = []
    for dataset in dict.fromkeys(datasets):
        prepared = cache.load(Path(dataset.cache))
        splits = store.splits(profile, dataset, prepared.patients, scheme, prepared.official)
        if len(splits) != scheme.count:
            raise UsageError(
                f"the split of {dataset.slug} has {len(splits)} folds, expected {scheme.count};"
                " remove it"
            )
        hashes = [content_hash(split.sides) for split in splits]
        matrix += [
            Cell(
                profile=profile,
                dataset=dataset,
                method=method,
                options=options[method],
                seed=SEED + seed,
                fold=fold,
                folds=scheme.count,
                split=digest,
                scheme=scheme.name,
                precision="bfloat16" if method in autocast else "float32",
            )
            for seed in range(seeds)
            for fold, digest in enumerate(hashes)
            for method in methods
        ]
    if tuning:
        return [tuning(cell) if built[cell.method].tuned else cell for cell in matrix]
    return matrix
