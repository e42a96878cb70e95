"""Means and medians over patients, with their intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bench.report.document import Document, Number
from bench.report.sections.listing import (
    BOOTSTRAP,
    COUNT,
    LEVEL,
    ends,
    listed_document,
    span,
)
from bench.report.sections.table import Table
from bench.spec.metrics import INFERRED, LOWER, PRINTED, TITLES, listed
from bench.stats import intervals, outliers
from bench.stats.scores import PatientScores
from bench.store.scores import UNKNOWN


def documents(table: Table) -> list[Document]:
    """Return the intervals of scores and of distances, each where there are any."""
    higher = [name for name in INFERRED if name not in LOWER]
    lower = [name for name in INFERRED if name in LOWER]
    parts = [
        _intervals(
            table,
            "intervals",
            higher,
            f"Means and medians over patients of {listed(higher)}, in percent.",
            Number(".2f", 100.0),
        ),
        _intervals(
            table,
            "distances",
            lower,
            "Means and medians over patients of distances; less is better.",
            Number(".2f", 1.0),
        ),
    ]
    return [part for part in parts if part is not None]


def _intervals(
    table: Table, name: str, metrics: Sequence[str], words: str, point: Number
) -> Document | None:
    """Return mean and median over patients of every method, with their intervals."""
    rows = []
    for column in table.columns:
        for metric in metrics:
            scores = _ordered(table.patients[column][metric], table)
            for summary in intervals.summarise(scores):
                row = _interval_row(table, column, metric, summary)
                if metric == PRINTED[0]:
                    row |= _outliers(scores.only([summary.method]).complete())
                rows.append(row)
    if not any(row["patients"] for row in rows):
        return None
    few = sorted({row["patients"] for row in rows if 0 < row["patients"] < intervals.FEW})
    imported = _imported(table)
    unit = (
        f"The unit is the patient, whose cases are averaged first. Mean with {BOOTSTRAP}; t: 95 % "
        "t interval over patients; of the median: percentile bootstrap."
    )
    if not all(_place(row) in imported for row in rows):
        unit += (
            " Undefined: cases in which one mask alone is empty, so that distances do not exist; "
            "the image's diagonal stands for them, and helps no method."
        )
    notes = [unit, *_undefined(rows, imported)]
    if "nsd" in metrics:
        notes += _tolerances(table, rows, imported)
    counted = any("outliers" in row for row in rows)
    if counted:
        notes.append(
            f"Outliers: patients whose Dice is below {100 * outliers.BOUND:g} % under any seed, "
            "and the exact 95 % interval of their share (%)."
        )
    if few:
        notes.append(
            f"Fewer than {intervals.FEW} patients ({', '.join(map(str, few))}): where scores are "
            "skewed, 95 % intervals of so few hold the true value in less than 95 % of studies."
        )
    if {row["seeds"] for row in rows if row["patients"]} == {1}:
        notes.append(
            "One seed: the intervals speak of these trained weights, not of the methods trained "
            "again."
        )
    heads = {
        "dataset": "Dataset",
        "title": "Method",
        "score": "Score",
        "patients": "Patients",
        "mean": "Mean",
        "bootstrap": f"{LEVEL} bootstrap",
        "t": f"{LEVEL} t over patients",
        "sd": "SD of patients",
        "sd_seeds": "SD of seeds",
        "median": "Median",
        "of_median": f"{LEVEL} of the median",
        "undefined": "Undefined",
    }
    if counted:
        heads |= {"outliers": "Outliers", "of_outliers": f"{LEVEL} of their share (%)"}
    numbers = {
        "patients": COUNT,
        "mean": point,
        "bootstrap": span("bootstrap", point),
        "t": span("t", point),
        "sd": point,
        "sd_seeds": point,
        "median": point,
        "of_median": span("of_median", point),
        "undefined": COUNT,
        "outliers": COUNT,
        "of_outliers": span("of_outliers", Number(".1f", 100.0)),
    }
    return listed_document(table, name, name.capitalize(), words, heads, numbers, rows, notes)


def _outliers(scores: PatientScores) -> dict[str, Any]:
    """Return how many patients are outliers of a method, and the interval of their share."""
    counted = outliers.count(scores.values[:, :, 0])
    return {"outliers": counted.number, **ends("of_outliers", counted.interval)}


def _undefined(
    rows: Sequence[Mapping[str, Any]], imported: Collection[tuple[str, str]]
) -> list[str]:
    """Return which cases are left out of means of scores that others computed."""
    several = len({row["column"] for row in rows}) > 1
    left_out: dict[str, list[str]] = {}
    known = {(row["column"], row["score"]) for row in rows if row["patients"]}
    for row in rows:
        is_known = (row["column"], row["score"]) in known
        if row["undefined"] and is_known and _place(row) in imported:
            where = f" on {row['dataset']}" if several else ""
            number = f"{row['title']}{where} {row['undefined']}"
            left_out.setdefault(row["score"], []).append(number)
    return [
        f"Undefined: cases left out of {score}, for their file has no number there (empty or inf): "
        f"{', '.join(numbers)}. This may help a method."
        for score, numbers in left_out.items()
    ]


def _place(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the column and the method of a row."""
    return row["column"], row["method"]


def _imported(table: Table) -> set[tuple[str, str]]:
    """Return the columns with the methods whose scores others computed there."""
    imported = set()
    for cell in table.cells:
        record = cell.record
        if record.external is not None and record.external.kind == "scores":
            imported.add((record.column.key, record.method.key))
    return imported


def _tolerances(
    table: Table, rows: Sequence[Mapping[str, Any]], imported: Collection[tuple[str, str]]
) -> list[str]:
    """Return which distances NSD accepts; of scores that others computed nobody knows it."""
    values: dict[float, None] = {}
    units: dict[str, None] = {}
    for cell in table.cells:
        record = cell.record
        if (record.column.key, record.method.key) not in imported:
            values[record.spec.nsd_tolerance] = None
    for unit in table.units.values():
        if unit != UNKNOWN:
            units[unit] = None
    notes = []
    if values:
        distances = " and ".join(f"{value:g}" for value in sorted(values))
        notes.append(f"NSD accepts distances up to {distances} {' or '.join(units)}.")
    titles: dict[str, None] = {}
    for row in rows:
        if row["metric"] == "nsd" and row["patients"] and _place(row) in imported:
            titles[row["title"]] = None
    if titles:
        notes.append(
            f"NSD of {', '.join(titles)}: others computed it, so which distances it accepts is "
            "not known here."
        )
    return notes


def _interval_row(
    table: Table, column: str, metric: str, summary: intervals.Summary
) -> dict[str, Any]:
    """Return the row of a method on a dataset by a metric."""
    score = TITLES[metric]
    if metric in LOWER:
        score += f" ({table.units[column]})"
    return {
        "column": column,
        "dataset": table.columns[column],
        "method": summary.method,
        "title": table.methods[summary.method],
        "metric": metric,
        "score": score,
        "patients": summary.patients,
        "seeds": summary.seeds,
        "mean": summary.mean,
        **ends("bootstrap", summary.bootstrap),
        **ends("t", summary.t),
        "sd": summary.sd,
        "sd_seeds": summary.sd_seeds,
        "median": summary.median,
        **ends("of_median", summary.median_interval),
        "undefined": summary.undefined,
    }


def _ordered(scores: PatientScores, table: Table) -> PatientScores:
    """Return scores with the methods in the table's order."""
    return scores.only([key for key in table.methods if key in scores.methods])
