"""The parts of a report: each turns the results of one source into documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report.document import Document
from bench.report.sections import classes, inference, instances, ledger, published, volumes
from bench.report.sections.table import Table


@dataclass(frozen=True)
class Section:
    """A part of a report beside table 1."""

    documents: Callable[[Table], Sequence[Document]]
    quick: bool = False
    """Whether `bench run` writes it too; the others take a while."""


SECTIONS = (
    Section(classes.documents, quick=True),
    Section(inference.documents),
    Section(instances.documents, quick=True),
    Section(volumes.documents, quick=True),
    Section(published.documents),
    Section(ledger.documents, quick=True),
)
"""In the order of the page. A new section is one file and one line here."""
