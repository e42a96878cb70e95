from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cli.app import app
from bench.report import document, write
from bench.report.sections import table1
from bench.report.sections.table import Table
from bench.spec.errors import UsageError
from bench.store.cells import Store
from bench.store.results import Results
from tests.written import DICE, NO_CERTIFICATE, failed, finished, results, table, tables


def markdown(table: Table) -> str:
    return document.markdown(table1.document(table))


def latex(table: Table) -> str:
    return document.latex(table1.document(table))


def csv(table: Table) -> str:
    return table1.document(table).texts()[".csv"]


def texts(store: Store, folder: Path) -> Path:
    """Write a report without its pictures; return its folder."""
    write(results(store), folder, "texts")
    return folder / "cpu"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for method, dice in DICE.items():
        finished(tmp_path / "results", method, dice)
    return Store(tmp_path / "results")


def test_table_1_holds_mean_and_std_over_the_test_images(store: Store, tmp_path: Path) -> None:
    folder = texts(store, tmp_path / "reports")
    numbers = pd.read_csv(folder / "table1-phantom.csv").set_index("method")
    for method, values in DICE.items():
        dice = np.array(values)
        iou = dice / (2 - dice)
        expected = [dice.mean(), dice.std(ddof=1), iou.mean(), iou.std(ddof=1)]
        found = numbers.loc[method, ["dice_mean", "dice_std", "iou_mean", "iou_std"]].astype(float)
        np.testing.assert_allclose(found, expected, atol=1e-8)
        assert tuple(numbers.loc[method, ["patients", "cases"]]) == (2, 4)
    text = (folder / "table1-phantom.md").read_text()
    assert "| UNET | **81.25 ± 15.48** |" in text
    assert "| FCN | 73.75 ± 17.97‡ |" in text
    assert "MR: 2 patients, 4 cases tested." in text
    assert "Certificates: all agree" in text
    assert "PHANTOM data (simulated), profile 'cpu'" in text


def test_a_split_and_a_cross_validation_are_two_columns(store: Store) -> None:
    finished(store.root, "unet", (0.1, 0.1), folds=5)
    only = table(store)
    assert list(only.columns.values()) == ["MR", "MR 5-fold"]
    assert only.scores.loc[("mr@phantom-abcdef01", "unet"), "dice_mean"] == pytest.approx(0.8125)


def test_real_and_phantom_never_meet_in_a_table(store: Store) -> None:
    finished(store.root, "unet", (0.1, 0.2), source="real")
    real, phantom = tables(store)
    assert (real.source, phantom.source) == ("real", "phantom")
    assert len(real.cases) == 2
    assert len(phantom.cases) == 8


def test_two_versions_of_a_dataset_are_two_columns(store: Store) -> None:
    finished(store.root, "unet", (0.1, 0.2), digest="fedcba9876")
    only = table(store)
    assert list(only.columns.values()) == ["MR abcdef01", "MR fedcba98"]
    assert "| - | - |" in markdown(only)


def test_a_failed_cell_has_its_place(store: Store) -> None:
    failed(store.root, "sam", "ValueError: 100 % wrong_")
    late = store.root / "cpu" / "mr@phantom-abcdef01" / "unet" / "f0-s35.part"
    late.mkdir()
    (late / "error.txt").touch()  # what a crash may leave beside a finished cell says nothing
    only = table(store)
    assert len(only.failures) == 1
    assert r"ValueError: 100 \% wrong\_" in latex(only)
    assert "| sam | failed | failed |" in markdown(only)
    assert "Failed: MR, sam: ValueError: 100 % wrong_" in markdown(only)


NO_TORCH = """
import sys
from pathlib import Path

class Refused:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch":
            raise ImportError("no torch here")

sys.meta_path.insert(0, Refused())
from bench.report import write
from bench.store.cells import Store
from bench.store.results import Results

write(Results.load(Store(Path(sys.argv[1]))), Path(sys.argv[2]))
"""


def test_the_report_regenerates_to_the_byte_in_a_process_without_torch(
    store: Store, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", NO_TORCH, str(store.root), str(tmp_path / "two")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = write(results(store), tmp_path / "one").files
    first = {path.name: path.read_bytes() for path in files}
    second = {path.name: path.read_bytes() for path in (tmp_path / "two" / "cpu").iterdir()}
    assert first == second
    texts, drawings = ("md", "tex", "csv"), ("png", "pdf")
    names = {
        "table1": texts,
        "figure8": drawings,
        "ledger": texts,
        "seconds": drawings,
        "patients": drawings,
        "differences": drawings,
        "figures": ("md",),
        "intervals": texts,
        "ranks": (*texts, *drawings),
        "published": texts,
        "critical": drawings,
    }
    whole = {f"{name}-phantom.{suffix}" for name, kinds in names.items() for suffix in kinds}
    assert whole | {"report.html", "numbers.tex"} <= set(first)


def test_the_figure_is_large_enough_to_print(store: Store, tmp_path: Path) -> None:
    write(results(store), tmp_path, "run")
    with Image.open(tmp_path / "cpu" / "figure8-phantom.png") as image:
        assert min(image.size) > 500
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run: bench run"):
        Results.load(Store(tmp_path))


def test_an_unknown_profile_names_what_there_is(store: Store) -> None:
    with pytest.raises(UsageError, match="finished cells are under: cpu"):
        Results.load(store, "paper")


@pytest.mark.parametrize("how", ["alone", "input"])
def test_the_latex_compiles_as_it_is_and_inside_a_paper(
    store: Store, tmp_path: Path, how: str
) -> None:
    compiler = shutil.which("pdflatex")
    if not compiler:
        pytest.skip("no LaTeX compiler is installed")
    finished(store.root, "own_method:width=3", DICE["fcn"])
    path = texts(store, tmp_path) / "table1-phantom.tex"
    if how == "input":
        paper = path.with_name("paper.tex")
        paper.write_text(
            "\\documentclass{article}\\usepackage{booktabs,graphicx}"
            "\\begin{document}Before.\\input{table1-phantom.tex}"
            "After.\\end{document}"
        )
        path = paper
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert path.with_suffix(".pdf").stat().st_size > 1000


def test_own_tables_of_several_seeds_pass_the_own_audit(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for seed in (35, 36, 37):
        for method, mean in (("unet", 6), ("fcn", 2), ("sam", 1)):
            finished(tmp_path, method, tuple(rng.beta(mean, 2, 40)), seed=seed)
    (only,) = tables(Store(tmp_path))
    path = tmp_path / "table1.csv"
    path.write_text(csv(only))
    assert set(pd.read_csv(path).n) == {120}
    done = CliRunner().invoke(app, ["audit", str(path)])
    assert (done.exit_code, "cannot be" in done.output) == (0, False), done.output


def test_what_the_grid_allows_is_told(store: Store) -> None:
    assert "the network's grid" not in "\n".join(n.text for n in table(store).notes)
    for seed, ceiling in ((36, 0.66), (37, 0.68)):
        finished(store.root, "unet", DICE["unet"], seed=seed, ceiling=ceiling)
    [note, *_] = table(store).notes
    said = "the network's grid allows about 67.00 % Dice: the reference itself has that after"
    assert said in note.text


def test_networks_of_another_size_than_unets_are_marked(store: Store) -> None:
    small = {"steps": 9, "scale": "small"}
    for name, size in (("half", 0.5), ("alike", 1.2), ("twice", 2.04)):
        finished(store.root, name, DICE["fcn"], size=size, profile=small)
    finished(store.root, "full", DICE["fcn"], size=0.5, profile={"steps": 9, "scale": "full"})
    finished(store.root, "told", DICE["fcn"], size=0.59, oracle=True, profile=small)
    only = table(store)
    text = markdown(only)
    assert "| HALF [size 0.5] | " in text
    assert "| TWICE [size 2.04] | " in text
    assert "| ALIKE | " in text
    assert "| FULL | " in text
    notes = "\n".join(note.text for note in only.notes)
    said = "of the rows that compete, those without this mark lie within 0.8 and 1.25 on each"
    assert f"{said} dataset, but for FCN, UNET, of unknown size." in notes


@pytest.mark.parametrize("scale", ["half", "tiny"])
def test_sizes_are_marked_under_each_profile_that_scales_networks_down(
    tmp_path: Path, scale: str
) -> None:
    finished(tmp_path, "unet", DICE["unet"], size=1.0, profile={"steps": 9, "scale": scale})
    finished(tmp_path, "fcn", DICE["fcn"], size=1.6, profile={"steps": 9, "scale": scale})
    text = markdown(table(Store(tmp_path)))
    assert "| FCN [size 1.6] | " in text
    assert "| UNET | " in text


def test_an_option_without_effect_is_not_printed_as_one_that_has_it(tmp_path: Path) -> None:
    finished(tmp_path, "unet", DICE["unet"])
    finished(tmp_path, "fcn", DICE["fcn"], without_effect=["width"])
    notes = "\n".join(note.text for note in table(Store(tmp_path)).notes)
    assert "UNET (width=8) differs from its source" in notes
    assert "FCN differs from its source" in notes


def test_a_size_that_is_unequal_on_one_dataset_alone_is_marked(store: Store) -> None:
    small = {"steps": 9, "scale": "small"}
    for name, sizes in (("wide", (1.52, 1.04)), ("narrow", (1.04, 0.79)), ("alike", (0.9, 1.1))):
        for dataset, size in zip(("ct-pri", "mr"), sizes, strict=True):
            finished(store.root, name, DICE["fcn"], dataset=dataset, size=size, profile=small)
    text = markdown(table(store))
    assert "| WIDE [size 1.04 to 1.52] | " in text
    assert "| NARROW [size 0.79 to 1.04] | " in text
    assert "| ALIKE | " in text


def test_an_augmentation_that_is_not_the_papers_is_told(store: Store) -> None:
    assert "Augmentation of the profile" not in "\n".join(n.text for n in table(store).notes)
    still = {"steps": 9, "augmentation": {"rotation": 0, "flips": "both"}}
    finished(store.root, "still", DICE["fcn"], profile=still)
    text = "\n".join(note.text for note in table(store).notes)
    assert "contrast up to 25 %, flips: both (paper: rotation up to 30 degrees" in text


def test_rows_that_compare_with_no_other_are_marked_and_never_the_best(store: Store) -> None:
    finished(store.root, "told", (0.99,) * 4, oracle=True)
    finished(store.root, "own", (0.98,) * 4, own_training=True, certificate=NO_CERTIFICATE)
    only = table(store)
    text = markdown(only)
    assert "| TOLD [oracle: told the reference's box] | 99.00 ± 0.00 | " in text
    assert "| OWN [trained on data of its own making] | 98.00 ± 0.00 | " in text
    assert "| UNET | **81.25 ± 15.48** |" in text
    compares = pd.read_csv(io.StringIO(csv(only))).set_index("method").compares
    assert dict(compares) == {"fcn": True, "own": False, "told": False, "unet": True}
    assert (
        "Certificates: all agree; every method but own was given the same augmented data"
        in "\n".join(note.text for note in only.notes)
    )


def test_seconds_against_dice_is_drawn(store: Store, tmp_path: Path) -> None:
    write(results(store), tmp_path, "run")
    with Image.open(tmp_path / "cpu" / "seconds-phantom.png") as picture:
        assert min(picture.size) > 500
        assert len(picture.convert("RGB").getcolors(2**20)) > 20
    assert (tmp_path / "cpu" / "seconds-phantom.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("whose", ["all", "one"])
@pytest.mark.parametrize("lost", ["iou", "hd95", "nsd"])
def test_a_metric_that_older_results_lack_is_missing_and_the_others_are_shown(
    store: Store, tmp_path: Path, lost: str, whose: str
) -> None:
    files = sorted(store.root.glob("cpu/*/*/*/cases.csv"))
    for path in files[: 1 if whose == "one" else None]:
        pd.read_csv(path).drop(columns=lost).to_csv(path, index=False)
    text = (texts(store, tmp_path / "reports") / "table1-phantom.md").read_text()
    assert "UNET" in text
    assert "81.25" in text  # the Dice


def test_what_latex_cannot_print_is_told_with_the_report(store: Store, tmp_path: Path) -> None:
    assert write(results(store), tmp_path / "plain", "texts").remark == ""
    finished(store.root, "own", DICE["fcn"], title="脊柱网 α")
    remark = write(results(store), tmp_path / "odd", "texts").remark
    assert remark.startswith(
        "pdfLaTeX's usual fonts lack 脊 U+810A, 柱 U+67F1, 网 U+7F51: the .tex files"
    )
    assert "脊柱网 α" in (tmp_path / "odd" / "cpu" / "table1-phantom.md").read_text()
