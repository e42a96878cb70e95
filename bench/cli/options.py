"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench.spec.errors import UsageError, printable
from bench.spec.words import count

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.splits import Splitting
    from bench.spec.names import Spec
    from bench.spec.note import Progress
    from bench.spec.profile import Profile
    from bench.store.cells import Store
    from bench.store.damage import Damage

MANY, SEEDS, FOLDS, JOBS = 10**9, 10_000, 10_000, 4096
"""The largest numbers that options take: steps, pixels and seconds; seeds; folds; cells at once."""
HIGHEST_SEED = 2**31 - 1
"""The largest seed."""
LONGEST_NUMBER = 12
"""Digits of a number that are read, which is more than any may have."""
PATTERN = (
    "Where the patient stands in a case's name: '{patient}_*'; '{patient}' if each case is one."
)
"""The help of --pattern."""
UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}
"""Seconds in the units of durations."""
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
        "--profile", help="smoke, cpu, lunch, paper or a .toml file; paper with a GPU, else cpu."
    ),
]
Steps = Annotated[
    int | None,
    typer.Option("--steps", min=1, max=MANY, help="Steps at most, not the profile's."),
]
Pixels = Annotated[
    int | None,
    typer.Option(
        "--pixels",
        min=0,
        max=MANY,
        help="Pixels of the network grid; 0: native sizes, where they are equal or batch = 1.",
    ),
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
Seeds = Annotated[
    str, typer.Option(help="How many seeds, from 35 upwards; or which: 35,36. One alone: 36,")
]
Looks = Annotated[
    int,
    typer.Option(
        min=1,
        help="How often results of several seeds are reported; only new seeds make another look.",
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
Score = Annotated[
    Literal["slice", "volume"],
    typer.Option(help="volume: stack the slices of a volume and score them in 3D too."),
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


def datasets_of(text: str, data: Path | None, profile: Profile) -> list[Spec]:
    """Return the datasets that a list names; of `all` those that are there or have a phantom.

    A package may add a dataset to `all` that has no phantom: without its files it is left out, and
    a line says so.

    Raises:
        UsageError: A name, an option or a value is unknown, or `--data` would have no effect.
    """
    from bench.launch import matrix
    from bench.spec import registry

    specs = registry.expand(registry.DATASETS, text)
    environment = os.environ.get("BENCH_DATA")
    is_asked = data is not None and not (environment and Path(environment) == data)
    if is_asked and all(registry.dataset(spec).folder is not None for spec in specs):
        raise UsageError(
            f"--data {data} is where named datasets such as mr lie, but --datasets gives paths; "
            "leave --data out"
        )
    words = [word.strip() for word in text.split(",")]
    if registry.ALL not in words:
        return specs
    named = [word for word in words if word != registry.ALL]
    wanted = registry.expand(registry.DATASETS, ",".join(named)) if named else []
    for spec in matrix.without_data([one for one in specs if one not in wanted], data, profile):
        line = f"{spec}: left out of all, for it has neither files in --data nor a phantom"
        print(f"bench: {printable(line)}", file=sys.stderr)
        specs.remove(spec)
    return specs


def splitting(folds: int, file: Path | None, fraction: float = 1.0) -> Splitting:
    """Return how patients are split; say where the encoding of a split file is a guess.

    Raises:
        UsageError: The options contradict each other, or the file is no split.
    """
    from bench.data.splits import Splitting
    from bench.spec import texts

    chosen = Splitting(folds, file, fraction)
    for line in texts.assumed([file] if file else []):
        print(f"bench: {printable(line)}", file=sys.stderr)
    return chosen


def seeds_of(text: str) -> tuple[int, ...]:
    """Return the seeds that `--seeds` names: a number of them from 35 on, or a list.

    Raises:
        UsageError: It is neither, or too many, or one stands in it twice.
    """
    from bench.spec.config import SEED

    words = [word.strip() for word in text.split(",")]
    if words[-1] == "":  # a list of one seed ends with a comma: `36,`
        words.pop()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise UsageError(f"--seeds {text}: expected how many (3), or which (35,36)")
    numbers = tuple(int(word[:LONGEST_NUMBER]) for word in words)
    if "," not in text:
        if not 1 <= numbers[0] <= SEEDS:
            raise UsageError(f"--seeds {text}: expected 1 to {SEEDS} seeds, or a list (35,36)")
        return tuple(range(SEED, SEED + numbers[0]))
    if len(set(numbers)) < len(numbers) or max(numbers) > HIGHEST_SEED:
        raise UsageError(f"--seeds {text}: expected different numbers up to {HIGHEST_SEED}")
    return numbers


def seconds_of(text: str, option: str) -> float:
    """Return a duration with its unit in seconds: `60s`, `5min`, `2h`; a bare number is seconds.

    Raises:
        UsageError: It is none, or is not between a second and some 30 years.
    """
    match = re.fullmatch(r"([0-9]{1,10}(?:\.[0-9]{1,6})?)\s*(s|min|h|)", text.strip())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 1 <= seconds <= MANY:
        raise UsageError(f"{option} {text}: expected a time such as 60s, 5min or 2h")
    return seconds


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on a terminal what a command waits for; elsewhere nothing."""
    if not sys.stderr or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} ..."):
        yield


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
    """Declare comparisons of methods from outside.

    Call it before predictions that were scored here are kept, and after scores are kept that others
    computed, for those may have been known.

    Raises:
        UsageError: As `check_baseline`, or other comparisons were declared.
    """
    if baseline is None:
        return
    from bench.store.outside import spec_of
    from bench.store.plan import Plan

    check_baseline(baseline, titles)
    methods = [spec_of(title) for title in dict.fromkeys(titles)]
    Plan(store, profile).declare(spec_of(baseline), "holm", methods)


def check_baseline(baseline: str, titles: Sequence[str]) -> None:
    """Refuse a baseline that could not be compared with another method from outside.

    Raises:
        UsageError: It is none of them, or the only one.
    """
    from bench.spec.errors import did_you_mean

    if baseline not in titles:
        raise UsageError(f"--baseline {baseline} is no method; {did_you_mean(baseline, titles)}")
    if len(set(titles)) == 1:
        raise UsageError(
            f"--baseline {baseline} has no other method to be compared with; give the masks or "
            "scores of another one too, or leave --baseline out"
        )


def choose_device(wanted: str, *, here: bool = True) -> str:
    """Return the PyTorch device that a name stands for.

    Args:
        wanted: `auto`, or a PyTorch device.
        here: Whether the cells run on this machine; a device of other machines is not tried.

    Raises:
        UsageError: The device cannot be used.
    """
    with waiting("loading PyTorch"):
        from bench.spec import devices

        missing = devices.why_no_gpu()
    if wanted == "auto":
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
                    to.print(f"preparing {name}: {count(total, 'item')}", highlight=False)
            bars.update(tasks[name], completed=done)

        yield told


@contextmanager
def preparing_quietly() -> Iterator[Progress]:
    """Show the preparation on standard error, for commands whose output is data."""
    from rich.console import Console

    with preparing(Console(stderr=True)) as told:
        yield told
