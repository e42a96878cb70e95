"""Several classes from the option to the tables, and what is refused before training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.spec.case import UNION
from bench.store import record
from bench.store.cells import Store
from bench.store.layout import CellFolder
from bench.store.results import Results
from tests.user import Bench

SPINE = "mr:labels=upper=1/lower=2+3"
"""The ellipses of `picture`."""
LEVELS = "mr:labels=upper=1/middle=2/lower=3:instances=on"
"""Each class is one label, so predicted classes name their instances."""
TWO_ROWS = '''
from dataclasses import dataclass

from torch import nn

from bench.spec.method import Answer, Method

@dataclass(frozen=True)
class TwoRows(Method):
    """Answers with one map for two rows of the tables."""
    title = "Two rows"
    source = "tests"
    multiclass = True
    extras = ("again",)

    def build(self, task):
        return nn.Conv2d(1, task.channels, 3, padding="same")

    def answer(self, net, image, rng):
        probability = self.predict(net, image, rng)
        return Answer(probability, extras={"again": probability})
'''
Slices = Callable[..., Path]


def run(bench: Bench, data: Path, labels: str, *words: str, code: int = 0) -> str:
    return bench.run(data, "unet", "--datasets", labels, "--launcher", "debug", *words, code=code)


def rows(cell: Path) -> pd.DataFrame:
    return pd.read_csv(cell / "cases.csv")


def test_classes_go_from_the_option_to_the_tables(bench: Bench, slices: Slices) -> None:
    data = slices()
    run(bench, data, SPINE)
    cell = bench.cell()
    table = rows(cell)
    cases = table["case"].nunique()
    assert list(table["class"]) == [UNION, "upper", "lower"] * cases
    known = record.read(CellFolder(cell))
    assert known.classes == ("upper", "lower")
    assert known.cases["test"] == cases
    assert "binary" not in " ".join(known.deviations)
    mask = cv2.imread(str(next(cell.glob("predictions/*.png"))), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    assert mask.max() <= 2
    results = Results.load(Store(Path("results")), "smoke")
    means = table[table["class"] != UNION].groupby("case", sort=False)["dice"].mean()
    assert results.cases["dice"].tolist() == pytest.approx(means.tolist())
    assert results.classes is not None
    assert len(results.classes) == len(table)
    bench("verify", "results", "--predict", "1", "--data", str(data))
    Path("paper.toml").write_text('metrics = ["dice", "dice:lower", "nsd:union"]\n', "utf-8")
    bench("report", "--layout", "paper.toml")
    paper = pd.read_csv(next(Path("reports").rglob("paper.csv")))
    lower = table[table["class"] == "lower"]["dice"].mean()
    shown = paper[paper["metric"] == "dice:lower"]["mean"].item()
    assert shown == pytest.approx(100 * lower, abs=1e-6)
    notes = next(Path("reports").rglob("paper.md")).read_text("utf-8")
    assert "Dice of lower, NSD of union: not tested, so without marks" in notes
    Path("paper.toml").write_text('metrics = ["dice:disc"]\n', "utf-8")
    said = bench("report", "--layout", "paper.toml", code=2)
    assert "no dataset here has the class 'disc'" in said


def test_named_instances_of_every_row_are_kept_and_computed_again(
    bench: Bench, slices: Slices
) -> None:
    data = slices()
    Path("two_rows.py").write_text(TWO_ROWS, "utf-8")
    method = "./two_rows.py:TwoRows"
    bench.run(data, method, "--datasets", LEVELS, "--launcher", "debug")
    [cell] = (path.parent for path in Path("results").rglob("cell.json"))
    own, again = (pd.read_csv(cell / f"cases{row}.csv") for row in ("", "-again"))
    pd.testing.assert_frame_equal(own, again)
    assert own["identified"].notna().any()
    bench("verify", "results")


@pytest.fixture
def changed(bench: Bench, slices: Slices) -> Callable[[str, str], str]:
    """Return what reports on scores of which one text was replaced, with a record that fits."""
    data = slices()
    run(bench, data, SPINE)
    shutil.copytree("results", "kept")

    def change(old: str, new: str) -> str:
        shutil.rmtree("results")
        shutil.copytree("kept", "results")
        folder = CellFolder(bench.cell())
        path = folder.cases()
        text = path.read_text("utf-8").replace(old, new)
        assert text != path.read_text("utf-8")
        path.write_text(text, "utf-8")
        known = record.read(folder)
        folder.record.write_text(with_digest(known, path), "utf-8")
        return bench("report", "--no-pictures", code=2)

    return change


def with_digest(known: record.Record, path: Path) -> str:
    import msgspec

    from bench.spec import files

    digests = {**known.digests, path.name: files.digest(path)}
    return msgspec.structs.replace(known, digests=digests).to_json()


def test_scores_of_classes_that_cannot_be_are_refused(
    changed: Callable[[str, str], str], bench: Bench
) -> None:
    first = rows(bench.cell()).iloc[0]
    assert "the pixels of the classes are not those of all together" in changed(
        f",{UNION},{first.tp},{first.fp}", f",{UNION},{first.tp},{first.fp + 1}"
    )
    assert "expected for each case the lines union, upper, lower" in changed(",lower,", ",other,")


def test_what_classes_do_not_go_with_is_said_before_training(bench: Bench, slices: Slices) -> None:
    data = slices()
    wrong = {
        "mr:labels=upper=1/lower=2": "label 3 is in no class of labels=upper=1/lower=2",
        "mr:labels=a=1-2/b=2-3": "label 2 is both a and b",
        "mr:labels=a=1-3/b=7": "class b occurs in no mask; they hold 1, 2, 3",
    }
    for labels, said in wrong.items():
        assert said in run(bench, data, labels, code=2)
    said = bench.run(data, "unet,sam,verdiff", "--datasets", SPINE, code=2)
    assert "sam, verdiff cannot tell classes apart, and mr has several (upper, lower)" in said
    assert "--methods unet, or give mr one foreground" in said
    assert "has options for real files" in bench(
        "run", "--datasets", "mr:labels=a=1-25/b=201-225:good_central=on", code=2
    )
    assert not list(Path("results").rglob("cell.json"))


def test_a_class_that_is_never_trained_is_named(bench: Bench, slices: Slices) -> None:
    data = slices()
    for path in sorted((data / "mr" / "labels").glob("*.png")):
        labels = np.array(Image.open(path))
        if not path.name.startswith("1_"):
            labels[labels == 3] = 2
        Image.fromarray(labels).save(path)
    split = Path("split.csv")
    sides = ["test", "train", "train", "train", "validation", "train"]
    lines = [f"0,{number},{side}" for number, side in enumerate(sides, 1)]
    split.write_text("\n".join(["fold,patient,side", *lines]) + "\n", "utf-8")
    said = run(bench, data, "mr:labels=a=1/b=2/rare=3", "--split", str(split), code=2)
    assert "rare occurs in none of the 8 training cases of fold 0" in said


def test_a_test_side_without_any_class_has_no_score_and_a_report(
    bench: Bench, slices: Slices
) -> None:
    data = slices()
    for path in (data / "mr" / "labels").glob("1_*.png"):
        empty = np.zeros_like(np.array(Image.open(path)))
        Image.fromarray(empty).save(path)
        for method in ("one", "other"):
            (Path(method) / path.name).parent.mkdir(exist_ok=True)
            Image.fromarray(empty).save(Path(method) / path.name)
    sides = ["test", "train", "train", "train", "validation", "train"]
    lines = [f"0,{number},{side}" for number, side in enumerate(sides, 1)]
    Path("split.csv").write_text("\n".join(["fold,patient,side", *lines]) + "\n", "utf-8")
    said = bench(
        *("score", "--dataset", SPINE, "--data", str(data), "--split", "split.csv"),
        *("--predictions", "One=one", "--predictions", "Other=other", "--profile", "smoke"),
    )
    assert "One, upper: mean Dice undefined over 0 of 2 cases" in said
    bench("report")
    page = next(Path("reports").rglob("report.html")).read_text("utf-8")
    assert "no case has a score" in page


def test_too_many_classes_for_the_memory_show_the_arithmetic(
    bench: Bench, slices: Slices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.spec.processes.memory", lambda: 1000)
    said = run(bench, slices(), SPINE, code=2)
    assert "2 classes and the background on" in said
    assert "x 4 bytes x 4 = " in said


def test_one_class_is_the_foreground_that_it_was(bench: Bench, slices: Slices) -> None:
    data = slices()
    run(bench, data, "mr:labels=vertebra=1-3")
    alone = bench.cell().parents[1].name
    shutil.rmtree("results")
    run(bench, data, "mr")
    assert bench.cell().parents[1].name == alone
    assert "class" not in rows(bench.cell())
    assert "classes" not in json.loads((bench.cell() / "cell.json").read_text("utf-8"))


def test_a_phantom_has_classes_by_level(bench: Bench) -> None:
    wanted = ("--datasets", "xray:labels=thorax=8-19/lumbar=20-25", "--profile", "smoke")
    bench("run", "--methods", "unet", *wanted, "--launcher", "debug")
    (cell,) = Path("results/smoke").glob("xray@phantom-*/unet/f0-s35")
    assert set(rows(cell)["class"]) == {UNION, "thorax", "lumbar"}


def test_classes_from_outside_are_scored_exported_and_imported(
    bench: Bench, slices: Slices
) -> None:
    data = slices()
    labels = data / "mr" / "labels"
    words = ("--pattern", "{patient}_*", "--labels", "upper=1/lower=2+3")
    said = bench("score", "--reference", str(labels), "--predictions", f"Same={labels}", *words)
    assert "Same, lower: mean Dice 100.00 % over 12 cases" in said
    bench("verify", "results")
    outside = next(Path("results/external").glob("mr@external-*/Same/f0-s35/cases.csv"))
    table = pd.read_csv(outside)
    assert set(table["class"]) == {UNION, "upper", "lower"}
    assert (table["dice"] == 1).all()
    table[table["class"] != UNION].assign(method="Again").to_csv("scores.csv", index=False)
    bench("import", "scores.csv", "--label", "upper,lower", "--out", "imported")
    kept = Results.load(Store(Path("imported")), "external")
    assert (kept.cases["dice"] == 1).all()
    assert len(kept.cases) == 12
    said = bench("import", "scores.csv", "--label", "a=1,a=2", code=2)
    assert "cannot name a class" in said
    assert "none of all, background, ignore, mean, others, union, void" in said  # in one order
    bench("data", "export", SPINE, "--data", str(data), "--to", "raw")
    (folder,) = Path("raw").glob("Dataset901_*")
    about = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert about["labels"] == {"background": 0, "upper": 1, "lower": 2}
    volume = nibabel.load(next(folder.glob("labelsTr/*.nii.gz")))  # type: ignore[attr-defined]
    assert set(np.unique(np.asarray(volume.dataobj))) == {0, 1, 2}
    assert "Same, lower: mean Dice 100.00 %" in bench(
        *("score", "--dataset", SPINE, "--data", str(data), "--predictions", f"Same={labels}"),
        *("--labels-predictions", "upper=1/lower=2+3", "--profile", "smoke", "--out", "beside"),
        *("--missing", "zero"),
    )
    for path in labels.glob("*.png"):
        mask = np.array(Image.open(path))
        (Path("binary") / path.name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(Path("binary") / path.name)
    said = bench(
        *("score", "--dataset", SPINE, "--data", str(data), "--predictions", "Binary=binary"),
        *("--profile", "smoke"),
        code=2,
    )
    assert "label 255 is in no class of the dataset's classes, which are numbered from 1" in said
