"""All pairs of methods, where no comparison was declared."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from bench.report.document import Document, Number
from bench.report.sections.listing import COUNT, HIDDEN, LESS, listed_document
from bench.report.sections.table import Table
from bench.spec.metrics import TITLES
from bench.stats.flips import ALPHA

HEADS = {
    "dataset": "Dataset",
    "first": "Method",
    "second": "Other",
    "patients": "Patients",
    "difference": f"Method {LESS} other",
    "p": "p corrected",
    "apart": "Significant",
}
NUMBERS = {"patients": COUNT, "difference": Number("+.2f", 100), "p": Number(".3g")}


def document(table: Table) -> Document | None:
    """Return the difference and corrected p of all pairs of methods; None where there are none."""
    rows: list[dict[str, Any]] = []
    for column, pairs in table.pairs.items():
        for one, other in combinations(range(len(pairs.methods)), 2):
            if not pairs.patients[one, other]:
                continue  # a score that they do not have
            p = float(pairs.p[one, other])
            apart = "yes" if p <= ALPHA else "no"
            if p <= ALPHA and pairs.in_doubt[one, other]:
                apart = f"yes, {HIDDEN}"
            rows.append(
                {
                    "column": column,
                    "dataset": table.columns[column],
                    "metric": pairs.metric,
                    "score": TITLES[pairs.metric],
                    "first": table.methods[pairs.methods[one]],
                    "second": table.methods[pairs.methods[other]],
                    "patients": int(pairs.patients[one, other]),
                    "difference": float(pairs.means[one, other]),
                    "p": p,
                    "apart": apart,
                }
            )
    return listed_document(
        table,
        "pairs",
        "All pairs",
        f"Each method {LESS} each other, in points of Dice, over patients.",
        HEADS,
        NUMBERS,
        rows,
        [
            "p: paired sign flips of patients' means; with several seeds the largest of it, of a "
            "test over seeds and of one over both. Corrected for all pairs. For a claim about one "
            "method declare it before the results: --baseline NAME."
        ],
    )
