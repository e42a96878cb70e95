"""A table that is not table 1: heads, rows, what is said above and below; as Markdown, LaTeX, CSV and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import pandas as pd

from bench.report.latex import escape, notes_under, standalone

PAGE_ROWS = 30
"""Rows that a page of LaTeX holds; a longer listing is set as a table a dataset."""


@dataclass(frozen=True)
class Number:
    """How a number is printed, or an interval."""

    form: str
    factor: float = 1.0
    ends: tuple[str, ...] = ()
    """The frame's columns that hold an interval's ends."""

    def text(self, name: str, row: Mapping[Any, Any]) -> str:
        """Return a row's number as text; a dash where there is none."""
        values = [row[column] for column in self.ends or (name,)]
        if any(value is None or value != value for value in values):
            return "-"
        text = ", ".join(format(self.factor * value, self.form) for value in values)
        return f"[{text}]" if self.ends else text


@dataclass(frozen=True)
class Listing:
    """Rows of words and numbers."""

    name: str
    """What its files are called, without suffix."""
    heading: str
    caption: str
    heads: dict[str, str]
    """The columns that are shown, with their titles."""
    numbers: dict[str, Number]
    """How numbers are printed, by head; a head that is not in it is of words."""
    frame: pd.DataFrame
    """The rows; columns without a head are in the CSV alone."""
    notes: tuple[str, ...] = ()

    def cells(self) -> list[list[str]]:
        """Return the rows as text, in the order of the heads."""
        return [
            [
                self.numbers[name].text(name, row) if name in self.numbers else str(row[name])
                for name in self.heads
            ]
            for row in self.frame.to_dict("records")
        ]

    def keys(self) -> list[list[float | None]]:
        """Return what rows are sorted by under each head; None under words."""
        return [
            [
                (
                    float(row[(self.numbers[name].ends or (name,))[0]])
                    if name in self.numbers
                    else None
                )
                for name in self.heads
            ]
            for row in self.frame.to_dict("records")
        ]

    def markdown(self) -> str:
        """Return it as Markdown."""
        lines = [
            f"# {self.heading}",
            "",
            self.caption,
            "",
            f"| {' | '.join(self.heads.values())} |",
            f"|{'|'.join(' ---: ' if name in self.numbers else ' --- ' for name in self.heads)}|",
        ]
        lines += [
            f"| {' | '.join(text.replace('|', '&#124;') for text in row)} |" for row in self.cells()
        ]
        return "\n".join([*lines, "", *(f"- {line}" for line in self.notes)]).rstrip() + "\n"

    def latex(self) -> str:
        r"""Return it as LaTeX that compiles as it is, and that a paper may \input as well."""
        rows = self.cells()
        parts = (
            [rows]
            if len(rows) <= PAGE_ROWS
            else [list(part) for _, part in groupby(rows, key=lambda row: row[0])]
        )
        tables = [self._float(part, number) for number, part in enumerate(parts)]
        return standalone([*chain.from_iterable(tables), *notes_under(self.notes)], "landscape")

    def _float(self, rows: Sequence[Sequence[str]], number: int) -> list[str]:
        """Return the lines of one table; the first has the label, further ones continue it."""
        return [
            r"\begin{table}[t]\centering",
            rf"\caption{{{escape(self.caption)}{' (Continued.)' * (number > 0)}}}",
            *([rf"\label{{tab:bench-{self.name}}}"] if number == 0 else []),
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            (
                rf"\begin{{tabular}}{{{''.join('r' if name in self.numbers else 'l' for name in self.heads)}}}"
            ),
            rf"\toprule {' & '.join(map(escape, self.heads.values()))} \\ \midrule",
            *(f"{' & '.join(map(escape, row))} \\\\" for row in rows),
            r"\bottomrule\end{tabular}}",
            r"\end{table}",
        ]

    def csv(self) -> str:
        """Return the numbers as CSV, unrounded but for the ninth digit."""
        return str(self.frame.to_csv(index=False, lineterminator="\n", float_format="%.9g"))

    def texts(self) -> dict[str, str]:
        """Return what is written, by suffix."""
        return {"md": self.markdown(), "tex": self.latex(), "csv": self.csv()}
