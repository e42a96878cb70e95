"""A document of the report in the terminal: its table, and the notes that matter most."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from bench.report.document import SIGNS, Align, Block, Cell, Document, Kind, Note, markdown
from bench.report.sections.table import ENDPOINT
from bench.spec.errors import printable
from bench.spec.metrics import TITLES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bench.report import Written

KINDS: tuple[Kind, ...] = ("legend", "failure", "data", "marks", "reading", "machine", "difference")
"""Kinds of notes, what a reader must know first."""
Justify = Literal["left", "right", "center"]
LINES = 5
"""Notes at most, beside what the signs of the table mean; the files have all of them."""
WIDEST = 10_000
"""Columns of a terminal that no table needs."""
SHORT = 160
"""Characters of a note at most."""


def tell(written: Written, console: Console) -> None:
    """Print the tables of a report, each under the sentences that answer what is best.

    A table that is wider than the terminal is printed without what has no test.
    """
    for document in written.tables:
        for paragraph in written.answers.get(document.name, ()):
            text = printable(paragraph)
            console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)
            console.print()
        shown: tuple[str, ...] = ()
        if console.is_terminal and not _fits(document, console):
            shown = ("Method", TITLES[ENDPOINT])
        show(document, console, shown)
        if shown:
            console.print("The terminal is too narrow for IoU; the files have it.\n", style="dim")


def show(document: Document, console: Console, only: Collection[str] = ()) -> None:
    """Print a document's table and its gravest notes; without a terminal as Markdown.

    Args:
        document: What is printed.
        console: Where.
        only: The headings of the columns that are printed; all by default.
    """
    blocks = tuple(_columns(block, only) for block in document.blocks)
    if console.is_terminal:
        console.print(document.heading, style="bold", highlight=False)
        for block in blocks:
            console.print(_table(block))
    else:
        plain = replace(document, caption="", blocks=blocks, notes=())
        print(re.sub("\n{3,}", "\n\n", markdown(plain)), flush=True)
    for line in lines(document.notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print()


def _columns(block: Block, only: Collection[str]) -> Block:
    """Return a block with some of its columns."""
    if not only:
        return block
    places = [at for at, head in enumerate(block.heads) if head.text in only]
    heads = tuple(block.heads[at] for at in places)
    rows = [tuple(row[at] for at in places) for row in block.rows]
    return replace(block, heads=heads, rows=tuple(rows))


def _fits(document: Document, console: Console) -> bool:
    """Return whether the tables of a document are no wider than the terminal."""
    endless = console.options.update(max_width=WIDEST)
    for block in document.blocks:
        if console.measure(_table(block), options=endless).maximum > console.width:
            return False
    return True


def _table(block: Block) -> Table:
    """Return a block as the terminal draws it."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for head in block.heads:
        lines = "\n".join(filter(None, (head.group.replace(" [", "\n["), head.text)))
        table.add_column(Text(lines), justify=_JUSTIFY[head.align])
    for row in block.rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(cell: Cell) -> Text:
    """Return a cell with its mark, as text that is no markup."""
    from rich.text import Text

    style = "underline" if cell.second else ""
    return Text(cell.text + SIGNS.get(cell.mark, ""), "bold" if cell.mark == "best" else style)


_JUSTIFY: dict[Align, Justify] = {"left": "left", "right": "right", "centre": "center"}


def lines(notes: Sequence[Note]) -> list[str]:
    """Return what the table's signs mean, and the first words of the notes that matter most."""
    legend = [f"- {note.text}" for note in notes if note.kind == "legend"]
    others = [note for note in notes if note.kind != "legend"]
    order = sorted(others, key=lambda note: (not note.grave, KINDS.index(note.kind)))
    shown = [_cut(note.text) for note in order[:LINES]]
    rest = len(others) - len(shown)
    if rest > 0:
        shown[-1] = f"{len(others) - LINES + 1} more notes stand in the files of the report."
    return [*legend, *(f"- {line}" for line in shown)]


def _cut(text: str) -> str:
    """Return the beginning of a note, whole sentences where they fit."""
    if len(text) <= SHORT:
        return text
    end = text.rfind(". ", 0, SHORT)
    return text[: end + 1] if end > 0 else text[: SHORT - 4].rsplit(" ", 1)[0] + " ..."
