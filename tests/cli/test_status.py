"""`bench status`, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli.app import app
from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Spec
from bench.spec.note import Note
from bench.spec.profile import load_profile
from bench.store.cells import Store
from bench.store.plan import Plan
from tests.written import record_of

PROFILE = load_profile("smoke")


SLUG = "mr@phantom-abcdef01"


def cell(method: str) -> Cell:
    ref = DatasetRef(id=DatasetId("mr", "phantom", "abcdef0123"), cache="")
    return Cell(profile=PROFILE, dataset=ref, method=Spec.parse(method), seed=35)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with one cell in each state but running."""
    store = Store(tmp_path)
    cells = {
        state: cell(f"unet:width={n}")
        for n, state in enumerate(("done", "failed", "stopped", "waiting"), 1)
    }
    Plan(store, PROFILE.name).remember(list(cells.values()))
    done = store.folder(cells["done"])
    done.path.mkdir(parents=True)
    done.record.write_text(record_of(cells["done"]).to_json())
    with store.at_work(cells["failed"]):
        pass
    store.fail(cells["failed"], "Traceback\nValueError: no such luck\n")
    with store.at_work(cells["stopped"]):
        store.note(
            cells["stopped"],
            Note(phase="train", step=3, steps=9, seconds=1.5, loss=0.25),
        )
    return store


def test_status_says_it_in_a_table_and_as_json(store: Store) -> None:
    done = CliRunner().invoke(app, ["status", "--out", str(store.root)])
    assert done.exit_code == 0
    assert "4 cells: 1 done, 1 failed, 1 stopped, 1 waiting" in done.output
    assert (
        "failed   mr@phantom-abcdef01/unet:width=2/f0-s35: ValueError: no such luck"
        in done.output.replace("\n", "")
    )
    found = json.loads(
        CliRunner().invoke(app, ["status", "--out", str(store.root), "--json"]).output
    )
    assert [row["state"] for row in found] == ["done", "failed", "stopped", "waiting"]


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["status", "--out", str(tmp_path)])
    assert "has no planned cell; run: bench run" in str(done.exception)


def test_names_that_fit_are_whole(store: Store) -> None:
    words = ["status", "--out", str(store.root)]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert SLUG in done.output
    assert "unet:width=1" in done.output


def test_names_are_shortened_so_far_that_no_two_rows_look_alike(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [f"smp:arch=UnetPlusPlus:encoder=resnet{n}" for n in (18, 34, 50, 101)]
    Plan(store, PROFILE.name).remember([cell(name) for name in names])
    words = ["status", "--out", str(store.root)]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "60"})
    rows = [line for line in done.output.splitlines() if "resnet" in line]
    assert len(set(rows)) == 4
    assert max(map(len, done.output.splitlines())) <= 60
    assert not any("…" in row for row in rows)
