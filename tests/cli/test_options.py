"""What several commands read from their options."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import options
from bench.spec.profile import load_profile
from tests.user import Bench

DATASET = """
from dataclasses import dataclass
from bench.spec.dataset import Adapter

@dataclass(frozen=True)
class Own(Adapter):
    in_all = True
    name = "own"
    title = "Own"

    def rules(self):
        return {}

    def items(self, root):
        return []

    def read(self, item):
        return iter(())
"""


def test_all_leaves_out_a_dataset_that_has_neither_files_nor_phantom(
    bench: Bench, plugin: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.home / "own_dataset.py").write_text(DATASET)
    info = bench.home / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[verdiff_bench.datasets]\nown = own_dataset:Own\n")
    monkeypatch.syspath_prepend(bench.home)
    profile = load_profile("smoke")
    names = [spec.name for spec in options.datasets_of("all", None, profile)]
    assert "own" not in names
    assert "mr" in names
    line = "bench: own: left out of all, for it has neither files in --data nor a phantom\n"
    assert capsys.readouterr().err == line
    assert "own" in [spec.name for spec in options.datasets_of("all,own", None, profile)]
    (bench.home / "data" / "own").mkdir(parents=True)
    there = options.datasets_of("all", bench.home / "data", profile)
    assert "own" in [spec.name for spec in there]
