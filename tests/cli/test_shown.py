"""The terminal shows the table and five lines, not pages."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.cli.shown import LINES, lines, show
from bench.report.document import Block, Cell, Document, Head, Note

NOTES = tuple(Note(f"Note {number}. " + "word " * 60, "difference") for number in range(9))
GRAVE = Note("NOT the same cases.", "data", grave=True)
TABLE = Block(
    (Head("Method", "left"), Head("Dice", group="MR")),
    ((Cell("U-Net [x]"), Cell("80.00", "best")), (Cell("FCN"), Cell("70.00", second=True))),
)
DOCUMENT = Document("t", "Table 1", "A long caption.", (TABLE,), (*NOTES, GRAVE))


def test_grave_notes_come_first_and_the_others_are_counted() -> None:
    shown = lines(DOCUMENT.notes)
    assert len(shown) == LINES
    assert shown[0] == "- NOT the same cases."
    assert shown[1] == "- Note 0."
    assert shown[-1] == "- 6 more notes stand in the files of the report."


def test_a_pipe_gets_markdown_and_a_terminal_a_drawn_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(DOCUMENT, Console(force_terminal=False))
    said = capsys.readouterr().out
    assert "| U-Net [x] | **80.00** |" in said
    assert "A long caption" not in said
    out = io.StringIO()
    show(DOCUMENT, Console(file=out, force_terminal=True, width=80), ("Method",))
    assert "U-Net [x]" in out.getvalue()
    assert "80.00" not in out.getvalue()
