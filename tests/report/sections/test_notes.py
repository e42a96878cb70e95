"""What stands under a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.sections import table1
from bench.report.sections.table import Table
from bench.store.cells import Store
from tests.written import DICE, NO_CERTIFICATE, finished, table


def csv(table: Table) -> str:
    return table1.document(table).texts()[".csv"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for method, dice in DICE.items():
        finished(tmp_path / "results", method, dice)
    return Store(tmp_path / "results")


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


def test_one_method_beside_its_own_training_is_told(tmp_path: Path) -> None:
    finished(tmp_path, "net", DICE["fcn"])
    finished(tmp_path, "net:own=on", DICE["fcn"], own_training=True, certificate=NO_CERTIFICATE)
    assert (
        "Certificates: one method only, beside net:own=on, which trained on data of its own making"
        in notes_of(Store(tmp_path))
    )
