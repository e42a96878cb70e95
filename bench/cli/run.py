"""`bench run`: plan, prepare, launch, report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from bench.cli.show import preparing, print_left_out
from bench.data import cache
from bench.data.splits import Scheme
from bench.launch import local
from bench.launch import matrix as plan
from bench.launch.board import Board
from bench.launch.schedule import longest_first
from bench.spec import machine, registry
from bench.spec.capabilities import tunable
from bench.spec.config import Cell, DatasetRef, Profile, load_profile
from bench.spec.errors import UsageError
from bench.store.store import Store, make_folder
from bench.store.track import Wanted, tracked
from bench.tuning.study import Study, default_storage


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    methods: str
    datasets: str
    data: Path | None
    profile: str
    out: Path
    report: Path
    seeds: int
    scheme: Scheme
    jobs: int | None
    device: str
    real_only: bool
    dry_run: bool
    reference: str | None = None
    """The method that the family of comparisons is about; None declares none."""
    correction: Literal["holm", "max-t"] = "holm"
    timeout: float | None = None
    """Seconds without progress after which a cell is killed."""
    retry_failed: bool = False
    launcher: Literal["local", "slurm", "ray"] = "local"
    slurm: Mapping[str, str] = field(default_factory=dict)
    """Options of sbatch, for the launcher slurm."""
    address: str | None = None
    """Of a Ray cluster that runs."""
    gpus: float = 1.0
    """GPUs of a cell, for the launcher ray."""
    tuned: bool = False
    """Whether each method that can be tuned is to have the options that its studies found best."""
    track: Wanted = field(default_factory=Wanted)
    """Trackers that a run is sent to."""
    storage: str | None = None
    """Where the studies are; None is beside the results."""


def run(wish: Wish, console: Console) -> bool:
    """Run the matrix; return whether every cell is finished.

    Raises:
        UsageError: Something is wrong with the wish or the data; nothing was trained.
    """
    done = execute(wish, console)
    if done is None:
        return True
    _report(done.store, done.profile, wish, console, done.fresh)
    return not done.failed


@dataclass(frozen=True)
class Done:
    """What came of a matrix."""

    profile: Profile
    store: Store
    datasets: list[DatasetRef]
    fresh: bool
    """Whether anything was run."""
    failed: int
    """Cells that failed."""


def execute(wish: Wish, console: Console) -> Done | None:
    """Run the matrix of a wish; None where it was only to be shown.

    Raises:
        UsageError: Something is wrong with the wish or the data; nothing was trained.
    """
    wish.track.check()
    profile = load_profile(wish.profile)
    methods = _methods(wish, wish.methods, profile)
    built = [
        registry.method(method, profile.scale) for method in methods
    ]  # refuses what cannot be built
    specs = registry.expand(registry.DATASETS, wish.datasets)
    if wish.scheme.file and len(specs) > 1:
        raise UsageError(
            f"--split {wish.scheme.file} is of one dataset's patients, but --datasets names"
            f" {len(specs)}; name one"
        )
    found = plan.find(specs, wish.data, profile, wish.real_only)
    reference = _methods(wish, wish.reference, profile) if wish.reference else []
    if len(reference) > 1 or not set(reference) <= set(methods):
        raise UsageError(
            f"--reference {wish.reference} is not one of the methods of this run"
            f" ({', '.join(methods)}); name one of them"
        )
    if wish.correction != "holm" and not reference:
        raise UsageError(
            f"--correction {wish.correction} corrects declared comparisons; declare them by"
            " --reference"
        )
    store = Store(wish.out)
    jobs = wish.jobs or (max(1, machine.cores() // profile.threads) if wish.device == "cpu" else 1)
    if wish.dry_run:
        _print_plan(found, methods, profile, store, wish, jobs, console)
        return None
    store.open(profile)
    make_folder(wish.report / profile.name, "report", "--report")
    local.preload(sorted({module for method in built for module in method.needs}))
    console.print(f"Profile '{profile.name}': {profile.summary}.", soft_wrap=True, highlight=False)
    with preparing(console) as progress:
        datasets = [plan.prepare(each, machine.cores(), progress) for each in found]
    for dataset in datasets:
        if dataset.source == "phantom":
            console.print(
                f"{dataset.name}: PHANTOM data (simulated); give real files with --data.",
                highlight=False,
            )
        print_left_out(dataset.name, cache.load(Path(dataset.cache)).left_out, console)
    storage = wish.storage or default_storage(store, profile.name)
    matrix = plan.cells(
        profile,
        datasets,
        methods,
        store,
        wish.scheme,
        wish.seeds,
        wish.device,
        lambda cell: Study(cell, storage).best(),
    )
    _equal_trials(matrix)
    if reference:
        store.declare(profile, reference[0], wish.correction, methods)
    store.remember(profile, matrix)
    states = [store.status(cell) for cell in matrix]
    failed = [cell for cell, state in zip(matrix, states, strict=True) if state == "failed"]
    if wish.retry_failed:
        for cell in failed:
            store.forgive(cell)
        failed = []
    wanted = ("waiting", "failed") if wish.retry_failed else ("waiting",)
    pending = [cell for cell, state in zip(matrix, states, strict=True) if state in wanted]
    if failed:
        console.print(
            f"{len(failed)} cells failed before and are left so; --retry-failed runs them again,"
            " bench status says why they failed.",
            soft_wrap=True,
            highlight=False,
        )
    failures = _launch(matrix, pending, len(failed), store, wish, jobs, console)
    return Done(profile, store, datasets, bool(pending), failures)


def _methods(wish: Wish, names: str, profile: Profile) -> list[str]:
    """Return the specs of methods, tuned where that is wished and there is anything to tune."""
    specs = registry.expand(registry.METHODS, names)
    if not wish.tuned:
        return specs
    chosen = []
    for spec in specs:
        method = registry.method(spec, profile.scale)
        chosen.append(f"{spec}:tuned=on" if tunable(method) and not method.tuned else spec)
    return registry.expand(registry.METHODS, ",".join(chosen))


def _equal_trials(cells: Sequence[Cell]) -> None:
    """Refuse tuned methods of which one had more trials than another."""
    counts = {
        (cell.dataset.name, cell.fold, cell.method): cell.tuning["trials"]
        for cell in cells
        if cell.tuning
    }
    if len(set(counts.values())) > 1:
        most = max(counts.values())
        told = ", ".join(
            sorted(
                {
                    f"{method} on {name} {count}"
                    for (name, _, method), count in counts.items()
                    if count < most
                }
            )
        )
        raise UsageError(
            f"tuned methods must have had the same number of trials, but fewer than {most} had:"
            f" {told}; bench tune --trials {most} gives all as many"
        )


def _launch(
    matrix: Sequence[Cell],
    pending: Sequence[Cell],
    failed: int,
    store: Store,
    wish: Wish,
    jobs: int,
    console: Console,
) -> int:
    """Run what is pending; return how many cells of the matrix have failed, those of earlier runs included."""
    if not pending:
        console.print(f"All {len(matrix) - failed} cells are finished already; nothing to run.")
        return failed
    where = {"local": f"{jobs} at a time", "slurm": "by Slurm", "ray": "by Ray"}[wish.launcher]
    console.print(
        f"{len(matrix)} cells, {len(pending)} to run, {where} on {wish.device}.", highlight=False
    )
    with Board(console, store, len(matrix), len(matrix) - len(pending) - failed, failed) as board:
        try:
            with tracked(store, pending[0].profile.name, wish.track, console):
                _launcher(wish, pending, store, jobs, board)
        except KeyboardInterrupt:
            console.print("Stopped. The same command goes on where this one was.")
            raise
    return board.failed


def _launcher(wish: Wish, cells: Sequence[Cell], store: Store, jobs: int, board: Board) -> None:
    """Run cells where the wish says; on a cluster, those first that took longest before."""
    if wish.launcher == "slurm":
        from bench.launch import slurm

        cells = longest_first(cells, _seconds(store, cells[0].profile.name))
        slurm.run(
            cells, store, wish.jobs, wish.device, board.watch, board.ended, wish.timeout, wish.slurm
        )
    elif wish.launcher == "ray":
        from bench.launch import ray

        cells = longest_first(cells, _seconds(store, cells[0].profile.name))
        ray.run(
            cells,
            store,
            wish.jobs,
            wish.device,
            board.watch,
            board.ended,
            wish.timeout,
            wish.address,
            wish.gpus,
        )
    else:
        local.run(cells, store, jobs, wish.device, board.watch, board.ended, wish.timeout)


def _seconds(store: Store, profile: str) -> Callable[[Cell], float]:
    """Return a function that says how long finished cells of a cell's dataset and method took; infinite if none did."""
    taken: dict[tuple[str, str], list[float]] = {}
    for record, _ in store.records(profile):
        pair = record["spec"]["dataset"]["digest"], record["spec"]["method"]
        taken.setdefault(pair, []).append(record["timings"]["total_seconds_of_last_attempt"])
    means = {pair: sum(each) / len(each) for pair, each in taken.items()}
    return lambda cell: means.get((cell.dataset.digest, cell.method), math.inf)


def _report(store: Store, profile: Profile, wish: Wish, console: Console, fresh: bool) -> None:
    """Write the report if anything is new, and print its tables."""
    from bench.report import write
    from bench.report.sections import tables

    target = wish.report / profile.name
    if not store.has_finished(profile.name):
        console.print("No cell is finished, so there is no report.")
        return
    write(store, wish.report, profile.name, "run", redraw=fresh)
    for table in tables.collect(store, profile.name):
        text = tables.markdown(table)
        console.print(Markdown(text)) if console.is_terminal else print(text)
    console.print(f"Report: {target.resolve()}", soft_wrap=True, highlight=False)
    console.print(
        "All figures, report.html and a paper's numbers.tex: bench report", highlight=False
    )
    console.print(
        f"Results: {(store.root / profile.name).resolve()}", soft_wrap=True, highlight=False
    )


def _print_plan(
    found: Sequence[plan.Found],
    methods: Sequence[str],
    profile: Profile,
    store: Store,
    wish: Wish,
    jobs: int,
    console: Console,
) -> None:
    """Print what a run would do; nothing is prepared or written."""
    table = Table("dataset", "source", "method", "cells", "finished", "failed before", "to run")
    total = 0
    for each in found:
        folder = each.prepared
        for method in methods:
            cells = wish.scheme.count * wish.seeds
            states: Counter[str] = Counter()
            ref = plan.reference(folder) if folder else None
            if ref and store.has_split(profile, ref, wish.scheme):
                matrix = plan.cells(
                    profile, [ref], [method], store, wish.scheme, wish.seeds, wish.device
                )
                states.update(store.status(cell) for cell in matrix)
            to_run = cells - states["done"]
            total += to_run
            table.add_row(
                each.adapter.name,
                each.adapter.source + ("" if folder else " (to be prepared)"),
                method,
                str(cells),
                str(states["done"]),
                str(states["failed"]),
                str(to_run),
            )
    console.print(table)
    console.print(
        f"Profile '{profile.name}': {profile.summary}.\n{total} cells to run, {jobs} at a time on"
        f" {wish.device}, at most {profile.steps} steps each; results under"
        f" {store.root / profile.name}.",
        soft_wrap=True,
        highlight=False,
    )
