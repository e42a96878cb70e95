"""Streams that are closed or full, a terminal that is gone, and tables that compute nothing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.launch.follow import asked_to_stop
from bench.report import document
from tests.store import matrix
from tests.user import ROOT


def run(home: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell, in which `bench` is the command."""
    return subprocess.run(
        ["sh", "-c", command.replace("bench", f"{sys.executable} -m bench.cli", 1)],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_closed_streams_cost_nothing(tmp_path: Path) -> None:
    matrix.finished(tmp_path / "results")
    done = run(tmp_path, "bench report --no-pictures <&- >&- 2>&-")
    assert done.returncode == 0
    assert (tmp_path / "reports" / "smoke" / "table1-real.csv").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_cannot_be_written_ends_with_a_line(tmp_path: Path) -> None:
    matrix.finished(tmp_path / "results")
    done = run(tmp_path, "bench status >/dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("bench: No space left on device; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_noted_twice_and_nothing_breaks(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with asked_to_stop() as asked:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
        assert len(asked) == 2
    finally:
        signal.signal(number, before)


def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with asked_to_stop() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_formula_in_a_table_is_text() -> None:
    values = ["=cmd()", "@x", "-2+3+cmd|' /C calc'!A0", "+A1", "\t=1"]
    plain = ["-", "-0.5", "+1.2 %", "-0.3 [-1.0, 0.4]", "a=b", "", "-0.5 ± 0.1†"]
    text = document.csv(pd.DataFrame({"name": [*values, *plain], "n": 1.5}))
    read = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)
    assert list(read.name) == [*(f"'{value}" for value in values), *plain]
    assert set(read.n) == {"1.5"}
