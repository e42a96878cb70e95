from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.launch.base import Request
from bench.launch.local import Local
from bench.launch.places import Places
from bench.spec import devices
from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Spec
from bench.spec.profile import load_profile
from bench.store.cells import Store
from tests.user import RESULTS, Bench, digests


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


GIB = 2**30


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """Fake two devices; the result is their free memory, which a test may change."""
    free: dict[str, int | None] = {"cuda:0": 10 * GIB, "cuda:1": 20 * GIB}
    monkeypatch.setattr(devices, "free_bytes", lambda device: free[device])
    return free


def test_cells_go_to_the_emptiest_device_and_join_others_where_they_are_known_to_fit(
    two_gpus: dict[str, int | None],
) -> None:
    places = Places(("cuda:0", "cuda:1"))
    cells = [cell("mr", "unet"), cell("mr", "fcn"), cell("mr", "unet"), cell("xray", "unet")]
    assert places.choose(cells[0]) == "cuda:1"  # it has more free memory
    places.take("cuda:1", cells[0])
    assert places.choose(cells[1]) == "cuda:0"
    places.take("cuda:0", cells[1])
    assert places.choose(cells[2]) is None  # nobody knows what two need together
    places.leave("cuda:1", cells[0], 5 * GIB)
    places.take("cuda:1", cells[2])
    assert places.choose(cells[0]) == "cuda:1"  # two of 5 GiB fit in 20
    places.take("cuda:1", cells[0])
    assert places.choose(cells[0]) is None  # three do not
    assert places.choose(cells[3]) is None  # another dataset may need more
    places.leave("cuda:0", cells[1], None)
    assert places.choose(cells[3]) == "cuda:0"


def test_a_device_that_is_empty_takes_any_cell(two_gpus: dict[str, int | None]) -> None:
    places = Places(("cuda:0",))
    places.take("cuda:0", cell("mr", "unet"))
    places.leave("cuda:0", cell("mr", "unet"), 50 * GIB)
    assert places.choose(cell("mr", "unet")) == "cuda:0"


def test_two_faked_devices_share_a_matrix(
    bench: Bench, slices: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch takes `cpu:0` and `cpu:1` for the processor."""
    data = slices()
    bench.run(data, "unet,fcn", "--out", "one")
    used: list[str] = []
    take = Places.take

    def noted(self: Places, device: str, one: Cell) -> None:
        used.append(device)
        take(self, device, one)

    monkeypatch.setattr(Places, "take", noted)
    monkeypatch.setattr(devices, "all_of", lambda device: ("cpu:0", "cpu:1"))
    said = bench.run(data, "unet,fcn", "--jobs", "2", "--out", "two")
    assert "2 at a time on cpu:0, cpu:1" in said
    assert sorted(used) == ["cpu:0", "cpu:1"]
    assert digests(bench.home / "one", *RESULTS) == digests(bench.home / "two", *RESULTS)
    records = [json.loads(path.read_text()) for path in (bench.home / "two").rglob("cell.json")]
    assert len({record["device"] for record in records}) == 1
