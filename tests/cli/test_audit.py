"""`bench audit`, as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.audit import published
from bench.audit.audit import CANNOT
from bench.cli import app

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call `bench audit` in this process; return its exit code, output and errors."""

    def call(*args: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", "audit", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            app.main()
        assert not isinstance(left.value.code, str)
        return left.value.code or 0, *capsys.readouterr()

    return call


KEYS = {"table", "method", "dataset", "verdict", "gap_points", "iou_low", "iou_high"}


def test_the_command_audits_the_paper(bench: Call) -> None:
    begin = time.process_time()
    code, out, _ = bench("--paper", "--json")
    assert time.process_time() - begin < 5  # under 2 s on a machine that does nothing else
    assert code == 1
    rows = json.loads(out)
    assert [row["table"] for row in rows] == ["table1"] * 32 + ["table2"] * 4
    assert all(row.keys() >= KEYS for row in rows)
    assert sum(row["verdict"] != "ok" for row in rows) == 27
    assert sum(row["any_std"] for row in rows) == 8
    assert bench(published.FILES["table1"], "--json")[0] == 1


def test_the_command_says_what_it_claims_and_no_more(bench: Call, tmp_path: Path) -> None:
    _, out, _ = bench(published.FILES["table1"])
    assert f"27 of 32 cells {CANNOT}" in out
    (worst,) = (line for line in out.splitlines() if "SAM, CT-Pri" in line)
    for number in ("76.35", "9.00 points", "67.35"):
        assert number in worst
    assert "Read as percent" in out
    (tmp_path / "mine.csv").write_text("method,dataset,dice_mean,iou_mean\nU-Net,MR,0.81,0.70\n")
    code, out, _ = bench(tmp_path / "mine.csv")
    assert code == 0
    assert "U-Net, MR: ok; IoU 70 is within" in out
    assert "Read as fractions" in out
    assert CANNOT not in out


def test_rows_that_repeat_others_are_named(bench: Call, tmp_path: Path) -> None:
    rows = (
        "U-Net,MR,83.25,4.08,71.49,5.90",
        "FCN,MR,83.25,4.08,71.49,5.90",
        "U-Net,MR,83.25,4.08,71.49,5.90",
        "U-Net,MR,83.2,4.1,71.5,5.9",
        "SAM,MR,0.00,0.00,0.00,0.00",
        "SAM,CT,0.00,0.00,0.00,0.00",
    )
    header = "method,dataset,dice_mean,dice_std,iou_mean,iou_std"
    (tmp_path / "mine.csv").write_text("\n".join((header, *rows)))
    code, out, _ = bench(tmp_path / "mine.csv")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("Repeated: ")] == [
        "Repeated: line 3 has the numbers of line 2 (U-Net, MR); both are counted.",
        "Repeated: line 4 has the names of line 2, with the same numbers; both are counted.",
        "Repeated: line 5 has the names of line 2, with other numbers; both are counted.",
    ]
    told = [row["repeats"] for row in json.loads(bench(tmp_path / "mine.csv", "--json")[1])]
    assert [bool(line) for line in told] == [False, True, True, True, False, False]


def test_wrong_use_ends_in_one_line(bench: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("method,dataset,dice_mean,iou_mean\nU-Net,MR,81,101\n")
    for args, says in (
        ((), "--paper"),
        ((tmp_path / "mine.csv", "--paper"), "--paper"),
        ((tmp_path / "mine.csv",), "line 2, column iou_mean"),
    ):
        code, _, err = bench(*args)
        assert code == 2
        assert err.startswith("bench: ")
        assert says in err
        assert err.count("\n") == 1


def test_an_audit_imports_no_torch() -> None:
    code = (
        "import sys, bench.cli.audit; print(*sorted({'torch', 'matplotlib', 'pandas'} &"
        " set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
