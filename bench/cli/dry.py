"""`bench run --dry-run`: what a run would do; nothing is prepared or written."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli import options
from bench.spec import registry
from bench.spec.caveat import described
from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Spec
from bench.spec.plain import content_hash
from bench.spec.profile import Profile
from bench.spec.words import count

if TYPE_CHECKING:
    from rich.console import Console

    from bench.cli.selection import Selection
    from bench.data.grid import Grid
    from bench.launch.matrix import FoundDataset
    from bench.spec.case import Dataset, Split

ENLARGED = 4
"""Pixels of the network grid for each of an image from which on the user is told."""


def show(
    readers: Sequence[FoundDataset],
    methods: Sequence[Spec],
    profile: Profile,
    selection: Selection,
    place: str,
    console: Console,
) -> None:
    """Print the cells, the images and sides of each dataset that is prepared, and an estimate.

    Raises:
        UsageError: A run would refuse a prepared dataset's classes or sizes for a method.
    """
    from rich.table import Table

    prepared_datasets = {reader: reader.prepared() for reader in readers}
    known = [dataset for dataset in prepared_datasets.values() if dataset]
    _refuse(known, methods, profile, selection)
    table = Table()
    for head in ("dataset", "source", "method"):
        table.add_column(head, overflow="fold")  # a name that is cut is no name
    for head in ("cells", "finished", "failed before", "to run"):
        table.add_column(head)
    # By the dataset's digest and the method's key: how many cells are not finished.
    to_run: dict[tuple[str, str], int] = {}
    lines = []
    cells = selection.splitting.count * len(selection.seeds)
    for reader in readers:
        prepared = prepared_datasets[reader]
        source: str = reader.adapter.source
        if prepared is None:
            source += " (to be prepared)"
            lines.append(
                f"{reader.adapter.name}: not prepared yet, so it is not known whether each method "
                "can train on its images; the run refuses what cannot, before anything trains"
            )
        else:
            lines.append(f"{reader.adapter.name}: {_described(prepared, profile, selection)}")
            lines.append(enlarged(prepared, profile, selection))
        for method in methods:
            states = _states(prepared, method, profile, selection)
            cells_left = cells - states["done"]
            digest = prepared.id.digest if prepared else ""
            to_run[digest, method.key] = to_run.get((digest, method.key), 0) + cells_left
            counts = (cells, states["done"], states["failed"], cells_left)
            table.add_row(reader.adapter.name, source, method.key, *map(str, counts))
    console.print(table)
    about = described(profile.name, profile.summary, profile.protocol())
    options.say(f"Profile '{profile.name}': {about}.", to=console)
    for line in filter(None, lines):
        options.say(line, to=console)
    options.say(
        f"{count(sum(to_run.values()), 'cell')} to run, {place}, "
        f"at most {count(profile.steps, 'step')} each; "
        f"results under {selection.store.layout.profile(profile).path}.",
        to=console,
    )
    options.say(_estimate(to_run, profile, selection), to=console)


def _refuse(
    datasets: Sequence[DatasetRef],
    methods: Sequence[Spec],
    profile: Profile,
    selection: Selection,
) -> None:
    """Refuse what a run refuses of prepared datasets; the splits are those that it would write.

    Raises:
        UsageError: A method tells no classes apart, cannot be built, or cannot train on a case.
    """
    from bench.data import cache
    from bench.engine.several import refuse_classes
    from bench.engine.smallest import refuse_small

    splits: dict[tuple[DatasetId, int], Split] = {}
    cells = []
    for dataset in datasets:
        prepared = cache.load(Path(dataset.cache))
        folds = selection.splitting.split(prepared.patients, prepared.official)
        for fold, split in enumerate(folds):
            splits[dataset.id, fold] = split
            for spec in methods:
                cells.append(
                    Cell(
                        profile=profile,
                        dataset=dataset,
                        method=spec,
                        options=asdict(registry.method(spec, profile.scale)),
                        seed=selection.seeds[0],
                        fold=fold,
                        scheme=selection.splitting.scheme,
                        split=content_hash(split.sides),
                        source=registry.source(spec),
                    )
                )

    def split_of(cell: Cell, _: Dataset) -> Split:
        return splits[cell.dataset.id, cell.fold]

    refuse_classes(cells, split_of, selection.device)
    refuse_small(cells, split_of)


def _on_grid(
    prepared: DatasetRef, profile: Profile, selection: Selection
) -> tuple[Dataset, Split, Grid]:
    """Return a prepared dataset, the split of its first fold, and the grid of its networks."""
    from bench.data import cache
    from bench.engine.data import grid_of

    dataset = cache.load(Path(prepared.cache))
    first_fold, *_ = selection.splitting.split(dataset.patients, dataset.official)
    return dataset, first_fold, grid_of(dataset, first_fold.indexes(dataset, "train"), profile)


def enlarged(prepared: DatasetRef, profile: Profile, selection: Selection) -> str:
    """Return a line where networks see images much larger than they are; else nothing."""
    dataset, _, grid = _on_grid(prepared, profile, selection)
    if grid is None:
        return ""
    native = statistics.median(case.height * case.width for case in dataset.cases)
    if grid[0] * grid[1] <= ENLARGED * native:
        return ""
    return (
        f"{dataset.name}: images are enlarged to {grid[0]} x {grid[1]}, which costs time and "
        "memory and adds nothing that they do not show; "
        f"--pixels {round(native)} has about their size"
    )


def _described(prepared: DatasetRef, profile: Profile, selection: Selection) -> str:
    """Return the sizes of a dataset's images, the network's grid, and the sides of its split."""
    from bench.data.grid import WHY_SHARED

    dataset, first_fold, grid = _on_grid(prepared, profile, selection)
    shapes = Counter((case.height, case.width) for case in dataset.cases)
    [((height, width), cases_of_it)] = shapes.most_common(1)
    sizes = f"{height} x {width} pixels"
    if len(shapes) > 1:
        sizes = f"{len(shapes)} sizes, most often {height} x {width} pixels ({cases_of_it})"
    on = f"networks see {grid[0]} x {grid[1]}" if grid else "networks see them as they are"
    if grid and not profile.pixels:
        on += f" and not native sizes, for {WHY_SHARED.format(profile.batch)}"
    return f"{count(len(dataset.cases), 'case')} of {sizes}; {on}; {_sides(dataset, first_fold)}"


def _sides(dataset: Dataset, split: Split) -> str:
    """Return the cases and patients of each side."""
    parts = []
    for side in ("train", "validation", "test"):
        patients = sum(1 for one in split.sides.values() if one == side)
        cases = len(split.indexes(dataset, side))
        parts.append(f"{side} {count(cases, 'case')} of {count(patients, 'patient')}")
    return ", ".join(parts)


def _estimate(to_run: dict[tuple[str, str], int], profile: Profile, selection: Selection) -> str:
    """Return how long the cells take by those that are finished, one after the other."""
    from bench.launch.board import clock
    from bench.launch.matrix import mean_seconds

    means = dict(mean_seconds(selection.store, profile.name))
    with_estimate = {place: cells for place, cells in to_run.items() if cells and place in means}
    cells_without_estimate = sum(cells for place, cells in to_run.items() if place not in means)
    if not with_estimate:
        return "No estimate: no cell like these is finished here; bench plan --measure 60s has one."
    seconds = sum(cells * means[place] for place, cells in with_estimate.items())
    text = f"About {clock(seconds)} of one cell at a time, as finished cells took"
    if cells_without_estimate:
        text += f", and {count(cells_without_estimate, 'cell')} of which none is finished"
    return f"{text}."


def _states(
    dataset: DatasetRef | None, method: Spec, profile: Profile, selection: Selection
) -> Counter[str]:
    """Return how many cells of a method on a dataset are in each state."""
    from bench.launch import matrix
    from bench.store.plan import Plan

    states: Counter[str] = Counter()
    if dataset is None:
        return states
    store, splitting = selection.store, selection.splitting
    if Plan(store, profile.name).has_split(dataset.id, splitting):
        cells = matrix.cells(
            profile,
            [dataset],
            [method],
            store,
            splitting,
            selection.seeds,
            selection.device,
            volumes=selection.volumes,
        )
        states.update(store.status(cell) for cell in cells)
    return states
