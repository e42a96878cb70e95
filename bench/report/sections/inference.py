"""What the patients say: intervals, the declared comparisons, ranks, agreement of the metrics."""

from __future__ import annotations

from bench.report.document import Document
from bench.report.sections import comparisons, intervals, ranks
from bench.report.sections.table import Table


def documents(table: Table) -> list[Document]:
    """Return a table's inference, each part that its results allow."""
    compared = comparisons.document(table)
    return [
        *intervals.documents(table),
        *([compared] if compared else []),
        *ranks.documents(table),
    ]
