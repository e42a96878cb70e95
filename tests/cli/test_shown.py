"""The terminal shows the table and five lines, not pages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from bench.cli.shown import LINES, lines, show, tell
from bench.report import write
from bench.report.document import Block, Cell, Document, Head, Note
from bench.report.sections import table1
from bench.store.cells import Store
from tests.written import finished, results, table

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


def test_what_the_signs_mean_is_told_whole_and_first() -> None:
    signs = [Note(f"{sign}: {'word ' * 60}.", "legend") for sign in "†§"]
    shown = lines((*NOTES, *signs, GRAVE))
    assert shown[:2] == [f"- {note.text}" for note in signs]
    assert shown[2] == "- NOT the same cases."
    assert len(shown) == LINES + 2


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("patients", [12, 60])
def test_exactly_the_signs_of_the_table_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seeds: int, patients: int
) -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(0.7, 0.9, 2 * patients)
    for seed in range(35, 35 + seeds):
        for method, less in (("unet", 0), ("fcn", 0.05), ("verdiff", 0), ("sam", 0.4)):
            own = base - less + rng.normal(0, 0.02, len(base))
            finished(tmp_path, method, tuple(own.clip(0, 1)), seed=seed)
    show(table1.document(table(Store(tmp_path))), Console(force_terminal=False))
    rows, told = capsys.readouterr().out.split("\n- ", 1)
    for sign in "†‡§":
        assert (sign in rows) == (f"{sign}: " in told), sign
    assert ("[methods/seeds" in rows) == ("[methods/seeds]: " in told)
    assert "[size" not in rows + told
    plain = any(row.rstrip(" |")[-1].isdigit() for row in rows.splitlines() if "±" in row)
    assert plain == ("Dice without a mark: significantly lower" in told)
    assert "augmentation seed" not in told


def test_a_pipe_gets_markdown_and_a_terminal_a_drawn_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(DOCUMENT, Console(force_terminal=False))
    said = capsys.readouterr().out
    assert "| U-Net [x] | **80.00** |" in said
    assert "A long caption" not in said
    assert "U-Net [x]" in on_terminal(("Method",))
    assert "80.00" not in on_terminal(("Method",))
    assert "\x1b[1m" in on_terminal().partition("80.00")[0].rpartition("\n")[2]  # the best is bold
    assert "[bold]" not in on_terminal()


def on_terminal(only: tuple[str, ...] = ()) -> str:
    """Return what the console of the commands prints on a terminal of 80 columns."""
    out = io.StringIO()
    show(DOCUMENT, Console(file=out, force_terminal=True, width=80, markup=False), only)
    return out.getvalue()


@pytest.mark.parametrize(("width", "whole"), [(80, False), (200, True)])
def test_a_report_begins_with_its_answer_and_fits_the_terminal(
    tmp_path: Path, width: int, whole: bool
) -> None:
    for dataset in ("ct-pri", "mr", "xray"):
        finished(tmp_path / "out", "unet", (0.8,) * 8, dataset=dataset)
        finished(tmp_path / "out", "fcn", (0.7,) * 8, dataset=dataset)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, markup=False)
    tell(write(results(Store(tmp_path / "out")), tmp_path / "to", "texts"), console)
    plain = Text.from_ansi(out.getvalue()).plain
    answer, _, rest = plain.partition("Table 1 (phantom)")
    assert answer.startswith("On CT-Pri, UNET has the highest mean, 80.0 % Dice")
    assert max(map(len, answer.splitlines())) <= width
    assert ("IoU │" in rest.replace("┃", "│")) == whole
    assert ("too narrow for IoU" in rest) != whole
