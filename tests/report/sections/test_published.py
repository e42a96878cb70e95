"""The paper's numbers beside one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from bench.audit import published
from bench.report.document import Document
from bench.report.sections import inference
from bench.report.sections import published as beside
from bench.report.sections.table import Table
from bench.spec.plain import content_hash
from bench.store.cells import Store
from tests import written
from tests.report.sections.scored import COLUMN, scores_of
from tests.written import finished


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for method in ("unet", "fcn", "verdiff"):
        finished(tmp_path, method, scores_of(method))
    return Store(tmp_path)


def table_of(store: Store) -> Table:
    return written.table(store)


def document(store: Store, name: str) -> Document:
    [only] = [
        part for part in inference.documents(table_of(store)) if part.name == f"{name}-phantom"
    ]
    return only


def listing(store: Store, name: str) -> pd.DataFrame:
    return document(store, name).frames[""]


def test_arms_and_oracles_have_no_published_number_beside_them(store: Store) -> None:
    finished(store.root, "verdiff:msfm=off", scores_of("fcn"))
    finished(store.root, "sam:prompt=box", scores_of("fcn"), oracle=True)
    [found] = beside.documents(table_of(store))
    assert set(found.frames[""].method) == {"fcn", "unet", "verdiff"}


def test_the_published_numbers_stand_beside_ones_own_and_in_no_ranking(store: Store) -> None:
    [found] = beside.documents(table_of(store))
    row = found.frames[""].set_index(["method", "metric"]).loc[("unet", "dice")]
    assert row.published == pytest.approx(0.9123)  # table 1: U-Net on MR
    assert row.difference == pytest.approx(row["mean"] - 0.9123)
    assert row.inside == "no"
    assert "PHANTOMS: a difference between a simulation and a paper says nothing" in found.caption
    assert published.SOURCE in found.notes[0].text
    assert set(listing(store, "ranks").method) == {"fcn", "unet", "verdiff"}


def test_the_audits_verdict_stands_beside_a_published_cell(store: Store) -> None:
    [found] = beside.documents(table_of(store))
    frame = found.frames[""].set_index(["method", "metric"])
    assert frame.audit[("unet", "dice")] == "yes"
    assert frame.audit[("verdiff", "dice")] == "no"


def test_real_data_is_not_called_a_phantom(tmp_path: Path) -> None:
    finished(tmp_path, "unet", scores_of("unet"), source="real")
    [found] = beside.documents(table_of(Store(tmp_path)))
    assert "PHANTOM" not in found.caption
    assert found.name == "published-real"


def test_a_dataset_that_the_paper_has_not_has_nothing_beside_it(tmp_path: Path) -> None:
    finished(tmp_path, "unet", scores_of("unet"))
    (tmp_path / "cpu" / COLUMN).rename(tmp_path / "cpu" / "own@phantom-abcdef01")
    path = tmp_path / "cpu" / "own@phantom-abcdef01" / "unet" / "f0-s35" / "cell.json"
    said = json.loads(path.read_text())
    said["spec"]["dataset"]["name"] = "own"
    path.write_text(json.dumps({**said, "hash": content_hash(said["spec"])}))
    assert beside.documents(table_of(Store(tmp_path))) == []
