"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.spec.errors import UsageError, printable

if TYPE_CHECKING:
    from rich.console import Console

    from bench.spec.note import Progress
    from bench.store.cells import Store
    from bench.store.damage import Damage

MANY, SEEDS, FOLDS, JOBS = 10**9, 10_000, 10_000, 4096
"""The largest numbers that options take: steps, pixels and seconds; seeds; folds; cells at once."""
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="BENCH_DATA", help="Folder with ct-verse/, ct-pri/, mr/ or xray/ in it."
    ),
]
DataFetched = Annotated[
    Path, typer.Option("--to", help="The data folder, which --data takes afterwards.")
]
Methods = Annotated[str, typer.Option(help="Names with options, separated by commas, or all.")]
Datasets = Annotated[
    str, typer.Option("--datasets", help="Names with options, separated by commas, or all.")
]
DatasetName = Annotated[str, typer.Argument(help="A name with options, or a folder.")]
Out = Annotated[Path, typer.Option("--out", help="Results folder.")]
ReportTo = Annotated[Path, typer.Option(help="Where the report goes.")]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile", help="smoke, cpu, paper or a .toml file; paper with a GPU, else cpu."
    ),
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", min=1, max=MANY, help="Steps at most, not the profile's."),
]
Pixels = Annotated[
    int | None,
    typer.Option("--pixels", min=0, max=MANY, help="Pixels of the network grid; 0: native sizes."),
]
ProfileOfResults = Annotated[
    str | None, typer.Option("--profile", help="Which results; default: the latest.")
]
ProfileOfPlan = Annotated[
    str | None, typer.Option("--profile", help="Which results; default: the latest planned.")
]
ProfileOfPhantoms = Annotated[
    str, typer.Option("--profile", help="Whose phantoms stand in for what is not given.")
]
Seeds = Annotated[int, typer.Option(min=1, max=SEEDS, help="Seeds, from 35 upwards.")]
Looks = Annotated[
    int,
    typer.Option(
        min=1, help="How often results of several seeds are looked at, after more seeds each time."
    ),
]
Folds = Annotated[
    int, typer.Option(min=1, max=FOLDS, help="1: one 70/10/20 split; K: K-fold cross-validation.")
]
SplitFile = Annotated[
    Path | None,
    typer.Option("--split", help="Your own split of one dataset: lines of fold,patient,side."),
]
Fraction = Annotated[float, typer.Option(help="Share of the training patients to train on.")]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, max=JOBS, help="Cells at once; default: as the cores hold."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="On a GPU, give the same bytes each time; is slower."),
]
RealOnly = Annotated[bool, typer.Option("--real-only", help="Refuse phantoms.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Where studies are, as Optuna takes it: postgresql://...; "
        "default: SQLite beside the results."
    ),
]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="Send losses and scores to OUT/tensorboard.")
]
Mlflow = Annotated[
    str | None, typer.Option("--mlflow", help="Send them to this MLflow: http://HOST:PORT, ...")
]
Baseline = Annotated[
    str | None,
    typer.Option(help="Declare that this method is compared with each other one."),
]
Json = Annotated[bool, typer.Option("--json", help="Print data instead of a table.")]


def console() -> Console:
    """Return the console that commands print to."""
    from rich.console import Console

    return Console(markup=False)


def say(line: str, *, to: Console | None = None) -> None:
    """Print one line as it is: not wrapped, not coloured, no markup; controls are shown."""
    target = to or console()
    target.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print plain data as JSON."""
    print(json.dumps(value, indent=1))


def tell_damaged(damaged: Sequence[Damage]) -> int:
    """Say on standard error what of the results is damaged, a line each; return the exit code."""
    for damage in damaged:
        print(f"bench: {printable(damage.line)}", file=sys.stderr)
    return 1 if damaged else 0


def print_left_out(name: str, lines: Sequence[str], most: int = 5) -> None:
    """Say what of a dataset could not be used; the rest is used."""
    if not lines:
        return
    console().print(f"{name}: {len(lines)} left out:", style="bold", highlight=False)
    for line in lines[:most]:
        say(f"  {line}")
    if len(lines) > most:
        say(f"  ... and {len(lines) - most} more: bench data check {name}")


def shown_path(path: Path) -> str:
    """Return a path as the user named it; of one that leads out of the folder the name alone."""
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def declare_outside(
    store: Store, profile: str, baseline: str | None, titles: Sequence[str]
) -> None:
    """Declare comparisons of methods from outside, once their cells are kept.

    Raises:
        UsageError: The baseline is none of them, or other comparisons were declared.
    """
    if baseline is None:
        return
    from bench.spec.errors import did_you_mean
    from bench.store.outside import spec_of
    from bench.store.plan import Plan

    if baseline not in titles:
        raise UsageError(f"--baseline {baseline} is no method; {did_you_mean(baseline, titles)}")
    methods = [spec_of(title) for title in dict.fromkeys(titles)]
    Plan(store, profile).declare(spec_of(baseline), "holm", methods)


def choose_device(wanted: str, *, here: bool = True) -> str:
    """Return the PyTorch device that a name stands for.

    Args:
        wanted: `auto`, or a PyTorch device.
        here: Whether the cells run on this machine; a device of other machines is not tried.

    Raises:
        UsageError: The device cannot be used.
    """
    from bench.spec import devices

    if wanted == "auto":
        missing = devices.why_no_gpu()
        if missing is None:
            wanted = "cuda"
        else:
            hint = ""
            if not here:
                hint = "this machine has no GPU, so cells ask for none; --device cuda asks for them"
            elif missing.present:
                hint = f"the GPU is not used: {missing.why}"
            if hint:
                print(f"bench: {hint}", file=sys.stderr)
            return "cpu"
    if not here and wanted in ("cpu", "cuda"):
        return wanted
    devices.check(wanted)
    return wanted


def choose_deterministic(wanted: bool, device: str) -> bool:
    """Return whether a GPU is held to the same bytes each time.

    Raises:
        UsageError: It is wanted of the CPU.
    """
    if wanted and device == "cpu":
        raise UsageError(
            "--deterministic has no effect on the CPU, which gives the same bytes anyway; "
            "leave it out"
        )
    return wanted


def choose_profile(
    wanted: str | None, device: str, steps: int | None = None, pixels: int | None = None
) -> str:
    """Return the profile's name: the wanted one or the device's usual one, as it is changed."""
    from bench.spec.profile import changed

    usual = "cpu" if device == "cpu" else "paper"
    return changed(wanted or usual, steps, pixels)


@contextmanager
def preparing(to: Console) -> Iterator[Progress]:
    """Show how far the preparation of datasets is, with the time left.

    Where there is no terminal, one line is printed for each dataset.
    """
    from rich import progress

    columns = (
        progress.TextColumn("preparing {task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    quiet = not to.is_terminal
    with progress.Progress(*columns, console=to, transient=True, disable=quiet) as bars:
        tasks: dict[str, Any] = {}

        def told(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
                if quiet:
                    to.print(f"preparing {name}: {total} items", highlight=False)
            bars.update(tasks[name], completed=done)

        yield told


@contextmanager
def preparing_quietly() -> Iterator[Progress]:
    """Show the preparation on standard error, for commands whose output is data."""
    from rich.console import Console

    with preparing(Console(stderr=True)) as told:
        yield told
