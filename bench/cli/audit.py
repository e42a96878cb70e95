"""`bench audit`: what printed results cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.audit import published
from bench.audit.audit import CANNOT, FEWEST, Finding, audit, summary
from bench.audit.printed import NUMBERS, PERCENT_ABOVE, Printed, Results, read
from bench.spec.errors import UsageError

VERDICTS = {
    "ok": "ok",
    "jensen": "below Jensen's floor",
    "mean": "mean outside its interval",
    "std": "impossible std",
}


@dataclass(frozen=True)
class Audit:
    """A file, how it was read, and what was found in each cell."""

    source: str
    results: Results
    findings: tuple[Finding, ...]


def audits(table: Path | None, paper: bool) -> list[Audit]:
    """Audit a file, or the published tables.

    Raises:
        UsageError: Neither or both are asked for, or the file is no table of results.
    """
    if (table is None) != paper:
        raise UsageError(
            "expected either a table or --paper: bench audit table.csv, or bench audit --paper"
        )
    if table is not None:
        return [_audit(table, str(table))]
    titles = ((name, name.replace("table", "table ")) for name in published.FILES)
    return [
        _audit(published.FILES[name], f"{published.SOURCE}, {title}", name)
        for name, title in titles
    ]


def _audit(path: Path, source: str, name: str | None = None) -> Audit:
    results = read(path, name)
    return Audit(source, results, tuple(audit(cell) for cell in results.cells))


def rows(done: Sequence[Audit]) -> list[dict[str, Any]]:
    """Return a row a cell: fractions, the gap in points of a percent."""
    return [
        {
            "table": found.cell.table,
            "method": found.cell.method,
            "dataset": found.cell.dataset,
            "n": found.cell.n,
            **{name: _fraction(getattr(found.cell, name)) for name in NUMBERS},
            "verdict": found.verdict,
            "gap_points": found.gap_points,
            "iou_low": found.iou_low,
            "iou_high": found.iou_high,
            "words": found.words + ("" if found.verdict == "ok" else f"; these {CANNOT}"),
        }
        for each in done
        for found in each.findings
    ]


def _fraction(number: Printed | None) -> float | None:
    return round(number.value, 12) if number else None


def show(done: Sequence[Audit], console: Console) -> None:
    """Print a line a cell, then what is claimed and what was allowed for."""
    for each in done:
        _say(console, Text(each.source, style="bold"))
        for table, part in groupby(each.findings, key=lambda found: found.cell.table):
            found = list(part)
            if len({one.cell.table for one in each.findings}) > 1:
                _say(console, Text(table, style="bold"))
            for one in found:
                style = "green" if one.verdict == "ok" else "bold red"
                place = f"  {one.cell.method}, {one.cell.dataset}: "
                _say(
                    console, Text.assemble(place, (VERDICTS[one.verdict], style), f"; {one.words}")
                )
        _say(console, Text(f"{summary(each.findings)}.", style="bold"))
        for line in _remarks(each):
            _say(console, Text(line))
        console.print()


def _remarks(done: Audit) -> Iterator[str]:
    """Yield how the numbers were read, and what the verdicts do and do not say."""
    yield (
        f"Read as percent, for a number is above {PERCENT_ABOVE}."
        if done.results.percent
        else f"Read as fractions, for no number is above {PERCENT_ABOVE}."
    )
    if done.results.absent:
        yield f"Not checked, for lack of a column: {', '.join(done.results.absent)}."
    yield "Allowed for: the rounding of every printed digit, and stds by n or by n - 1."
    if any(found.cell.n is None and found.cell.dice_std for found in done.findings):
        yield (
            f"Where the number of test images is not given (column n), at least {FEWEST} are taken"
            " for granted; Jensen's floor needs no such number."
        )
    if any(found.verdict != "ok" for found in done.findings):
        yield (
            f"That numbers {CANNOT} is all that is claimed: scores that were averaged over"
            " patients, volumes or seeds first, pooled over pixels, or taken of different images"
            " need not keep these bounds."
        )


def _say(console: Console, line: Text) -> None:
    console.print(line, highlight=False, soft_wrap=True)
