"""`bench calibrate`: how often the tests find on one's own results what is not there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.stats import calibrate
from bench.stats.flips import ALPHA
from bench.stats.scores import arrange
from bench.store.store import Store

METRIC = "dice"


def run(out: Path, profile: str | None, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each dataset, way of making a difference that is none, and test.

    Raises:
        UsageError: No cell is finished, or no dataset has two methods or two seeds tested on two
            patients.
    """
    store = Store(out)
    profile = store.finished_profile(profile)
    cases = store.cases(profile)
    rows = []
    for number, (column, by_metric) in enumerate(arrange(cases, [METRIC]).items()):
        scores = by_metric[METRIC]
        here = calibrate.Cases.of(column, scores, cases[cases.column == column])
        rows += [
            {
                **asdict(rate),
                "rate": rate.rate,
                "source": scores.source,
                "seeds": len(here.seeds),
                "left_out": len(scores.complete().left_out),
            }
            for rate in calibrate.rates(here, rounds, SEED + number)
        ]
    if not rows:
        raise UsageError(
            f"{store.root} has no dataset under the profile '{profile}' with two methods or two"
            " seeds on two patients, so there is nothing to compare; bench run --methods all"
        )
    for row in rows:  # JSON has no NaN
        low, high = row.pop("interval")
        row |= {"low": None if low != low else low, "high": None if high != high else high}
    return rows


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """Print the rates, a table a dataset."""
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
            ends = (
                "" if row["low"] is None else f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %"
            )
            found = f"{100 * row['rate']:.1f} % of {row['rounds']}"
            table.add_row(row["null"], f"{row['test']}, {row['units']} {unit}", found, ends)
        console.print(table)
        for line in _remarks(mine, patients):
            console.print(line, highlight=False, soft_wrap=True)


def _remarks(rows: list[dict[str, Any]], patients: int) -> list[str]:
    lines = []
    attainable = rows[0]["attainable"]
    if not attainable:
        lines.append(
            f"{patients} patients can never give a p of 0.05: nothing can be found, and no star is"
            " possible."
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
    elif any(row["null"] == calibrate.WHOLE for row in rows):
        lines.append(
            "Seeds split alike for all patients compare checkpoints: what is above 5 % there is"
            " training's own chance, which no test over patients covers; intervals over seeds do."
        )
    return lines
