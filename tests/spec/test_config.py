from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.spec.config import Cell, DatasetRef, load_profile, profiles, safe_name
from bench.spec.errors import UsageError
from bench.spec.names import DatasetId, Scheme, Spec
from tests.user import SMOKE


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


def test_shipped_profiles_load() -> None:
    assert profiles() == ["cpu", "paper", "smoke"]
    paper = load_profile("paper")
    assert (paper.pixels, paper.batch, paper.lr, paper.steps) == (0, 1, 1e-4, 9000)


def test_unknown_profile_says_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown profile 'papr'; did you mean 'paper'"):
        load_profile("papr")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 4", "steps = 0"), r"mine\.toml: steps: expected int >= 1"),
        (("lr = 1e-3", "lr = -1"), "lr: expected float > 0"),
        (("lr = 1e-3", "lr = nan"), "lr: "),
        (("lr = 1e-3", "lr = inf"), "lr: "),
        (("lr = 1e-3", "lr = -inf"), "lr: "),
        (("steps = 4", "stepz = 4"), "missing or unknown keys: steps, stepz"),
        (("steps = 4", "steps"), "no TOML"),
        (("steps = 4", 'steps = "ten"'), "steps: expected int, got str"),
        (("steps = 4", "steps = 2.5"), "steps: expected int, got float"),
        (("xray = 5 }\nphantom", "xray = 0 }\nphantom"), "phantom_patients.*: expected int >= 1"),
        (('scale = "tiny"', 'scale = "big"'), "scale: .*'big'"),
    ],
)
def test_a_bad_profile_file_is_refused(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMOKE.replace(*change))
    with pytest.raises(UsageError, match=message) as caught:
        load_profile(str(path))
    assert "\n" not in str(caught.value)


def test_a_users_own_profile_is_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMOKE)
    assert load_profile(str(path)).name == "mine"


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


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "a\nb", "<b>", "x" * 151, "a..b"])
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        safe_name(name, "name")
