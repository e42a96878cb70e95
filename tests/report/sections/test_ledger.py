"""What each method had, and cost."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from bench.report import write
from bench.store.cells import Store
from tests.written import DICE, NO_CERTIFICATE, finished, results, tables, timings


def texts(store: Store, folder: Path) -> Path:
    """Write a report without its pictures; return its folder."""
    write(results(store), folder, "texts")
    return folder / "cpu"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for method, dice in DICE.items():
        finished(tmp_path / "results", method, dice)
    return Store(tmp_path / "results")


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
        size=0.58,
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
    row = "| MR | SAM | 0.58 | 1.234 | 138,576 | 5.6 | 9 | 7 | 0.25 | 300 | 0 | unknown | "
    row += "unknown | unknown | SA-1B | "
    assert row in text
    assert "FCN differs from its source: something_new & 50 % more." in text
    (table,) = tables(store)
    assert any("(pretraining: SA-1B)" in note.text for note in table.notes)


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
    row = "| MR | FCN | unknown | 1.234 | unknown | unknown | 9 | 7 | 0.25 | 100 | 0 | "
    row += "unknown | unknown | unknown | unknown |"
    assert row in (tmp_path / "cpu" / "ledger-phantom.md").read_text()


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


def test_the_ledger_says_what_a_threshold_alone_would_give(store: Store, tmp_path: Path) -> None:
    def cut(threshold: float, test: float, half: float) -> dict[str, float]:
        known = {"validation": 0.9, "validation_at_half": 0.8}
        return {"threshold": threshold, "test": test, "test_at_half": half, **known}

    cuts = {"": cut(0.45, 0.8, 0.78), "prior": cut(0.4, 0.79, 0.7)}
    finished(store.root, "verdiff", DICE["fcn"], cuts=cuts)
    row = ledger_of(store, tmp_path).set_index("title").loc["VERDIFF"]
    assert (float(row.dice_at_half), float(row.threshold), float(row.dice_there)) == (78, 0.45, 80)
    text = (tmp_path / "cpu" / "ledger-phantom.md").read_text()
    assert (
        "VERDIFF on MR: Dice 78.00 %, its prior 70.00 %, and 79.00 % if the prior is cut where "
        "validation patients prefer (means over patients)." in text
    )
