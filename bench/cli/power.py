"""`bench plan`: the smallest difference that the planned patients and seeds can find; before anything trains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cli.show import preparing
from bench.data import cache
from bench.data.splits import Scheme
from bench.launch import matrix as plan
from bench.spec import machine, registry
from bench.spec.capabilities import compares, further_rows
from bench.spec.config import Profile, load_profile
from bench.spec.errors import UsageError
from bench.stats import power
from bench.stats.flips import ALPHA, smallest_p
from bench.stats.scores import PatientScores, arrange
from bench.store.store import Store

METRIC = "dice"


@dataclass(frozen=True)
class Wish:
    """What is planned."""

    methods: str
    datasets: str
    data: Path | None
    profile: str
    out: Path
    seeds: int
    scheme: Scheme


def rows(wish: Wish) -> list[dict[str, Any]]:
    """Return, for each dataset, what its tested patients can find; differences are fractions, None where none can be.

    Datasets that are not prepared yet are.

    Raises:
        UsageError: Something is wrong with the wish or the data, or fewer than two methods would be
            compared.
    """
    profile = load_profile(wish.profile)
    names = _compared(wish.methods, profile)
    tests = len(names) - 1
    if not tests:
        raise UsageError(
            f"--methods '{wish.methods}' is one row that compares, so there is no difference to"
            " plan for; name two, such as --methods unet,verdiff"
        )
    found = plan.find(registry.expand(registry.DATASETS, wish.datasets), wish.data, profile)
    results = _results(Store(wish.out), profile)
    made = []
    with preparing(Console(stderr=True)) as progress:
        for each in found:
            ref = plan.prepare(each, machine.cores(), progress)
            dataset = cache.load(Path(ref.cache))
            try:
                splits = wish.scheme.split(dataset.patients, dataset.official)
            except UsageError as error:
                raise UsageError(f"{dataset.name}: {error}") from error
            tested = {p for split in splits for p, side in split.sides.items() if side == "test"}
            mine = [
                scores for column, scores in results.items() if column.split("/")[0] == ref.slug
            ]
            known = next(
                filter(
                    None, (power.known(s, names) for s in sorted(mine, key=_size, reverse=True))
                ),
                None,
            )
            made.append(
                {
                    "folds": wish.scheme.count,
                    **_row(dataset.name, dataset.source, len(tested), wish.seeds, tests, known),
                }
            )
    return made


def _compared(methods: str, profile: Profile) -> list[str]:
    """Return the rows of a table that compare: methods and their further rows, without oracles and the like."""
    names = []
    for spec in registry.expand(registry.METHODS, methods):
        method = registry.method(spec, profile.scale)
        if compares(method):
            names += [spec, *(f"{spec}:{row}" for row in further_rows(method))]
    return names


def _results(store: Store, profile: Profile) -> dict[str, PatientScores]:
    """Return the finished results by column; none where there are none."""
    if not store.has_finished(profile.name):
        return {}
    return {
        column: scores[METRIC]
        for column, scores in arrange(store.cases(profile.name), [METRIC]).items()
    }


def _size(scores: PatientScores) -> tuple[int, int]:
    return len(scores.patients), len(scores.seeds)


def _row(
    name: str, source: str, patients: int, seeds: int, tests: int, known: power.Known | None
) -> dict[str, Any]:
    spread = known.spread if known else power.Spread(power.ASSUMED)
    one, family = (power.detectable(patients, seeds, count, spread) for count in (1, tests))
    return {
        "dataset": name,
        "source": source,
        "patients": patients,
        "seeds": seeds,
        "tests": tests,
        "power": power.POWER,
        "alpha": ALPHA,
        "sd": math.hypot(spread.patients, spread.rest / seeds**0.5),
        "sd_seeds": spread.seeds if known and known.seeds > 1 else None,
        "measured": (
            {
                "pairs": known.pairs,
                "patients": known.patients,
                "seeds": known.seeds,
                "lowest_sd": known.lowest,
                "highest_sd": known.highest,
            }
            if known
            else None
        ),
        "one": one if math.isfinite(one) else None,
        "family": family if math.isfinite(family) else None,
        "smallest_p": smallest_p(patients),
    }


def show(found: list[dict[str, Any]], console: Console) -> None:
    """Print what can be found, in points of Dice."""
    tests = found[0]["tests"]
    heads = ["one test", *([f"each of {tests} (Holm)"] if tests > 1 else [])]
    table = Table(
        "dataset",
        "source",
        "patients",
        "seeds",
        "sd",
        *heads,
        title="Smallest difference found, in points of Dice",
        title_justify="left",
    )
    for row in found:
        values = [_points(row["one"]), *([_points(row["family"])] if tests > 1 else [])]
        sd = _points(row["sd"]) + ("" if row["measured"] else " assumed")
        table.add_row(
            row["dataset"], row["source"], str(row["patients"]), str(row["seeds"]), sd, *values
        )
    console.print(table)
    for line in _remarks(found):
        console.print(line, highlight=False, soft_wrap=True)


def _points(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.2f}"


def _remarks(found: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"Found with {100 * power.POWER:.0f} % chance at {100 * ALPHA:.0f} %, two-sided, paired by"
        " patient; Holm counted as its first and strictest step; sd: of paired differences."
    ]
    for row in found:
        if row["measured"]:
            known = row["measured"]
            lines.append(
                f"{row['dataset']}: sd from finished results of {known['patients']} patients, "
                f"{known['pairs']} pairs of methods ({_points(known['lowest_sd'])} to "
                f"{_points(known['highest_sd'])}), seeds: {known['seeds']}."
            )
        if row["family"] is None:
            many = "one test" if row["one"] is None else f"{row['tests']} tests"
            remedy = "; --folds 5 tests every patient" if row["folds"] == 1 else ""
            lines.append(
                f"{row['dataset']}: {row['patients']} patients give a p of {row['smallest_p']:.3g}"
                f" at best, too much for {many}: no star is possible{remedy}."
            )
    if any(row["measured"] is None for row in found):
        lines.append(
            f"Assumed: differences vary by {100 * power.ASSUMED:g} points between patients, and not"
            " between seeds; finished results take the assumption's place."
        )
    if any(row["measured"] and row["sd_seeds"] is None for row in found):
        lines.append(
            "Results of one seed say nothing of how methods vary from seed to seed: this holds for"
            " their checkpoints alone; bench run --seeds 3."
        )
    if any(row["measured"] and row["source"] == "phantom" for row in found):
        lines.append("Differences on phantoms say nothing of patients.")
    return lines
