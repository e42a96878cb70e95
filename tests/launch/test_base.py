"""Launchers by name, and options that a launcher does not use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.user import Bench

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("launcher", "flag", "user"),
    [
        ("local", "slurm", "slurm"),
        ("ray", "slurm", "slurm"),
        ("debug", "slurm", "slurm"),
        ("local", "address", "ray"),
        ("slurm", "address", "ray"),
        ("local", "gpus", "ray"),
        ("slurm", "gpus", "ray"),
        ("debug", "gpus", "ray"),
    ],
)
def test_an_option_of_another_launcher_is_refused(
    bench: Bench, slices: Make, launcher: str, flag: str, user: str
) -> None:
    words = ("--device", "cpu", "--launcher", launcher, f"--{flag}", "1")
    out = bench.run(slices(), "unet", *words, code=2)
    assert f"--{flag} has no effect under --launcher {launcher}" in out
    assert f"--launcher {user}" in out.split(";")[-1]
    assert len(out.strip().splitlines()) == 1
    assert list(bench.home.iterdir()) == []


def test_an_unknown_launcher_names_the_nearest(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "unet", "--device", "cpu", "--launcher", "slrum", code=2)
    assert "'slrum'" in out
    assert "'slurm'" in out
    assert len(out.strip().splitlines()) == 1
