r"""A paper's numbers by name: `numbers.tex`, of which a paper inputs a copy of its own.

`\benchDice{mr}{verdiff}` typesets what the copy says; `bench.report.paper.check` compares the
copy with the store of today.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources
from itertools import chain

from bench.report.document import rounded, tex
from bench.report.sections.table import Table
from bench.report.sections.table1 import entry
from bench.spec.metrics import PRINTED, TITLES

Name = tuple[str, str, str]
"""Kind (`Dice`, `PhantomIoUStd`, `N`, ...), dataset and method; the method of `N` is empty."""
SOURCES = {"real": "", "phantom": "Phantom", "external": "External"}
"""What a macro's name begins with, so that a phantom's number never passes for a patient's, nor a
score from outside for one of data that were prepared here."""
PARTS = ("", "Std", "Cell")
"""How the names of a score's macros end: its mean, its std, and its place of table 1."""


def _scores_of(prefix: str) -> list[str]:
    """Return the macros of scores of a source, whose names begin with a prefix."""
    names = []
    for metric in PRINTED:
        names += [f"{prefix}{TITLES[metric]}{part}" for part in PARTS]
    return names


SCORES = (*chain.from_iterable(_scores_of(prefix) for prefix in SOURCES.values()),)
"""Macros of scores."""
COUNTS = tuple(f"{prefix}N" for prefix in SOURCES.values())
"""Macros of numbers of patients."""
CLAIMS = {
    "DiceBetter": "real",
    "IoUBetter": "real",
    "PhantomDiceBetter": "phantom",
    "PhantomIoUBetter": "phantom",
    "ExternalDiceBetter": "external",
    "ExternalIoUBetter": "external",
}
"""Macros that state a comparison, with the source that they speak of. Dice decides for IoU too."""
_FOLDER = resources.files("bench.report.paper")


def numbers(tables: Sequence[Table]) -> str:
    """Return `numbers.tex`: definitions that TeX and `check` read, one a line."""
    head, tools = ((_FOLDER / name).read_text("utf-8") for name in ("head.tex", "tools.tex"))
    lines = [head + rf"\def\benchProfile{{{tables[0].profile}}}"]
    lines += [r"\makeatletter", tools + r"\makeatother"]
    for kind in SCORES:
        get = rf"\benchget{{{kind}}}{{#1}}{{#2}}"
        lines.append(rf"\DeclareRobustCommand\bench{kind}[2]{{{get}}}")
    for kind in COUNTS:
        get = rf"\benchget{{{kind}}}{{#1}}{{}}"
        lines.append(rf"\DeclareRobustCommand\bench{kind}[1]{{{get}}}")
    for kind in CLAIMS:
        lines.append(rf"\DeclareRobustCommand\bench{kind}[4]{{#4}}")
    for (kind, dataset, method), value in values(tables).items():
        lines.append(rf"\benchset{{{kind}}}{{{dataset}}}{{{method}}}{{{value}}}")
    return "\n".join(lines) + "\n"


def values(tables: Sequence[Table]) -> dict[Name, str]:
    """Return every number as LaTeX, in a fixed order.

    A dataset goes by its name where that means one column of the table; a column always goes by its
    whole key too, which says its version and how it was split (`mr-56a60cd6`, `mr-56a60cd6/5fold`).
    """
    numbers: dict[Name, str] = {}
    for table in tables:
        prefix = SOURCES[table.source]
        patients = table.scores["patients"]
        for column in table.columns:
            tested = sorted(set(patients.xs(column, level="column")))
            least_and_most = dict.fromkeys((tested[0], tested[-1]))  # one number where equal
            count = "--".join(map(str, least_and_most))
            for key in keys(table, column):
                numbers[f"{prefix}N", key, ""] = count
                for method in table.methods:
                    if table.was_tested(column, method):
                        numbers |= _scores(table, column, method, key)
    return numbers


def _scores(table: Table, column: str, method: str, key: str) -> dict[Name, str]:
    """Return the numbers of one place of table 1, under one name of its dataset."""
    numbers: dict[Name, str] = {}
    for metric in PRINTED:
        name = f"{SOURCES[table.source]}{TITLES[metric]}"
        mean = float(table.scores[f"{metric}_mean"][column, method])
        std = float(table.scores[f"{metric}_std"][column, method])
        cell = tex(entry(table, column, method, metric))
        numbers[name, key, method] = rounded(100 * mean, ".2f")
        if not math.isnan(std):
            numbers[f"{name}Std", key, method] = rounded(100 * std, ".2f")
        numbers[f"{name}Cell", key, method] = cell.replace(r"$\pm$", r"\ensuremath{\pm}")
    return numbers


def keys(table: Table, column: str) -> list[str]:
    """Return the names that a column goes by."""
    chosen = table.by_key[column]
    name = chosen.dataset.name
    full_name = "/".join(filter(None, (f"{name}-{chosen.dataset.version}", chosen.scheme.key)))
    same_name = [other for other in table.by_key.values() if other.dataset.name == name]
    return [name, full_name] if len(same_name) == 1 else [full_name]
