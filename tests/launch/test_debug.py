"""Cells in the process of the command itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.engine import cell as engine
from tests.user import RESULTS, Bench, digests

Make = Callable[..., Path]


def test_it_gives_the_same_bytes_in_this_process(
    bench: Bench, slices: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = slices()
    bench.run(data, "unet,fcn", "--out", "local", "--report", "report-local")
    processes: list[int] = []
    run_cell = engine.run_cell

    def watched(*words: object) -> None:
        processes.append(os.getpid())
        run_cell(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "run_cell", watched)
    words = ("--launcher", "debug", "--out", "debug", "--report", "report-debug")
    out = bench.run(data, "unet,fcn", *words)
    assert "in this process" in out
    assert processes == [os.getpid()] * 2
    assert digests(bench.home / "debug", *RESULTS) == digests(bench.home / "local", *RESULTS)
    tables = [digests(bench.home / f"report-{name}", "table1-*") for name in ("local", "debug")]
    assert tables[0] == tables[1]


def test_a_failing_cell_keeps_its_reason_and_the_rest_goes_on(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "faulty:how=raise,unet", "--launcher", "debug", code=1)
    assert "RuntimeError: no such luck" in out
    assert "| U-Net |" in out
    assert (
        "no such luck" in (bench.cell("faulty,how=raise", "f0-s35.part") / "error.txt").read_text()
    )


@pytest.mark.parametrize("words", [("--jobs", "2"), ("--timeout", "9")])
def test_what_one_process_cannot_do_is_refused(
    bench: Bench, slices: Make, words: tuple[str, str]
) -> None:
    out = bench.run(slices(), "unet", "--launcher", "debug", *words, code=2)
    assert "--launcher debug" in out
    assert words[0] in out
    assert not list(bench.home.rglob("cell.json"))
