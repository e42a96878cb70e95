"""The living paper: which of its numbers and claims no longer hold in the store of today."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.paper.macros import CLAIMS, COUNTS, SCORES, Name, keys, values
from bench.report.sections.table import Table, collect
from bench.spec.errors import UsageError
from bench.store.cells import Store
from bench.store.results import Results

if TYPE_CHECKING:
    from bench.stats.family import Comparison
    from bench.store.plan import Correction


@dataclass(frozen=True)
class Use:
    """A place in a paper that takes a number, or claims that one method is better than another."""

    file: Path
    line: int
    name: Name
    other: str = ""
    """The method that the claim is about too."""

    def __str__(self) -> str:
        """As the paper has it."""
        kind, *names = self.name
        return f"\\bench{kind}" + "".join(f"{{{name}}}" for name in (*names, self.other) if name)


@dataclass(frozen=True)
class Paper:
    """What a paper takes from its copy of `numbers.tex`."""

    numbers: tuple[Use, ...]
    claims: tuple[Use, ...]
    frozen: Mapping[Name, str]
    profile: str
    """Of the results that the copy was written from."""


def against(store: Store, path: Path, profile: str | None = None) -> list[str]:
    """Check a paper against results: those that its `numbers.tex` was written from, by default.

    Returns:
        A line for each number and each claim that does not hold, none where all hold.

    Raises:
        UsageError: The paper cannot be read, takes no number, or no cell of the profile is
            finished.
    """
    paper = read(path)
    results = Results.load(store, profile or paper.profile or None)
    tables = collect(results)
    return changed(paper, values(tables)) + unproven(paper.claims, tables)


def read(path: Path) -> Paper:
    """Read a paper and all that it inputs.

    Raises:
        UsageError: It is not there, it inputs no `numbers.tex`, or takes no number from it.
    """
    if not path.is_file():
        raise UsageError(
            f"paper {path} is not there; expected a LaTeX file: bench report --check paper.tex"
        )
    uses: list[Use] = []
    frozen: dict[Name, str] = {}
    profile = ""
    for file, text in _files(path, path.parent, set()):
        defined = {(m[1], m[2], m[3]): m[4] for m in _SET.finditer(text)}
        if defined:
            frozen |= defined
            named = _PROFILE.search(text)
            profile = named[1] if named else profile
        else:
            uses += _uses(file, text)
    if not frozen:
        raise UsageError(
            f"{path} inputs no numbers.tex; copy the one that bench report wrote beside it, and "
            "\\input{numbers.tex}"
        )
    if not uses:
        raise UsageError(
            f"{path} takes no number from its numbers.tex; write \\benchDice{{dataset}}{{method}} "
            "for one"
        )
    numbers = tuple(use for use in uses if use.name[0] not in CLAIMS)
    return Paper(numbers, tuple(use for use in uses if use.name[0] in CLAIMS), frozen, profile)


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

    The method that is claimed to be better is the baseline. If it was declared before the results,
    p is corrected for its comparisons with all other methods of the column that compete, and with
    its own prior; if not, for all pairs of them.
    """
    from bench.stats.failures import SEEN_FROM, unseen

    lines = []
    for use in claims:
        place = f"{use.file}:{use.line}: {use}"
        try:
            comparison, tests = _compare(use, tables)
        except UsageError as error:
            lines.append(f"{place} cannot be: {error}")
            continue
        if comparison.verdict == "better" and not comparison.of_methods:
            lines.append(
                f"{place} holds of these weights, not of the methods: one seed does not show how "
                "runs differ; bench run --seeds 3"
            )
        if comparison.verdict == "better" and comparison.in_doubt:
            patients = comparison.pair.patients
            lines.append(
                f"{place} holds only if no failure went unseen: {patients} patients may show none "
                f"of a rate up to {100 * unseen(patients):.0f} %; test {SEEN_FROM} or more"
            )
        if comparison.verdict != "better":
            first = use.name[2]
            lines.append(
                f"{place} does not hold: {first} is {_VERDICTS[comparison.verdict]} {use.other}, "
                f"p = {comparison.adjusted:.3g} over {comparison.pair.patients} patients, "
                f"corrected as one of {tests}"
            )
    return lines


def _compare(use: Use, tables: Sequence[Table]) -> tuple[Comparison, int]:
    """Return the comparison that a claim is about, and how many tests its p is corrected for.

    Raises:
        UsageError: There is no such comparison.
    """
    from bench.stats import family

    kind, dataset, first = use.name
    source, metric = CLAIMS[kind]
    table, column = _column(tables, source, dataset)
    rivals = table.others(column, first)
    if use.other in table.extras and use.other not in rivals:
        rivals.append(use.other)
    if {first, use.other} & table.marked:
        raise UsageError(f"{first} or {use.other} is in no comparison, as its row in table 1 says")
    if use.other not in rivals:
        raise UsageError(f"{use.other} has no result on {dataset}")
    correction: Correction = "holm"
    declared = table.family is not None and table.family.baseline == first
    if table.family and declared:
        correction = table.family.correction
    tested = table.patients[column][metric]
    missing = len(table.missing(column)) if declared else 0
    compared = family.against(
        tested, first, rivals, correction=correction, declared=declared, missing=missing
    )
    return compared.comparisons[rivals.index(use.other)], compared.tests


def _column(tables: Sequence[Table], source: str, dataset: str) -> tuple[Table, str]:
    """Return the table and the column that a paper's name of a dataset means."""
    for table in tables:
        for column in table.columns:
            if table.source == source and dataset in keys(table, column):
                return table, column
    raise UsageError(f"the store has no {source} {dataset}")


_VERDICTS = {"worse": "worse than", "equivalent": "equivalent to", "undecided": "not told from"}


def _meant(name: Name, known: Sequence[Name]) -> list[Name]:
    """Return the numbers that a use may mean: in a macro of the paper's own, `#1` is any name."""
    if not any("#" in part for part in name):
        return [name]
    forms = [re.compile(re.sub(r"(\\#)+\d", ".*", re.escape(part))) for part in name]
    fits: dict[Name, None] = {}
    for other in known:
        pairs = zip(forms, other, strict=True)
        if all(form.fullmatch(part) for form, part in pairs):
            fits[other] = None
    return list(fits)


_SET = re.compile(r"^\\benchset\{(\w+)\}\{([^{}]*)\}\{([^{}]*)\}\{(.*)\}$", re.MULTILINE)
_PROFILE = re.compile(r"\\def\\benchProfile\{([^{}]*)\}")
_INPUT = re.compile(r"\\(?:input|include|subfile)\s*\{\s*([^{}]+?)\s*\}")
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*")
_LONGEST_FIRST = sorted((*SCORES, *COUNTS, *CLAIMS), key=len, reverse=True)
_KIND = re.compile(rf"\\bench({'|'.join(_LONGEST_FIRST)})(?![A-Za-z])")
_ARGUMENT = re.compile(r"\s*\{\s*([^{}]*?)\s*\}")


def _uses(file: Path, text: str) -> Iterator[Use]:
    """Yield the uses of macros in a text."""
    for match in _KIND.finditer(text):
        kind, count = match[1], 2
        if kind in COUNTS:
            count = 1
        elif kind in CLAIMS:
            count = 3
        names = _arguments(text, match.end(), count)
        if len(names) < count:
            continue  # the name alone, as in \let
        dataset, method, other = (*names, "", "")[:3]
        line = text.count("\n", 0, match.start()) + 1
        yield Use(file, line, (kind, dataset, method), other)


def _arguments(text: str, place: int, count: int) -> list[str]:
    """Return the arguments of a macro, as many as there are up to a number."""
    arguments: list[str] = []
    while len(arguments) < count:
        argument = _ARGUMENT.match(text, place)
        if argument is None:
            break
        arguments.append(argument[1])
        place = argument.end()
    return arguments


def _files(path: Path, root: Path, seen: set[Path]) -> Iterator[tuple[Path, str]]:
    """Yield a file without its comments, and all that it inputs.

    Names are relative to the paper, as TeX takes them.
    """
    if path in seen or not path.is_file():
        return
    seen.add(path)
    text = "\n".join(
        _COMMENT.sub(r"\1", line) for line in path.read_text("utf-8", errors="replace").splitlines()
    )
    yield path, text
    for name in _INPUT.findall(text):
        beside = root / name
        yield from _files(beside if beside.is_file() else root / f"{name}.tex", root, seen)
