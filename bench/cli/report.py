"""`bench report`: tables, figures, the page and a paper's numbers; or the check of a paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli import options
from bench.spec.words import count


def report(
    out: options.Out = Path("results"),
    profile: options.ProfileOfResults = None,
    to: options.ReportTo = Path("reports"),
    check: Annotated[
        Path | None, typer.Option(help="Say which of a paper's numbers and claims hold no more.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw figures and write report.html too.")] = True,
    width: Annotated[
        int,
        typer.Option(
            min=80, max=250, help="Millimetres of the figures: 85 is a column, 178 a page."
        ),
    ] = 178,
    titles: Annotated[
        bool, typer.Option("--titles", help="Put the caption above each figure too.")
    ] = False,
    absent: Annotated[
        Literal["undefined", "best", "worst"],
        typer.Option(help="What a class scores that neither mask of a case has."),
    ] = "undefined",
    layout: Annotated[
        Path | None,
        typer.Option(help="Write one table as this .toml file says it, and nothing else."),
    ] = None,
    layout_template: Annotated[
        bool, typer.Option("--layout-template", help="Print a layout file with every key.")
    ] = False,
) -> None:
    """Write tables, figures, report.html and a paper's numbers.tex; or check a paper.

    A cell that is not as it was left is named and is in no table; exit code 1.

    Figures have no title, for a caption says it: captions stand in figures-*.md. Text has 6.5
    points or more at any --width.

    Of several classes a case scores the mean over its classes. A class that neither its reference
    nor its prediction has is undefined: it is left out and counted, unless --absent says otherwise.

    With --check nothing is written; exit code 1 where a number or a claim of the paper no longer
    holds. Macros of the paper's own are followed. Numbers typed by hand are counted, not checked.

    With --layout the table that a paper wants is written: its names, order, metrics and notes; what
    is left out and all notes go into a second file.

    Examples:

        bench report

        bench report --width 85

        bench report --layout-template > paper.toml

        bench report --layout paper.toml

        bench report --out results --profile paper --to reports

        bench report --check paper.tex
    """
    from bench.cli.shown import tell
    from bench.report import write, write_layout
    from bench.report.figures.style import MILLIMETRES, Paper
    from bench.report.layouts import file as layouts
    from bench.report.paper.check import against, unchecked
    from bench.report.sections.table import collect
    from bench.store.cells import Store
    from bench.store.results import Results

    store = Store(out)
    if check:
        lines = against(store, check, profile)
        remarks = unchecked(check)
        if not lines:
            what = "all that was checked" if remarks else "everything"
            print(f"{check}: {what} holds")
        print(*lines, *remarks, sep="\n", end="\n" * bool(lines + remarks))
        raise typer.Exit(1 if lines else 0)
    results = Results.load(store, profile, pictures, absent)
    if layout_template:
        print(layouts.template(collect(results)), end="")
        return
    results = results.looked_at(store)
    if layout:
        written = write_layout(results, layouts.read(layout), to)
    else:
        paper = Paper(width / MILLIMETRES, titles)
        written = write(results, to, "whole" if pictures else "texts", paper=paper)
    console = options.console()
    tell(written, console)
    folder = to / results.profile
    options.say(f"{count(len(written.files), 'file')}: {folder.resolve()}", to=console)
    if written.page:
        options.say(f"Open in a browser: {written.page.resolve()}", to=console)
    if written.remark:
        print(f"bench: {written.remark}", file=sys.stderr)
    raise typer.Exit(options.tell_damaged(results.damaged))
