"""`bench ablate`: the arms of a method as cells like any others, then table 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.run import Outcome, RunOptions, execute
from bench.cli.selection import Selection
from bench.spec.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bench.spec.arms import Arm
    from bench.store.results import Results


def ablate(
    dataset: Annotated[
        str, typer.Option("--dataset", help="Names with options, separated by commas, or all.")
    ],
    method: Annotated[str, typer.Option(help="A method with options.")] = "verdiff",
    factors: Annotated[
        str, typer.Option(help="Its on/off options to switch, at most 5; default: its modules.")
    ] = "",
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
    real_only: options.RealOnly = False,
    dry_run: options.DryRun = False,
) -> None:
    """Switch a method's modules on and off in all combinations, and write table 2.

    The arms are cells like those of `bench run`, and share them: same data, same seeds, same
    weights to start from.

    Examples:

        bench ablate --dataset mr

        bench ablate --dataset mr --method verdiff:steps=10 --factors msfm,nsa,bce --seeds 3
    """
    from bench.spec.arms import arms
    from bench.spec.profile import load_profile
    from bench.store.results import Results

    splitting = options.splitting(folds, split, fraction)
    device = options.choose_device(device)
    name = options.choose_profile(profile, device, steps, pixels)
    switched, combinations = arms(method, factors, load_profile(name).scale)
    selection = Selection(
        methods=",".join(arm.spec.key for arm in combinations),
        datasets=dataset,
        data=data,
        profile=name,
        out=out,
        report=report,
        splitting=splitting,
        device=device,
        deterministic=options.choose_deterministic(deterministic, device),
        seeds=options.seeds_of(seeds),
        real_only=real_only,
    )
    console = options.console()
    outcome = execute(selection, RunOptions(jobs=jobs, dry_run=dry_run), console)
    if outcome is None:
        return
    results = Results.read(selection.store, outcome.profile.name)
    for path in _report(outcome, results, combinations, switched, console):
        options.say(str(path), to=console)
    damaged = options.tell_damaged(results.damaged)
    raise typer.Exit(1 if outcome.failed else damaged)


def _report(
    outcome: Outcome,
    results: Results,
    arms: Sequence[Arm],
    factors: tuple[str, ...],
    console: Console,
) -> list[Path]:
    """Write table 2 and the picture of each dataset; return the files."""
    from rich.markdown import Markdown

    from bench.data import cache
    from bench.report.document import markdown, unprintable
    from bench.report.figures import arms as pictures
    from bench.report.sections import ablation
    from bench.spec.names import Column

    selection = outcome.selection
    folder = selection.report / outcome.profile.name
    written: list[Path] = []
    for dataset in outcome.datasets:
        column = Column(dataset.id, selection.splitting.scheme)
        try:
            table = ablation.collect(results, column, arms, factors, selection.seeds)
        except UsageError as error:
            if not outcome.failed and not results.damaged:
                raise
            options.say(f"No table 2 for {dataset.id.name}: {error}", to=console)
            continue
        document = ablation.document(table)
        written += document.write(folder)
        remark = unprintable([document])
        if remark:
            options.say(f"Note: {remark}.", to=console)
        picture = folder / f"ablation-{table.name}.png"
        pictures.draw(table, cache.load(Path(dataset.cache)), picture)
        written.append(picture)
        text = markdown(document)
        if console.is_terminal:
            console.print(Markdown(text))
        else:
            print(text)
    return written
