"""What a device that cannot be used gets: one line. GPUs are made up here."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch

from bench.cli.options import choose_device
from bench.spec import devices
from bench.spec.errors import UsageError
from bench.spec.machine import processor

GiB = 2**30
Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return what makes up a machine with GPUs, each with some bytes free."""

    def make(*free: int, warning: str = "") -> None:
        def available() -> bool:
            if warning:
                warnings.warn(warning, UserWarning, stacklevel=1)
            return bool(free)

        zeros = torch.zeros
        monkeypatch.setattr(torch.cuda, "is_available", available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
        monkeypatch.setattr(
            torch.cuda, "mem_get_info", lambda device: (free[device.index or 0], 80 * GiB)
        )
        monkeypatch.setattr(torch, "zeros", lambda size, device: zeros(size))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return make


def refusal(device: str) -> str:
    with pytest.raises(UsageError) as refused:
        devices.check(device)
    text = str(refused.value)
    assert len(text.splitlines()) == 1
    return text


def test_a_gpu_with_room_is_used(machine: Machine) -> None:
    machine(70 * GiB, 60 * GiB)
    assert choose_device("auto") == "cuda"
    assert choose_device("cuda:1") == "cuda:1"
    assert choose_device("cpu") == "cpu"


def test_a_record_names_the_gpu_that_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    assert devices.name_of("cuda:1") == "GPU of cuda:1"
    assert devices.name_of("cpu") == processor()


def test_an_index_that_is_not_there_names_those_that_are(machine: Machine) -> None:
    machine(70 * GiB, 60 * GiB)
    assert "this machine shows cuda:0, cuda:1" in refusal("cuda:2")


def test_a_full_device_is_named_with_its_memory(machine: Machine) -> None:
    machine(GiB // 4)
    assert "'cuda' is full: 0.2 of 80 GiB are free; nvidia-smi" in refusal("cuda")
    with pytest.raises(UsageError, match="is full"):
        choose_device("auto")


def test_a_device_on_which_nothing_can_be_put_is_full(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(2 * GiB)

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ...")

    monkeypatch.setattr(torch, "zeros", full)
    assert "is full" in refusal("cuda:0")


def test_a_driver_that_is_too_old_is_told(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(
        warning="CUDA initialization: The NVIDIA driver on your system is too old (found version "
        "11040). Please update your GPU driver by downloading ...\n (Triggered internally at ...)"
    )
    assert "driver on your system is too old (found version 11040); or try" in refusal("cuda")
    assert choose_device("auto") == "cpu"
    told = capsys.readouterr().err
    assert told.startswith("bench: the GPU is not used: The NVIDIA driver")
    assert len(told.strip().splitlines()) == 1


@pytest.mark.parametrize("value", ["", "-1"])
def test_gpus_that_the_environment_hides_are_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    machine()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert f"CUDA_VISIBLE_DEVICES={value!r} hides every GPU; unset it" in refusal("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-2", "meta:0:1"])
def test_what_is_no_device_is_refused(name: str) -> None:
    assert f"device '{name}'" in refusal(name)
