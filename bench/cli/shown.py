"""A document of the report in the terminal: its table, and the notes that matter most."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from bench.report.document import SIGNS, Align, Document, Note

if TYPE_CHECKING:
    from rich.console import Console

Justify = Literal["left", "right", "center"]
WIDE = 160
"""Columns of letters where no terminal says how many there are."""
LINES = 5
"""Notes at most; the files have all of them."""
SHORT = 160
"""Characters of a note at most."""


def show(document: Document, console: Console, only: Collection[str] = ()) -> None:
    """Print a document's table and its gravest notes.

    Args:
        document: What is printed.
        console: Where.
        only: The headings of the columns that are printed; all by default.
    """
    from rich.table import Table

    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    console.print(document.heading, style="bold", highlight=False)
    for block in document.blocks:
        table = Table()
        places = [at for at, head in enumerate(block.heads) if not only or head.text in only]
        for at in places:
            head = block.heads[at]
            text = " ".join(filter(None, (head.group, head.text)))
            table.add_column(text, justify=_JUSTIFY[head.align])
        for row in block.rows:
            cells = []
            for cell in (row[at] for at in places):
                text = cell.text + SIGNS.get(cell.mark, "")
                cells.append(f"[bold]{_plain(text)}[/]" if cell.mark == "best" else _plain(text))
            table.add_row(*cells)
        console.print(table)
    for line in lines(document.notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


_JUSTIFY: dict[Align, Justify] = {"left": "left", "right": "right", "centre": "center"}


def _plain(text: str) -> str:
    """Return a text that rich takes for no markup."""
    from rich.markup import escape

    return escape(text)


def lines(notes: Sequence[Note]) -> list[str]:
    """Return the first words of the notes that matter most, and how many others there are."""
    order = sorted(notes, key=lambda note: (not note.grave, note.kind == "difference"))
    shown = [_cut(note.text) for note in order[:LINES]]
    rest = len(notes) - len(shown)
    if rest > 0:
        shown[-1] = f"{len(notes) - LINES + 1} more notes stand in the files of the report."
    return [f"- {line}" for line in shown]


def _cut(text: str) -> str:
    """Return the beginning of a note, whole sentences where they fit."""
    if len(text) <= SHORT:
        return text
    end = text.rfind(". ", 0, SHORT)
    return text[: end + 1] if end > 0 else text[: SHORT - 4].rsplit(" ", 1)[0] + " ..."
