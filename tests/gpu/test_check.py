"""`make gpu-check DEVICE=cpu`: the script itself works; what it measures here means nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.spec.names import Spec
from tests.gpu import check, stages
from tests.gpu.page import markdown
from tests.gpu.setting import Setting
from tests.user import leave_undrawn


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what a check sets in the environment of its process."""
    for name in ("BENCH_CACHE", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, "")


def test_all_stages_run_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("methods", "main_methods"):  # `make gpu-check DEVICE=cpu` runs all
        monkeypatch.setattr(Setting, name, [Spec("unet")])
    leave_undrawn(monkeypatch)
    code = check.main(["--device", "cpu", "--out", str(tmp_path / "out")])
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    failed = [row for stage in result["stages"] for row in stage["rows"] if "failed" in row]
    assert (code, failed) == (0, [])
    assert [stage["title"] for stage in result["stages"]] == [*stages.STAGES, "The whole matrix"]
    assert all(stage["rows"] for stage in result["stages"])
    page = (tmp_path / "out" / "page.md").read_text()
    assert page == markdown(result)
    assert "| U-Net |" in page


def test_a_stage_that_fails_is_a_line_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        """Fails."""
        raise RuntimeError("first\nCUDA error: misaligned address")

    def two_rows(setting: object, until: float) -> object:
        """Has a row, then fails."""
        yield {"method": "unet", "precision": "float32", "failed": "ValueError: NaN"}
        raise KeyboardInterrupt  # as where the machine is taken away

    monkeypatch.setattr(check, "STAGES", {"One": (broken, 0.1), "Two": (two_rows, 1.0)})
    with pytest.raises(KeyboardInterrupt):
        check.main(["--device", "cpu", "--out", str(tmp_path)])
    page = (tmp_path / "page.md").read_text()
    assert "RuntimeError: CUDA error: misaligned address" in page
    assert "- Two: unet, float32: ValueError: NaN" in page
    assert "It was cut off" in page


def test_a_device_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert check.main(["--device", "cuda:7", "--out", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
