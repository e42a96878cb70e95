"""The declared baseline against each other method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.report.document import Document, Note, Number
from bench.report.sections.listing import (
    BOOTSTRAP,
    COUNT,
    HIDDEN,
    LESS,
    LEVEL,
    ends,
    listed_document,
    span,
    t_over,
)
from bench.report.sections.marks import MORE_SEEDS, RARE
from bench.report.sections.runs import DECIDED, MEANING, words
from bench.report.sections.table import Table
from bench.spec.metrics import TITLES
from bench.spec.words import shortened
from bench.stats.family import STAR, WEIGHTS, Comparison, Family
from bench.stats.flips import ALPHA, EXACT, FLIPS
from bench.stats.outliers import SEEN_FROM
from bench.stats.paired import DECIMALS, EQUIVALENT_FROM, Verdict

TOO_FEW = "n too small"
"""The mark where no p could be small enough."""
LEGEND = {
    STAR: f"the methods differ: corrected p up to {ALPHA:g}, over several seeds.",
    WEIGHTS: f"these trained weights differ: corrected p up to {ALPHA:g}, with one seed. Another "
    f"seed of the same methods may differ as much. {MORE_SEEDS} would tell.",
    "(...)": "in brackets if rare outliers that so few patients do not show could undo the "
    f"difference (fewer than {SEEN_FROM} patients; an outlier costs up to the whole score).",
    TOO_FEW: f"so few patients cannot give a corrected p up to {ALPHA:g}.",
}
"""What the marks of comparisons mean; the first letter of each is in no other."""
METHOD = "Method"
"""The heading of the method that is compared with the baseline."""
LONGEST = 30
"""Characters of a baseline's name in a heading."""
CORRECTIONS = {"holm": "Holm's correction", "max-t": "max-T by shared sign flips"}
"""The corrections in words."""
VERDICTS: dict[Verdict, str] = {
    "better": "lower",
    "worse": "higher",
    "equivalent": "equivalent",
    "undecided": "undecided",
}
"""What the other method is, where the baseline is that."""
OF_WEIGHTS = " (these weights)"
"""Behind a verdict of one seed."""
IF_SEEN = f" ({HIDDEN})"
"""Behind a verdict that outliers which so few patients do not show could undo."""


def document(table: Table) -> Document | None:
    """Return the comparisons; None where none was declared, or none can be made."""
    declared = table.family
    compared = list(table.families.values())
    if declared is None or not compared:
        return None
    rows = []
    for family in compared:
        rows += [_comparison_row(table, family, one) for one in family.comparisons]
    name = table.methods.get(declared.baseline, declared.baseline)
    points = Number("+.2f", 100)
    seeds = [row["seeds"] for row in rows if row["seeds"]]
    heads = {
        "dataset": "Dataset",
        "title": METHOD,
        "patients": "Patients",
        "mean": direction(name),
        "bootstrap": f"{LEVEL} bootstrap",
        "t": f"{LEVEL} t {t_over(seeds)}",
        "adjusted": "p corrected",
        "decided": "Decided by",
        "star": "Mark",
        "verdict": "Verdict",
        "shift": "Shift",
        "of_shift": f"{LEVEL} of the shift",
        "superiority": "Superiority (%)",
        "wilcoxon": "Wilcoxon's p",
        "p": "p uncorrected",
    }
    p = Number(".3g")
    numbers = {
        "patients": COUNT,
        "mean": points,
        "bootstrap": span("bootstrap", points),
        "t": span("t", points),
        "shift": points,
        "of_shift": span("of_shift", points),
        "superiority": Number(".0f", 100),
        "wilcoxon": p,
        "p": p,
        "adjusted": p,
    }
    return listed_document(
        table,
        "comparisons",
        "Comparisons",
        f"Each method {LESS} {name}, in points of Dice, paired by patient.",
        heads,
        numbers,
        rows,
        [*_comparison_notes(table, name, compared), *_legend(row["star"] for row in rows)],
    )


def direction(baseline: str) -> str:
    """Return what is subtracted from what, as a heading says it."""
    return f"{METHOD} {LESS} {shortened(baseline, LONGEST)}"


def remark(comparison: Comparison, rope: float) -> str:
    """Return what stands behind a verdict, in brackets: of what it speaks, and what a mark adds.

    A difference may be significant and have no verdict `lower` or `higher`.
    """
    if comparison.verdict in ("better", "worse"):
        of = "" if comparison.of_methods else OF_WEIGHTS
        return of + IF_SEEN * comparison.in_doubt
    if not comparison.mark:
        return ""
    if abs(comparison.pair.mean) <= rope:
        return f" (differs, by less than {100 * rope:g} points)"
    return " (differs, but an interval holds 0)"


def _comparison_row(table: Table, family: Family, comparison: Comparison) -> dict[str, Any]:
    """Return the row of a comparison: the other method less the baseline."""
    pair = comparison.pair.turned
    mark = comparison.mark
    if not comparison.possible:
        mark = TOO_FEW
    return {
        "column": family.column,
        "dataset": table.columns[family.column],
        "metric": family.metric,
        "score": TITLES[family.metric],
        "baseline": family.baseline,
        "method": pair.first,
        "title": table.methods[pair.first],
        "patients": pair.patients,
        "seeds": pair.seeds,
        "mean": pair.mean,
        **ends("bootstrap", pair.bootstrap),
        **ends("t", pair.t),
        "shift": pair.shift,
        **ends("of_shift", pair.shift_interval),
        "superiority": pair.superiority,
        "zeros": pair.zeros,
        "wilcoxon": pair.wilcoxon,
        "p": pair.p,
        "adjusted": comparison.adjusted,
        "decided": DECIDED[pair.decided],
        "star": mark,
        "verdict": VERDICTS[comparison.verdict] + remark(comparison, family.rope),
    }


def _comparison_notes(table: Table, name: str, compared: Sequence[Family]) -> list[str]:
    """Return what the family is, when it was declared, and how it was tested."""
    declared = table.family
    assert declared is not None
    date = f"on {declared.date}, " if declared.date else ""
    when = f"It was declared {date}before any cell was finished"
    if any(cell.record.outside for cell in table.cells):
        when = (
            f"It was declared {date}before any of these predictions was scored here; whether they "
            "were scored elsewhere before is not known"
        )
    if declared.finished:
        when = (
            f"It was declared {date}when {declared.finished} cells of the profile were FINISHED, "
            "so their results may have been known"
        )
    when += f" (declaration {declared.hash})."
    scope = (
        f"The family: {name} against each other method, and against its own further rows; "
        f"per dataset, by Dice, which decides for IoU too. {when}"
    )
    with_result = dict.fromkeys(family.column for family in compared)
    lacking = [title for column, title in table.columns.items() if column not in with_result]
    if lacking:
        scope += f" Not compared, for lack of a result of it: {', '.join(lacking)}."
    for column in with_result:
        missing = table.missing(column)
        if missing:
            scope += (
                f" {table.columns[column]}: {', '.join(missing)} was declared and has no result; "
                "its test counts."
            )
        _, added = table.compared(column, compared[0].baseline)
        if added:
            names = ", ".join(table.methods[key] for key in added)
            scope += (
                f" {table.columns[column]}, not declared, so not compared here: {names}; the marks "
                "of table 1 and the map of all pairs have them."
            )
    counts = []
    for family in compared:
        counts.append(f"{table.columns[family.column]}: {family.tests}")
    return [
        scope,
        "p: two-sided sign-flip permutation test of the mean difference over patients, exact up to "
        f"{EXACT} of them, else {FLIPS:,} flips. With several seeds, the largest p of it, of a t "
        "test over the seeds' means, and of a two-way analysis of variance with patients and seeds "
        f"random. {RARE} Tests that a p is corrected for, by {_corrections(compared)}: "
        f"{', '.join(counts)}; {sum(family.computed for family in compared)} p values computed, "
        f"Wilcoxon's included. {MEANING}",
        *_few_runs(table, compared),
        f"Lower, higher: a corrected p up to {ALPHA:g}, both 95 % intervals (bootstrap and t) "
        f"without 0, a mean beyond ±{100 * compared[0].rope:g} points. Equivalent: at least "
        f"{EQUIVALENT_FROM} patients, and both intervals, corrected for the number of comparisons, "
        "within that region. Undecided: neither.",
        f"Difference with {BOOTSTRAP}; and with 95 % t interval: over patients, with several seeds "
        "the longer of two, over seeds and over patients and seeds. Shift: the typical difference "
        "(Hodges and Lehmann), with the interval of the signed ranks. Superiority: share of "
        "patients on whom the method is ahead of the baseline, ties half. "
        f"Wilcoxon: signed ranks of differences rounded to 1e-{DECIMALS}, zeros by Pratt's rule; "
        "a companion, not corrected.",
    ]


def _legend(marks: Iterable[str]) -> list[Note]:
    """Return what the marks that occur mean, and nothing of others."""
    signs = "".join(marks)
    return [Note(f"{sign}: {text}", "legend") for sign, text in LEGEND.items() if sign[0] in signs]


def _few_runs(table: Table, compared: Sequence[Family]) -> list[str]:
    """Return what few seeds cannot show of each column's Dice, and how many would be needed."""
    lines = []
    for family in compared:
        said = words(table, family)
        if said:
            lines.append(f"{table.columns[family.column]}: {said}")
    return lines


def _corrections(compared: Sequence[Family]) -> str:
    """Return by what p was corrected, in words."""
    return " and ".join(dict.fromkeys(CORRECTIONS[family.correction] for family in compared))
