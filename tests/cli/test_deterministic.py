"""`--deterministic`; whether a GPU keeps it is for `make gpu-check`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench.cli import options
from bench.engine import cell as engine
from bench.spec.errors import UsageError
from tests.user import Bench

Make = Callable[..., Path]


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the CPU pass for a device whose operations may differ from run to run."""
    monkeypatch.setattr(options, "choose_deterministic", lambda wanted, device: wanted)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    yield
    torch.use_deterministic_algorithms(False)


def test_the_cpu_needs_no_option(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "unet", "--deterministic", code=2)
    assert out.strip().endswith("which gives the same bytes anyway; leave it out")
    assert options.choose_deterministic(True, "cuda") is True
    with pytest.raises(UsageError):
        options.choose_deterministic(True, "cpu")


@pytest.mark.usefixtures("as_on_a_gpu")
def test_it_is_part_of_the_cell_and_of_the_report(
    bench: Bench, slices: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, modes = slices(), []
    run = engine._run

    def watched(*words: object) -> None:
        modes.append(torch.are_deterministic_algorithms_enabled())
        run(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "_run", watched)
    bench.run(data, "unet", "--deterministic", "--launcher", "debug")
    assert modes == [True]
    assert json.loads((bench.cell() / "cell.json").read_text())["spec"]["deterministic"] is True
    report = next((bench.home / "reports").rglob("table1-*.md")).read_text()
    assert "(float32, deterministic)" in report
    assert "choose another --out" in bench.run(data, "unet", code=2)
    bench.run(data, "unet", "--out", "plain")
    plain = next((bench.home / "plain").rglob("cell.json"))
    assert json.loads(plain.read_text())["spec"]["deterministic"] is False


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_method_that_cannot_says_so(
    bench: Bench, slices: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object) -> None:
        raise RuntimeError(
            "nll_loss2d_forward does not have a deterministic implementation, but you set ..."
        )

    monkeypatch.setattr(engine, "_run", lacking)
    out = bench.run(slices(), "unet", "--deterministic", "--launcher", "debug", code=1)
    assert "unet cannot be deterministic on cpu: PyTorch has no nll_loss2d_forward" in out
    assert "leave --deterministic out" in out
