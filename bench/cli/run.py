"""`bench run`: plan, prepare, launch, report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli import dry, options
from bench.cli.options import console as new_console
from bench.cli.selection import Selection, prepare
from bench.spec import installing, registry
from bench.spec.capabilities import tunable
from bench.spec.config import Cell, DatasetRef
from bench.spec.errors import UsageError
from bench.spec.names import Row, Spec
from bench.spec.profile import Profile
from bench.spec.words import count

if TYPE_CHECKING:
    from rich.console import Console

    from bench.launch.base import Launcher
    from bench.store.plan import Correction, Plan
    from bench.store.track import Wanted


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How the cells of a selection are run."""

    jobs: int | None = None
    dry_run: bool = False
    baseline: str | None = None
    """The method that the declared comparisons are about; None declares none."""
    correction: Correction = "holm"
    looks: int = 1
    timeout: float | None = None
    """Seconds without progress after which a cell is killed."""
    retry_failed: bool = False
    launcher: str = "local"
    flags: Mapping[str, str] = field(default_factory=dict)
    """Options of launchers, by their names on the command line."""
    tuned: bool = False
    """Whether methods get the options that their studies found best."""
    storage: str | None = None
    """Where the studies are; None is beside the results."""
    trackers: Wanted | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a matrix."""

    selection: Selection
    profile: Profile
    datasets: list[DatasetRef]
    fresh: bool
    """Whether anything was run."""
    failed: int
    """Cells that failed."""


def run(
    methods: options.Methods = "all",
    datasets: options.Datasets = "all",
    data: options.Data = None,
    profile: options.ProfileName = None,
    steps: options.Steps = None,
    pixels: options.Pixels = None,
    out: options.Out = Path("results"),
    report: options.ReportTo = Path("reports"),
    seeds: options.Seeds = "1",
    folds: options.Folds = 1,
    split: options.SplitFile = None,
    fraction: options.Fraction = 1.0,
    jobs: options.Jobs = None,
    device: options.Device = "auto",
    deterministic: options.Deterministic = False,
    score: options.Score = "slice",
    real_only: options.RealOnly = False,
    dry_run: options.DryRun = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            "--reference",  # its name of old
            help="Declare before the results: this method is compared with each other.",
        ),
    ] = None,
    correction: Annotated[
        Literal["holm", "max-t"], typer.Option(help="How the declared comparisons are corrected.")
    ] = "holm",
    looks: options.Looks = 1,
    timeout: Annotated[
        str | None,
        typer.Option(help="Time without progress until a kill: 90s, 10min or 2h."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run cells again that failed before.")
    ] = False,
    launcher: Annotated[
        str, typer.Option(help="Where cells run: local, slurm, ray, debug, or of a package.")
    ] = "local",
    slurm: Annotated[
        str | None,
        typer.Option(help="Options of sbatch: partition=gpu,account=me,time=240 (minutes), ..."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of a Ray cluster, or auto; without, one starts here."),
    ] = None,
    gpus: Annotated[
        str | None, typer.Option(help="GPUs of a cell under Ray; a fraction shares one.")
    ] = None,
    tuned: Annotated[
        bool, typer.Option("--tuned", help="Give methods the options that bench tune found best.")
    ] = False,
    storage: options.Storage = None,
    tensorboard: options.Tensorboard = False,
    mlflow: options.Mlflow = None,
) -> None:
    """Train and test methods on datasets, and write the tables.

    What is finished is never repeated; what was interrupted continues.

    Examples:

        bench run --methods all --datasets all

        bench run --methods unet,smp:arch=UnetPlusPlus:encoder=resnet34 --datasets mr --data ~/spine

        bench run --methods all --datasets mr --data ~/spine --folds 5 --baseline verdiff

        bench run --folds 5 --seeds 5 --launcher slurm --slurm partition=gpu,time=480

        bench run --methods unet --datasets mr --profile smoke --launcher debug
    """
    from bench.store.track import Wanted

    splitting = options.splitting(folds, split, fraction)
    where: type[Launcher] = registry.load(registry.LAUNCHERS, launcher)
    device = options.choose_device(device, here=where.here)
    given = {"slurm": slurm, "address": address, "gpus": gpus}
    selection = Selection(
        methods=methods,
        datasets=datasets,
        data=data,
        profile=options.choose_profile(profile, device, steps, pixels),
        out=out,
        report=report,
        splitting=splitting,
        device=device,
        deterministic=options.choose_deterministic(deterministic, device),
        volumes=score == "volume",
        seeds=options.seeds_of(seeds),
        real_only=real_only,
    )
    how = RunOptions(
        jobs=jobs,
        dry_run=dry_run,
        baseline=baseline,
        correction=correction,
        looks=looks,
        timeout=options.seconds_of(timeout, "--timeout") if timeout else None,
        retry_failed=retry_failed,
        launcher=launcher,
        flags={name: value for name, value in given.items() if value is not None},
        tuned=tuned,
        storage=storage,
        trackers=Wanted(tensorboard, mlflow),
    )
    console = new_console()
    outcome = execute(selection, how, console)
    damaged = _report(outcome, console) if outcome else 0
    raise typer.Exit(1 if outcome and outcome.failed else damaged)


def execute(selection: Selection, how: RunOptions, console: Console) -> Outcome | None:
    """Run the matrix of a selection; None where it was only to be shown.

    Raises:
        UsageError: Something is wrong with the selection or the data; nothing was trained.
    """
    from bench.engine.several import refuse_classes
    from bench.engine.smallest import refuse_small
    from bench.launch import matrix
    from bench.launch.base import Request, launcher
    from bench.store.plan import Plan
    from bench.tuning.study import Study, default_storage

    if how.trackers:
        how.trackers.check()
    profile = selection.load_profile()
    methods = _methods(selection.methods, profile, how.tuned)
    # Refuses wrong options before anything is prepared.
    built = [registry.method(method, profile.scale) for method in methods]
    readers = selection.find(profile)
    baseline = _baseline(how, methods, profile)
    modules: set[str] = set()
    for method in built:
        modules.update(method.needs)
    installing.refuse_untrainable(sorted(modules))
    request = Request(
        store=selection.store,
        threads=profile.threads,
        device=selection.device,
        jobs=how.jobs,
        timeout=how.timeout,
        modules=tuple(sorted(modules)),
        flags=how.flags,
    )
    where = launcher(how.launcher, request)
    if how.dry_run:
        place = where.check()
        where.cancel()
        dry.show(readers, methods, profile, selection, place, console)
        return None
    selection.open(profile)
    place = where.check()
    console.print(f"Profile '{profile.name}': {profile.summary}.", soft_wrap=True, highlight=False)
    datasets = prepare(readers, console)
    if selection.volumes:
        _refuse_single_slices(datasets)
    storage = how.storage or default_storage(selection.store, profile.name)
    cells = matrix.cells(
        profile=profile,
        datasets=datasets,
        methods=methods,
        store=selection.store,
        splitting=selection.splitting,
        seeds=selection.seeds,
        device=selection.device,
        deterministic=selection.deterministic,
        volumes=selection.volumes,
        tuning=lambda cell: Study(cell, storage).best(),
    )
    _check_equal_trials(cells)
    refuse_classes(cells, selection.store, selection.device)
    refuse_small(cells, selection.store)
    plan = Plan(selection.store, profile.name)
    if baseline:
        plan.declare(baseline, how.correction, methods, how.looks)
    plan.remember(cells)
    for line in _looks(cells, plan):
        console.print(line, highlight=False, markup=False)
    pending, failed = _pending(cells, selection, how.retry_failed, console)
    if pending:
        cells_in_all = count(len(cells), "cell")
        console.print(f"{cells_in_all}, {len(pending)} to run, {place}.", highlight=False)
        failed = _launch(cells, pending, failed, where, selection, how, console)
    else:
        console.print(_nothing_to_run(len(cells), failed))
    return Outcome(selection, profile, datasets, bool(pending), failed)


def _looks(cells: Sequence[Cell], plan: Plan) -> list[str]:
    """Return a line for each column whose report after new seeds makes p larger."""
    from bench.store import looks

    reported = looks.read(plan.store.layout.profile(plan.profile).looks)
    if not reported:
        return []
    from bench.report.sections.table import factor_of

    family = plan.family()
    wanted: dict[str, set[int]] = {}
    for cell in cells:
        wanted.setdefault(cell.column.key, set()).add(cell.seed)
    lines = []
    for column, seeds in wanted.items():
        before: set[int] = set()
        for look in reported:
            if look.column == column:
                before.update(look.seeds)
        factor_now = factor_of(reported, family, column)
        factor_then = factor_of(reported, family, column, further=1)
        has_new_seeds = bool(seeds - before)
        if before and has_new_seeds and factor_then > factor_now:
            lines.append(
                f"{column}: results of {count(len(before), 'seed')} were reported already, so a "
                f"report with more is a further look: p x {factor_then}, now x {factor_now}."
            )
    return lines


def _refuse_single_slices(datasets: Sequence[DatasetRef]) -> None:
    """Refuse datasets whose cases are slices of no volume, before anything is trained.

    Raises:
        UsageError: There is one.
    """
    from bench.data import cache
    from bench.engine.volumes import stacks

    for dataset in datasets:
        stacks(cache.load(Path(dataset.cache)).cases)  # raises for what it cannot stack


def _nothing_to_run(cells: int, failed: int) -> str:
    """Return what is said where no cell of a matrix is to be run."""
    if failed:
        done = f"{cells - failed} of {count(cells, 'cell')}"
        return f"Finished: {done}; {failed} failed; nothing to run."
    if cells == 1:
        return "The cell is finished already; nothing to run."
    return f"All {cells} cells are finished already; nothing to run."


def _methods(names: str, profile: Profile, tuned: bool) -> list[Spec]:
    """Return methods, tuned where that is wished and there is anything to tune."""
    specs = registry.expand(registry.METHODS, names)
    if not tuned:
        return specs
    chosen = []
    for spec in specs:
        method = registry.method(spec, profile.scale)
        wanted = tunable(method) and not method.tuned
        chosen.append(f"{spec}:tuned=on" if wanted else spec.key)
    return registry.expand(registry.METHODS, ",".join(chosen))


def _baseline(how: RunOptions, methods: Sequence[Spec], profile: Profile) -> Spec | None:
    """Return the baseline of the comparisons that are to be declared.

    Raises:
        UsageError: It is not one of the run's methods, or it is a further row of one.
    """
    if how.baseline is None:
        if how.looks > 1:
            raise UsageError(
                f"--looks {how.looks} is a part of declared comparisons; declare them by "
                "--baseline METHOD"
            )
        if how.correction != "holm":
            raise UsageError(
                f"--correction {how.correction} corrects declared comparisons; "
                "declare them by --baseline"
            )
        return None
    extra = Row.parse(how.baseline).extra
    if extra:
        raise UsageError(
            f"--baseline {how.baseline} is the row '{extra}' of a method, not a method; "
            f"name the method: --baseline {Row.parse(how.baseline).spec}"
        )
    named = _methods(how.baseline, profile, how.tuned)
    if len(named) > 1 or named[0] not in methods:
        method_keys = ", ".join(method.key for method in methods)
        raise UsageError(
            f"--baseline {how.baseline} is not one of the methods of this run ({method_keys}); "
            "name one of them"
        )
    return named[0]


def _check_equal_trials(cells: Sequence[Cell]) -> None:
    """Refuse tuned methods of which one had more trials than another.

    Raises:
        UsageError: One had fewer trials than the others.
    """
    trials: dict[str, int] = {}
    for cell in cells:
        if cell.tuning:
            trials[f"{cell.method} on {cell.dataset.id.name}"] = cell.tuning["trials"]
    if len(set(trials.values())) <= 1:
        return
    most = max(trials.values())
    fewer = sorted(f"{name} {count}" for name, count in trials.items() if count < most)
    raise UsageError(
        f"tuned methods must have had the same number of trials, but fewer than {most} had: "
        f"{', '.join(fewer)}; bench tune --trials {most} gives all as many"
    )


def _pending(
    cells: Sequence[Cell], selection: Selection, retry_failed: bool, console: Console
) -> tuple[list[Cell], int]:
    """Return the cells to run, and how many failed before and stay so."""
    pending, failed = [], 0
    for cell in cells:
        status = selection.store.status(cell)
        if status == "failed" and retry_failed:
            selection.store.forgive(cell)
            status = "waiting"
        if status == "waiting":
            pending.append(cell)
        elif status == "failed":
            failed += 1
    if failed:
        options.say(
            f"{count(failed, 'cell')} failed before and stayed so; --retry-failed runs what failed "
            "again, bench status says why.",
            to=console,
        )
    return pending, failed


def _launch(
    cells: Sequence[Cell],
    pending: Sequence[Cell],
    failed: int,
    where: Launcher,
    selection: Selection,
    how: RunOptions,
    console: Console,
) -> int:
    """Run what is pending; return how many cells of the matrix have failed, earlier ones too."""
    from bench.launch import matrix
    from bench.launch.board import Board
    from bench.launch.follow import follow
    from bench.store.track import Wanted, tracked

    store = selection.store
    ordered = list(pending)
    if where.grace_seconds:  # a cluster: it is given all cells at once
        ordered = matrix.longest_first(pending, store)
    finished = len(cells) - len(pending) - failed
    with Board(console, store, len(cells), finished, failed) as board:
        try:
            with tracked(store, cells[0].profile.name, how.trackers or Wanted(), console):
                follow(ordered, store, where, board.watch, board.ended, board.stopping)
        except KeyboardInterrupt:
            console.print("Stopped. The same command goes on where this one was.")
            raise
    return board.failed


def _report(outcome: Outcome, console: Console) -> int:
    """Write the report if anything is new, and print it; return 1 if cells are damaged."""
    from bench.cli.shown import tell
    from bench.report import PAGE, write
    from bench.store.results import Results

    store, profile = outcome.selection.store, outcome.profile
    if not store.layout.profile(profile).finished():
        console.print("No cell is finished, so there is no report.")
        return 0
    results = Results.load(store, profile.name).looked_at(store)
    written = write(results, outcome.selection.report, "run", redraw=outcome.fresh)
    tell(written, console)
    if written.remark:
        options.say(f"Note: {written.remark}.", to=console)
    folder = outcome.selection.report / profile.name
    options.say(f"Report: {folder.resolve()}", to=console)
    command = ["bench", "report", "--profile", profile.name]
    for option, path, usual in (
        ("--out", outcome.selection.out, "results"),
        ("--to", outcome.selection.report, "reports"),
    ):
        command += [option, str(path)] if path != Path(usual) else []
    options.say(
        f"All figures, a paper's numbers.tex and the page {folder / PAGE}: {shlex.join(command)}",
        to=console,
    )
    options.say(f"Results: {store.layout.profile(profile).path.resolve()}", to=console)
    return options.tell_damaged(results.damaged)
