"""What a person sees while cells run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.launch.board import Board, clock
from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Spec
from bench.spec.note import Note
from bench.spec.profile import load_profile
from bench.store.cells import Store

PROFILE = load_profile("smoke")
METHODS = (
    "unet",
    "smp:arch=UnetPlusPlus:encoder=resnet34",
    "smp:arch=UnetPlusPlus:encoder=resnet50",
)


def cells() -> list[Cell]:
    ref = DatasetRef(id=DatasetId("mr", "phantom", "abcdef0123"), cache="")
    return [
        Cell(profile=PROFILE, dataset=ref, method=Spec.parse(method), seed=35) for method in METHODS
    ]


def seen(folder: Path, note: Note, width: int = 80) -> list[str]:
    """Return the lines of the live picture where every cell is as far as a note says."""
    store, running = Store(folder), cells()
    for cell in running:
        with store.at_work(cell):
            store.note(cell, note)
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=True, color_system=None)
    board = Board(console, store, total=9, done=0)
    board.watch(running)
    text.seek(0)
    text.truncate()
    console.print(board._picture(running))
    return text.getvalue().splitlines()


def test_a_cell_is_one_line_of_eighty_columns(tmp_path: Path) -> None:
    note = Note(phase="train", step=9999, steps=90_000, loss=0.41234, validation_loss=0.3901)
    lines = seen(tmp_path, note)
    assert max(map(len, lines)) <= 80
    assert len(lines) == 2 + len(METHODS)  # the matrix, its bar, and every cell
    lines = lines[-len(METHODS) :]
    for line in lines:
        assert "train 9999/90000, loss 0.412, val 0.39" in line
    assert len({line.split("  ")[0] for line in lines}) == len(METHODS)  # no two look alike
    assert any("..." in line for line in lines)


def test_the_validation_dice_is_said_once_it_is_known(tmp_path: Path) -> None:
    lines = seen(tmp_path, Note(phase="test", step=1, steps=4, validation_dice=0.8123))
    assert all("test 1/4, val Dice 81.2" in line for line in lines[-3:])


def test_no_time_left_is_guessed_before_a_tenth(tmp_path: Path) -> None:
    early = Note(phase="train", step=10, steps=100)
    assert not [line for line in seen(tmp_path / "a", early) if "left" in line]
    later = Note(phase="train", step=50, steps=100)
    assert all(" left" in line for line in seen(tmp_path / "b", later)[-3:])


def test_the_time_left_of_a_resumed_cell_counts_its_earlier_attempts(tmp_path: Path) -> None:
    note = Note(phase="train", step=50, steps=100, seconds=100.0)
    lines = seen(tmp_path, note)
    assert all("train 50/100, 2 min 02 s left" in line for line in lines[-3:])
    assert "left" not in lines[0]  # this run has done nothing of the matrix yet


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.6, "1 min 00 s"), (270, "4 min 30 s"), (7500, "2 h 05 min")],
)
def test_durations_have_units(seconds: float, words: str) -> None:
    assert clock(seconds) == words
