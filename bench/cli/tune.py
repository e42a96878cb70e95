"""`bench tune`: studies of methods on datasets, with as many trials each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bench.cli.run import Wish
from bench.cli.show import preparing, print_left_out
from bench.data import cache
from bench.launch import local
from bench.launch import matrix as plan
from bench.spec import machine, registry
from bench.spec.capabilities import tunable
from bench.spec.config import Profile, load_profile
from bench.spec.errors import UsageError
from bench.store.store import Store, make_folder
from bench.tuning import workers as tuner
from bench.tuning.plots import draw
from bench.tuning.study import Study, counts, default_storage, is_default
from bench.tuning.workers import Told


def tune(wish: Wish, trials: int, console: Console) -> None:
    """Give every study of a wish its trials, and draw them.

    Raises:
        UsageError: Something is wrong with the wish, the data or the storage; nothing was trained.
    """
    profile, store = load_profile(wish.profile), Store(wish.out)
    methods = _tunable(registry.expand(registry.METHODS, wish.methods), profile, console)
    found = plan.find(
        registry.expand(registry.DATASETS, wish.datasets), wish.data, profile, wish.real_only
    )
    store.open(profile)
    make_folder(wish.report / profile.name, "report", "--report")
    modules = {module for spec in methods for module in registry.method(spec, profile.scale).needs}
    local.preload(["bench.tuning.trial", *sorted(modules)])
    with preparing(console) as progress:
        datasets = [plan.prepare(each, machine.cores(), progress) for each in found]
    for dataset in datasets:
        if dataset.source == "phantom":
            console.print(
                f"{dataset.name}: PHANTOM data (simulated); give real files with --data.",
                highlight=False,
            )
        print_left_out(dataset.name, cache.load(Path(dataset.cache)).left_out, console)
    cells = plan.cells(profile, datasets, methods, store, wish.scheme, 1, wish.device)
    storage = wish.storage or default_storage(store, profile.name)
    studies = [Study(cell, storage) for cell in cells]
    counts = []
    for study in studies:
        opened = study.open()
        opened.set_user_attr("trials", max(trials, opened.user_attrs.get("trials", 0)))
        counts.append(study.finished(opened))
    _launch(studies, counts, trials, store, wish, profile, console)
    _summary(studies, console)
    folder = wish.report / profile.name / "tuning"
    for study in studies:
        draw(study, folder)
    console.print(f"Plots: {folder.resolve()}", soft_wrap=True, highlight=False)


def _tunable(methods: Sequence[str], profile: Profile, console: Console) -> list[str]:
    """Return the methods that can be tuned, and say which cannot."""
    chosen = []
    for spec in methods:
        method = registry.method(spec, profile.scale)
        if method.tuned:
            raise UsageError(f"{spec} is what bench tune finds; leave tuned=on out")
        if tunable(method):
            chosen.append(spec)
        else:
            console.print(
                f"{spec} is not tuned: it trains itself, is told the answer, or has nothing to"
                " choose."
            )
    if not chosen:
        raise UsageError("none of these methods can be tuned")
    return chosen


def _launch(
    studies: Sequence[Study],
    counts: Sequence[int],
    trials: int,
    store: Store,
    wish: Wish,
    profile: Profile,
    console: Console,
) -> None:
    """Run what trials are missing."""
    missing = sum(max(0, trials - count) for count in counts)
    jobs = wish.jobs or (max(1, machine.cores() // profile.threads) if wish.device == "cpu" else 1)
    console.print(
        f"{len(studies)} studies of {trials} trials, at most {profile.steps} steps each, by the"
        f" validation patients alone; {missing} trials to run, {jobs} at a time on {wish.device}.",
        highlight=False,
        soft_wrap=True,
    )
    if not missing:
        return
    splits = [
        store.split_of(study.cell, cache.load(Path(study.cell.dataset.cache)).patients)
        for study in studies
    ]

    def told(trial: Told) -> None:
        how = {
            "COMPLETE": f"Dice {100 * (trial.value or 0):.2f} %",
            "PRUNED": "stopped early",
            "FAIL": trial.why,
        }
        console.print(
            f"{trial.study} {trial.finished}/{trials}: {how[trial.state]} with"
            f" {shown(trial.values)}",
            highlight=False,
            soft_wrap=True,
        )

    def died(code: int) -> None:
        console.print(f"A worker died (exit code {code}); its trial is run again.", highlight=False)

    cells = [study.cell for study in studies]
    try:
        tuner.run(cells, splits, studies[0].storage, trials, jobs, wish.device, told, died)
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on where this one was.")
        raise


def _summary(studies: Sequence[Study], console: Console) -> None:
    """Print each study's best, beside what the method has by default."""
    for study in studies:
        cell, opened = study.cell, study.open()
        trials = [t for t in opened.get_trials(deepcopy=False) if counts(t)]
        complete = [t for t in trials if t.state.name == "COMPLETE" and t.value is not None]
        usual = next((f"{100 * (t.value or 0):.2f} %" for t in complete if is_default(t)), "none")
        said = ", ".join(
            f"{sum(t.state.name == state for t in trials)} {words}"
            for state, words in (("PRUNED", "stopped early"), ("FAIL", "failed"))
        )
        best = max(complete, key=lambda t: t.value or 0.0, default=None)
        found = (
            f"best {100 * (best.value or 0):.2f} % with {shown(best.params)}"
            if best
            else "none was completed"
        )
        console.print(
            f"{cell.dataset.name}/{cell.method}/f{cell.fold}: validation Dice {found}; by default"
            f" {usual}; {len(trials)} trials, {said}",
            highlight=False,
            soft_wrap=True,
        )
    console.print("bench run --tuned uses the best of each.", highlight=False)


def shown(values: Mapping[str, object]) -> str:
    """Return options as a line shows them."""
    return ", ".join(
        f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items()
    )
