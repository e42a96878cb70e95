"""What the sections of the inference share: a document of rows, and how intervals are printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from bench.report.document import Document, Note, Number, block
from bench.report.sections.table import Table, data
from bench.stats.intervals import Interval

BOOTSTRAP = (
    "95 % bootstrap interval: BCa over patients; with several seeds, percentiles over seeds and "
    "patients"
)
COUNT = Number(".0f")
LEVEL = "95 %"
"""Begins the heading of an interval."""
HIDDEN = "unless rare outliers are hidden"
"""Of a difference that outliers could undo which so few patients do not show."""
LESS = "less"
"""Stands between two methods whose difference is printed, so that its sign has one meaning."""


def t_over(seeds: Iterable[int]) -> str:
    """Return over what the t interval of a difference is, by the seeds of its rows."""
    several = {number > 1 for number in seeds}
    if several == {True}:
        return "over patients and seeds"
    return "over patients (and seeds)" if len(several) > 1 else "over patients"


def listed_document(
    table: Table,
    name: str,
    heading: str,
    words: str,
    heads: dict[str, str],
    numbers: dict[str, Number],
    rows: Sequence[dict[str, Any]],
    notes: Sequence[str | Note],
) -> Document | None:
    """Return a document of rows; None where there are none."""
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    return Document(
        name=f"{name}-{table.source}",
        heading=f"{heading} ({table.source})",
        caption=f"{data(table)}, profile '{table.profile}'. {words}",
        blocks=(block(frame, heads, numbers),),
        notes=tuple(note if isinstance(note, Note) else Note(note) for note in notes),
        frames={"": frame},
        wide=True,
    )


def span(name: str, like: Number) -> Number:
    """Return how the interval whose ends are `<name>_low` and `<name>_high` is printed."""
    return Number(like.form, like.factor, (f"{name}_low", f"{name}_high"))


def ends(name: str, interval: Interval) -> dict[str, float]:
    """Return the ends of an interval under the names that `span` reads."""
    low, high = interval
    return {f"{name}_low": low, f"{name}_high": high}
