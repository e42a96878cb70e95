from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.engine.trainee import Trainee, build, save_weights, to_device
from bench.spec import registry
from bench.spec.method import Method, Task
from bench.spec.names import Spec
from bench.spec.profile import load_profile

CPU = torch.device("cpu")
SIZE = (64, 48)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_weights_may_be_read_by_those_who_read_the_rest(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        save_weights(nn.Linear(2, 2), tmp_path / "model.safetensors")
        (tmp_path / "cases.csv").touch()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~mask}


def after_steps(name: str, steps: int = 3, **values: bool) -> tuple[Trainee, list[float]]:
    """Train under `smoke` with other values; return the trainee and its losses."""
    method = registry.method(Spec(name), "tiny")
    profile = replace(load_profile("smoke"), **values)
    trainee = build(method, Task("mr", (SIZE,), 1, 10), profile, 35, CPU, "float32")
    optimiser = trainee.optimiser()
    image = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(1))
    mask = (image > 0.6).float()
    losses = []
    for step in range(steps):
        optimiser.zero_grad()
        loss = trainee.loss(image, mask, "step", step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    return trainee, losses


@pytest.mark.parametrize("name", ["unet", "sam"])
@pytest.mark.parametrize("switch", ["channels_last", "fused_adam"])
def test_without_a_switch_a_network_learns_the_same(name: str, switch: str) -> None:
    """Only the order of sums differs; SAM has an optimiser of its own, AdamW."""
    _, fast = after_steps(name)
    _, slow = after_steps(name, **{switch: False})
    assert slow == pytest.approx(fast, rel=1e-4)


@pytest.mark.parametrize("on", [True, False])
def test_channels_are_the_last_axis_as_the_profile_says(on: bool) -> None:
    trainee, _ = after_steps("unet", steps=0, channels_last=on)
    kernels = [weight for weight in trainee.net.parameters() if weight.ndim == 4]
    # Of one channel or one pixel, both orders are the same.
    wide = [kernel for kernel in kernels if min(kernel.shape[:3]) > 1]
    assert wide
    assert all(kernel.is_contiguous() is not on for kernel in wide)


def test_channels_stay_first_where_the_kernels_would_write_past_their_memory() -> None:
    method = _Narrow()
    trainee = build(method, Task("mr", (SIZE,), 1, 10), load_profile("smoke"), 35, CPU, "float32")
    image = torch.rand(2, 1, 64, 64)
    for _ in range(3):
        trainee.loss(image, (image > 0.6).float(), "step", 0).backward()  # type: ignore[no-untyped-call]
    assert all(weight.is_contiguous() for weight in trainee.net.parameters())


class _Narrow(Method):
    """A network with a convolution of one pixel, a stride, and 8 channels."""

    title = "Narrow"
    source = "a test"

    def build(self, task: Task) -> nn.Module:
        """Return the network."""
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.Conv2d(8, 16, 1, stride=2),
            nn.ConvTranspose2d(16, task.channels, 2, stride=2),
        )

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return none."""
        return ()


@pytest.mark.parametrize("name", ["unet", "sam"])
@pytest.mark.parametrize("on", [True, False])
def test_adam_is_fused_as_the_profile_says(name: str, on: bool) -> None:
    trainee, _ = after_steps(name, steps=0, fused_adam=on)
    assert {group["fused"] for group in trainee.optimiser().param_groups} == {on}


@pytest.mark.parametrize("pin", [True, False])
def test_memory_is_pinned_for_a_gpu_as_the_profile_says(
    monkeypatch: pytest.MonkeyPatch, pin: bool
) -> None:
    """No GPU is needed: the tensor only notes what is asked of it."""
    asked: list[str] = []

    def noting(name: str) -> Callable[..., torch.Tensor]:
        def note(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
            asked.append(name)
            return tensor

        return note

    for name in ("pin_memory", "to"):
        monkeypatch.setattr(torch.Tensor, name, noting(name))
    to_device(np.zeros((1, 1, 2, 2), np.float32), torch.device("cuda"), pin)
    assert asked == (["pin_memory", "to"] if pin else ["to"])
