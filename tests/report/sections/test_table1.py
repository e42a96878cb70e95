"""Table 1 where cells failed: what prints `failed`, and who keeps place and colour."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.report.page import html
from bench.report.sections import inference, published, table1
from bench.report.sections.table import Table
from bench.store.cells import Store
from tests import written
from tests.written import DICE, failed, finished

MR, XRAY = "mr@phantom-abcdef01", "xray@phantom-abcdef01"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for dataset in ("mr", "xray"):
        for method in ("unet", "fcn"):
            finished(tmp_path, method, DICE[method], dataset=dataset)
    return Store(tmp_path)


def entries(table: Table, row: str) -> dict[str, str]:
    """Return what a row prints as Dice, by column."""
    return {column: table1.entry(table, column, row, "dice").text for column in table.columns}


def test_dice_decides_for_iou_too(tmp_path: Path) -> None:
    for method, dice in written.APART.items():
        finished(tmp_path, method, written.patients(dice))
    table = written.table(Store(tmp_path))
    assert table1.entry(table, MR, "fcn", "dice").mark == "doubt"
    assert table1.entry(table, MR, "fcn", "iou").mark == ""
    told = [note.text for note in table1.document(table).notes if note.kind == "legend"]
    assert told[-1].startswith("Dice alone is tested and has marks. They hold for IoU too")


def test_a_failed_arm_has_failed_in_its_priors_row_too(store: Store) -> None:
    arm = "verdiff:msfm=off"
    finished(store.root, arm, DICE["fcn"], extras=["prior"])
    failed(store.root, arm, "ValueError: too bad", dataset=XRAY)
    table = written.table(store)
    for row in (arm, f"{arm}:prior"):
        assert entries(table, row) == {MR: "73.75 ± 17.97", XRAY: "failed"}


def test_a_failure_under_five_folds_is_none_of_the_single_split(store: Store) -> None:
    finished(store.root, "sam", DICE["fcn"], folds=5)
    failed(store.root, "unet", "ValueError: too bad", "f1of5-s35")
    failed(store.root, "sam", "ValueError: too bad", "f0-s35", dataset=XRAY)
    table = written.table(store)
    assert entries(table, "unet") == {
        MR: "81.25 ± 15.48",
        f"{MR}/5fold": "failed",
        XRAY: "81.25 ± 15.48",
    }
    assert entries(table, "sam") == {MR: "-", f"{MR}/5fold": "73.75 ± 17.97", XRAY: "failed"}


def test_a_method_that_failed_keeps_its_place_and_the_others_their_colours(store: Store) -> None:
    finished(store.root, "sam", DICE["fcn"])

    def colours() -> dict[str, str]:
        table = written.table(store)
        methods = html._data(table)["methods"]
        return dict(zip(table.methods, (each["colour"] for each in methods), strict=True))

    before = colours()
    assert list(before) == ["fcn", "sam", "unet"]
    (store.root / "cpu" / MR / "sam" / "f0-s35" / "cell.json").unlink()
    (store.root / "cpu" / MR / "sam" / "f0-s35").rename(store.root / "kept")
    failed(store.root, "sam", "ValueError: too bad")
    assert colours() == before
    assert entries(written.table(store), "sam") == {MR: "failed", XRAY: "-"}


def test_a_metric_that_older_results_lack_is_missing_in_their_rows_alone(store: Store) -> None:
    for path in store.root.rglob("fcn/*/cases.csv"):
        pd.read_csv(path, dtype=str).drop(columns="iou").to_csv(path, index=False)
    table = written.table(store)
    assert table1.entry(table, MR, "fcn", "iou").text == "-"
    assert table1.entry(table, MR, "fcn", "dice").text != "-"
    assert table1.entry(table, MR, "unet", "iou").mark == "best"
    [intervals] = [part for part in inference.documents(table) if part.name == "intervals-phantom"]
    listed = intervals.frames[""].set_index(["column", "method", "metric"])
    assert listed.patients[MR, "fcn", "iou"] == 0
    assert listed.patients[MR, "unet", "iou"] == 2
    assert published.documents(table)
