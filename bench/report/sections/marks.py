"""What stands under table 1 of its marks: how they were found, and what they cannot show."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from bench.report.document import SECTION, Head, Mark, Note
from bench.report.sections.runs import few, paid
from bench.report.sections.table import ENDPOINT, Table, factor_beyond
from bench.spec.metrics import TITLES
from bench.spec.words import count
from bench.stats import power
from bench.stats.family import MAP_FLIPS, AllPairs
from bench.stats.flips import ALPHA, EXACT, FLIPS
from bench.stats.outliers import SEEN_FROM, unseen

SEVERAL = (
    "Several seeds: a difference must hold over patients (sign flips of the patients' means, all "
    f"or {FLIPS:,}), over seeds (t test of their means), and over both at once (two-way "
    "analysis of variance, both random, Satterthwaite's degrees of freedom); its p is the largest."
)
RARE = (
    f"From {SEEN_FROM} patients on, Hall's test over patients, which allows for rare outliers, "
    "must agree too."
)
MORE_SEEDS = "Several seeds (bench run --seeds 3; from outside, the same name once for each seed)"
"""The beginning of a sentence: how a table comes to speak of the methods."""
ONE = (
    f"One seed: the sign-flip test over patients, exact up to {EXACT} of them, else {MAP_FLIPS:,} "
    f"flips by max-T, {FLIPS:,} by Holm. It compares these trained weights, not the methods: under "
    f"another seed the same method would differ too. "
    f"{MORE_SEEDS} let the table speak of the methods."
)


def footnotes(table: Table, occurring: Collection[Mark]) -> list[Note]:
    """Return how the marks were found: test, unit, n, correction; and what so few cannot show.

    Args:
        table: The table.
        occurring: The marks that it has: what others mean is not told.
    """
    if not table.pairs:
        return []
    places = []
    for column, title in table.columns.items():
        if column in table.pairs:
            is_even = column not in table.uneven
            places.append(f"{title}: {_tested(table.pairs[column], is_even)}")
    computed = sum(pairs.tests for pairs in table.pairs.values())
    corrected = "p is corrected for all pairs of methods that compete"
    if table.family is not None:
        corrected = (
            "declared pairs are corrected among themselves, all others for all pairs and for the "
            "declared tests"
        )
    declared = (
        "No family of comparisons was declared: --baseline METHOD of bench run and bench score "
        "declares one before the results."
    )
    if table.family is not None:
        declared = _declared(table, table.family.baseline)
    several = any(max(pairs.seeds, default=0) > 1 for pairs in table.pairs.values())
    one = any(1 in pairs.seeds for pairs in table.pairs.values())
    marks = [
        "Marks: a mean that does not differ significantly from the best of its column at "
        f"{100 * ALPHA:g} %, by two-sided paired tests; the unit is the patient, whose cases are "
        f"averaged first; {corrected}. {'; '.join(places)}. "
        f"{count(computed, 'test')} in all. A mark does not prove that two methods are equal, and "
        "no mark does not prove that a difference matters."
    ]
    marks += _across(table)
    if several:
        marks.append(f"{SEVERAL}{_rare(table)}{_few_runs(table)}")
    if one:
        marks.append(ONE)
    hidden = _hidden_outliers(table) if "doubt" in occurring else ""
    if hidden:
        marks.append(f"{SECTION}: {hidden}")
    return [*(Note(text, "marks") for text in marks), Note(declared, "marks")]


def _declared(table: Table, baseline: str) -> str:
    """Return what was declared; where no comparison can be made of it, why."""
    text = f"Declared: {table.methods.get(baseline, baseline)} against each other method"
    if table.families:
        return (
            f"{text}; bench report writes the comparisons. They are corrected among themselves, "
            "and the p of these pairs is the same in all tables and figures."
        )
    why = "no declared method has a result beside it"
    if baseline in table.marked:
        why = "its row is in no comparison"
    elif baseline not in table.methods:
        why = "it has no result"
    return f"{text}, but no comparison can be made: {why}."


def _rare(table: Table) -> str:
    """Return how rare outliers are allowed for, if a column has patients enough to show them."""
    most = max(int(pairs.patients.max(initial=0)) for pairs in table.pairs.values())
    return f" {RARE}" if most >= SEEN_FROM else ""


def _few_runs(table: Table) -> str:
    """Return what so few seeds ask of a difference, if a column has so few."""
    counts: set[int] = set()
    for pairs in table.pairs.values():
        counts.update(seeds for seeds in pairs.seeds if seeds > 1)
    words = few(min(counts, default=0))
    return f" {words}" if words else ""


def _across(table: Table) -> list[str]:
    """Return what holds over several datasets, folds and looks."""
    lines = []
    many = len(table.pairs)
    if many > 1:
        chance = 100 * (1 - (1 - ALPHA) ** many)
        lines.append(
            f"{many} datasets, each tested at {100 * ALPHA:g} %: if all methods were equal "
            f"everywhere, some mean would lack its mark by chance with a probability of up to "
            f"{chance:.0f} %. "
            "No summary over datasets is made: so few do not show how a difference varies from "
            "dataset to dataset."
        )
    if any(cell.record.scheme.folds > 1 for cell in table.cells):
        lines.append(
            "Folds: models of a cross-validation share most of their training patients (Nadeau "
            "and Bengio, 2003), so folds are pooled by patient and never compared as if they were "
            "independent. All seeds have the same folds: p does not say how a method varies with "
            "the choice of its training patients."
        )
    factors = []
    for column, title in table.columns.items():
        factor = table.looks(column)
        if factor == 1:
            continue
        looks = [look for look in table.reports if look.column == column]
        dates = ", ".join(f"{count(len(look.seeds), 'seed')} on {look.date}" for look in looks)
        factors.append(f"{title}: {dates or 'none yet'}; p x {factor}")
    if factors:
        planned = table.family.looks if table.family else 1
        first_beyond = factor_beyond(planned, 1)
        lines.append(
            f"Looks at results of several seeds, {planned} declared (bench run --looks N); only "
            "new seeds make another look. p is multiplied by their number; the first look beyond "
            f"the declared ones costs p x {first_beyond}, each further one twice as much: "
            f"{'; '.join(factors)}."
        )
    return lines


def _hidden_outliers(table: Table) -> str:
    """Return what so few patients cannot show, if a column has so few."""
    rates = []
    for column, pairs in table.pairs.items():
        patients = int(pairs.patients.max(initial=0))
        if unseen(patients):
            rate = f"{100 * unseen(patients):.0f} %"
            rates.append(f"{table.columns[column]}: {count(patients, 'patient')}, {rate}")
    if not rates:
        return ""
    return (
        "so few patients may hide rare outliers, up to this share of all patients "
        f"({'; '.join(rates)}); each may cost a patient's whole score. From {SEEN_FROM} "
        "patients on, an outlier among twenty patients is seen."
    )


RATIO = "methods/seeds"
"""Stands over a column of several seeds, before its ratio of variances."""


def legend_of_looks(table: Table) -> list[Note]:
    """Return by what each column's p is multiplied for the looks, where it is."""
    lines = []
    for column, title in table.columns.items():
        text = paid(table, column)
        if text:
            lines.append(Note(f"{title}: {text}", "legend"))
    return lines


def legend_of_uneven(table: Table) -> list[Note]:
    """Return why no mean of a column is bold or marked, where that is so."""
    titles = [title for key, title in table.columns.items() if key in table.uneven]
    if not titles:
        return []
    text = (
        f"{', '.join(titles)}: no mean is bold or marked, for the methods were not tested on the "
        "same cases under the same seeds. All pairs are compared on what both have."
    )
    return [Note(text, "marks", grave=True)]


def legend_of_heads(heads: Iterable[Head]) -> list[Note]:
    """Return what stands in brackets over a column, if it does."""
    if not any(RATIO in head.group for head in heads):
        return []
    text = (
        f"[{RATIO}]: variance between methods divided by that between the seeds of a method; under "
        "1, one seed of each cannot rank them."
    )
    return [Note(text, "legend")]


def suitability_notes(table: Table) -> list[Note]:
    """Return for each column whether its seeds vary little enough to rank methods by."""
    notes = []
    for column, title in table.columns.items():
        ratio = _ratio(table, column)
        if np.isnan(ratio):
            continue
        text = (
            f"{title}, {RATIO} {_short(ratio)}: the variance of {TITLES[ENDPOINT]} between "
            f"methods is {_short(ratio)} times that between the seeds of a method. What a seed "
            "changes in all methods alike is left out."
        )
        if ratio < 1:
            text += " Under 1, one seed of each method cannot rank them on this dataset."
        notes.append(Note(text, "data", grave=ratio < 1))
    return notes


def _ratio(table: Table, column: str) -> float:
    """Return the variance between methods over that between seeds; NaN where it is unknown."""
    return power.suitability(table.patients[column][ENDPOINT].only(table.rivals(column)))


def _short(ratio: float) -> str:
    """Return a ratio in so many digits as say something."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def head(table: Table, column: str) -> str:
    """Return what stands over a column: its title, and how its numbers are to be read.

    That is whether they are means of classes, and whether its seeds allow to rank methods.
    """
    words = []
    several = table.classes_of(column)
    if len(several) > 1:
        words.append(f"mean of {len(several)} classes")
    ratio = _ratio(table, column)
    if not np.isnan(ratio):
        words.append(f"{RATIO} {_short(ratio)}{', cannot rank' * (ratio < 1)}")
    return table.columns[column] + (f" [{'; '.join(words)}]" if words else "")


def _tested(pairs: AllPairs, is_even: bool) -> str:
    """Return over how many patients a column's pairs were tested, and how p was corrected.

    Args:
        pairs: The column's pairs.
        is_even: Whether all its methods have the same cases and seeds; only then it has marks.
    """
    if not pairs.tests:
        return "no two methods share a patient"
    corrections = {
        "max-t": "by max-T (shared sign flips)",
        "holm": "by Holm",
    }
    is_pair = ~np.eye(len(pairs.methods), dtype=bool)
    shared = pairs.patients[is_pair & (pairs.patients > 0)]
    patients = _span(int(shared.min()), int(shared.max()), "patient")
    seeds = _span(min(pairs.seeds), max(pairs.seeds), "seed")
    too_few = ""
    if is_even and not pairs.possible:
        too_few = " (too few for any significant difference, so every method is marked)"
    return (
        f"{patients}{too_few}, {seeds}, {count(pairs.tests, 'pair')}, "
        f"{corrections[pairs.correction]}"
    )


def _span(least: int, most: int, noun: str) -> str:
    """Return a number of things, or the least and the most: `1 seed`, `3 to 5 seeds`."""
    if least == most:
        return count(most, noun)
    return f"{least} to {count(most, noun)}"
