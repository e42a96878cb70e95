"""What a report is made of: tables of marked cells and notes of a kind, and one writer a format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pandas as pd

Align = Literal["left", "right", "centre"]
Mark = Literal["", "best", "like", "weights", "doubt"]
Kind = Literal["marks", "data", "machine", "difference", "failure", "reading"]

DAGGER, DOUBLE_DAGGER, SECTION = "†", "‡", "§"
"""Marks of what is not told from the best: by several seeds, by one seed, whose results speak of
these weights alone, and if failures went unseen."""
SIGNS = {"like": DAGGER, "weights": DOUBLE_DAGGER, "doubt": SECTION}
"""What is printed behind a cell, by its mark."""
PAGE_ROWS = 30
"""Rows that a page of LaTeX holds; a longer table is set as one table for each first cell."""


@dataclass(frozen=True)
class Note:
    """A sentence that must stand under a table."""

    text: str
    kind: Kind = "reading"
    """What it is about: the marks, the data, the machine, a method's differences from its source,
    a failed cell, or how to read the table."""
    grave: bool = False
    """Whether the numbers do not compare because of it."""


@dataclass(frozen=True)
class Cell:
    """One place of a table."""

    text: str
    mark: Mark = ""
    number: float | None = None
    """The number behind the text, by which rows are sorted: NaN if missing, None for words."""


@dataclass(frozen=True)
class Head:
    """The heading of a column."""

    text: str
    align: Align = "right"
    group: str = ""
    """What stands over this heading and its neighbours of the same group."""
    tex: str = ""
    """The heading in LaTeX, where it is another one."""


@dataclass(frozen=True)
class Block:
    """Heads and rows."""

    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    """The sentence above it, beside the document's."""


@dataclass(frozen=True)
class Document:
    """A table with what stands above and below it."""

    name: str
    """The name of its files, without suffix."""
    heading: str
    caption: str
    blocks: tuple[Block, ...]
    notes: tuple[Note, ...] = ()
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """The numbers by what the name of their CSV ends with, such as `` or `-effects`."""
    label: str = ""
    """What LaTeX refers to it by."""
    wide: bool = False
    """Whether LaTeX sets it on a page in landscape."""

    def texts(self) -> dict[str, str]:
        """Return what is written, by the end of the file's name."""
        texts = {".md": markdown(self), ".tex": latex(self)}
        for end, frame in self.frames.items():
            texts[f"{end}.csv"] = csv(frame)
        return texts

    def write(self, folder: Path) -> list[Path]:
        """Write every format into a folder; return the files."""
        paths = []
        for end, text in self.texts().items():
            path = folder / f"{self.name}{end}"
            path.write_text(text, encoding="utf-8")
            paths.append(path)
        return paths


# Numbers of a frame as cells


@dataclass(frozen=True)
class Number:
    """How a number is printed, or an interval."""

    form: str
    factor: float = 1
    ends: tuple[str, ...] = ()
    """The frame's columns that hold an interval's ends."""

    def cell(self, name: str, row: Mapping[Any, Any]) -> Cell:
        """Return a row's number as a cell; a dash where there is none."""
        values = [row[column] for column in self.ends or (name,)]
        first = math.nan if values[0] is None else float(values[0])
        if any(value is None or value != value for value in values):
            return Cell("-", number=first)
        text = ", ".join(format(self.factor * value, self.form) for value in values)
        return Cell(f"[{text}]" if self.ends else text, number=first)


def block(frame: pd.DataFrame, heads: Mapping[str, str], numbers: Mapping[str, Number]) -> Block:
    """Return a frame's rows as a block.

    Args:
        frame: The rows; columns without a head are not shown.
        heads: The columns that are shown, with their titles.
        numbers: How numbers are printed, by head; a head that is not in it is of words.
    """
    rows = []
    for row in frame.to_dict("records"):
        cells = []
        for name in heads:
            number = numbers.get(name)
            cells.append(number.cell(name, row) if number else Cell(str(row[name])))
        rows.append(tuple(cells))
    titles = []
    for name, title in heads.items():
        titles.append(Head(title, "right" if name in numbers else "left"))
    return Block(tuple(titles), tuple(rows))


# The writers


def csv(frame: pd.DataFrame) -> str:
    """Return numbers as CSV, unrounded but for the ninth digit."""
    return str(frame.to_csv(index=False, lineterminator="\n", float_format="%.9g"))


_RULES = {"left": " --- ", "right": " ---: ", "centre": " :-: "}


def markdown(document: Document) -> str:
    """Return a document as Markdown."""
    lines = [f"# {document.heading}", "", document.caption]
    for part in document.blocks:
        if part.caption:
            lines += ["", part.caption]
        heads = [" ".join(filter(None, (head.group, head.text))) for head in part.heads]
        rules = "|".join(_RULES[head.align] for head in part.heads)
        lines += ["", f"| {' | '.join(heads)} |", f"|{rules}|"]
        for row in part.rows:
            lines.append(f"| {' | '.join(map(_markdown_cell, row))} |")
    lines.append("")
    lines += [f"- {note.text}" for note in document.notes]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = cell.text.replace("|", "&#124;")
    if cell.mark == "best":
        return f"**{text}**"
    return text + SIGNS.get(cell.mark, "")


_SPECIAL = {character: f"\\{character}" for character in "{}$&#_%"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    DAGGER: r"\textsuperscript{\textdagger}",
    DOUBLE_DAGGER: r"\textsuperscript{\textdaggerdbl}",
    "°": r"$^\circ$",
    SECTION: r"\textsuperscript{\S}",
    "−": r"$-$",
    "✓": r"$\checkmark$",
}
_TOP = (
    r"% \input this file in a paper that uses booktabs, graphicx and amssymb, "
    r"or compile it as it is."
)


def escape(text: str) -> str:
    """Return text with every character that LaTeX reads as a command made harmless."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def tex(cell: Cell) -> str:
    """Return a cell as LaTeX, its mark included."""
    text = escape(cell.text.strip())
    if cell.mark == "best":
        return rf"\textbf{{{text}}}"
    return text + escape(SIGNS.get(cell.mark, ""))


def latex(document: Document) -> str:
    r"""Return a document as LaTeX that compiles as it is, and that a paper may \input as well."""
    body: list[str] = []
    for number, blocks in enumerate(_floats(document)):
        body += _float(document, blocks, number)
    notes = [part.caption for part in document.blocks if part.caption]
    notes += [note.text for note in document.notes]
    body += [r"{\footnotesize", *(rf"\noindent {escape(text)}\par" for text in notes), "}"]
    page = "margin=15mm,landscape" if document.wide else "margin=15mm"
    lines = [
        _TOP,
        r"\expandafter\ifx\csname @nodocument\endcsname\relax\else",
        rf"\documentclass[a4paper]{{article}}\usepackage[{page}]{{geometry}}",
        r"\usepackage{booktabs,graphicx,amssymb}\def\benchalone{1}\begin{document}\fi",
        *body,
        r"\expandafter\ifx\csname benchalone\endcsname\relax\else\end{document}\fi",
        "",
    ]
    return "\n".join(lines)


def _floats(document: Document) -> list[list[Block]]:
    """Return the blocks of each float: a long listing is cut into one for each first cell."""
    blocks = list(document.blocks)
    if len(blocks) > 1 or len(blocks[0].rows) <= PAGE_ROWS:
        return [blocks]
    groups = groupby(blocks[0].rows, key=lambda row: row[0].text)
    return [[Block(blocks[0].heads, tuple(rows))] for _, rows in groups]


def _float(document: Document, blocks: Sequence[Block], number: int) -> list[str]:
    """Return the lines of one float; the first has the label, further ones continue it."""
    caption = escape(document.caption) + " (Continued.)" * (number > 0)
    lines = [r"\begin{table}[t]\centering", rf"\caption{{{caption}}}"]
    if number == 0:
        lines.append(rf"\label{{tab:bench-{document.label or document.name}}}")
    for place, part in enumerate(blocks):
        lines += _tabular(part, document.wide, first=place == 0, alone=len(blocks) == 1)
    return [*lines, r"\end{table}"]


def _tabular(part: Block, wide: bool, *, first: bool, alone: bool) -> list[str]:
    """Return the lines of one block."""
    letters = {"left": "l", "right": "r", "centre": "c"}
    columns = "".join(letters[head.align] for head in part.heads)
    begin = rf"\begin{{tabular}}{{{columns}}}"
    heads = " & ".join(escape(head.tex or head.text) for head in part.heads)
    rows = [rf"{' & '.join(map(tex, row))} \\" for row in part.rows]
    groups = _groups(part.heads)
    if groups:
        body = [begin, *groups, rf"{heads} \\ \midrule", *rows]
    elif first:
        body = [begin, rf"\toprule {heads} \\ \midrule", *rows]
    else:
        body = [rf"{begin}\toprule {heads} \\ \midrule", *rows]
    if first and not alone:
        return [*body, r"\bottomrule\end{tabular}"]
    fit = r"\ifdim\width>\linewidth\linewidth\else\width\fi" if wide else r"\linewidth"
    space = "" if first else r"\par\medskip"
    resize = rf"{space}\resizebox{{{fit}}}{{!}}{{%"
    return [resize, *body, r"\bottomrule\end{tabular}}"]


def _groups(heads: Sequence[Head]) -> list[str]:
    """Return the line of the groups' titles and their rules; none where no head is in a group."""
    if not any(head.group for head in heads):
        return []
    titles, rules, place = [], "", 1
    for group, members in groupby(heads, key=lambda head: head.group):
        count = len(list(members))
        if group:
            titles.append(rf"\multicolumn{{{count}}}{{c}}{{{escape(group)}}}")
            rules += rf"\cmidrule(lr){{{place}-{place + count - 1}}}"
        else:
            titles += [""] * count
        place += count
    return [rf"\toprule {' & '.join(titles).strip()} \\", rules]
