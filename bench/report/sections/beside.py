"""The published numbers beside one's own: shown, compared with one's own interval, and in no ranking."""

from __future__ import annotations

from functools import cache

import pandas as pd

from bench.audit import published
from bench.audit.audit import audit
from bench.audit.printed import read
from bench.report.listing import Listing, Number
from bench.report.sections.tables import METRICS, TITLES, Table, data
from bench.stats.intervals import Summary, summarise


def listings(table: Table) -> list[Listing]:
    """Return what the paper printed for a table's datasets beside what was found here; nothing where it has none."""
    printed = published.table1().set_index(["dataset", "method"])
    rows = []
    for column, title in table.columns.items():
        dataset = column.rpartition(f"@{table.source}-")[0]
        if dataset not in published.DATASETS:
            continue
        own = {
            metric: {each.method: each for each in summarise(table.patients[column][metric])}
            for metric in METRICS
        }
        for method, words in table.methods.items():
            if (dataset, method) not in printed.index or method not in own["dice"]:
                continue
            for metric in METRICS:
                theirs = float(printed[f"{metric}_mean"][dataset, method])
                rows.append(
                    {
                        "column": column,
                        "dataset": title,
                        "method": method,
                        "title": words,
                        "metric": metric,
                        "score": TITLES[metric],
                        "published": theirs,
                        **_own(own[metric][method], theirs),
                        "audit": _verdict(dataset, method),
                    }
                )
    if not rows:
        return []
    simulated = (
        " The own numbers are of PHANTOMS: a difference between a simulation and a paper says"
        " nothing about either."
        if table.source == "phantom"
        else ""
    )
    shown = dict.fromkeys(str(row["column"]).rpartition(f"@{table.source}-")[0] for row in rows)
    extents = "; ".join(
        f"{each.title}: a {'private' if each.private else 'public'} dataset, {each.width} x"
        f" {each.height} pixels"
        for each in (published.DATASETS[name] for name in shown)
    )
    return [
        Listing(
            name=f"published-{table.source}",
            heading=f"Published numbers beside these ({table.source})",
            caption=(
                f"{data(table)}, profile '{table.profile}'. Verdiff-Net's table 1 as it was"
                f" printed, in percent, and what was found here.{simulated}"
            ),
            heads={
                "dataset": "Dataset",
                "title": "Method",
                "score": "Score",
                "published": "Published",
                "mean": "Here",
                "interval": "95 %",
                "difference": "Here less published",
                "inside": "Within the interval",
                "audit": "Printed cell consistent?",
            },
            numbers={
                "published": Number(".2f", 100),
                "mean": Number(".2f", 100),
                "interval": Number(".2f", 100, ("low", "high")),
                "difference": Number("+.2f", 100),
            },
            frame=pd.DataFrame(rows),
            notes=(
                (
                    f"Published: {published.SOURCE}; means over images of its own splits, sizes and"
                    f" training. Its data: {extents}."
                ),
                (
                    "Here: means over patients with BCa intervals over them (over seeds and"
                    " patients where there are several seeds). Within: whether that interval holds"
                    " the published mean; the published one has an error of its own, which nobody"
                    " printed."
                ),
                (
                    "These numbers were not made on the same data under the same protocol, take"
                    " part in no ranking or test, and are no target. Consistent: whether the"
                    " printed cell's four numbers can be per-image statistics of the same"
                    " predictions, of 20 images at least, by `bench audit --paper`."
                ),
            ),
        )
    ]


def _own(own: Summary, theirs: float) -> dict[str, float | str]:
    low, high = own.bootstrap
    inside = "-" if low != low else "yes" if low <= theirs <= high else "no"
    return {
        "patients": own.patients,
        "mean": own.mean,
        "low": low,
        "high": high,
        "difference": own.mean - theirs,
        "inside": inside,
    }


@cache
def _verdict(dataset: str, method: str) -> str:
    """Return whether a printed cell of table 1 can be, by the audit."""
    titles = {name: title for title, name in published.METHODS.items()}
    where = titles[method], published.DATASETS[dataset].title
    cell = next(
        each
        for each in read(published.FILES["table1"]).cells
        if (each.method, each.dataset) == where
    )
    return "no" if audit(cell).verdict != "ok" else "yes"
