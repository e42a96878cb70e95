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
from bench.spec import installing, own_files, registry
from bench.spec.capabilities import compares, further_rows, tunable
from bench.spec.caveat import described
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
    """Declared reports of results of several seeds; p is multiplied by their number."""
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
    """Where curves and scores are sent while cells run."""


@dataclass(frozen=True)
class Outcome:
    """What became of a matrix: of all cells that a selection asks for."""

    selection: Selection
    profile: Profile
    datasets: list[DatasetRef]
    anything_ran: bool
    failed: int
    """Cells that failed, now or in an earlier run."""


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
            "--reference",  # what older versions called it
            help="Declare before the results: this method is compared with each other method.",
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
    launcher_class: type[Launcher] = registry.load(registry.LAUNCHERS, launcher)
    device = options.choose_device(device, here=launcher_class.here)
    flags_of_launchers = {"slurm": slurm, "address": address, "gpus": gpus}
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
        flags={name: value for name, value in flags_of_launchers.items() if value is not None},
        tuned=tuned,
        storage=storage,
        trackers=Wanted(tensorboard, mlflow),
    )
    console = new_console()
    outcome = execute(selection, how, console)
    if outcome is None:  # a dry run
        raise typer.Exit(0)
    has_damaged_cells = _report(outcome, console)
    raise typer.Exit(1 if outcome.failed or has_damaged_cells else 0)


def execute(selection: Selection, how: RunOptions, console: Console) -> Outcome | None:
    """Run the matrix of a selection; None where it was only to be shown.

    Raises:
        UsageError: Something is wrong with the selection or the data; nothing was trained.
    """
    from bench.launch import base

    if how.trackers:
        how.trackers.check()
    profile = selection.load_profile()
    methods = _methods(selection.methods, profile, how.tuned)
    # Refuses wrong options before anything is prepared.
    built = [registry.method(method, profile.scale) for method in methods]
    found_datasets = selection.find(profile)
    baseline = _baseline(how, methods, profile)
    modules: set[str] = set()
    for method in built:
        modules.update(method.needs)
    installing.refuse_untrainable(sorted(modules))
    request = base.Request(
        store=selection.store,
        threads=profile.threads,
        device=selection.device,
        jobs=how.jobs,
        timeout=how.timeout,
        modules=tuple(sorted(modules)),
        flags=how.flags,
    )
    launcher = base.launcher(how.launcher, request)
    try:
        if how.dry_run:
            how_cells_run = launcher.check()
            dry.show(found_datasets, methods, profile, selection, how_cells_run, console)
            return None
        selection.open(profile)
        how_cells_run = launcher.check()
        about = described(profile.name, profile.summary, profile.protocol())
        options.say(f"Profile '{profile.name}': {about}.", to=console)
        datasets = prepare(found_datasets, console)
        cells = _cells(selection, how, profile, methods, datasets)
        for line in [dry.enlarged(dataset, profile, selection) for dataset in datasets]:
            if line:
                options.say(line, to=console)
        _declare(cells, selection, how, baseline, methods, console)
        pending, failed = _pending(cells, selection, how.retry_failed, console)
        if pending:
            cells_in_all = count(len(cells), "cell")
            options.say(
                f"{cells_in_all}, {len(pending)} to run, {how_cells_run}.",
                to=console,
            )
            failed = _launch(cells, pending, failed, launcher, selection, how, console)
        else:
            options.say(_nothing_to_run(len(cells), failed), to=console)
        return Outcome(selection, profile, datasets, bool(pending), failed)
    finally:
        launcher.cancel()  # also where no cell ran: `check` may have started a cluster


def _cells(
    selection: Selection,
    how: RunOptions,
    profile: Profile,
    methods: Sequence[Spec],
    datasets: Sequence[DatasetRef],
) -> list[Cell]:
    """Return all cells that a selection asks for, finished ones too.

    Raises:
        UsageError: A cell cannot be computed, such as one of cases too small for its method.
    """
    from bench.engine.several import refuse_classes
    from bench.engine.smallest import refuse_small
    from bench.launch import matrix
    from bench.tuning.study import Study, default_storage

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
    refuse_classes(cells, selection.planned_split, selection.device)
    refuse_small(cells, selection.planned_split)
    return cells


def _declare(
    cells: Sequence[Cell],
    selection: Selection,
    how: RunOptions,
    baseline: Spec | None,
    methods: Sequence[Spec],
    console: Console,
) -> None:
    """Write down, before there are results, which comparisons and cells are planned."""
    from bench.store.plan import Plan

    plan = Plan(selection.store, cells[0].profile.name)
    if baseline:
        plan.declare(baseline, how.correction, methods, how.looks)
    plan.remember(cells)
    for line in _looks(cells, plan):
        options.say(line, to=console)


def _looks(cells: Sequence[Cell], plan: Plan) -> list[str]:
    """Return a line for each column whose next report will be a further look.

    A look is a report of results of several seeds; new seeds make another one. p is multiplied by
    the number of declared looks, and by more for those beyond them.
    """
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
    texts = []
    for spec in specs:
        method = registry.method(spec, profile.scale)
        wanted = tunable(method) and not method.tuned
        texts.append(f"{spec}:tuned=on" if wanted else spec.key)
    # Once more, because a spec has its options in the order in which the method declares them.
    return registry.expand(registry.METHODS, ",".join(texts))


def _baseline(how: RunOptions, methods: Sequence[Spec], profile: Profile) -> Spec | None:
    """Return the baseline of the comparisons that are to be declared.

    Raises:
        UsageError: It is not one of the run's methods, it is a further row of one, or nothing
            could be compared with it.
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
    text = how.baseline
    if own_files.is_given(text):  # `./my_method.py:MyNet`, whose class is no further row
        text = own_files.enter(text)
    extra = Row.parse(text).extra
    if extra:
        raise UsageError(
            f"--baseline {how.baseline} is the row '{extra}' of a method, not a method; "
            f"name the method: --baseline {how.baseline.removesuffix(f':{extra}')}"
        )
    named = _methods(how.baseline, profile, how.tuned)
    if len(named) > 1 or named[0] not in methods:
        method_keys = ", ".join(method.key for method in methods)
        raise UsageError(
            f"--baseline {how.baseline} is not one of the methods of this run ({method_keys}); "
            "name one of them"
        )
    _refuse_alone(named[0], methods, profile)
    return named[0]


def _refuse_alone(baseline: Spec, methods: Sequence[Spec], profile: Profile) -> None:
    """Refuse a baseline of which no comparison could be made.

    Raises:
        UsageError: Its rows compete with none, or no other row competes.
    """
    competing = []
    for spec in methods:
        if compares(registry.method(spec, profile.scale)):
            competing.append(spec)
    others = [spec.key for spec in competing if spec != baseline]
    if baseline not in competing:
        remedy = f"name one that competes: {', '.join(others)}" if others else "leave it out"
        raise UsageError(
            f"--baseline {baseline} is in no comparison, for it has what the others lack (its own "
            f"training data, or the reference's box); {remedy}"
        )
    if not others and not further_rows(registry.method(baseline, profile.scale)):
        raise UsageError(
            f"--baseline {baseline} has no other method to be compared with; name another one in "
            "--methods too, or leave --baseline out"
        )


def _check_equal_trials(cells: Sequence[Cell]) -> None:
    """Refuse tuned methods of which one had more trials than another.

    Raises:
        UsageError: One had fewer trials than the others.
    """
    # Each pair of a method and a dataset, with the trials of a study of it (one for each fold).
    trials = set()
    for cell in cells:
        if cell.tuning:
            trials.add((f"{cell.method} on {cell.dataset.id.name}", int(cell.tuning["trials"])))
    numbers = {number for _, number in trials}
    if len(numbers) <= 1:
        return
    most = max(numbers)
    fewer = sorted(f"{pair} {number}" for pair, number in trials if number < most)
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
    launcher: Launcher,
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
    is_cluster = launcher.grace_seconds > 0  # it is given all cells at once
    if is_cluster:
        ordered = matrix.longest_first(pending, store)
    finished = len(cells) - len(pending) - failed
    with Board(console, store, len(cells), finished, failed) as board:
        try:
            with tracked(store, cells[0].profile.name, how.trackers or Wanted(), console):
                follow(ordered, store, launcher, board.watch, board.ended, board.stopping)
        except KeyboardInterrupt:
            options.say("Stopped. The same command goes on where this one was.", to=console)
            raise
    return board.failed


def _report(outcome: Outcome, console: Console) -> bool:
    """Write the report if anything is new, and print it; return whether cells are damaged."""
    from bench.cli.shown import tell
    from bench.report import PAGE, write
    from bench.store.results import Results

    store, profile = outcome.selection.store, outcome.profile
    if not store.layout.profile(profile).finished():
        options.say("No cell is finished, so there is no report.", to=console)
        return False
    results = Results.load(store, profile.name).looked_at(store)  # this report is a look, if new
    written = write(results, outcome.selection.report, extent="run", redraw=outcome.anything_ran)
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
    return bool(options.tell_damaged(results.damaged))
