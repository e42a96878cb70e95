"""Scores in 3D beside those of the slices: means over patients, each labelled as what it is."""

from __future__ import annotations

from typing import Any

from bench.report.document import Document, Number
from bench.report.sections.listing import BOOTSTRAP, COUNT, ends, listed_document, span
from bench.report.sections.table import Table
from bench.spec.metrics import METRICS, OF_INSTANCES, TITLES
from bench.stats import intervals
from bench.stats.scores import PatientScores

PERCENT, PLAIN = Number(".2f", 100.0), Number(".2f", 1.0)
SHOWN = ("dice", "iou", "nsd", "hd95")
"""The metrics of masks that the table has."""
NAMED = ("pq", "pq_of_reference", "identified", "localisation")
"""Those of instances."""
UNIT = "unit"
"""The column that says the unit of a row's distances, where rows have several."""
NOTES = (
    "Slice: each slice was scored on its own, and a patient's slices averaged. Volume: the tested "
    "slices of one volume were stacked and scored in 3D, with the distance from slice to slice and "
    "the sides of a pixel; a patient's volumes are averaged. Slices that no case shows are "
    "background on both sides, so this is the score of the slab that was tested; the faces where "
    "it was cut are no boundary. In px the distance from slice to slice or the size of a pixel is "
    "unknown, and distances are in voxels.",
    "In 3D a voxel is boundary also where the slice before or behind has background. Where slices "
    "are 9 to 15 mm apart, six to nine tenths of the boundary are such voxels, inside of the "
    "outlines, and there both masks mostly agree. NSD counts voxels, as in MONAI, so it lies far "
    "above the slices' NSD, and HD95 below. Compare volumes with volumes.",
    f"Dice with {BOOTSTRAP}. The tests of the other tables are about slices.",
)


def documents(table: Table) -> list[Document]:
    """Return the table of volumes, where any were scored."""
    rows: list[dict[str, Any]] = []
    for column in table.columns:
        if column in table.volumes:
            rows += _rows(table, column)
    heads = {
        "dataset": "Dataset",
        "title": "Method",
        "scored": "Scored",
        "patients": "Patients",
        "number": "Cases",
    }
    units = " and ".join(sorted({row[UNIT] for row in rows}))
    if len({row[UNIT] for row in rows}) > 1:
        heads[UNIT] = "Unit"
        units = ""
    else:
        for row in rows:
            del row[UNIT]
    heads |= {"dice": TITLES["dice"], "of_dice": "interval"}
    for name in SHOWN[1:]:
        heads[name] = _head(name, units)
    if any("pq" in row for row in rows):
        heads |= {name: _head(name, units) for name in NAMED}
    numbers = {"patients": COUNT, "number": COUNT, "of_dice": span("of_dice", PERCENT)}
    for name in (*SHOWN, *NAMED):
        numbers[name] = PLAIN if _is_distance(name) else PERCENT
    words = "Slices and volumes, each labelled: means over patients, fractions in percent."
    part = listed_document(table, "volumes", "Volumes", words, heads, numbers, rows, NOTES)
    return [part] if part else []


def _is_distance(name: str) -> bool:
    """Return whether a metric of masks or instances is a distance."""
    return name == "localisation" or any(m.name == name and m.unit == "distance" for m in METRICS)


def _head(name: str, units: str) -> str:
    """Return the heading of a metric; of a distance with its unit, where all rows have one."""
    return f"{TITLES[name]} ({units})" if units and _is_distance(name) else TITLES[name]


def _rows(table: Table, column: str) -> list[dict[str, Any]]:
    """Return two rows a method: by slice, and by volume."""
    in_3d = table.volumes[column]
    by_slice: dict[str, PatientScores] = dict(table.patients[column])
    by_slice |= table.instances.get(column, {})
    tested = in_3d["dice"].methods
    rows = []
    for method in [key for key in table.methods if key in tested]:
        for scored, scores in (("slice", by_slice), ("volume", in_3d)):
            number, unit = table.volume_counts[column, method], table.volume_units[column]
            if scored == "slice":
                number = int(table.scores["cases"][column, method])
                unit = table.units[column]
            row: dict[str, Any] = {
                "column": column,
                "dataset": table.columns[column],
                "method": method,
                "title": table.methods[method],
                "scored": scored,
                UNIT: unit,
                "number": number,
            }
            for name in (*SHOWN, *(NAMED if OF_INSTANCES[0] in in_3d else ())):
                row[name] = float("nan")
                if name in scores:
                    [summary] = intervals.summarise(scores[name].only([method]))
                    row[name] = summary.mean
                    if name == "dice":
                        row["patients"] = summary.patients
                        row |= ends("of_dice", summary.bootstrap)
            rows.append(row)
    return rows
