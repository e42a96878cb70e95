"""The published numbers beside one's own: shown, and in no ranking."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pandas as pd

from bench.audit import published
from bench.audit.audit import audit
from bench.audit.printed import read
from bench.report.document import Document, Note, Number, block
from bench.report.sections.table import Table, data
from bench.spec.metrics import PRINTED, TITLES
from bench.stats.intervals import Summary, summarise

HEADS = {
    "dataset": "Dataset",
    "title": "Method",
    "score": "Score",
    "published": "Published (%)",
    "mean": "Here (%)",
    "interval": "95 % interval",
    "difference": "Here less published (points)",
    "inside": "Within the interval",
    "audit": "Printed cell consistent?",
}
NUMBERS = {
    "published": Number(".2f", 100),
    "mean": Number(".2f", 100),
    "interval": Number(".2f", 100, ("low", "high")),
    "difference": Number("+.2f", 100),
}


def documents(table: Table) -> list[Document]:
    """Return what the paper printed for a table's datasets; nothing where it has none of them."""
    rows: list[dict[str, Any]] = []
    shown: dict[str, None] = {}
    for column in table.columns:
        name = table.by_key[column].dataset.name
        if name in published.DATASETS:
            new = _rows(table, column, name)
            rows += new
            if new:
                shown[name] = None
    if not rows:
        return []
    simulated = ""
    if table.source == "phantom":
        simulated = (
            " The own numbers are of PHANTOMS: a difference between a simulation and a paper says "
            "nothing about either."
        )
    frame = pd.DataFrame(rows)
    extents = "; ".join(_extent(name) for name in shown)
    notes = (
        f"Published: {published.SOURCE}; means over images of its own splits, sizes and training. "
        f"Its data: {extents}.",
        "Here: means over patients with BCa intervals over them (over seeds and patients where "
        "there are several seeds). Within: whether that interval holds the published mean; the "
        "published one has an error of its own, which nobody printed.",
        "These numbers were not made on the same data under the same protocol, take part in no "
        "ranking or test, and are no target. Consistent: whether the printed cell's four numbers "
        "can be per-image statistics of the same predictions, of 20 images at least, by "
        "`bench audit --paper`.",
    )
    document = Document(
        name=f"published-{table.source}",
        heading=f"Published numbers beside these ({table.source})",
        caption=(
            f"{data(table)}, profile '{table.profile}'. Verdiff-Net's table 1 as it was printed, "
            f"in percent, and what was found here.{simulated}"
        ),
        blocks=(block(frame, HEADS, NUMBERS),),
        notes=tuple(Note(text) for text in notes),
        frames={"": frame},
        wide=True,
    )
    return [document]


def _rows(table: Table, column: str, dataset: str) -> list[dict[str, Any]]:
    """Return the paper's numbers of a dataset beside those of a column."""
    printed = published.table1().set_index(["dataset", "method"])
    own_summaries = {}
    shared = [metric for metric in PRINTED if f"{metric}_mean" in printed.columns]
    for metric in shared:
        summaries = summarise(table.patients[column][metric])
        own_summaries[metric] = {summary.method: summary for summary in summaries}
    rows = []
    for key, title in table.methods.items():
        if (dataset, key) not in printed.index or key not in own_summaries["dice"]:
            continue
        for metric in shared:
            theirs = float(printed[f"{metric}_mean"][dataset, key])
            row = {
                "column": column,
                "dataset": table.columns[column],
                "method": key,
                "title": title,
                "metric": metric,
                "score": TITLES[metric],
                "published": theirs,
                **_own(own_summaries[metric][key], theirs),
                "audit": _verdict(dataset, key),
            }
            rows.append(row)
    return rows


def _own(own: Summary, theirs: float) -> dict[str, float | str]:
    """Return one's own mean, and where the published one lies beside it."""
    low, high = own.bootstrap
    inside = "yes" if low <= theirs <= high else "no"
    if math.isnan(low):
        inside = "-"
    return {
        "patients": own.patients,
        "mean": own.mean,
        "low": low,
        "high": high,
        "difference": own.mean - theirs,
        "inside": inside,
    }


def _extent(name: str) -> str:
    """Return what the paper says of a dataset of its own."""
    dataset = published.DATASETS[name]
    access = "private" if dataset.private else "public"
    return f"{dataset.title}: a {access} dataset, {dataset.width} x {dataset.height} pixels"


@cache
def _verdict(dataset: str, method: str) -> str:
    """Return whether a printed cell of table 1 can be, by the audit."""
    titles = {name: title for title, name in published.METHODS.items()}
    place = (titles[method], published.DATASETS[dataset].title)
    for cell in read(published.FILES["table1"]).cells:
        if (cell.method, cell.dataset) == place:
            return "no" if audit(cell).verdict != "ok" else "yes"
    raise ValueError(f"the paper's table 1 has no cell {place}")
