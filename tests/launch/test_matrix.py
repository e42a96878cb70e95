"""The matrix of cells, and the order in which a cluster takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.data.splits import Splitting
from bench.launch import matrix
from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from bench.store.cells import Store
from tests.written import DICE, PROFILE, finished, timings


def test_a_split_that_lost_a_fold_is_named(tmp_path: Path) -> None:
    profile = load_profile("smoke")
    [phantom] = matrix.find([Spec("mr")], None, profile)
    ref, store = phantom.prepare(), Store(tmp_path)

    def cells() -> int:
        return len(matrix.cells(profile, [ref], [Spec("unet")], store, Splitting(3), [SEED]))

    assert cells() == 3
    [path] = tmp_path.rglob("split-3fold.csv")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("2,")))
    with pytest.raises(UsageError, match=r"split-3fold\.csv has 2 folds, expected 3; remove it"):
        cells()
    path.unlink()
    assert cells() == 3


def test_a_cell_that_was_continued_counts_with_all_its_training(tmp_path: Path) -> None:
    last_attempt = timings(train_seconds=1000.0, total_seconds_of_last_attempt=9.0)
    finished(tmp_path, "unet", DICE["unet"], timings=last_attempt)
    [(pair, seconds)] = matrix.mean_seconds(Store(tmp_path), PROFILE)
    assert pair == ("abcdef0123", "unet")
    assert seconds == 1000
