"""What is too small is told from networks of sizes without values; here they train on values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.engine import trainee as trainees
from bench.engine.smallest import Size, fault, trains
from bench.engine.trainee import Trainee
from bench.spec import registry
from bench.spec.method import Task
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from tests.user import SMOKE, Bench


def trainee(spec: str, batch: int, size: Size) -> Trainee:
    method = registry.method(Spec.parse(spec), "tiny")
    task = Task("own", (size,) * 3, batch, 9)
    cpu = torch.device("cpu")
    return trainees.build(method, task, load_profile("smoke"), 35, cpu, "float32")


def step(trainee: Trainee, size: Size) -> None:
    """Train one step."""
    image = torch.rand(trainee.task.batch, 1, *size)
    trainee.net.train()
    trainee.loss(image, (image > 0.5).float(), "step", 1).backward()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("unet", 17), ("deeplabv3:blocks=1", 9)],
)
def test_the_smallest_size_trains_and_one_below_does_not(spec: str, expected: int) -> None:
    alone = trainee(spec, 1, (8, 8))
    assert trains(alone, (expected, 8))
    step(alone, (expected, 8))
    assert not trains(alone, (expected - 1, 8))
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        step(alone, (expected - 1, 8))


def test_what_a_library_refuses_of_a_size_is_found_too(caplog: pytest.LogCaptureFixture) -> None:
    both = trainee("smp:arch=PAN:encoder=resnet18", 2, (64, 64))
    assert "Output size is too small" in fault(both, (64, 64))
    assert fault(both, (97, 97)) == ""
    assert caplog.text == ""  # PyTorch would log a traceback
    with pytest.raises(RuntimeError, match="Output size is too small"):
        step(both, (64, 64))
    step(both, (97, 97))


@pytest.mark.parametrize(("name", "batch"), [("unet", 2), ("sam", 1)])
def test_what_trains_on_two_pixels_is_not_refused(name: str, batch: int) -> None:
    other = trainee(name, batch, (1, 2))
    assert trains(other, (1, 2))
    step(other, (1, 2))


def test_a_run_names_the_case_before_anything_trains(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "own"
    for part, inside in (("images", 200), ("masks", 255)):
        (root / part).mkdir(parents=True)
        for number in range(4):
            rng = np.random.default_rng(number)
            pixels = rng.integers(0, 2, (16, 12), dtype=np.uint8)
            Image.fromarray(inside * pixels).save(root / part / f"p{number}.png")
    profile = tmp_path / "native.toml"
    text = SMOKE.replace("pixels = 4096", "pixels = 0").replace("batch = 2", "batch = 1")
    profile.write_text(text, encoding="utf-8")
    words = ["--datasets", f"{root}:pattern={{patient}}", "--profile", str(profile)]
    out = bench("run", "--methods", "unet", *words, code=2)
    assert "of own is 16 x 12 pixels (height x width); U-Net needs at least 17 x 12" in out
    assert "under batch 1: leave the method or the case out" in out
    assert not list(bench.home.glob("results/*/own*/unet"))
