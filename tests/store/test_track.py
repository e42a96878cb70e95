"""Trackers, and that a failing one harms nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.spec import installing
from tests.user import RESULTS, Bench, digests

Make = Callable[..., Path]


@pytest.fixture
def tensorboard() -> None:
    pytest.importorskip(
        "tensorboard",
        reason="TensorBoard is not installed: pip install 'verdiff-bench[tensorboard]'",
    )


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


@pytest.mark.usefixtures("tensorboard")
def test_tensorboard_has_what_the_cell_has(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "unet", "--tensorboard")
    assert "Tracking failed" not in out
    cell = bench.cell()
    shown = scalars(
        bench.home
        / "results"
        / "tensorboard"
        / "smoke"
        / cell.relative_to(bench.home / "results" / "smoke")
    )
    rows = pd.read_csv(cell / "train.csv")
    assert [step for step, _ in shown["validation_loss"]] == list(rows.step)
    assert [value for _, value in shown["training_loss"]] == pytest.approx(
        list(rows.training_loss), rel=1e-5
    )
    cases = pd.read_csv(cell / "cases.csv")
    assert shown["test/dice"][0][1] == pytest.approx(
        cases.groupby("patient").dice.mean().mean(), rel=1e-5
    )
    assert "1 cell: 1 done" in bench("status")


@pytest.mark.usefixtures("tensorboard")
def test_results_can_be_sent_afterwards_and_again(bench: Bench, slices: Make) -> None:
    bench.run(slices())
    for _ in range(2):
        assert "1 finished cells of the profile 'smoke' are sent whole" in bench(
            "track", "--tensorboard"
        )
    shown = scalars(next((bench.home / "results" / "tensorboard").rglob("f0-s35")))
    assert [step for step, _ in shown["validation_loss"]] == [2, 4]


@pytest.mark.parametrize("failing", ["crash", "server", "secret"])
def test_a_failing_tracker_harms_nothing(
    bench: Bench, slices: Make, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    data = slices()
    bench.run(data, "unet", "--out", "plain")
    broken = bench.home / "broken"
    if failing == "secret":  # its library tells the address in what it raises
        words = ("--mlflow", "http://me:s%40cret@127.0.0.1:9")
        monkeypatch.setattr("bench.store.track.Wanted.check", lambda self: None)
        broken.mkdir()
        (broken / "mlflow.py").write_text(
            "from urllib.parse import unquote\n"
            "def MlflowClient(tracking_uri):\n"
            "    raise RuntimeError(tracking_uri + ' ' + unquote(tracking_uri))\n"
        )
        monkeypatch.setenv("PYTHONPATH", f"{broken}{os.pathsep}{os.environ['PYTHONPATH']}")
    elif failing == "server":
        pytest.importorskip(
            "mlflow", reason="MLflow is not installed: pip install 'verdiff-bench[mlflow]'"
        )
        words = ("--mlflow", "http://127.0.0.1:9")
    else:
        words = ("--tensorboard",)
        monkeypatch.setattr("bench.store.track.Wanted.check", lambda self: None)
        (broken / "torch" / "utils").mkdir(parents=True)
        (broken / "torch" / "__init__.py").write_text("raise SystemError('no such luck')")
        monkeypatch.setenv("PYTHONPATH", str(broken))
        monkeypatch.setattr("bench.launch.local.preload", lambda modules=(): None)
    out = bench.run(data, "unet", "--out", "tracked", *words)
    assert out.count("Tracking failed (") == 1
    assert (
        "the results are whole. To send them: bench track --out tracked --profile smoke --" in out
    )
    assert "Traceback" not in out
    assert "cret" not in out
    for path in (bench.home / "tracked").rglob("*.*"):
        if path.is_file():
            assert b"cret" not in path.read_bytes(), path
    assert digests(bench.home / "plain", *RESULTS) == digests(bench.home / "tracked", *RESULTS)


def test_mlflow_has_a_run_a_cell_and_no_step_twice(bench: Bench, slices: Make) -> None:
    mlflow = pytest.importorskip(
        "mlflow", reason="MLflow is not installed: pip install 'verdiff-bench[mlflow]'"
    )
    uri = f"sqlite:///{bench.home}/mlflow.db"
    out = bench.run(slices(), "unet", "--mlflow", uri)
    assert "Tracking failed" not in out
    bench("track", "--mlflow", uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("verdiff-bench/smoke")
    (run,) = client.search_runs([experiment.experiment_id])
    record = json.loads((bench.cell() / "cell.json").read_text())
    assert run.data.tags["hash"] == record["hash"]
    assert run.data.params["method"] == "unet"
    assert run.info.status == "FINISHED"
    assert [
        each.step for each in client.get_metric_history(run.info.run_id, "validation_loss")
    ] == [2, 4]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mlflow", "nonsense"), "expected http(s)://HOST:PORT"),
        (("--mlflow", "ftp://x"), "expected http(s)://"),
    ],
)
def test_wrong_addresses_are_one_line(
    bench: Bench, slices: Make, words: tuple[str, ...], message: str
) -> None:
    pytest.importorskip(
        "mlflow", reason="MLflow is not installed: pip install 'verdiff-bench[mlflow]'"
    )
    assert message in bench.run(slices(), "unet", *words, code=2)


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_an_extra_that_is_not_installed_is_named(
    bench: Bench, slices: Make, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    option = ("--tensorboard",) if package == "tensorboard" else ("--mlflow", "http://x")
    out = bench.run(slices(), "unet", *option, code=2)
    assert f"is not installed; {installing.command(package)}" in out


def test_nothing_to_send_to_is_wrong_use(bench: Bench) -> None:
    assert "expected --tensorboard or --mlflow URI" in bench("track", code=2)


def test_the_tracker_alone_loads_what_it_needs() -> None:
    code = (
        "import sys, bench.store.track; print(*sorted({'torch', 'mlflow', 'tensorboard'} &"
        " set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
