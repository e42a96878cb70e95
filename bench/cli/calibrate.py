"""`bench calibrate`: how often the tests find on one's own results what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.spec.config import SEED
from bench.spec.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

METRIC = "dice"


def calibrate(
    out: options.Out = Path("results"),
    profile: options.ProfileOfResults = None,
    rounds: Annotated[int, typer.Option(min=100, help="Trials of each kind.")] = 2000,
    as_json: options.Json = False,
) -> None:
    """Check on finished results that the tests give 5 % false alarms, as they should.

    Methods are swapped within patients, and the seeds of one method split into two, so that there
    is no difference to find; a test over cases stands beside.

    Examples:

        bench calibrate

        bench calibrate --out results --profile paper --json
    """
    rows = measure(out, profile, rounds)
    if as_json:
        options.print_json(rows)
    else:
        _show(rows, options.console())


def measure(out: Path, profile: str | None, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each dataset, way of making a difference that is none, and test.

    Raises:
        UsageError: No cell is finished, or no dataset has two methods or two seeds to compare.
    """
    from bench.stats import calibrate
    from bench.stats.scores import arrange
    from bench.store.cells import Store
    from bench.store.results import Results

    results = Results.load(Store(out), profile)
    cases = results.cases
    rows = []
    for number, (column, by_metric) in enumerate(arrange(cases, [METRIC]).items()):
        scores = by_metric[METRIC]
        here = calibrate.Cases.of(column, scores, cases[cases.column == column])
        for rate in calibrate.rates(here, rounds, SEED + number):
            low, high = rate.interval
            row = asdict(rate)
            del row["interval"]
            row |= {
                "rate": rate.rate,
                "source": scores.source,
                "seeds": len(here.seeds),
                "left_out": len(scores.complete().left_out),
                "low": _known(low),
                "high": _known(high),
            }
            rows.append(row)
    if not rows:
        raise UsageError(
            f"{out} has no dataset under the profile '{results.profile}' with two methods or two "
            "seeds on two patients, so there is nothing to compare; bench run --methods all"
        )
    return rows


def _known(value: float) -> float | None:
    """Return a number, None for NaN, which JSON does not have."""
    return None if value != value else value


def _show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the rates, a table a dataset."""
    from rich.table import Table

    for column in dict.fromkeys(row["column"] for row in rows):
        mine = [row for row in rows if row["column"] == column]
        first = mine[0]
        source = "PHANTOM data (simulated)" if first["source"] == "phantom" else "real data"
        patients = next(row["units"] for row in mine if row["unit"] == "patient")
        table = Table(
            "nothing to find",
            "test",
            "found at 5 %",
            "95 % interval",
            title=f"{column}, {source}: {patients} patients, seeds: {first['seeds']}",
            title_justify="left",
        )
        for row in mine:
            unit = "patients" if row["unit"] == "patient" else "CASES (wrong)"
            ends = ""
            if row["low"] is not None:
                ends = f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %"
            rate = f"{100 * row['rate']:.1f} % of {row['rounds']}"
            table.add_row(row["null"], f"{row['test']}, {row['units']} {unit}", rate, ends)
        console.print(table)
        for line in _remarks(mine, patients):
            options.say(line, to=console)


def _remarks(rows: Sequence[dict[str, Any]], patients: int) -> list[str]:
    """Return what a reader must know of one dataset's rates."""
    from bench.stats.calibrate import WHOLE
    from bench.stats.flips import ALPHA

    lines = []
    attainable = rows[0]["attainable"]
    if not attainable:
        lines.append(
            f"{patients} patients can never give a p of 0.05: nothing can be found, "
            "and no star is possible."
        )
    elif attainable < 0.99 * ALPHA:
        lines.append(
            f"The exact sign-flip test of {patients} patients has steps; the nearest to 5 % is "
            f"{100 * attainable:.1f} %."
        )
    if rows[0]["left_out"]:
        lines.append(f"{rows[0]['left_out']} patients whom not all methods have were left out.")
    if rows[0]["seeds"] < 2:
        lines.append(
            "One seed: two checkpoints of one method cannot be compared; bench run --seeds 3."
        )
    elif any(row["null"] == WHOLE for row in rows):
        lines.append(
            "Seeds split alike for all patients compare checkpoints: what is above 5 % there is "
            "training's own chance, which no test over patients covers; intervals over seeds do."
        )
    return lines
