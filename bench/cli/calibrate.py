"""`bench calibrate`: how often the report is wrong in worlds like one's own results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.spec.words import count

if TYPE_CHECKING:
    from rich.console import Console

    from bench.stats.calibrate import Rate, Task
    from bench.store.results import Results

METRIC = "dice"
"""What claims are about, as in the report."""
REMARK = (
    "Worlds: patients are drawn from the results' own, outliers included; what differs from seed "
    "to seed is drawn anew for each method, as widely as it varies in the results. A claim is "
    "counted once a world, whatever its number of comparisons. Marks and verdicts are those of "
    "the report."
)
ONE = (
    "One seed: how seeds vary is unknown, so the worlds repeat these weights. ° and ‡ speak of "
    "them; bench run --seeds 3 lets a star speak of the methods, and be checked here."
)


def calibrate(
    out: options.Out = Path("results"),
    profile: options.ProfileOfResults = None,
    rounds: Annotated[int, typer.Option(min=100, max=10**7, help="Worlds of each kind.")] = 2000,
    as_json: options.Json = False,
) -> None:
    """Count how often marks and verdicts are wrong in worlds like your own finished results.

    In these worlds all methods are equal, or half a point apart; every claim is then wrong.

    Examples:

        bench calibrate

        bench calibrate --out results --profile paper --json
    """
    from bench.store.cells import Store
    from bench.store.results import Results

    results = Results.load(Store(out), profile)
    rows = measure(results, rounds)
    if as_json:
        options.print_json(rows)
    else:
        _show(rows, options.console())
    raise typer.Exit(options.tell_damaged(results.damaged))


def measure(results: Results, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each dataset and claim.

    Raises:
        UsageError: No dataset has two methods on two patients.
    """
    from bench.stats import calibrate
    from bench.stats.scores import arrange

    tasks: list[Task] = []
    for number, by_metric in enumerate(arrange(results.cases, [METRIC]).values()):
        tasks += calibrate.tasks(by_metric[METRIC], rounds, SEED + number)
    if not tasks:
        raise UsageError(
            f"there is no dataset under the profile '{results.profile}' with two methods on two "
            "patients, so there is nothing to compare; bench run --methods all"
        )
    rows = []
    for task, rate in _counted(tasks):
        scores = task.worlds.scores
        low, high = rate.interval
        row = asdict(rate) | {
            "rate": rate.rate,
            "low": low,
            "high": high,
            "source": scores.source,
            "patients": len(scores.patients),
            "seeds": len(scores.seeds),
            "methods": len(scores.methods),
            "left_out": len(scores.left_out),
        }
        del row["interval"]
        rows.append(row)
    return rows


def _counted(tasks: Sequence[Task]) -> Iterator[tuple[Task, Rate]]:
    """Yield the rates of tasks, which all cores count; progress goes to standard error."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from rich.console import Console
    from rich.progress import track

    from bench.spec import machine, processes
    from bench.stats.calibrate import Task

    context = multiprocessing.get_context("forkserver")
    jobs = min(len(tasks), machine.cores())
    with ProcessPoolExecutor(jobs, context, processes.end_with_launcher) as pool:
        counted = track(
            pool.map(Task.rates, tasks),
            "simulating",
            len(tasks),
            console=Console(stderr=True),
            transient=True,
        )
        for task, rates in zip(tasks, counted, strict=True):
            for rate in rates:
                yield task, rate


def _show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the rates, a table a dataset."""
    from rich.table import Table

    for column in dict.fromkeys(row["column"] for row in rows):
        of_column = [row for row in rows if row["column"] == column]
        first = of_column[0]
        source = "PHANTOM data (simulated)" if first["source"] == "phantom" else "real data"
        title = (
            f"{column}, {source}: {count(first['methods'], 'method')}, "
            f"{count(first['patients'], 'patient')}, "
            f"seeds: {first['seeds']}"
        )
        table = Table("truth", "claim", "correction", "wrong in", "95 %", title=title)
        table.title_justify = "left"
        for row in of_column:
            table.add_row(
                row["truth"],
                row["claim"],
                row["correction"],
                f"{100 * row['rate']:.1f} %",
                f"{100 * row['low']:.1f} to {100 * row['high']:.1f}",
            )
        console.print(table)
        if first["left_out"]:
            line = f"{count(first['left_out'], 'patient')} whom not all methods have: left out."
            options.say(line, to=console)
        if first["seeds"] == 1:
            options.say(ONE, to=console)
    options.say(f"{rows[0]['rounds']:,} worlds of each kind. {REMARK}", to=console)
