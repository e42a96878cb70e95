"""`bench tune`: studies of methods on datasets, with as many trials each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.cli.selection import Selection, prepare
from bench.spec import devices, installing, registry
from bench.spec.capabilities import tunable
from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.profile import Profile
from bench.spec.words import count

if TYPE_CHECKING:
    from rich.console import Console

    from bench.tuning.study import Study
    from bench.tuning.workers import TrialEnded


def tune(
    methods: options.Methods = "all",
    datasets: options.Datasets = "all",
    trials: Annotated[
        int, typer.Option(min=1, max=100_000, help="Of each method on each dataset and fold.")
    ] = 20,
    data: options.Data = None,
    profile: options.ProfileName = None,
    steps: options.Steps = None,
    pixels: options.Pixels = None,
    out: options.Out = Path("results"),
    report: options.ReportTo = Path("reports"),
    folds: options.Folds = 1,
    split: options.SplitFile = None,
    fraction: options.Fraction = 1.0,
    jobs: options.Jobs = None,
    device: options.Device = "auto",
    real_only: options.RealOnly = False,
    storage: options.Storage = None,
) -> None:
    """Find each method's best options by its validation patients, with as many trials for each.

    Test cases cannot be read here. What is finished is not repeated; several commands on one
    storage share the trials.

    Examples:

        bench tune --methods unet,verdiff --datasets mr --trials 20

        bench tune --methods all --datasets mr --data ~/spine --folds 5

        bench run --methods all --datasets mr --data ~/spine --folds 5 --tuned
    """
    from bench.launch.local import default_jobs
    from bench.tuning.study import os_errors_of

    device = options.choose_device(device)
    selection = Selection(
        methods=methods,
        datasets=datasets,
        data=data,
        profile=options.choose_profile(profile, device, steps, pixels),
        out=out,
        report=report,
        splitting=options.splitting(folds, split, fraction),
        device=device,
        real_only=real_only,
    )
    console = options.console()
    chosen = selection.load_profile()
    studies = _studies(selection, chosen, storage, console)
    at_once = jobs or default_jobs(devices.all_of(device), chosen.threads)
    with os_errors_of(studies[0].storage):
        _run(studies, trials, selection, chosen, at_once, console)
        _draw(studies, selection.report / chosen.name / "tuning", console)


def _studies(
    selection: Selection, profile: Profile, storage: str | None, console: Console
) -> list[Study]:
    """Return the studies of a selection: one for each method, dataset and fold.

    Raises:
        UsageError: Something is wrong with the selection or the data; nothing was trained.
    """
    from bench.engine.several import refuse_classes
    from bench.engine.smallest import refuse_small
    from bench.launch import local, matrix
    from bench.tuning import workers
    from bench.tuning.study import Study, default_storage

    specs = registry.expand(registry.METHODS, selection.methods)
    methods = _tunable(specs, profile, console)
    readers = selection.find(profile)
    selection.open(profile)
    modules: set[str] = set()
    for spec in methods:
        modules.update(registry.method(spec, profile.scale).needs)
    installing.refuse_untrainable(["optuna", *sorted(modules)])
    local.preload([*workers.NEEDS, *sorted(modules)])
    datasets = prepare(readers, console)
    cells = matrix.cells(
        profile=profile,
        datasets=datasets,
        methods=methods,
        store=selection.store,
        splitting=selection.splitting,
        seeds=(SEED,),
        device=selection.device,
    )
    refuse_classes(cells, selection.planned_split, selection.device)
    refuse_small(cells, selection.planned_split)
    place = storage or default_storage(selection.store, profile.name)
    return [Study(cell, place) for cell in cells]


def _tunable(methods: Sequence[Spec], profile: Profile, console: Console) -> list[Spec]:
    """Return the methods that can be tuned, and say which cannot."""
    chosen = []
    for spec in methods:
        method = registry.method(spec, profile.scale)
        if method.tuned:
            raise UsageError(f"{spec} is what bench tune finds; leave tuned=on out")
        if tunable(method):
            registry.refuse_chosen(spec, method)
            chosen.append(spec)
        else:
            console.print(
                f"{spec} is not tuned: it trains itself, is told the reference's box, "
                "or has nothing to choose."
            )
    if not chosen:
        raise UsageError("none of these methods can be tuned")
    return chosen


def _run(
    studies: Sequence[Study],
    trials: int,
    selection: Selection,
    profile: Profile,
    jobs: int,
    console: Console,
) -> None:
    """Run the trials that are missing."""
    from bench.tuning import workers

    missing = 0
    for study in studies:
        opened = study.open()
        opened.set_user_attr("trials", max(trials, opened.user_attrs.get("trials", 0)))
        missing += max(0, trials - study.finished(opened))
    options.say(
        f"{count(len(studies), 'study', 'studies')} of {count(trials, 'trial')}, "
        f"at most {count(profile.steps, 'step')} each, "
        f"by the validation patients alone; {count(missing, 'trial')} to run, "
        f"{jobs} at a time on {selection.device}.",
        to=console,
    )
    if not missing:
        return

    def tell_trial(trial: TrialEnded) -> None:
        """Print a line about a trial that has ended."""
        how = {
            "COMPLETE": f"Dice {100 * (trial.value or 0):.2f} %",
            "PRUNED": "stopped early",
            "FAIL": trial.why,
        }
        count = f"{trial.finished}/{trials}"
        values = shown(trial.values)
        options.say(f"{trial.study} {count}: {how[trial.state]} with {values}", to=console)

    def tell_death(code: int) -> None:
        options.say(f"A worker died (exit code {code}); its trial is run again.", to=console)

    splits = [_split(study, selection) for study in studies]
    try:
        workers.run(
            cells=[study.cell for study in studies],
            splits=splits,
            storage=studies[0].storage,
            trials=trials,
            jobs=jobs,
            device=selection.device,
            on_trial=tell_trial,
            on_death=tell_death,
        )
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on where this one was.")
        raise


def _split(study: Study, selection: Selection) -> Any:
    """Return the split of a study's cell."""
    from bench.data import cache
    from bench.store.plan import split_of

    dataset = cache.load(Path(study.cell.dataset.cache))
    return split_of(selection.store, study.cell, dataset.patients)


def _draw(studies: Sequence[Study], folder: Path, console: Console) -> None:
    """Print each study's best options, and draw how the studies went."""
    from bench.tuning.plots import draw

    for study in studies:
        options.say(_summary(study), to=console)
    options.say("bench run --tuned uses the best of each.", to=console)
    for study in studies:
        draw(study, folder)
    options.say(f"Plots: {folder.resolve()}", to=console)


def _summary(study: Study) -> str:
    """Return a study's best, beside what the method has by default."""
    from bench.tuning.study import counts, is_default

    cell, opened = study.cell, study.open()
    trials = [trial for trial in opened.get_trials(deepcopy=False) if counts(trial)]
    complete = [t for t in trials if t.state.name == "COMPLETE" and t.value is not None]
    by_default = "none"
    for trial in complete:
        if is_default(trial):
            by_default = f"{100 * (trial.value or 0):.2f} %"
            break
    best = "none was completed"
    if complete:
        trial = max(complete, key=lambda t: t.value or 0.0)
        best = f"best {100 * (trial.value or 0):.2f} % with {shown(trial.params)}"
    stopped = sum(trial.state.name == "PRUNED" for trial in trials)
    failed = sum(trial.state.name == "FAIL" for trial in trials)
    done = count(len(trials), "trial")
    return (
        f"{cell.dataset.id.name}/{cell.method}/f{cell.fold}: validation Dice {best}; "
        f"by default {by_default}; {done}, {stopped} stopped early, {failed} failed"
    )


def shown(values: Mapping[str, object]) -> str:
    """Return options as a line shows them."""
    parts = []
    for name, value in values.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(f"{name}={text}")
    return ", ".join(parts)
