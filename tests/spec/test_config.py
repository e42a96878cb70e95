from __future__ import annotations

from dataclasses import replace

from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Scheme, Spec
from bench.spec.profile import load_profile


def ref(digest: str = "0123456789") -> DatasetRef:
    return DatasetRef(id=DatasetId("mr", "real", digest), cache="/here")


def cell(**changes: object) -> Cell:
    values = {
        "profile": load_profile("smoke"),
        "method": Spec("unet"),
        "seed": 35,
        "split": "s",
        "dataset": ref(),
    }
    return Cell(**{**values, **changes})  # type: ignore[arg-type]


def test_cells_survive_json_and_keep_their_hash() -> None:
    one = cell(fold=2, scheme=Scheme(5))
    again = Cell.from_json(one.to_json())
    assert again == one
    assert again.hash == one.hash


def test_the_hash_follows_what_may_change_a_result_and_nothing_else() -> None:
    base = cell()
    assert cell(dataset=replace(base.dataset, cache="/there")).hash == base.hash
    assert cell(profile=replace(base.profile, summary="in other words")).hash == base.hash
    others = [
        cell(seed=36),
        cell(method=Spec("fcn")),
        cell(split="t"),
        cell(fold=1),
        cell(scheme=Scheme(5)),
        cell(options={"a": 1}),
    ]
    others += [cell(precision="bfloat16"), cell(protocol=0)]
    others += [
        cell(profile=replace(base.profile, steps=5)),
        cell(dataset=ref("x")),
    ]
    assert len({base.hash, *(other.hash for other in others)}) == len(others) + 1


def test_labels_never_meet() -> None:
    others = [cell(), cell(scheme=Scheme(5)), cell(fold=1, scheme=Scheme(5), seed=36)]
    assert [other.label.key for other in others] == [
        "f0-s35",
        "f0of5-s35",
        "f1of5-s36",
    ]
