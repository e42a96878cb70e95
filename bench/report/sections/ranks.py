"""Ranks of the methods over a table's datasets, and whether the metrics agree on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.report.document import Document, Number
from bench.report.sections.listing import ends, listed_document, span
from bench.report.sections.runs import ENOUGH
from bench.report.sections.table import Table
from bench.spec.errors import UsageError
from bench.spec.metrics import PRINTED, TITLES
from bench.spec.words import count
from bench.stats import ranking
from bench.stats.ranking import Ranking


def documents(table: Table) -> list[Document]:
    """Return ranks and agreement, each where the results allow it."""
    return [part for part in (_ranks(table), _agreement(table)) if part is not None]


def rank(table: Table, metric: str, columns: Sequence[str] = ()) -> Ranking | None:
    """Rank the methods that compete over a table's datasets, or some of them.

    Returns:
        None where no two methods share two patients on every dataset.
    """
    chosen = []
    for column in columns or table.columns:
        chosen.append(table.patients[column][metric].only(table.rivals(column)))
    try:
        ranks = ranking.rank(chosen)
    except UsageError:
        return None
    if min(ranks.patients.values()) < 2:
        return None  # one patient, resampled, is always the same one
    return ranks


def _ranks(table: Table) -> Document | None:
    """Return mean ranks over the datasets, with intervals and the probability of being first."""
    rows: list[dict[str, Any]] = []
    left: list[str] = []
    patients: dict[str, int] = {}
    seeds: dict[str, int] = {}
    for metric in PRINTED:
        ranks = rank(table, metric)
        if ranks is None:
            continue
        left += [table.methods[key] for key in ranks.left_out_methods]
        patients = ranks.patients
        seeds = {column: len(drawn) for column, drawn in ranks.seeds.items()}
        rows += _rank_rows(table, metric, ranks)
    if not rows:
        return None
    on = {}
    for column, title in table.columns.items():
        if f"on {column}" in rows[0]:
            on[f"on {column}"] = f"Rank on {title}"
    spans = ", ".join(f"{table.columns[column]}: {count}" for column, count in patients.items())
    notes = [
        "1 is the best; ranks of the means over patients, averaged over the columns.",
        _caution(table, seeds),
        f"Patients that all ranked methods have: {spans}.",
    ]
    if left:
        names = ", ".join(dict.fromkeys(left))
        notes.append(f"Not ranked, for a dataset lacks them: {names}.")
    heads = {
        "score": "Score",
        "title": "Method",
        "rank": "Mean rank",
        "interval": "95 % interval",
        "first": "First (% of resamples)",
        **on,
    }
    place = Number(".2f")
    numbers = {
        "rank": place,
        "interval": span("interval", place),
        "first": Number(".0f", 100),
        **dict.fromkeys(on, Number("g")),
    }
    words = f"Mean rank over {count(len(on), 'column')} of table 1."
    return listed_document(table, "ranks", "Ranks", words, heads, numbers, rows, notes)


def _caution(table: Table, seeds: dict[str, int]) -> str:
    """Return what the resamples know, and what they do not."""
    several = any(number > 1 for number in seeds.values())
    text = (
        "First: the share of bootstrap resamples in which a method has the lowest mean rank. It is "
        "no test, and not the probability that the method is the best one. Each resample draws "
        f"patients{', and seeds where there are several,' * several} anew within each dataset. So "
        "shares and intervals speak of other patients of these datasets, never of other datasets."
    )
    alone = [table.columns[column] for column, number in seeds.items() if number == 1]
    if alone:
        text += (
            f" One seed on {', '.join(alone)}: another seed may give another order, and shares "
            "and intervals know nothing of it."
        )
    few = [number for number in seeds.values() if 1 < number < ENOUGH]
    if few:
        text += (
            f" So few seeds ({min(few)}) show little of how results vary from seed to seed; "
            "intervals are then too short."
        )
    return text


def _rank_rows(table: Table, metric: str, ranks: Ranking) -> list[dict[str, Any]]:
    """Return a row for each ranked method, the best first."""
    rows = []
    for place in ranks.mean_ranks.argsort(kind="stable"):
        key = ranks.methods[place]
        row = {
            "metric": metric,
            "score": TITLES[metric],
            "method": key,
            "title": table.methods[key],
            "rank": ranks.mean_ranks[place],
            **ends("interval", ranks.intervals[place]),
            "first": ranks.probabilities[place, 0],
        }
        for number, column in enumerate(ranks.columns):
            row[f"on {column}"] = ranks.ranks[number, place]
        rows.append(row)
    return rows


def _agreement(table: Table) -> Document | None:
    """Return Kendall's tau between the rankings by each metric's mean and median."""
    columns = []
    for column in table.columns:
        rivals = table.rivals(column)
        by_metric = table.patients[column]
        columns.append({name: scores.only(rivals) for name, scores in by_metric.items()})
    agreement = ranking.agreement(columns)
    ways = [f"{TITLES[metric]}, {how}" for metric, how in agreement.ways]
    many = len(agreement.methods)
    rows = []
    if many > 2:
        for way, line in zip(ways, agreement.tau.tolist(), strict=True):
            rows.append({"way": way, **dict(zip(ways, line, strict=True))})
    notes = []
    if np.isnan(agreement.tau).any():
        notes = ["A dash: a score that not all methods have on a common patient, or no order."]
    return listed_document(
        table,
        "agreement",
        "Agreement of rankings",
        f"Kendall's tau-b between the rankings of {many} methods by each score's mean and median "
        "over patients, ranks averaged over the datasets: 1 is the same order, 0 none in common, "
        "-1 the reverse.",
        {"way": "Ranked by", **{way: way for way in ways}},
        dict.fromkeys(ways, Number(".2f")),
        rows,
        notes,
    )
