"""A results folder that a group shares: what is written is the group's, and formulas are text."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.data.splits import parse_splits
from bench.store.cells import Store
from bench.store.results import Results
from tests.user import Bench

Make = Callable[..., Path]
FORMULA = "=cmd|' /C calc'!A0"
WORDS = ("--datasets", "mr", "--profile", "smoke", "--methods", "unet")


@pytest.fixture(params=[0o002, pytest.param(0o077, marks=pytest.mark.long)])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_modes_are_those_of_the_umask_and_formulas_are_text(
    bench: Bench, slices: Make, umask: int, own_cache: Path
) -> None:
    data = slices()
    index = data / "mr" / "index.csv"
    quoted = '"' + FORMULA.replace('"', '""') + '"'
    index.write_text(index.read_text().replace(",1\n", f",{quoted}\n"))
    words = (*WORDS, "--data", str(data))
    bench("run", *words, "--launcher", "debug", "--folds", "3")
    bench("tune", *words, "--trials", "1", "--jobs", "1")
    folders = (bench.home / "results", bench.home / "reports", own_cache)
    wrong = []
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            all_bits = 0o777 if path.is_dir() else 0o666
            if mode & ~0o111 != all_bits & ~umask & ~0o111:
                wrong.append(f"{path.relative_to(bench.home.parent)}: {mode:o}")
    assert not wrong
    for path in (bench.home / "results").rglob("*.csv"):
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
            assert not any(value.startswith(("=", "@", "\t")) for value in row), path
    (split,) = (bench.home / "results").rglob("split.csv")
    assert all(FORMULA in fold.sides for fold in parse_splits(split))
    results = Results.load(Store(bench.home / "results"), "smoke")
    assert not results.damaged
    assert FORMULA in set(results.cases["patient"])
