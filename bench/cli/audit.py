"""`bench audit`: what printed results cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.spec.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bench.audit.audit import Finding
    from bench.audit.printed import Printed, Results

VERDICTS = {
    "ok": "ok",
    "above": "IoU above Dice",
    "jensen": "below Jensen's floor",
    "mean": "mean outside its interval",
    "std": "impossible std",
}
"""The verdicts of `bench.audit.audit.Finding` as the terminal prints them."""


@dataclass(frozen=True)
class Audit:
    """A file, how it was read, and what was concluded of each of its cells."""

    source: str
    results: Results
    findings: tuple[Finding, ...]


def audit(
    table: Annotated[Path | None, typer.Argument(help="A csv of printed results.")] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Audit the published tables of Verdiff-Net.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say which printed means and stds of Dice and IoU cannot be of the same predictions.

    The csv has columns method, dataset, dice_mean, dice_std, iou_mean, iou_std and, if known, n
    (the number of test images) and table; stds may be missing. Percent or fractions, with all
    printed digits: rounding and cutting are allowed for. Exit code 1 where a cell cannot be.

    Examples:

        bench audit table.csv

        bench audit --paper --json
    """
    audits = run_audits(table, paper)
    if as_json:
        options.print_json(rows(audits))
    else:
        _show(audits, options.console())
    impossible = any(row["verdict"] != "ok" for row in rows(audits))
    raise typer.Exit(1 if impossible else 0)


def run_audits(table: Path | None, paper: bool) -> list[Audit]:
    """Audit a file, or the published tables.

    Raises:
        UsageError: Neither or both are asked for, or the file is no table of results.
    """
    from bench.audit import published

    if (table is None) != paper:
        raise UsageError(
            "expected either a table or --paper: bench audit table.csv, or bench audit --paper"
        )
    if table is not None:
        return [_audit(table, str(table))]
    audits = []
    for name, path in published.FILES.items():
        source = f"{published.SOURCE}, {name.replace('table', 'table ')}"
        audits.append(_audit(path, source, name))
    return audits


def _audit(path: Path, source: str, name: str | None = None) -> Audit:
    """Audit a file; `source` is what it is called, `name` that of its table."""
    from bench.audit.audit import audit
    from bench.audit.printed import read

    results = read(path, name)
    return Audit(source, results, tuple(audit(cell) for cell in results.cells))


def rows(audits: Sequence[Audit]) -> list[dict[str, Any]]:
    """Return a row for each printed cell: fractions, the gap in points of a percent."""
    lines = []
    for of_source in audits:
        lines += [_row(finding) for finding in of_source.findings]
    return lines


def _row(finding: Finding) -> dict[str, Any]:
    """Return what `--json` prints of a cell."""
    from bench.audit.audit import CANNOT
    from bench.audit.printed import NUMBERS

    words = finding.words
    if finding.verdict != "ok":
        words += f"; these {CANNOT}"
    return {
        "table": finding.cell.table,
        "method": finding.cell.method,
        "dataset": finding.cell.dataset,
        "n": finding.cell.n,
        **{name: _fraction(getattr(finding.cell, name)) for name in NUMBERS},
        "verdict": finding.verdict,
        "any_std": finding.any_std,
        "repeats": finding.cell.repeats,
        "gap_points": finding.gap_points,
        "iou_low": finding.iou_low,
        "iou_high": finding.iou_high,
        "words": words,
    }


def _fraction(number: Printed | None) -> float | None:
    """Return a number as a fraction, without the error of a division by 100."""
    return round(number.value, 12) if number else None


def _show(audits: Sequence[Audit], console: Console) -> None:
    """Print a line a cell, then what is claimed and what was allowed for."""
    from rich.text import Text

    from bench.audit.audit import summary

    def say(*parts: str | tuple[str, str]) -> None:
        console.print(Text.assemble(*parts), highlight=False, soft_wrap=True)

    for of_source in audits:
        say((of_source.source, "bold"))
        tables = [(name, list(part)) for name, part in groupby(of_source.findings, _table)]
        for name, findings in tables:
            if len(tables) > 1:
                say((name, "bold"))
            for finding in findings:
                style = "green" if finding.verdict == "ok" else "bold red"
                place = f"  {finding.cell.method}, {finding.cell.dataset}: "
                say(place, (VERDICTS[finding.verdict], style), f"; {_words(finding)}")
        say((f"{summary(of_source.findings)}.", "bold"))
        for line in _remarks(of_source):
            say(line)
        console.print()


def _words(finding: Finding) -> str:
    """Return a finding's words, with what it does not depend on."""
    if finding.any_std:
        return f"{finding.words}; whatever the std is of"
    return finding.words


def _table(finding: Finding) -> str:
    """Return the name of the table in which a finding's cell stands."""
    return finding.cell.table


def _remarks(one: Audit) -> Iterator[str]:
    """Yield how the numbers were read, and what the verdicts do and do not say."""
    from bench.audit.audit import CANNOT, FEWEST
    from bench.audit.printed import PERCENT_ABOVE

    if one.results.percent:
        yield f"Read as percent, for a number is above {PERCENT_ABOVE}."
    else:
        yield f"Read as fractions, for no number is above {PERCENT_ABOVE}."
    if one.results.remark:
        yield f"{one.results.remark}."
    for finding in one.findings:
        if finding.cell.repeats:
            yield f"Repeated: {finding.cell.repeats}; both are counted."
    if one.results.absent:
        yield f"Not checked, for lack of a column: {', '.join(one.results.absent)}."
    yield (
        "Allowed for: digits that were rounded or cut (82.39 printed as 82.3), and stds by n or by "
        "n - 1."
    )
    if any(finding.cell.n is None and finding.cell.dice_std for finding in one.findings):
        yield (
            f"Where the number of test images is not given (column n), at least {FEWEST} are "
            "assumed; Jensen's floor needs no such number."
        )
    if any(finding.verdict != "ok" for finding in one.findings):
        yield (
            f"That numbers {CANNOT} is all that is claimed: scores that were averaged over "
            "patients, volumes or seeds first, pooled over pixels, or taken of different images "
            "need not keep these bounds, but for those that hold whatever the std is of: they need "
            "the same images and predictions alone."
        )
