r"""A paper's numbers by name: `numbers.tex`, which a paper inputs as its own copy, frozen beside it.

`\benchDice{mr}{verdiff}` typesets what the copy says; `bench.report.paper` compares the copy with
the store of today.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.sections.tables import METRICS, TITLES, Table, entry, tex

Name = tuple[str, str, str]
"""Kind (`Dice`, `PhantomIoUStd`, `N`, ...), dataset and method; the method of `N` is empty."""
SOURCES = {"real": "", "phantom": "Phantom"}
"""What a macro's name begins with, so that a phantom's number never passes for a patient's."""
SCORES = tuple(
    f"{phantom}{TITLES[metric]}{part}"
    for phantom in SOURCES.values()
    for metric in METRICS
    for part in ("", "Std", "Cell")
)
COUNTS = tuple(f"{phantom}N" for phantom in SOURCES.values())
CLAIMS = {
    f"{phantom}{TITLES[metric]}Better": (source, metric)
    for source, phantom in SOURCES.items()
    for metric in METRICS
}
"""Macros that state a comparison, by the source and the metric that they speak of."""
_HEAD = r"""% Numbers for a paper, written by bench report; do not edit. Copy this file beside the paper, \input it in
% its preamble, and hold the paper against the results with: bench report --check paper.tex
%   \benchDice{mr}{verdiff}, \benchIoU      mean over test images, percent
%   \benchDiceStd{mr}{verdiff}, \benchIoUStd  its standard deviation (n - 1)
%   \benchDiceCell{mr}{verdiff}, \benchIoUCell  both, as table 1 has them, marks included
%   \benchN{mr}                             patients tested
%   \benchDiceBetter{mr}{verdiff}{unet}{text}  the text, as a claim that --check tests: verdiff is better than unet
% Real data alone; a phantom's are \benchPhantomDice and so on. A name without a number is an error, and typeset as ??.
"""
_TOOLS = r"""\def\benchset#1#2#3#4{\expandafter\gdef\csname bench #1 \detokenize{#2} \detokenize{#3}\endcsname{#4}}
\DeclareRobustCommand\benchget[3]{\ifcsname bench #1 \detokenize{#2} \detokenize{#3}\endcsname
  \csname bench #1 \detokenize{#2} \detokenize{#3}\endcsname\else\textbf{??}\PackageError{bench}{numbers.tex has no
  \@backslashchar bench#1 of \detokenize{#2} \detokenize{#3}}{Run bench report, and copy its numbers.tex again.}\fi}
"""


def numbers(found: Sequence[Table]) -> str:
    """Return `numbers.tex`: definitions that TeX and `check` read, one a line."""
    lines = [
        _HEAD + rf"\def\benchProfile{{{found[0].profile}}}",
        r"\makeatletter",
        _TOOLS + r"\makeatother",
    ]
    lines += [
        rf"\DeclareRobustCommand\bench{kind}[2]{{\benchget{{{kind}}}{{#1}}{{#2}}}}"
        for kind in SCORES
    ]
    lines += [
        rf"\DeclareRobustCommand\bench{kind}[1]{{\benchget{{{kind}}}{{#1}}{{}}}}" for kind in COUNTS
    ]
    lines += [rf"\DeclareRobustCommand\bench{kind}[4]{{#4}}" for kind in CLAIMS]
    lines += [
        rf"\benchset{{{kind}}}{{{dataset}}}{{{method}}}{{{value}}}"
        for (kind, dataset, method), value in values(found).items()
    ]
    return "\n".join(lines) + "\n"


def values(found: Sequence[Table]) -> dict[Name, str]:
    """Return every number as LaTeX, in a fixed order.

    A dataset goes by its name where that means one column of the table; a column always goes by its
    whole key too, which says its version and how it was split (`mr-56a60cd6`, `mr-56a60cd6/5fold`).
    """
    made: dict[Name, str] = {}
    for table in found:
        phantom = SOURCES[table.source]
        scores = table.scores
        for column in table.columns:
            tested = sorted(set(scores["patients"].xs(column, level="column")))
            for key in keys(table, column):
                made[f"{phantom}N", key, ""] = "--".join(
                    str(n) for n in dict.fromkeys((tested[0], tested[-1]))
                )
                for method in (m for m in table.methods if (column, m) in scores.index):
                    for metric in METRICS:
                        name = f"{phantom}{TITLES[metric]}"
                        mean, std = (
                            float(scores[f"{metric}_{what}"][column, method])
                            for what in ("mean", "std")
                        )
                        cell = tex(entry(table, column, method, metric))
                        made[name, key, method] = f"{100 * mean:.2f}"
                        if std == std:
                            made[f"{name}Std", key, method] = f"{100 * std:.2f}"
                        made[f"{name}Cell", key, method] = cell.replace(
                            r"$\pm$", r"\ensuremath{\pm}"
                        )
    return made


def keys(table: Table, column: str) -> list[str]:
    """Return the names that a column goes by."""
    of = f"@{table.source}-"
    short = column.rpartition(of)[0]
    alone = sum(other.rpartition(of)[0] == short for other in table.columns) == 1
    return [*([short] if alone else []), "-".join(column.rsplit(of, 1))]
