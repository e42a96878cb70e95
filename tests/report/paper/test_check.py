"""A paper's numbers and claims against the results of today."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.cli.app import app
from bench.report.paper import check as checking
from bench.report.paper import macros
from bench.spec.errors import UsageError
from bench.store.cells import Store
from tests.written import APART, DICE, finished, patients, tables


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


def test_a_paper_that_holds(store: Store, tmp_path: Path) -> None:
    path = paper(
        store,
        tmp_path / "paper",
        r"\benchDice{mr}{unet} of \benchN{mr} patients, \benchPhantomIoU{mr}{unet}",
    )
    assert checking.against(store, path) == []
    done = CliRunner().invoke(app, ["report", "--out", str(store.root), "--check", str(path)])
    assert (done.exit_code, done.output) == (0, f"{path}: everything holds\n")


def test_what_changed_is_named_by_line(store: Store, tmp_path: Path) -> None:
    text = (
        "\\benchDice{mr}{unet}\n% \\benchIoU{mr}{fcn}\n100\\% \\benchDiceCell {mr}\n {fcn}"
        " \\benchN{mr}"
    )
    path = paper(store, tmp_path / "paper", text)
    shutil.rmtree(store.root / "cpu" / "mr@real-abcdef01")
    finished(store.root, "unet", (0.8, 0.9, 0.95, 0.55), source="real")
    finished(store.root, "fcn", (0.9, 0.95, 0.9, 0.5), source="real")
    assert checking.against(store, path) == [
        rf"{path}:4: \benchDice{{mr}}{{unet}} was 81.25, is 80.00",
        rf"{path}:6: \benchDiceCell{{mr}}{{fcn}} was 73.75 \ensuremath{{\pm}}"
        r" 17.97\textsuperscript{\textdaggerdbl}, "
        r"is \textbf{81.25 \ensuremath{\pm} 20.97}",
    ]
    done = CliRunner().invoke(app, ["report", "--out", str(store.root), "--check", str(path)])
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 2


def test_what_is_gone_or_never_was_is_named(store: Store, tmp_path: Path) -> None:
    path = paper(store, tmp_path / "paper", "\\benchDice{mr}{fcn}\n\\benchDice{mr}{sam}")
    shutil.rmtree(store.root / "cpu" / "mr@real-abcdef01" / "fcn")
    assert checking.against(store, path) == [
        rf"{path}:4: \benchDice{{mr}}{{fcn}} was 73.75, and the store has it no more",
        rf"{path}:5: \benchDice{{mr}}{{sam}} is not in the paper's numbers.tex; the store neither",
    ]


def test_inputs_are_read_and_a_macro_of_the_papers_own_is_followed(
    store: Store, tmp_path: Path
) -> None:
    path = paper(store, tmp_path / "paper", r"\input{results}")
    (path.parent / "results.tex").write_text(
        "\\newcommand\\of[1]{\\benchDice{mr}{#1}}\n\\of{unet} \\of{fcn}\n"
    )
    finished(store.root, "unet", (0.1001,) * 4, source="real", seed=36)
    assert checking.against(store, path) == [
        rf"{path.parent / 'results.tex'}:2: \benchDice{{mr}}{{unet}} was 81.25, is 45.63"
    ]


def test_a_profile_is_that_of_the_papers_copy(store: Store, tmp_path: Path) -> None:
    path = paper(store, tmp_path / "paper", r"\benchDice{mr}{unet}")
    (store.root / "cpu").rename(store.root / "other")
    with pytest.raises(
        UsageError,
        match="no finished cell under the profile 'cpu'; finished cells are under: other",
    ):
        checking.against(store, path)
    assert checking.against(store, path, "other") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not there"),
        ("\\input{numbers.tex}", "takes no number from its numbers.tex; write"),
        ("\\benchDice{mr}{unet}", r"inputs no numbers.tex; copy the one that bench report wrote"),
    ],
)
def test_wrong_use_is_told(store: Store, tmp_path: Path, text: str | None, said: str) -> None:
    path = paper(store, tmp_path / "paper", "").with_name("other.tex")
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=said):
        checking.against(store, path)


def claimed(folder: Path, patients: int, gap: float, seeds: int) -> list[str]:
    """Check the claim that U-Net is better than FCN by a gap, on so many patients and seeds."""
    store = Store(folder / "results")
    base = np.array([0.6 + 0.02 * (i % 17) for i in range(2 * patients)])
    ahead = base + gap + 0.001 * (np.arange(2 * patients) % 3)
    for seed in range(35, 35 + seeds):
        drift = 0.002 * (seed - 35)
        finished(store.root, "fcn", tuple(base), source="real", seed=seed)
        finished(store.root, "unet", tuple(ahead + drift), source="real", seed=seed)
    claim = r"U-Net is \benchDiceBetter{mr}{unet}{fcn}{better, \emph{truly}}."
    path = paper(store, folder / "paper", claim)
    place = rf"{path}:4: \benchDiceBetter{{mr}}{{unet}}{{fcn}} "
    lines = checking.against(store, path)
    assert all(line.startswith(place) for line in lines)
    return [line.removeprefix(place) for line in lines]


@pytest.mark.parametrize(
    ("patients", "gap", "said"),
    [
        (60, 0.05, ""),
        (8, 0.05, "unless rare outliers are hidden: 8 patients may show none of a rate up to 31 %"),
        (
            4,
            0.05,
            "unet is not significantly different from fcn, p = 0.125 over 4 patients, "
            "corrected as one of 1",
        ),
        (8, -0.05, "unet is worse than fcn"),
        (8, 0.0, "unet is not significantly different from fcn"),
    ],
)
def test_a_claim_holds_where_patients_and_runs_bear_it_out(
    tmp_path: Path, patients: int, gap: float, said: str
) -> None:
    lines = claimed(tmp_path, patients, gap, seeds=3)
    assert len(lines) == bool(said)
    assert all(line.startswith((f"does not hold: {said}", f"holds {said}")) for line in lines)


def test_one_seed_proves_no_claim_about_a_method(tmp_path: Path) -> None:
    [line] = claimed(tmp_path, 60, 0.05, seeds=1)
    assert line.startswith("holds of these weights, not of the methods: one seed does not show")
    assert line.endswith("bench run --seeds 3")


def test_dice_decides_a_claim_of_iou(tmp_path: Path) -> None:
    for method, dice in APART.items():
        finished(tmp_path / "results", method, patients(dice), source="real")
    store = Store(tmp_path / "results")
    text = r"\benchIoUBetter{mr}{unet}{fcn}{better}"
    lines = checking.against(store, paper(store, tmp_path / "paper", text))
    assert not any("does not hold" in line for line in lines)
    assert "holds of these weights, not of the methods" in lines[0]


def test_a_claim_that_cannot_be_is_named(store: Store, tmp_path: Path) -> None:
    finished(store.root, "told", (0.99,) * 4, source="real", oracle=True)
    claims = (
        ("mr", "unet", "sam"),
        ("ct", "unet", "fcn"),
        ("mr", "told", "fcn"),
        ("mr", "sam", "fcn"),
    )
    text = "".join(
        rf"\benchIoUBetter{{{dataset}}}{{{first}}}{{{second}}}{{x}}"
        for dataset, first, second in claims
    )
    lines = checking.against(store, paper(store, tmp_path / "paper", text))
    assert [line.partition(" cannot be: ")[2].partition(";")[0] for line in lines] == [
        "sam has no result on mr",
        "the store has no real ct",
        "told or fcn is in no comparison, as its row in table 1 says",
        "sam has no result on mr",
    ]


BETTER = r"\newcommand\better[2]{\benchDiceBetter{mr}{#1}{#2}{better}}"


def test_claims_through_the_papers_own_macro(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    base = np.array([0.6 + 0.02 * (i % 17) for i in range(120)])
    for seed in (35, 36, 37):
        drift = 0.002 * (seed - 35)
        finished(store.root, "fcn", tuple(base + drift), source="real", seed=seed)
        finished(store.root, "unet", tuple(base + 0.05 + drift), source="real", seed=seed)
    text = f"{BETTER}\n\\better{{unet}}{{fcn}}\n\\better{{fcn}}{{unet}}"
    path = paper(store, tmp_path / "paper", text)
    [line] = checking.against(store, path)
    place = rf"{path}:6: \benchDiceBetter{{mr}}{{fcn}}{{unet}} does not hold: fcn is worse than"
    assert line.startswith(place)
    assert checking.unchecked(path) == []


def test_numbers_typed_by_hand_are_told_and_fail_nothing(store: Store, tmp_path: Path) -> None:
    text = "\\benchDice{mr}{unet}\nU-Net has 81.25, FCN 73.75, theirs 70.1 and 70.2."
    path = paper(store, tmp_path / "paper", text)
    done = CliRunner().invoke(app, ["report", "--out", str(store.root), "--check", str(path)])
    assert done.exit_code == 0
    holds, typed = done.output.splitlines()
    assert holds == f"{path}: all that was checked holds"
    assert typed.startswith(f"not checked: 4 numbers typed by hand (81.25 in {path}:5, 73.75 in")
    assert typed.endswith(
        r"of numbers.tex are, by their digits: 81.25 as \benchDice{mr}{unet}, "
        r"73.75 as \benchDice{mr}{fcn}"
    )
