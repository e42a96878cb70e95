"""The paired differences of a column as rows of a forest plot, each drawn on one shared axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bench.report.sections import runs
from bench.report.sections.comparisons import VERDICTS, direction, remark
from bench.report.sections.listing import t_over
from bench.report.sections.table import ENDPOINT, Table
from bench.spec.words import count, p_words
from bench.stats.family import Comparison, Family, against

WIDTH, HEIGHT = 260, 22
"""Of a row's drawing, in units of its own."""


@dataclass(frozen=True)
class Axis:
    """The shared axis of a forest plot, in points of the score."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return the place of a value in the drawing."""
        return round(WIDTH * (value - self.low) / (self.high - self.low), 1)


def of_column(table: Table, column: str) -> dict[str, Any] | None:
    """Return what the template says of a column's differences; None where there are none."""
    compared = _compared(table, column)
    if compared is None:
        return None
    shown = [comparison for comparison in compared.comparisons if comparison.pair.patients > 1]
    if not shown:
        return None
    axis = _axis(compared)
    seeds = [comparison.pair.seeds for comparison in compared.comparisons if comparison.pair.seeds]
    name = table.methods[compared.baseline]
    how = "the best mean; corrected for all pairs"
    if column in table.uneven:
        how = "the best mean over the patients that all have; corrected for all pairs"
    if column in table.families:
        how = _declared(table, column)
    return {
        "title": table.columns[column],
        "baseline": name,
        "head": direction(name),
        "interval": f"95 % t interval {t_over(seeds)}",
        "how": how,
        "zero": axis.at(0.0),
        "low": f"{axis.low:+.1f}",
        "high": f"{axis.high:+.1f}",
        "width": WIDTH,
        "height": HEIGHT,
        "rows": [_row(table, axis, comparison, compared.rope) for comparison in shown],
        "runs": runs.words(table, compared),
    }


def _declared(table: Table, column: str) -> str:
    """Return when the family was declared, and what of the table is not in it."""
    family = table.family
    assert family is not None
    when = f"declared when {count(family.finished, 'cell')} of the profile were finished"
    if not family.finished:
        outside = any(cell.record.outside for cell in table.cells)
        when = "declared before the results" + " were computed here" * outside
    _, added = table.compared(column, family.baseline)
    if not added:
        return when
    names = ", ".join(table.methods[key] for key in added)
    return f"{when}; not declared, so not compared here: {names}"


def _compared(table: Table, column: str) -> Family | None:
    """Return the declared family of a column, or else that of its best method."""
    if not table.has_scores(column):
        return None
    known = table.families.get(column)
    if known or len(table.rivals(column)) < 2:
        return known
    baseline, pairs = table.best(column), table.pairs[column]
    others = table.others(column, baseline) if baseline else []
    if not others:
        return None
    return against(table.patients[column][ENDPOINT], baseline, others, of_all=pairs)


def _axis(compared: Family) -> Axis:
    """Return an axis that holds zero and every interval."""
    ends = [0.0]
    for comparison in compared.comparisons:
        pair = comparison.pair.turned
        ends += [100 * end for end in (*pair.t, pair.mean) if not math.isnan(end)]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 1.0
    return Axis(low - margin, high + margin)


def _row(table: Table, axis: Axis, one: Comparison, rope: float) -> dict[str, Any]:
    """Return a row: the other method less the baseline, in points."""
    pair = one.pair.turned
    low, high = (100 * end for end in pair.t)
    verdict = VERDICTS[one.verdict]
    return {
        "title": table.methods[pair.first],
        "verdict": verdict,
        "note": remark(one, rope).strip(),
        "low": axis.at(low),
        "high": axis.at(high),
        "mean": axis.at(100 * pair.mean),
        "text": f"{100 * pair.mean:+.1f} [{low:+.1f}, {high:+.1f}]",
        "p": p_words(one.adjusted),
        "decided": runs.DECIDED[pair.decided],
        "patients": pair.patients,
    }
