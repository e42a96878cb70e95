"""What few seeds allow: which test decided a comparison, and how many seeds it would take."""

from __future__ import annotations

from bench.report.sections.table import Table
from bench.stats.family import Comparison, Family
from bench.stats.flips import ALPHA
from bench.stats.outliers import SEEN_FROM
from bench.stats.paired import Test
from bench.stats.power import MOST, POWER, seeds_needed
from bench.stats.runs import critical

DECIDED: dict[Test | None, str] = {
    "patients": "patients",
    "skewness": "patients (Hall)",
    "seeds": "seeds",
    "both": "patients and seeds",
    None: "-",
}
"""The test that decided, as tables print it."""
MEANING = (
    "Decided by: the test with the largest p, which is the one that counts. Patients: sign flips; "
    f"patients (Hall): Hall's test, from {SEEN_FROM} patients on; seeds: t test of the seeds' "
    "means; patients and seeds: two-way analysis of variance."
)
ENOUGH = 5
"""Seeds from which on nothing is said of their number."""


def few(seeds: int) -> str:
    """Return what so few seeds ask of a difference; nothing of one seed, or of enough."""
    if not 1 < seeds < ENOUGH:
        return ""
    errors, errors_of_enough = critical(seeds, ALPHA), critical(ENOUGH, ALPHA)
    return (
        f"With {seeds} seeds the test over seeds asks for a difference of {errors:.1f} standard "
        f"errors of their means ({ENOUGH} seeds: {errors_of_enough:.1f}), before any correction; "
        f"so p is hardly ever below {ALPHA:g}."
    )


def words(table: Table, family: Family) -> str:
    """Return what the looks at a family cost, what its few seeds cannot show, and what would."""
    seeds = [comparison.pair.seeds for comparison in family.comparisons if comparison.pair.seeds]
    parts = (paid(table, family.column), few(min(seeds, default=0)), needed(table, family))
    return " ".join(filter(None, parts))


def paid(table: Table, column: str) -> str:
    """Return by what p is multiplied for the looks at a column, and why; maybe nothing."""
    factor = table.looks(column)
    if factor == 1:
        return ""
    declared = table.family.looks if table.family else 1
    seen = sum(look.column == column for look in table.reports)
    if seen <= declared:
        return f"p is multiplied by {factor} for {declared} declared looks."
    return (
        f"p is multiplied by {factor}: results were reported {seen} times, each with new seeds; "
        f"declared looks: {declared}."
    )


def needed(table: Table, family: Family) -> str:
    """Return how many seeds would decide what the seeds of a family left open; maybe nothing."""
    counts = []
    looks = table.looks_with_another(family.column)
    for comparison in family.comparisons:
        spread = comparison.pair.spread
        if spread is None or not _is_open(comparison):
            continue
        seeds = seeds_needed(
            comparison.pair.mean, comparison.pair.patients, family.tests * looks, spread
        )
        counts.append(f"{table.methods[comparison.pair.second]}: {seeds or f'more than {MOST}'}")
    if not counts:
        return ""
    further = ""
    if looks > table.looks(family.column):
        further = f" Their report is counted as a further look: p x {looks}."
    return (
        f"Seeds that would be needed for a p up to {ALPHA:g}, with a chance of {100 * POWER:.0f} % "
        "and if the difference and its variation between seeds are as measured here: "
        f"{'; '.join(counts)}.{further} bench plan --datasets ... --profile {table.profile} "
        "--seeds N says what N seeds find."
    )


def _is_open(comparison: Comparison) -> bool:
    """Return whether seeds, and not patients, kept a difference from being significant."""
    by_seeds = comparison.pair.decided in ("seeds", "both")
    return by_seeds and comparison.possible and comparison.adjusted > ALPHA
