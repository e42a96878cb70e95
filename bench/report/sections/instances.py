"""Scores of instances, such as vertebrae: means over patients, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.document import Document, Number
from bench.report.sections.listing import BOOTSTRAP, COUNT, ends, listed_document, span
from bench.report.sections.table import Table, sums
from bench.spec.case import UNION
from bench.spec.metrics import INSTANCES, OF_INSTANCES, TITLES
from bench.stats import intervals
from bench.stats.scores import PatientScores, arrange
from bench.store.scores import CLASS

PERCENT, PLAIN = Number(".2f", 100.0), Number(".2f", 1.0)
LABEL = "label"
"""The column that says of which class a row is; empty where there is one foreground."""


def documents(table: Table) -> list[Document]:
    """Return the table of instances, where a dataset has any."""
    rows = []
    for column in table.columns:
        if column in table.instances:
            rows += _rows(table, column)
    several = any(row[LABEL] for row in rows)
    for row in rows if not several else ():
        del row[LABEL]
    distances = sorted({table.units[column] for column in table.instances})
    heads = {
        "dataset": "Dataset",
        "title": "Method",
        **({LABEL: "Class"} if several else {}),
        "patients": "Patients",
        "pq": "PQ",
        "of_pq": "interval",
        "rq": "RQ",
        "sq": "SQ",
        "matched_dice": TITLES["matched_dice"],
        "identified": "Identified",
        "localisation": f"{TITLES['localisation']} ({', '.join(distances)})",
        "pq_of_reference": TITLES["pq_of_reference"],
        "instances": "Instances",
        "missed": "Missed",
        "joined": "Joined",
        "split": "Split",
        "shifted": "Shifted",
        "extra": "Extra",
    }
    numbers = {metric.name: PERCENT for metric in INSTANCES if metric.unit == "fraction"}
    numbers |= {"localisation": PLAIN, "of_pq": span("of_pq", PERCENT), "patients": COUNT}
    numbers |= dict.fromkeys(("instances", "missed", "joined", "split", "extra"), COUNT)
    notes = (*NOTES, OF_CLASSES) if several else NOTES
    words = (
        "Instances, such as vertebrae: means over patients, in percent, and counts over all test "
        "cases and seeds. Exploratory: no declared comparison is about them."
    )
    part = listed_document(
        table, "instances", "Instances", words, heads, numbers | {"shifted": COUNT}, rows, notes
    )
    return [part] if part else []


NOTES: Sequence[str] = (
    "An instance of the reference is what one label names. Those of a binary prediction are its "
    "components; those of a labelled one its labels. Two match from an IoU of 0.5 on, as in "
    "panoptica. In a case PQ = RQ x SQ; RQ counts matches, SQ is their mean IoU. What neither mask "
    "holds is undefined and in no mean; where one holds instances and nothing matches, all four "
    "are 0. The table has means over patients, so PQ is not RQ x SQ there, and SQ may be below "
    "50 %.",
    "PQ of the reference: what the reference's own mask reaches when its instances are found in "
    "the same way: below 100 % where parts of an instance lie apart in the image, or two touch, as "
    "vertebrae do in 3D. Where it is low, components are no instances there: name the levels as "
    "classes (labels=).",
    "Identified (VerSe): vertebrae whose predicted centroid has the reference centroid of the same "
    "name nearest to it, less than 20 mm away, of all in the reference. Localisation: mean "
    "distance of the centroids of the names that both hold. Components have no names, so both are "
    "'-'. In pixels (px) the spacing is unknown, and the limit of 20 mm is not applied.",
    "Joined: mostly under a predicted instance that holds most of another too. Split: mostly under "
    "several that lie mostly in it. Shifted: matched by another name. Extra: predicted, and "
    f"matches none. PQ with {BOOTSTRAP}.",
)
OF_CLASSES = (
    "Of several classes, instances of two classes never match. The mean is over the classes of a "
    "case that either mask has, then over cases and patients; its counts are those of the union, "
    "which has all instances. Where every class is one label, classes are names: in the union "
    "instances match whatever their names, as without classes."
)
"""What rows of classes are."""


def _rows(table: Table, column: str) -> list[dict[str, Any]]:
    """Return a row a method of one dataset; of several classes one of their mean, and of each."""
    names = table.classes_of(column)
    if table.classes is None or len(names) < 2:
        alone = "".join(names)
        return _of(table, column, alone, table.instances[column], table.instance_counts)
    of_classes = table.classes[table.classes.column == column]
    mean = f"mean of {len(names)} classes"
    rows = _of(table, column, mean, table.instances[column], table.instance_counts)
    for name in (*names, UNION):
        part = of_classes[of_classes[CLASS] == name]
        scores = arrange(part, OF_INSTANCES)[column]
        rows += _of(table, column, name, scores, sums(part))
    order = {method: place for place, method in enumerate(table.methods)}
    return sorted(rows, key=lambda row: order[row["method"]])


def _of(
    table: Table,
    column: str,
    label: str,
    scores: Mapping[str, PatientScores],
    numbers: Mapping[tuple[str, str], Mapping[str, int]],
) -> list[dict[str, Any]]:
    """Return a row a method of one dataset.

    Args:
        table: All results.
        column: The dataset.
        label: The class, empty where there is one foreground.
        scores: The scores of patients by metric.
        numbers: The counts of instances by column and method.
    """
    tested = scores[OF_INSTANCES[0]].methods
    methods = [key for key in table.methods if key in tested]
    summaries = {}
    for metric in OF_INSTANCES:
        of_metric = intervals.summarise(scores[metric].only(methods))
        summaries[metric] = {summary.method: summary for summary in of_metric}
    rows = []
    for method in methods:
        counts = numbers[column, method]
        quality = summaries["pq"][method]
        row: dict[str, Any] = {
            "column": column,
            "dataset": table.columns[column],
            "method": method,
            "title": table.methods[method],
            LABEL: label,
            "patients": quality.patients,
            **ends("of_pq", quality.bootstrap),
            "extra": counts["predicted"] - counts["matched"],
            **counts,
        }
        for metric in OF_INSTANCES:
            row[metric] = summaries[metric][method].mean
        rows.append(row)
    return rows
