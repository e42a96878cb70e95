from __future__ import annotations

import json

import pytest
import torch

from bench.cli import doctor
from bench.engine import speed
from bench.spec import devices
from tests.user import Bench


def test_doctor_and_methods_tell(bench: Bench) -> None:
    checks = {check["name"]: check for check in json.loads(bench("doctor", "--json"))}
    assert checks["versions"]["ok"]
    assert "unet" in checks["methods"]["found"]
    rows = {row["name"]: row for row in json.loads(bench("methods", "--json"))}
    assert rows["unet"]["options"]["width"]["default"] == 64
    assert not rows["smp"]["in_all"]


def test_a_machine_without_a_gpu_is_told_why(bench: Bench) -> None:
    checks = {one["name"]: one for one in json.loads(bench("doctor", "--gpu", "--json", code=1))}
    assert not checks["gpu"]["ok"]
    assert checks["gpu"]["found"]
    assert "CPU" in checks["gpu"]["remedy"]


def test_a_gpu_that_is_far_slower_than_an_a100_is_told_what_to_look_at(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "why_no_gpu", lambda: None)
    monkeypatch.setattr(devices, "describe", lambda name: f"a fake called {name}")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    speeds = {"cuda:0": 500.0, "cuda:1": 20.0}
    monkeypatch.setattr(speed, "images_a_second", lambda device, _: speeds[str(device)])
    checks = doctor.gpu_checks()
    assert [check["name"] for check in checks] == [
        "cuda:0",
        "cuda:0 speed",
        "cuda:1",
        "cuda:1 speed",
    ]
    assert [check["ok"] for check in checks] == [True, True, True, False]
    assert "500 images of 192 x 160 a second" in checks[1]["found"]
    assert "674 to 927" in checks[1]["found"]
    assert "nvidia-smi" in checks[3]["remedy"]


def test_the_speed_is_that_of_real_steps() -> None:
    """On the processor, with a tiny network."""
    assert speed.images_a_second(torch.device("cpu"), 0.2, batch=2, scale="tiny") > 1
