from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli.app import app
from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Spec
from bench.spec.note import Note
from bench.spec.profile import load_profile
from bench.store.cells import Store
from bench.store.lease import BusyError
from bench.store.plan import Place, Plan
from tests.written import record_of

PROFILE = load_profile("smoke")
SLUG = "mr@phantom-abcdef01"


def cell(method: str) -> Cell:
    ref = DatasetRef(id=DatasetId("mr", "phantom", "abcdef0123"), cache="")
    return Cell(profile=PROFILE, dataset=ref, method=Spec.parse(method), seed=35)


def places(store: Store) -> list[Place]:
    return Plan(store, PROFILE.name).places()


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


def test_every_planned_cell_has_its_state(store: Store) -> None:
    known = places(store)
    assert [place.state for place in known] == ["done", "failed", "stopped", "waiting"]
    assert {place.dataset for place in known} == {SLUG}
    assert [place.method for place in known] == [f"unet:width={n}" for n in (1, 2, 3, 4)]
    assert known[1].why == "ValueError: no such luck"
    assert known[2].progress == Note(phase="train", step=3, steps=9, seconds=1.5, loss=0.25)


def test_who_holds_the_lease_is_running(store: Store) -> None:
    with store.at_work(cell("unet:width=3")):
        assert places(store)[2].state == "running"
        text = (
            CliRunner().invoke(app, ["status", "--out", str(store.root)]).output.replace("\n", "")
        )
        assert (
            "running  mr@phantom-abcdef01/unet:width=3/f0-s35  train 3/9, loss 0.25, at most "
            in text
        )
    assert places(store)[2].state == "stopped"


def test_a_cell_that_somebody_holds_or_has_finished_is_not_taken(store: Store) -> None:
    with (
        store.at_work(cell("unet:width=3")),
        pytest.raises(BusyError),
        store.at_work(cell("unet:width=3")),
    ):
        pass
    with pytest.raises(BusyError), store.at_work(cell("unet:width=1")):
        pass
    assert not store.working(cell("unet:width=1")).path.exists()


def test_cells_from_before_there_were_plans_are_seen(store: Store) -> None:
    (store.root / PROFILE.name / "plan.txt").unlink()
    assert sorted(place.state for place in places(store)) == [
        "done",
        "failed",
        "stopped",
    ]


def test_the_plan_grows_and_forgets_nothing(store: Store) -> None:
    Plan(store, PROFILE.name).remember([cell("fcn"), cell("unet:width=1")])
    assert [place.method for place in places(store)] == [
        f"unet:width={n}" for n in (1, 2, 3, 4)
    ] + ["fcn"]
