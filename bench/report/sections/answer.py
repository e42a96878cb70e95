"""The answer in sentences: what is best on each dataset, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.sections.runs import ENOUGH
from bench.report.sections.table import ENDPOINT, Table
from bench.spec.caveat import caveat
from bench.spec.metrics import TITLES
from bench.spec.words import count, p_words
from bench.stats import intervals
from bench.stats.family import AllPairs


@dataclass(frozen=True)
class Answer:
    """What the results of one column say."""

    column: str
    """The column's key."""
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences as one paragraph."""
        return " ".join(self.sentences)


def answers(table: Table) -> list[Answer]:
    """Return the answer of each column with at least one method that competes."""
    given = []
    for column in table.columns:
        sentences = _sentences(table, column)
        if sentences:
            given.append(Answer(column, tuple(sentences)))
    return given


def limits(table: Table) -> str:
    """Return the sentence that says of what the answers speak."""
    seeds = {cell.record.spec.seed for cell in table.cells}
    parts = []
    if table.source == "phantom":
        parts.append("These data are simulated; they say nothing about patients.")
    trained = [cell.record for cell in table.cells if not cell.record.outside]
    words = caveat(trained[-1].spec.profile) if trained else ""
    if words:
        parts.append(f"{words[0].upper()}{words[1:]}.")
    outside = table.source == "external"
    if len(seeds) == 1:
        once = "Each method was trained once (one seed)"
        if outside:
            once = "Each method has one set of predictions"
        parts.append(
            f"{once}: this compares these trained weights, and another seed may differ as much."
        )
    elif len(seeds) < ENOUGH:
        several = f"Each method was trained {len(seeds)} times ({len(seeds)} seeds)"
        if outside:
            several = f"Each method has {len(seeds)} sets of predictions"
        parts.append(
            f"{several}: so few seeds hardly ever make a difference significant; bench plan "
            "says what more seeds would find."
        )
    return " ".join(parts)


def paragraphs(table: Table) -> list[str]:
    """Return the answers with their limits, a paragraph each: what opens page and terminal."""
    texts = [*(one.text for one in answers(table)), limits(table)]
    return [text for text in texts if text]


def _sentences(table: Table, column: str) -> list[str]:
    """Return the answer of a column: what is missing, what is best, and how sure that is."""
    rivals = table.rivals(column)
    if not rivals:
        return []
    if not table.has_scores(column):  # no case has any class
        return [f"On {table.columns[column]}, no case has a score."]
    sentences = _unfinished(table, column)
    best = table.best(column)
    if best:
        sentences += _ranked(table, column, best)
    return [*sentences, *_without(table, column)]


def _ranked(table: Table, column: str, best: str) -> list[str]:
    """Return what is best on a column, by how much, and how sure that is."""
    rivals = table.rivals(column)
    where = f"On {table.columns[column]}"
    name = table.methods[best]
    score = _score(table, column, best)
    if len(rivals) == 1:
        return [f"{where}, {name} reaches {score}."]
    pairs = table.pairs[column]
    below = _sorted(pairs, best, pairs.below(best))
    doubtful = pairs.doubtful(best)
    alike = pairs.not_below(best)
    unsure = _sorted(pairs, best, [one for one in doubtful if one not in alike])
    uneven = column in table.uneven
    if len(below) == len(rivals) - 1 and not uneven:
        sentences = [f"{where}, {name} is best: {score}."]
    elif below or unsure:
        sentences = [f"{where}, {name} has the highest mean: {score}."]
    else:
        sentences = [
            f"{where}, {name} has the highest mean, {score}, but no other method is "
            f"significantly lower: {_differences(table, pairs, best, alike)}."
        ]
    if below:
        sentences.append(f"Significantly lower: {_gaps(table, pairs, best, below)}.")
    if unsure:
        sentences.append(
            "Lower, unless these few patients hide rare outliers: "
            f"{_gaps(table, pairs, best, unsure)}."
        )
    if alike and (below or unsure):
        sentences.append(
            f"Not significantly different from it: {_differences(table, pairs, best, alike)}."
        )
    return sentences


def _score(table: Table, column: str, best: str) -> str:
    """Return the best row's mean with its interval, and over which patients it is."""
    scores = table.patients[column][ENDPOINT].only([best])
    whose = ""
    if column in table.uneven:
        scores = table.shared(column).only([best])
        whose = " that all methods have"
    [summary] = intervals.summarise(scores)
    low, high = summary.bootstrap
    patients = count(summary.patients, "patient")
    score = f"{100 * summary.mean:.1f} % {TITLES[ENDPOINT]} over {patients}{whose}"
    if low == low:
        score += f" [95 % interval {100 * low:.1f} to {100 * high:.1f} %]"
    return score


def _unfinished(table: Table, column: str) -> list[str]:
    """Return what the rows of a column lack, and what that means for their means."""
    title = table.columns[column]
    said = []
    finished, folds = table.folds(column)
    if finished < folds:
        said.append(
            f"{title} is not finished: {finished} of {folds} folds have a result, so these are "
            "means over a part of the patients."
        )
    if column not in table.uneven:
        return said
    seeds = table.patients[column][ENDPOINT].seeds
    what = "patients and seeds" if len(seeds) > 1 else "patients"
    said.append(
        f"The methods were not tested on the same {what} of {title}, so their means in table 1 "
        "do not compare and none is bold."
    )
    said.append(_remedy(table, column))
    if table.best(column):
        said.append(f"Here each two methods are compared on the {what} that both have.")
        if len(seeds) > 1 and 1 in table.pairs[column].seeds:
            said.append(
                "Where two have one seed in common, that compares trained weights, not methods."
            )
    else:
        said.append("All methods have no patient in common: compare two of them, in all pairs.")
    return said


def _without(table: Table, column: str) -> list[str]:
    """Return which methods have no result on a column, so that nobody reads them as beaten."""
    failed = {one.method.key for one in table.failures if one.column == column}
    names = []
    for key, title in table.methods.items():
        if key not in table.extras and not table.was_tested(column, key):
            names.append(f"{title} (failed)" if key in failed else title)
    return [f"No result on {table.columns[column]}: {', '.join(names)}."] if names else []


def _remedy(table: Table, column: str) -> str:
    """Return how the missing results of a column are had."""
    records = [cell.record for cell in table.cells if cell.record.column.key == column]
    if all(record.outside for record in records):
        return "Score the same cases for every method."
    return "bench run with the same options computes what is missing."


def _sorted(pairs: AllPairs, best: str, methods: Sequence[str]) -> list[str]:
    """Return methods by their distance from the best one, the largest first."""
    gaps = pairs.means[pairs.methods.index(best)]
    return sorted(methods, key=lambda one: -gaps[pairs.methods.index(one)])


def _gaps(table: Table, pairs: AllPairs, best: str, methods: Sequence[str]) -> str:
    """Return by how many points each method is lower, and how sure that is."""
    first = pairs.methods.index(best)
    parts = []
    for one in methods:
        place = pairs.methods.index(one)
        gap, p = pairs.means[first, place], pairs.p[first, place]
        parts.append(f"{table.methods[one]} by {100 * gap:.1f} points ({p_words(p)})")
    return ", ".join(parts)


def _differences(table: Table, pairs: AllPairs, best: str, methods: Sequence[str]) -> str:
    """Return each method with its difference, less the best one, and how sure that is."""
    first = pairs.methods.index(best)
    parts = []
    for one in _sorted(pairs, best, methods):
        place = pairs.methods.index(one)
        difference, p = pairs.means[place, first], pairs.p[place, first]
        known = ""
        if difference == difference:
            known = f" ({100 * difference:+.1f} points, {p_words(p)})"
        parts.append(f"{table.methods[one]}{known}")
    return ", ".join(parts)
