from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.case import SIDES
from bench.data.splits import make_splits, read_splits, write_splits
from bench.errors import UsageError

patients = st.lists(st.text("abcxyz0123456789-_ ,", min_size=1, max_size=8), min_size=5, max_size=60, unique=True)


@given(patients, st.integers(1, 5))
def test_every_patient_is_on_one_side_and_every_side_has_one(names: list[str], folds: int) -> None:
    for split in make_splits(names, folds):
        assert set(split.sides) == set(names)
        assert set(split.sides.values()) == set(SIDES)


@given(patients, st.integers(2, 5))
def test_a_cross_validation_tests_each_patient_once(names: list[str], folds: int) -> None:
    tested = [name for split in make_splits(names, folds) for name, side in split.sides.items() if side == "test"]
    assert sorted(tested) == sorted(names)


@given(patients, st.randoms())
def test_the_order_of_patients_does_not_matter(names: list[str], random) -> None:  # noqa: ANN001
    mixed = list(names)
    random.shuffle(mixed)
    assert make_splits(mixed) == make_splits(names)


def test_the_holdout_is_70_10_20() -> None:
    sides = list(make_splits([f"p{i}" for i in range(200)])[0].sides.values())
    assert [sides.count(side) for side in SIDES] == [140, 20, 40]


@given(patients, st.integers(1, 3))
def test_a_written_split_reads_back(tmp_path_factory: pytest.TempPathFactory, names: list[str], folds: int) -> None:
    path = tmp_path_factory.mktemp("split") / "split.csv"
    splits = make_splits(names, folds)
    path.write_text(write_splits(splits))
    assert read_splits(path, names) == splits


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(UsageError, match="2 patients cannot be split: expected at least 3"):
        make_splits(["a", "b"])
    with pytest.raises(UsageError, match="3 patients cannot be split: expected at least 4"):
        make_splits(["a", "b", "c"], folds=2)
    with pytest.raises(UsageError, match="expected at least 7"):
        make_splits(list("abcdef"), folds=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold,patient,side\n0,a,train\n0,a,test\n", "patient a is on two sides"),
        ("fold,patient,side\n0,a,training\n", "side 'training'"),
        ("fold,patient,side\n0,a\n", "expected fold,patient,side"),
        ("patient,side\n", "is no split file"),
        ("fold,patient,side\n0,a,train\n0,b,validation\n", "patient c is in one of them only"),
        ("fold,patient,side\n0,a,train\n0,b,train\n0,c,test\n", "a side has no patient"),
    ],
)
def test_a_damaged_split_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_splits(path, ["a", "b", "c"])
