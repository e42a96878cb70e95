from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bench.report.paper import check as checking
from bench.report.paper import macros
from bench.store.cells import Store
from tests.written import DICE, finished, tables


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for method, dice in DICE.items():
        finished(tmp_path / "results", method, dice, source="real")
    finished(tmp_path / "results", "unet", (0.5, 0.7))
    return Store(tmp_path / "results")


def paper(store: Store, folder: Path, text: str) -> Path:
    """Write a paper, with the numbers of today beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "numbers.tex").write_text(macros.numbers(tables(store)))
    path = folder / "paper.tex"
    path.write_text(
        "\\documentclass{article}\n\\input{numbers.tex}\n"
        f"\\begin{{document}}\n{text}\n\\end{{document}}\n"
    )
    return path


def values(store: Store) -> dict[macros.Name, str]:
    return macros.values(tables(store))


def test_the_numbers_are_those_of_table_1(store: Store) -> None:
    found = values(store)
    assert found["Dice", "mr", "unet"] == "81.25"
    assert found["DiceStd", "mr", "unet"] == "15.48"
    assert found["DiceCell", "mr", "unet"] == r"\textbf{81.25 \ensuremath{\pm} 15.48}"
    assert (
        found["DiceCell", "mr", "fcn"]
        == r"73.75 \ensuremath{\pm} 17.97\textsuperscript{\textdaggerdbl}"
    )
    assert found["N", "mr", ""] == "2"
    assert found["Dice", "mr-abcdef01", "unet"] == "81.25"


def test_a_phantom_never_passes_for_real(store: Store) -> None:
    found = values(store)
    assert found["PhantomDice", "mr", "unet"] == "60.00"
    assert ("Dice", "mr", "unet") in found
    assert ("PhantomDice", "mr", "fcn") not in found


def test_two_columns_of_one_dataset_go_by_their_whole_names(store: Store) -> None:
    finished(store.root, "unet", (0.1, 0.1), source="real", folds=5)
    found = values(store)
    assert ("Dice", "mr", "unet") not in found
    assert found["Dice", "mr-abcdef01", "unet"] == "81.25"
    assert found["Dice", "mr-abcdef01/5fold", "unet"] == "10.00"


def compiled(path: Path) -> subprocess.CompletedProcess[str]:
    compiler = shutil.which("pdflatex")
    if not compiler:
        pytest.skip("no LaTeX compiler is installed")
    return subprocess.run(
        [compiler, "-interaction=nonstopmode", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
    )


def test_the_numbers_compile_whatever_the_methods_are_called(store: Store, tmp_path: Path) -> None:
    odd = "smp:arch=Unet++:depth_x=3.5"
    finished(store.root, odd, DICE["fcn"], source="real")
    text = rf"""\catcode`\:=13 \protected\def:{{\errmessage{{an active colon was expanded}}}}
    \section{{At \benchDice{{mr}}{{{odd}}}}}\tableofcontents
    \begin{{tabular}}{{ll}}\benchDiceCell{{mr}}{{unet}} & $\benchIoU{{mr-abcdef01}}{{unet}}
    \pm \benchIoUStd{{mr}}{{unet}}$ \\\end{{tabular}}
    \typeout{{seen \csname bench Dice \detokenize{{mr}} \detokenize{{{odd}}}\endcsname.}}
    \benchPhantomDice{{mr}}{{unet}}, n = \benchN{{mr}},
    \benchIoUBetter{{mr}}{{unet}}{{fcn}}{{\emph{{well}}}}"""
    path = paper(store, tmp_path / "paper", text)
    done = compiled(path)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "seen 73.75." in done.stdout
    assert compiled(path).returncode == 0  # with the section's number in the table of contents
    (line,) = checking.against(store, path)
    assert "IoUBetter" in line


def test_a_name_without_a_number_is_an_error_in_latex(store: Store, tmp_path: Path) -> None:
    done = compiled(paper(store, tmp_path / "paper", r"\benchDice{mr}{nobody}"))
    assert done.returncode != 0
    assert "Package bench Error: numbers.tex has no" in done.stdout
