"""Tables and figures from results alone: no torch, and never a change to a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.report import document
from bench.report.document import Document
from bench.report.figures import figure8, gallery, seconds, stages
from bench.report.figures.style import PAPER, Paper
from bench.report.layouts.documents import documents
from bench.report.layouts.file import Layout
from bench.report.paper import macros
from bench.report.sections import SECTIONS, ablation, answer, table1
from bench.report.sections.table import Table, collect
from bench.spec.errors import UsageError
from bench.store.results import Results

PAGE = "report.html"
"""The name of the page."""
Extent = Literal["run", "texts", "whole"]
"""What a run writes at its end; all that has no picture in it; everything."""


@dataclass(frozen=True)
class Written:
    """A report on disk."""

    files: list[Path]
    tables: list[Document]
    """Table 1 of each source, or those of a layout."""
    page: Path | None = None
    """`report.html`, if it was written."""
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The sentences that open the page, by the name of their table 1; none of a layout."""
    remark: str = ""
    """What a user must know of the files, in a line; nothing where all is as usual."""


def write(
    results: Results,
    folder: Path,
    extent: Extent = "whole",
    redraw: bool = True,
    paper: Paper = PAPER,
) -> Written:
    """Write tables (Markdown, LaTeX, CSV), a paper's numbers, figures (PNG, PDF) and the page.

    Args:
        results: What is reported.
        folder: Where reports go; a folder named after the profile is made in it.
        extent: `run` leaves out what takes a while: the inference, a picture of every dataset's
            cases, the page.
        redraw: Draw the figures also where the table's numbers are as they were.
        paper: What figures are printed on.

    Raises:
        UsageError: The folder cannot be written.
    """
    target = folder / results.profile
    try:
        target.mkdir(parents=True, exist_ok=True)
        return _write(results, target, extent, redraw, paper)
    except OSError as error:
        raise UsageError(
            f"report folder {target} cannot be written ({error.strerror}); choose another with --to"
        ) from error


def texts(results: Results) -> dict[str, str]:
    """Return every table and the paper's numbers as a report has them, by the file's name."""
    tables = collect(results)
    content: dict[str, str] = {}
    for table in tables:
        parts = [table1.document(table)]
        for section in SECTIONS:
            parts += section.documents(table)
        for part in parts:
            for end, text in part.texts().items():
                content[f"{part.name}{end}"] = text
    content["numbers.tex"] = macros.numbers(tables)
    return content


def write_layout(results: Results, layout: Layout, folder: Path) -> Written:
    """Write the table that a layout asks for, and the complete notes beside it.

    Raises:
        UsageError: The layout names what has no result, or the folder cannot be written.
    """
    target = folder / results.profile
    parts = documents(collect(results), layout)
    try:
        target.mkdir(parents=True, exist_ok=True)
        files: list[Path] = []
        for part in parts:
            files += part.write(target)
    except OSError as error:
        raise UsageError(
            f"report folder {target} cannot be written ({error.strerror}); choose another with --to"
        ) from error
    return Written(files, parts[:-1], remark=document.unprintable(parts))


def _write(results: Results, target: Path, extent: Extent, redraw: bool, paper: Paper) -> Written:
    """Write a report into its folder; the arguments are those of `write`."""
    tables = collect(results)  # one for each source of data
    files: list[Path] = []
    firsts: list[Document] = []  # table 1 of each source
    listings: dict[str, list[Document]] = {}  # the other documents, by source
    written: list[Document] = []
    answers: dict[str, list[str]] = {}
    for table in tables:
        first = table1.document(table)
        answers[first.name] = answer.paragraphs(table)
        beside: list[Document] = []
        for section in SECTIONS:
            if section.quick or extent != "run":
                beside += section.documents(table)
        if extent != "run":
            beside += ablation.documents(results, table.source)
        listings[table.source] = beside
        stale = redraw or not _is_written(first, target)
        written += [first, *beside]
        for part in (first, *beside):
            files += part.write(target)
        firsts.append(first)
        if extent != "texts":
            files += _figures(table, target, stale, paper)
        if extent == "whole":
            files += gallery.write(table, target, stale, paper)
    if extent != "texts":
        files += _stages(tables, target, redraw, paper)
    if extent != "run":
        files += _both_sources(tables, listings, target, extent, redraw)
    pages = [path for path in files if path.suffix == ".html"]
    page = next(iter(pages), None)
    return Written(files, firsts, page, answers, document.unprintable(written))


def _is_written(first: Document, target: Path) -> bool:
    """Return whether the folder holds the same numbers of table 1 already."""
    path = target / f"{first.name}.csv"
    return path.is_file() and path.read_text(encoding="utf-8") == first.texts()[".csv"]


def _figures(table: Table, target: Path, redraw: bool, paper: Paper) -> list[Path]:
    """Draw figure 8, and Dice against the seconds of a prediction."""
    kinds: dict[str, Callable[[Table, Sequence[Path], Paper], None]] = {
        "figure8": figure8.draw,
        "seconds": seconds.draw,
    }
    files = []
    for stem, draw in kinds.items():
        paths = [target / f"{stem}-{table.source}.{suffix}" for suffix in ("png", "pdf")]
        if redraw or not all(path.is_file() for path in paths):
            draw(table, paths, paper)
        files += paths
    return files


def _stages(tables: Sequence[Table], target: Path, redraw: bool, paper: Paper) -> list[Path]:
    """Draw the stages of each method that has any, once a dataset: its first seed and fold."""
    drawn: dict[Path, None] = {}
    for table in tables:
        for cell in table.cells:
            record = cell.record
            dataset, method = record.spec.dataset, record.method
            path = target / f"stages-{dataset.folder}-{method.folder}.png"
            maps = {} if path in drawn else cell.stages()
            if not maps:
                continue
            drawn[path] = None
            if redraw or not path.is_file():
                case = cell.scores()["case"].iloc[0]
                title = f"{record.title}, {dataset.name}, case {case} ({record.source} data)"
                stages.draw(maps, title, path, paper.of(table))
    return list(drawn)


def _both_sources(
    tables: Sequence[Table],
    listings: Mapping[str, Sequence[Document]],
    target: Path,
    extent: Extent,
    redraw: bool,
) -> list[Path]:
    """Write what holds real data and phantoms side by side: a paper's macros, and the page."""
    numbers, page = target / "numbers.tex", target / PAGE
    text = macros.numbers(tables)
    same = numbers.is_file() and numbers.read_text(encoding="utf-8") == text
    numbers.write_text(text, encoding="utf-8")
    if extent == "texts":
        return [numbers]
    if redraw or not (same and page.is_file()):
        from bench.report.page import html

        page.write_text(html.page(tables, listings), encoding="utf-8")
    return [numbers, page]
