from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.report import document, write
from bench.report.document import escape
from bench.report.sections import table1
from bench.report.sections.table1 import Table
from bench.spec.errors import UsageError
from bench.store.cells import Store
from bench.store.results import Results
from tests.written import DICE, NO_CERTIFICATE, failed, finished, results, table, tables, timings


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
    assert "| FCN | 73.75 ± 17.97† |" in text
    assert "MR: 2 patients, 4 cases tested." in text
    assert "Certificates: all agree" in text
    assert "PHANTOM data (simulated), profile 'cpu'" in text


def notes_of(store: Store) -> str:
    only = table(store)
    return "\n".join(note.text for note in only.notes)


def test_a_method_that_saw_other_data_is_named(store: Store) -> None:
    finished(store.root, "other", DICE["fcn"], heads={10: "another"})
    assert (
        "Certificates DIFFER, these did not train on the same data: MR: other and fcn"
        in notes_of(store)
    )
    assert "certificates\n" in csv(table(store)).splitlines(True)[0]
    assert ",differ\n" in csv(table(store))


def test_methods_that_went_on_after_the_first_stopped_are_compared_with_each_other(
    tmp_path: Path,
) -> None:
    finished(tmp_path, "a", (0.5,), heads={10: "h"})
    finished(tmp_path, "b", (0.5,), heads={10: "h", 20: "i"})
    finished(tmp_path, "c", (0.5,), heads={10: "h", 20: "j"})
    assert "Certificates DIFFER" in notes_of(Store(tmp_path))
    assert "c and b" in notes_of(Store(tmp_path))


def test_an_early_stop_is_no_difference_but_no_step_in_common_is(tmp_path: Path) -> None:
    finished(tmp_path, "a", (0.5,), heads={10: "h"})
    finished(tmp_path, "b", (0.5,), heads={10: "h", 20: "i"})
    assert "Certificates: all agree" in notes_of(Store(tmp_path))
    finished(tmp_path, "c", (0.5,), heads={7: "k"})
    assert "c (no step in common)" in notes_of(Store(tmp_path))


def test_one_method_alone_proves_nothing(tmp_path: Path) -> None:
    finished(tmp_path, "a", (0.5,))
    assert "Certificates: one method only, nothing to compare." in notes_of(Store(tmp_path))


def test_a_split_and_a_cross_validation_are_two_columns(store: Store) -> None:
    finished(store.root, "unet", (0.1, 0.1), folds=5)
    only = table(store)
    assert list(only.columns.values()) == ["MR", "MR 5-fold"]
    assert only.scores.loc[("mr@phantom-abcdef01", "unet"), "dice_mean"] == pytest.approx(0.8125)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"steps": 8}, "NOT the same protocol"),
        ({"device": "GPU"}, "NOT the same device, precision or PyTorch"),
        ({"seed": 36}, "NOT the same folds and seeds"),
    ],
)
def test_what_was_not_alike_is_said(store: Store, change: dict, warning: str) -> None:
    assert "NOT" not in notes_of(store)
    finished(store.root, "third", DICE["fcn"], **change)
    assert warning in notes_of(store)


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


def test_methods_tested_on_other_cases_are_marked(store: Store) -> None:
    finished(store.root, "third", (0.5, 0.6))
    only = table(store)
    assert any("NOT the same cases" in note.text for note in only.notes)


def test_seeds_are_averaged_and_counted(store: Store) -> None:
    finished(store.root, "unet", tuple(d + 0.02 for d in DICE["unet"]), seed=36)
    only = table(store)
    assert only.scores.loc[("mr@phantom-abcdef01", "unet"), "dice_mean"] == pytest.approx(0.8225)
    assert any(
        note.text.startswith("Seeds: 35, 36") and "One seed" not in note.text for note in only.notes
    )


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


def test_the_report_regenerates_to_the_byte(store: Store, tmp_path: Path) -> None:
    made = [write(results(store), tmp_path / name).files for name in ("one", "two")]
    first, second = ({path.name: path.read_bytes() for path in files} for files in made)
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


def test_the_report_needs_no_torch(store: Store, tmp_path: Path) -> None:
    code = f"""
import sys
class Refused:
    def find_spec(self, name, *_):
        if name.partition('.')[0] == 'torch':
            raise ImportError('no torch here')
sys.meta_path.insert(0, Refused())
from pathlib import Path
from bench.report import write
from bench.store.cells import Store
from bench.store.results import Results
results = Results.load(Store(Path({str(store.root)!r})))
print(*(path.name for path in write(results, Path({str(tmp_path / "r")!r})).files))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "table1-phantom.md" in done.stdout.split(), done.stderr
    assert "report.html" in done.stdout.split(), done.stderr


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run: bench run"):
        Results.load(Store(tmp_path))


def test_an_unknown_profile_names_what_there_is(store: Store) -> None:
    with pytest.raises(UsageError, match="finished cells are under: cpu"):
        Results.load(store, "paper")


def test_latex_escapes_what_users_name() -> None:
    assert (
        escape("a_b & 5% #1 {x} $y$ \\z ~^")
        == r"a\_b \& 5\% \#1 \{x\} \$y\$ \textbackslash{}z \textasciitilde{}\textasciicircum{}"
    )


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
            "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}Before.\\input{table1-phantom.tex}"
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


def ledger_of(store: Store, folder: Path) -> pd.DataFrame:
    return pd.read_csv(texts(store, folder) / "ledger-phantom.csv", keep_default_na=False)


def test_the_ledger_says_what_each_method_had_and_cost(store: Store, tmp_path: Path) -> None:
    had = {"pretraining": "SA-1B", "prompt": "none", "ensembling": "none", "augmentation": "none"}
    memory = 300 * 2**20
    finished(
        store.root,
        "sam",
        DICE["fcn"],
        idle_parameters=138_576,
        peak_device_memory_bytes=memory,
        advantages=had,
    )
    finished(
        store.root,
        "unet",
        DICE["unet"],
        seed=36,
        timings=timings(train_seconds=9.0, predict_seconds_per_case=0.75),
    )
    rows = ledger_of(store, tmp_path / "reports").set_index("title")
    assert list(rows.index) == ["FCN", "SAM", "UNET"]
    assert tuple(rows.loc["UNET", ["train_seconds", "predict_seconds"]]) == (
        8.0,
        0.5,
    )  # means of both seeds
    assert tuple(rows.loc["FCN", ["parameters", "multiply_adds", "memory"]]) == (1.234, 5.6, 100)
    assert tuple(rows.loc["SAM", ["idle_parameters", "memory", "pretraining"]]) == (
        138_576,
        300,
        "SA-1B",
    )
    text = (tmp_path / "reports" / "cpu" / "ledger-phantom.md").read_text()
    assert (
        "| MR | SAM | 1.234 | 138,576 | 5.6 | 9 | 7 | 0.25 | 300 | 0 | SA-1B | none | none | none |"
        in text
    )
    assert "FCN differs from its source: something_new & 50 % more." in text
    assert "It has what others lack (pretraining: SA-1B)." in notes_of(store)


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


def test_one_method_beside_its_own_training_is_told(tmp_path: Path) -> None:
    finished(tmp_path, "net", DICE["fcn"])
    finished(tmp_path, "net:own=on", DICE["fcn"], own_training=True, certificate=NO_CERTIFICATE)
    assert (
        "Certificates: one method only, beside net:own=on, which trained on data of its own making"
        in notes_of(Store(tmp_path))
    )


def test_results_from_before_the_ledger_have_their_place_in_it(
    store: Store, tmp_path: Path
) -> None:
    for path in store.root.rglob("cell.json"):
        record = json.loads(path.read_text())
        for name in ("advantages", "idle_parameters", "multiply_adds"):
            del record[name]
        path.write_text(json.dumps(record))
    rows = ledger_of(store, tmp_path)
    assert set(rows.prompt) == {"unknown"}
    assert (
        "| MR | FCN | 1.234 | - | - | 9 | 7 | 0.25 | 100 | 0 | unknown |"
        in (tmp_path / "cpu" / "ledger-phantom.md").read_text()
    )


def test_a_gradient_that_nobody_saw_is_no_zero(store: Store, tmp_path: Path) -> None:
    finished(
        store.root,
        "own",
        DICE["fcn"],
        own_training=True,
        certificate=NO_CERTIFICATE,
        idle_parameters=None,
    )
    rows = ledger_of(store, tmp_path).set_index("title")
    assert rows.loc["OWN [trained on data of its own making]", "idle_parameters"] == ""


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
