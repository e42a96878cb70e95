from __future__ import annotations

from bench.launch.local import _next
from bench.spec.config import Cell, DatasetRef, load_profile


def cell(dataset: str, method: str) -> Cell:
    ref = DatasetRef(name=dataset, source="phantom", digest="ab", cache="")
    return Cell(
        profile=load_profile("smoke"),
        dataset=ref,
        method=method,
        options={},
        seed=35,
        fold=0,
        folds=1,
        split="",
    )


def test_whole_datasets_come_first_and_within_one_the_longest() -> None:
    waiting = [
        cell(dataset, method) for dataset in ("mr", "xray") for method in ("fcn", "sam", "unet")
    ]
    taken = {"fcn": [1.0, 3.0], "sam": [9.0], "unet": [5.0]}
    order = [_next(waiting, taken) for _ in range(6)]
    assert [(c.dataset.name, c.method) for c in order] == [
        (dataset, method) for dataset in ("mr", "xray") for method in ("sam", "unet", "fcn")
    ]
    assert waiting == []


def test_who_was_not_timed_yet_comes_first_in_order() -> None:
    waiting = [cell("mr", method) for method in ("fcn", "sam", "unet")]
    assert [_next(waiting, {"fcn": [99.0]}).method for _ in range(3)] == ["sam", "unet", "fcn"]
