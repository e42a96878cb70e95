from __future__ import annotations

from pathlib import Path

from bench.launch.base import Request
from bench.launch.local import Local
from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Spec
from bench.spec.profile import load_profile
from bench.store.cells import Store


def cell(dataset: str, method: str) -> Cell:
    ref = DatasetRef(id=DatasetId(dataset, "phantom", "ab"), cache="")
    return Cell(
        profile=load_profile("smoke"),
        dataset=ref,
        method=Spec(method),
        seed=35,
    )


def ordered(waiting: list[Cell], seconds: dict[str, list[float]]) -> list[Cell]:
    """Return cells in the order in which they start, after others took so long."""
    local = Local(Request(Store(Path("nowhere")), 1, "cpu", jobs=1))
    local._seconds = seconds
    return list(local._in_order(waiting))


def test_whole_datasets_come_first_and_within_one_the_longest() -> None:
    waiting = [
        cell(dataset, method) for dataset in ("mr", "xray") for method in ("fcn", "sam", "unet")
    ]
    order = ordered(waiting, {"fcn": [1.0, 3.0], "sam": [9.0], "unet": [5.0]})
    assert [(cell.dataset.id.name, cell.method.name) for cell in order] == [
        (dataset, method) for dataset in ("mr", "xray") for method in ("sam", "unet", "fcn")
    ]


def test_who_was_not_timed_yet_comes_first_in_order() -> None:
    waiting = [cell("mr", method) for method in ("fcn", "sam", "unet")]
    order = ordered(waiting, {"fcn": [99.0]})
    assert [cell.method.name for cell in order] == ["sam", "unet", "fcn"]
