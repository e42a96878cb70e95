"""Scores of each class, where a dataset has several, and of all together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.report.document import Document, Number
from bench.report.sections.listing import COUNT, listed_document
from bench.report.sections.table import Table
from bench.spec.case import UNION
from bench.spec.metrics import INFERRED, LOWER, METRICS, TITLES
from bench.store.scores import CLASS

FACTORS = {metric.name: 100.0 if metric.unit == "fraction" else 1.0 for metric in METRICS}
"""What each metric is multiplied by in print: fractions are in percent."""


def documents(table: Table) -> list[Document]:
    """Return the table of classes; none where there is one foreground everywhere."""
    if table.classes is None:
        return []
    rows = list(_rows(table, table.classes))
    heads = {"dataset": "Dataset", "title": "Method", "label": "Class", "cases": "Cases"}
    heads |= {"undefined": "Undefined"}
    numbers = {"cases": COUNT, "undefined": COUNT}
    for metric in INFERRED:
        heads |= {metric: f"{TITLES[metric]}{_unit(table, metric)}", f"{metric}_std": "SD"}
        number = Number(".2f", FACTORS[metric])
        numbers |= {metric: number, f"{metric}_std": number}
    words = (
        "Scores of each class against all else, and of all classes together (union): mean and "
        "standard deviation over the test images of all seeds; fractions in percent. Descriptive, "
        "not tested."
    )
    notes = [
        "Undefined: cases of which neither the reference nor the prediction has the class. "
        + RULES[table.absent]
    ]
    document = listed_document(table, "classes", "Classes", words, heads, numbers, rows, notes)
    return [document] if document else []


RULES = {
    "undefined": "They have no score, and are left out of every mean (Metrics Reloaded's default).",
    "best": "They score as two empty masks do, Dice 1 (bench report --absent best).",
    "worst": "They score Dice 0 (bench report --absent worst).",
}
"""What a class scores that neither mask has, as tables say it."""


def _unit(table: Table, metric: str) -> str:
    """Return the units of a distance behind its title."""
    if metric not in LOWER:
        return ""
    return f" ({', '.join(sorted(set(table.units.values())))})"


def _rows(table: Table, classes: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield a row for each dataset, method and class, in the order of the tables."""
    parts = {}
    for place, part in classes.groupby(["column", "method", CLASS], sort=False, observed=True):
        parts[place] = part
    for column, title in table.columns.items():
        for key, name in table.methods.items():
            labels = [label for of, method, label in parts if (of, method) == (column, key)]
            labels.sort(key=lambda label: label == UNION)  # all together comes last
            for label in labels:
                part = parts[column, key, label]
                row: dict[str, Any] = {
                    "column": column,
                    "dataset": title,
                    "method": key,
                    "title": name,
                    "label": label,
                    "cases": len(part),
                    "undefined": int(part["absent"].sum()),
                }
                for metric in INFERRED:
                    row |= {metric: part[metric].mean(), f"{metric}_std": part[metric].std()}
                yield row
