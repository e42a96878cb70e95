"""The living paper: which of its numbers and claims no longer hold in the store of today."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.paper.macros import CLAIMS, Name, keys, values
from bench.report.paper.source import OPEN, Paper, Use, read
from bench.report.sections.table import ENDPOINT, Table, collect
from bench.spec.errors import UsageError
from bench.spec.words import count
from bench.store.cells import Store
from bench.store.results import Results

if TYPE_CHECKING:
    from bench.stats.family import Comparison


SHOWN = 3
"""Examples of what a line speaks of."""


def against(store: Store, path: Path, profile: str | None = None) -> list[str]:
    """Check a paper against results: those that its `numbers.tex` was written from, by default.

    Returns:
        A line for each number and each claim that does not hold, and for what of the results is
        damaged; none where all hold.

    Raises:
        UsageError: The paper cannot be read, takes no number, or no cell of the profile is
            finished.
    """
    paper = read(path)
    results = Results.load(store, profile or paper.profile or None)
    tables = collect(results)
    damaged = [damage.line for damage in results.damaged]
    return damaged + changed(paper, values(tables)) + unproven(paper.claims, tables)


def unchecked(path: Path) -> list[str]:
    """Return a line for what the check of a paper cannot speak of: typed numbers, lost files.

    Raises:
        UsageError: As `against`.
    """
    paper = read(path)
    lines = [f"not checked: {line}" for line in paper.unread]
    if paper.typed:
        lines.append(f"not checked: {_by_hand(paper)}")
    return lines


def _by_hand(paper: Paper) -> str:
    """Return how many numbers are typed, where, and which of them have a macro."""
    places = [f"{number.text} in {number.file}:{number.line}" for number in paper.typed]
    text = f"{count(len(places), 'number')} typed by hand ({', '.join(places[:SHOWN])}"
    text += ", ...)" if len(places) > SHOWN else ")"
    use_of_value: dict[str, str] = {}
    for name, value in paper.frozen.items():
        use_of_value.setdefault(value, str(Use(paper.typed[0].file, 0, name)))
    with_macro = {
        number.text: use_of_value[number.text]
        for number in paper.typed
        if number.text in use_of_value
    }
    if with_macro:
        examples = [f"{number} as {macro}" for number, macro in list(with_macro.items())[:SHOWN]]
        text += f"; of numbers.tex are, by their digits: {', '.join(examples)}"
    return text


def changed(paper: Paper, now: Mapping[Name, str]) -> list[str]:
    """Return a line for each number that is another today, or has no macro in the paper's copy."""
    lines = []
    for use in paper.numbers:
        for name in _meant(use.name, [*paper.frozen, *now]) or [use.name]:
            was, today = paper.frozen.get(name), now.get(name)
            if was == today and was is not None:
                continue
            if was is None:
                what = (
                    "is not in the paper's numbers.tex; the store "
                    f"{f'has {today}' if today else 'neither'}"
                )
            else:
                what = f"was {was}, " + (
                    f"is {today}" if today is not None else "and the store has it no more"
                )
            lines.append(f"{use.file}:{use.line}: {Use(use.file, use.line, name)} {what}")
    return list(dict.fromkeys(lines))


def unproven(claims: Sequence[Use], tables: Sequence[Table]) -> list[str]:
    """Return a line for each claim of a better method that the patients do not bear out.

    p is that of the report: of the declared comparisons where the pair is one of them, else
    corrected for all pairs of the column's methods that compete. Dice decides for IoU too.
    """
    from bench.stats.outliers import SEEN_FROM, unseen

    lines = []
    for use in claims:
        place = f"{use.file}:{use.line}: {use}"
        try:
            comparison, tests, looks = _compare(use, tables)
        except UsageError as error:
            lines.append(f"{place} cannot be: {error}")
            continue
        if comparison.verdict == "better" and not comparison.of_methods:
            lines.append(
                f"{place} holds of these weights, not of the methods: one seed does not show how "
                "seeds differ; bench run --seeds 3"
            )
        if comparison.verdict == "better" and comparison.in_doubt:
            patients = comparison.pair.patients
            whose = count(patients, "patient")
            lines.append(
                f"{place} holds unless rare outliers are hidden: {whose} may show none "
                f"of a rate up to {100 * unseen(patients):.0f} %; test {SEEN_FROM} or more"
            )
        if comparison.verdict != "better":
            _kind, _dataset, first = use.name
            lines.append(
                f"{place} does not hold: {first} is {_VERDICTS[comparison.verdict]} {use.other}, "
                f"p = {comparison.adjusted:.3g} over {count(comparison.pair.patients, 'patient')}, "
                f"corrected as one of {tests}{f' and x {looks} for the looks' * (looks > 1)}"
            )
    return lines


def _compare(use: Use, tables: Sequence[Table]) -> tuple[Comparison, int, int]:
    """Return the comparison of a claim, its number of tests, and its factor for the looks.

    Raises:
        UsageError: There is no such comparison.
    """
    from bench.stats.family import against as against_all

    kind, dataset, first = use.name
    table, column = _column(tables, CLAIMS[kind], dataset)
    if {first, use.other} & table.marked:
        raise UsageError(f"{first} or {use.other} is in no comparison, as its row in table 1 says")
    for method in (use.other, first):
        if method not in table.rivals(column):
            raise UsageError(f"{method} has no result on {dataset}")
    declared = table.families.get(column)
    comparison = declared.of(first, use.other) if declared else None
    if declared and comparison:
        return comparison, declared.tests, table.looks(column)
    pairs = table.pairs.get(column)
    family = against_all(table.patients[column][ENDPOINT], first, [use.other], of_all=pairs)
    return family.comparisons[0], family.tests, table.looks(column)


def _column(tables: Sequence[Table], source: str, dataset: str) -> tuple[Table, str]:
    """Return the table and the column that a paper's name of a dataset means."""
    for table in tables:
        for column in table.columns:
            if table.source == source and dataset in keys(table, column):
                return table, column
    raise UsageError(f"the store has no {source} {dataset}")


_VERDICTS = {
    "worse": "worse than",
    "equivalent": "equivalent to",
    "undecided": "not significantly different from",
}
"""How a line says a verdict that does not bear out a claim."""


def _meant(name: Name, defined: Sequence[Name]) -> list[Name]:
    """Return the numbers that a use may mean: `#1` of a macro that nothing uses is any name."""
    if not any(OPEN.search(part) for part in name):
        return [name]
    forms = []
    for part in name:
        forms.append(re.compile(".*".join(map(re.escape, OPEN.split(part)))))
    fits: dict[Name, None] = {}
    for other in defined:
        pairs = zip(forms, other, strict=True)
        if all(form.fullmatch(part) for form, part in pairs):
            fits[other] = None
    return list(fits)
