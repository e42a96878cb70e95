"""What a report is made of: tables of marked cells and notes of a kind, and one writer a format."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bench.report.characters import COMMAND, escape, lacking
from bench.spec import formulas
from bench.spec.errors import visible

Align = Literal["left", "right", "centre"]
Mark = Literal["", "best", "like", "weights", "doubt"]
Kind = Literal["legend", "marks", "data", "machine", "difference", "failure", "reading"]

DAGGER, DOUBLE_DAGGER, SECTION = "†", "‡", "§"
"""Marks of what does not differ significantly from the best: by several seeds, by one seed, whose
results speak of these weights alone, and unless outliers are hidden."""
SIGNS = {"like": DAGGER, "weights": DOUBLE_DAGGER, "doubt": SECTION}
"""What is printed behind a cell, by its mark."""
_TAG = re.compile("<(?=[A-Za-z/!?])")
"""How a tag begins, which a viewer of Markdown may act on."""
PAGE_ROWS = 30
"""Rows that a page of LaTeX holds; a longer table is set as one table for each first cell."""

SHORT = 150
"""Characters of a note that stands right beneath its table in LaTeX; longer ones follow it."""


@dataclass(frozen=True)
class Note:
    """A sentence that must stand under a table."""

    text: str
    kind: Kind = "reading"
    """What it is about: what a sign of the table means, how the marks were found, the data, the
    machine, a method's differences from its source, a failed cell, or how to read the table."""
    grave: bool = False
    """Whether the numbers do not compare because of it."""


@dataclass(frozen=True)
class Cell:
    """One place of a table."""

    text: str
    mark: Mark = ""
    number: float | None = None
    """The number behind the text, by which rows are sorted: NaN if missing, None for words."""
    second: bool = False
    """Whether it is underlined, as the second best of a paper's table."""


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
    rules: tuple[int, ...] = ()
    """The rows above which LaTeX draws a rule."""


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


def rounded(value: float, form: str) -> str:
    """Return a number as text.

    Two sums of the same numbers may differ in their last bits. Only twelve digits are looked at, so
    that both are rounded to the same text: 80.135 as 80.14 in every table, or as 80.13 in every.
    """
    return format(float(f"{value:.12g}"), form)


def mean_and_std(mean: float, std: float) -> str:
    """Return `mean ± std` in percent; the mean alone where there is no std (NaN)."""
    text = rounded(100 * mean, ".2f")
    return text if math.isnan(std) else f"{text} ± {rounded(100 * std, '.2f')}"


@dataclass(frozen=True)
class Number:
    """How a number is printed, or an interval."""

    form: str
    factor: float = 1
    ends: tuple[str, ...] = ()
    """The frame's columns that hold an interval's ends."""
    missing: str = "-"
    """What is printed where there is no number."""

    def cell(self, name: str, row: Mapping[Any, Any]) -> Cell:
        """Return a row's number as a cell, or `missing` where there is none."""
        values = [row[column] for column in self.ends or (name,)]
        first = math.nan if values[0] is None else float(values[0])
        if any(value is None or value != value for value in values):  # NaN is not equal to itself
            return Cell(self.missing, number=first)
        text = ", ".join(rounded(self.factor * value, self.form) for value in values)
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
    safe = frame.copy()
    for name in frame.select_dtypes(include=["object", "string", "category"]):
        safe[name] = [_no_formula(value) for value in frame[name]]
    return str(safe.to_csv(index=False, lineterminator="\n", float_format="%.9g"))


def _no_formula(value: Any) -> Any:
    """Return a value that no spreadsheet computes."""
    return formulas.harmless(value) if isinstance(value, str) else value


_RULES = {"left": " --- ", "right": " ---: ", "centre": " :-: "}
"""What stands below a heading of Markdown, by which its column is aligned."""


def markdown(document: Document) -> str:
    """Return a document as Markdown."""
    lines = [f"# {_inline(document.heading)}", "", _inline(document.caption)]
    for part in document.blocks:
        if part.caption:
            lines += ["", _inline(part.caption)]
        heads = [_in_cell(" ".join(filter(None, (head.group, head.text)))) for head in part.heads]
        rules = "|".join(_RULES[head.align] for head in part.heads)
        lines += ["", f"| {' | '.join(heads)} |", f"|{rules}|"]
        for row in part.rows:
            lines.append(f"| {' | '.join(map(_markdown_cell, row))} |")
    lines.append("")
    lines += [f"- {_inline(note.text)}" for note in document.notes]
    return "\n".join(lines).rstrip() + "\n"


def _inline(text: str) -> str:
    """Return a text of which Markdown makes no tag, link or line of its own."""
    return _TAG.sub("&lt;", visible(text)).replace("](", "]\\(")


def _in_cell(text: str) -> str:
    return _inline(text).replace("|", "&#124;")


def _markdown_cell(cell: Cell) -> str:
    """Return a cell with its mark: bold for the best, underlined for the second."""
    text = _in_cell(cell.text)
    if cell.mark == "best":
        return f"**{text}**"
    if cell.second:
        text = f"<u>{text}</u>"
    return text + SIGNS.get(cell.mark, "")


_TOP = (
    r"% \input this file in a paper that uses booktabs, graphicx, amssymb and threeparttable, "
    r"or compile it as it is."
)
_WITHOUT = (
    r"\expandafter\ifx\csname threeparttable\endcsname\relax",
    r"\newenvironment{threeparttable}{}{}",
    r"\newenvironment{tablenotes}[1][]{\begin{minipage}{\linewidth}\list{}{\leftmargin=0pt"
    r"\topsep=0pt\parsep=0pt\itemsep=0pt}}{\endlist\end{minipage}}\fi",
)
"""What stands for threeparttable where the paper does not use it."""
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""A table is as wide as it needs, and no wider than the line."""


def tex(cell: Cell) -> str:
    """Return a cell as LaTeX, its mark included."""
    text = escape(cell.text.strip())
    if cell.mark == "best":
        return rf"\textbf{{{text}}}"
    if cell.second:
        text = rf"\underline{{{text}}}"
    return text + escape(SIGNS.get(cell.mark, ""))


def latex(document: Document) -> str:
    r"""Return a document as LaTeX that compiles as it is, and that a paper may \input as well."""
    floats = _floats(document)
    rows = sum(len(part.rows) for part in floats[-1])
    short, long = _split(document.notes, PAGE_ROWS - rows)
    body: list[str] = []
    for number, blocks in enumerate(floats):
        last = number == len(floats) - 1
        body += _float(document, blocks, number, short if last else [])
    notes = [part.caption for part in document.blocks if part.caption]
    notes += [note.text for note in long]
    body += [r"\par{\footnotesize", *(rf"\noindent {escape(text)}\par" for text in notes), "}"]
    page = "margin=15mm,landscape" if document.wide else "margin=15mm"
    lines = [
        _TOP,
        r"\expandafter\ifx\csname @nodocument\endcsname\relax\else",
        rf"\documentclass[a4paper]{{article}}\usepackage[{page}]{{geometry}}",
        r"\usepackage{booktabs,graphicx,amssymb}",
        r"\IfFileExists{threeparttable.sty}{\usepackage{threeparttable}}{}",
        r"\def\benchalone{1}\begin{document}\fi",
        *_by_number(document),
        *_WITHOUT,
        *body,
        r"\expandafter\ifx\csname benchalone\endcsname\relax\else\end{document}\fi",
        "",
    ]
    return "\n".join(lines)


def unprintable(documents: Iterable[Document]) -> str:
    """Return a line on the characters that LaTeX's fonts lack; nothing where there are none."""
    texts: list[str] = []
    for document in documents:
        texts += _texts(document)
    shown = []
    for character in lacking(dict.fromkeys(texts)):
        shown.append(f"{character} U+{ord(character):04X}".encode("utf-8", "replace").decode())
    if not shown:
        return ""
    return (
        f"pdfLaTeX's usual fonts lack {', '.join(shown)}: the .tex files print the numbers; a "
        r"paper that can set the characters says \newcommand\benchchar[2]{#2} before it inputs one"
    )


def _texts(document: Document) -> list[str]:
    """Return all texts that LaTeX prints."""
    texts = [document.caption, *(note.text for note in document.notes)]
    for part in document.blocks:
        texts.append(part.caption)
        for head in part.heads:
            texts += [head.group, head.tex or head.text]
        for row in part.rows:
            texts += [cell.text for cell in row]
    return texts


def _by_number(document: Document) -> list[str]:
    """Return what defines the characters that are printed by number, where there are any."""
    said = unprintable([document])
    return [f"% {said}.", COMMAND] if said else []


def _split(notes: Sequence[Note], room: int) -> tuple[list[Note], list[Note]]:
    """Return the short notes that have room beneath a table on its page, and the others."""
    short: list[Note] = []
    long: list[Note] = []
    for note in notes:
        fits = len(note.text) <= SHORT and len(short) < room
        (short if fits else long).append(note)
    return short, long


def _floats(document: Document) -> list[list[Block]]:
    """Return the blocks of each float: a long listing is cut into one for each first cell."""
    blocks = list(document.blocks)
    if len(blocks) > 1 or len(blocks[0].rows) <= PAGE_ROWS:
        return [blocks]
    groups = groupby(blocks[0].rows, key=lambda row: row[0].text)
    return [[Block(blocks[0].heads, tuple(rows))] for _, rows in groups]


def _float(
    document: Document, blocks: Sequence[Block], number: int, notes: Sequence[Note]
) -> list[str]:
    """Return the lines of one float; the first has the label, further ones continue it."""
    caption = escape(document.caption) + " (Continued.)" * (number > 0)
    lines = [r"\begin{table}[t]\centering", rf"\caption{{{caption}}}"]
    if number == 0:
        lines.append(rf"\label{{tab:bench-{document.label or document.name}}}")
    lines.append(r"\par\smallskip\begin{threeparttable}\begin{tabular}{@{}c@{}}")
    for place, part in enumerate(blocks):
        lines += _tabular(part, first=place == 0)
    lines.append(r"\end{tabular}")
    if notes:
        items = [rf"\item {escape(note.text)}" for note in notes]
        lines += [r"\begin{tablenotes}[flushleft]\footnotesize", *items, r"\end{tablenotes}"]
    return [*lines, r"\end{threeparttable}\end{table}"]


def _tabular(part: Block, *, first: bool) -> list[str]:
    """Return the lines of one block, which is a row of the table that holds them."""
    letters = {"left": "l", "right": "r", "centre": "c"}
    columns = "".join(letters[head.align] for head in part.heads)
    space = "" if first else r"\\[\bigskipamount]"
    heads = " & ".join(escape(head.tex or head.text) for head in part.heads)
    groups = _groups(part.heads) or [r"\toprule"]
    return [
        space + _FIT,
        rf"\begin{{tabular}}{{{columns}}}",
        *groups,
        rf"{heads} \\ \midrule",
        *_rows(part),
        r"\bottomrule\end{tabular}}",
    ]


def _rows(part: Block) -> list[str]:
    """Return the lines of a block's rows, with the rules between them."""
    lines = []
    for number, row in enumerate(part.rows):
        if number in part.rules:
            lines.append(r"\midrule")
        lines.append(rf"{' & '.join(map(tex, row))} \\")
    return lines


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
