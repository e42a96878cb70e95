"""Finished cells, read for a report; a folder of an older version among them."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.report import write
from bench.spec import registry
from bench.spec.config import Cell, DatasetRef
from bench.spec.errors import UsageError
from bench.spec.profile import load_profile
from bench.stats.scores import arrange
from bench.store import record
from bench.store.cells import Store
from bench.store.plan import Plan
from bench.store.results import Results, finished_profiles
from bench.store.scores import read_scores
from tests import written
from tests.written import DICE, failed, finished

OLD = Path(__file__).with_name("old")
"""What `bench run` of revision 1ebde14 left, in format 2; weights and predictions are not kept."""


@pytest.fixture
def old(tmp_path: Path) -> Store:
    shutil.copytree(OLD, tmp_path / "results")
    return Store(tmp_path / "results")


def cell_of(results: Results) -> Cell:
    """Return the one cell of results, as a run of today makes it."""
    (one,) = results.records
    ref = DatasetRef(id=one.spec.dataset, cache="")
    profile = load_profile("smoke")
    return Cell(
        profile=profile,
        dataset=ref,
        method=one.method,
        options=asdict(registry.method(one.method, profile.scale)),
        seed=one.spec.seed,
        split=one.spec.split,
    )


def test_results_of_an_older_version_are_read_and_reported(old: Store, tmp_path: Path) -> None:
    results = Results.load(old)
    assert (results.profile, [row for row in results.rows]) == ("smoke", ["unet"])
    (cell,) = results.cells
    assert [int(row["step"]) for row in cell.losses()] == [2, 4]
    assert cell.initial()
    written_files = write(results, tmp_path / "reports", "texts").files
    table = tmp_path / "reports" / "smoke" / "table1-phantom.md"
    assert table in written_files
    assert "| U-Net | " in table.read_text()


def test_only_a_new_protocol_tells_an_older_result_from_todays(old: Store) -> None:
    """But for `PROTOCOL`, which code that computes anew raises, the hashes are equal."""
    profile = load_profile("smoke")
    old.open(profile)
    cell = cell_of(Results.load(old))
    [record] = Results.load(old).records
    before = replace(cell, protocol=record.spec.protocol)
    assert before.hash == record.hash
    assert old.status(before) == "done"
    assert record.spec.protocol < cell.protocol
    with pytest.raises(UsageError, match="made under another protocol"):
        old.status(cell)
    assert [place.state for place in Plan(old, "smoke").places()] == ["done"]


def test_edited_code_is_another_method(tmp_path: Path, old: Store) -> None:
    cell = replace(cell_of(Results.load(old)), source="a" * 64, seed=77)
    with old.at_work(cell):
        old.finish(cell, written.record_of(cell))
    assert old.status(cell) == "done"
    assert record.read(old.folder(cell)).spec.source == "a" * 64
    with pytest.raises(UsageError, match=r"source of the method \(edited, or changed by a newer"):
        old.status(replace(cell, source="b" * 64))
    with pytest.raises(UsageError, match=r"another source of the method .*, set of options"):
        old.status(replace(cell, source="", options={}))


def test_a_profile_is_the_latest_unless_it_is_named(tmp_path: Path, old: Store) -> None:
    assert finished_profiles(old) == ["smoke"]
    finished(old.root, "unet", DICE["unet"])
    assert finished_profiles(old) == ["cpu", "smoke"]
    assert Results.load(old, "smoke").profile == "smoke"
    with pytest.raises(UsageError, match="cpu, smoke"):
        Results.load(old, "paper")


def test_a_failure_counts_for_its_own_way_to_split(tmp_path: Path) -> None:
    finished(tmp_path, "unet", DICE["unet"])
    failed(tmp_path, "unet", "ValueError: a", "f0of5-s35")
    failed(tmp_path, "fcn", "ValueError: b", "f0-s35-fraction0.5")
    results = written.results(Store(tmp_path))
    assert {(one.column, one.method.key, one.why) for one in results.failures} == {
        ("mr@phantom-abcdef01/5fold", "unet", "ValueError: a"),
        ("mr@phantom-abcdef01/fraction0.5", "fcn", "ValueError: b"),
    }
    assert {one.source for one in results.failures} == {"phantom"}


def test_a_copy_of_a_failed_folder_is_no_failure(tmp_path: Path) -> None:
    finished(tmp_path, "unet", DICE["unet"])
    for label in ("f0-s36", "f0-s36 (copy)", "old"):
        failed(tmp_path, "unet", "ValueError: a", label)
    (failure,) = written.results(Store(tmp_path)).failures
    assert failure.why == "ValueError: a"


def test_a_record_of_a_cell_that_was_killed_before_its_rename_is_no_result(tmp_path: Path) -> None:
    folder = finished(tmp_path, "unet", DICE["unet"])
    folder.rename(folder.with_name(f"{folder.name}.part"))
    assert finished_profiles(Store(tmp_path)) == []
    with pytest.raises(UsageError, match=r"has no finished cell; run: bench run"):
        Results.load(Store(tmp_path))


@pytest.mark.parametrize("text", ["", "case,dice\nc0,0.5\n", "case,patient,dice\nc0,p0,high\n"])
def test_damaged_scores_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scores"
    path.write_text(text)
    with pytest.raises(UsageError, match="is damaged") as caught:
        read_scores(path)
    assert str(path) in str(caught.value)


def test_an_empty_prediction_costs_the_diagonal_and_is_counted(tmp_path: Path) -> None:
    folder = finished(tmp_path, "unet", DICE["unet"])
    path = folder / "cases.csv"
    scores = pd.read_csv(path).assign(hd95=4.0, diagonal=50.0)
    scores.loc[0, ["hd95", "assd", "empty"]] = [np.nan, np.nan, "prediction"]
    scores.loc[1, ["hd95", "assd", "empty"]] = [0.0, 0.0, "both"]
    scores.to_csv(path, index=False)
    kept = read_scores(path)
    assert list(kept.hd95) == [50, 0, 4, 4]
    assert list(kept.filled) == [True, False, False, False]
    [by_metric] = arrange(written.results(Store(tmp_path)).cases).values()
    assert by_metric["hd95"].undefined == {"unet": 1}
    assert by_metric["hd95"].values[0, :, 0].tolist() == [25, 4]


def test_cases_in_mm_and_in_pixels_have_no_mean_distance(tmp_path: Path) -> None:
    """Half of the cases have a spacing: one number over both would be of no unit."""
    for method in ("unet", "fcn"):
        folder = finished(tmp_path, method, DICE[method])
        path = folder / "cases.csv"
        scores = pd.read_csv(path)
        scores["unit"] = ["mm" if number % 2 else "px" for number in range(len(scores))]
        scores.to_csv(path, index=False)
    results = written.results(Store(tmp_path))
    assert results.cases[["hd95", "assd", "nsd"]].isna().all(axis=None)
    assert results.cases["dice"].notna().all()
    table = written.table(Store(tmp_path))
    note = next(note for note in table.notes if "distances of its cases" in note.text)
    assert note.grave
    assert "are in mm and px, so HD95, ASSD and NSD have no mean" in note.text
    write(results, tmp_path / "reports", "texts")
