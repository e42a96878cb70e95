"""What the stages share: the device, sizes, time limits, data, networks, and the command line."""

from __future__ import annotations

import gc
import io
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data.grid import OnGrid
from bench.data.phantom import render
from bench.engine.trainee import Trainee, build
from bench.spec import registry
from bench.spec.case import Case, Dataset
from bench.spec.errors import UsageError
from bench.spec.method import Task
from bench.spec.names import Spec
from bench.spec.profile import Profile, load_profile

Row = dict[str, Any]
"""A row of a stage's table.

`failed` is the last line of an error, `skipped` says why a row was not run, and `met` whether a
goal is met.
"""

STEP, IMAGE = "training: ms a step", "prediction: ms an image"
"""Columns of times."""
NATIVE = {"ct-verse": (369, 166), "xray": (750, 250), "ct-pri": (768, 534), "mr": (880, 880)}
"""Native (height, width) of each dataset."""
TINY = {"ct-verse": (48, 32), "mr": (64, 64)}
"""Sizes on the CPU."""


@dataclass(frozen=True)
class Setting:
    """How large everything is: as users have it on a GPU, tiny on the CPU."""

    device: torch.device
    work: Path
    """A folder for results, removed at the end."""

    @property
    def small(self) -> bool:
        """Whether this is the CPU, where only the script itself is tried."""
        return self.device.type == "cpu"

    def choose(self, on_gpu: Any, on_cpu: Any) -> Any:
        """Return one of two values by the device."""
        return on_cpu if self.small else on_gpu

    @property
    def scale(self) -> str:
        return str(self.choose("full", "tiny"))

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """(height, width) of each dataset."""
        return dict(self.choose(NATIVE, TINY))

    @property
    def main_methods(self) -> list[Spec]:
        """The methods of the stages that train to an end: all, or two of them on the CPU."""
        return self.methods if not self.small else [Spec("unet"), Spec("verdiff")]

    @property
    def methods(self) -> list[Spec]:
        """All methods of the main job. One whose library is missing stays: its rows say so."""
        return [Spec(name) for name in registry.names(registry.METHODS) if _in_all(name)]

    def profile(self, **values: Any) -> Profile:
        """Return the paper's profile (on the CPU: `smoke`) with other values."""
        base = load_profile(self.choose("paper", "smoke"))
        return replace(base, **values)

    def trainee(self, spec: Spec, size: tuple[int, int], precision: str, **values: Any) -> Trainee:
        """Return a network of a method on the device, for images of one size."""
        profile = self.profile(**{"validate_every": 10**9, "steps": 10**9, **values})
        method = registry.method(spec, profile.scale)
        task = Task("mr", (size,) * 20, profile.batch, 9000)
        return build(method, task, profile, 35, self.device, precision)

    def goal(self, text: str, met: bool) -> Row:
        """Return a goal and whether it is met; a CPU has none."""
        return {} if self.small else {"goal": text, "met": met}

    def finish(self) -> None:
        """Wait until the device has computed everything."""
        if not self.small:
            torch.cuda.synchronize(self.device)

    def free(self) -> None:
        """Free the memory that nothing refers to, and forget the peak."""
        if not self.small:
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gib(self) -> float | None:
        """Return the peak memory on the device since `free`, in GiB."""
        if self.small:
            return None
        return round(torch.cuda.max_memory_allocated(self.device) / 2**30, 2)

    def seconds(self) -> float:
        """Return the time, when the device has computed everything."""
        self.finish()
        return time.perf_counter()


def missing(name: str) -> str:
    """Return why a method cannot be imported, empty if it can."""
    try:
        registry.load(registry.METHODS, name)
    except UsageError as error:
        return str(error)
    return ""


def _in_all(name: str) -> bool:
    return bool(missing(name)) or registry.load(registry.METHODS, name).in_all


@cache
def phantom(name: str) -> Dataset:
    """Return two phantom cases of a dataset at their native size."""
    slices = [render(name, patient, 1, 3) for patient in range(2)]
    height, width = slices[0].image.shape
    cases = tuple(Case(f"c{i}", f"p{i}", height, width, None) for i in range(len(slices)))
    return Dataset(
        name=name,
        source="phantom",
        digest="0" * 64,
        cases=cases,
        images=np.concatenate([one.image.ravel() for one in slices]),
        masks=np.concatenate([one.mask.ravel() for one in slices]),
        starts=(0, height * width),
    )


def cases(name: str, size: tuple[int, int]) -> OnGrid:
    """Return the phantom cases of a dataset on a grid of (height, width)."""
    return OnGrid(phantom(name), None if size == NATIVE[name] else size)


def last_line(error: BaseException) -> str:
    """Return what a row says of an error: its class and the last line of its text."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1]}"[:300]


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let convolutions and matrix products use TF32, or not."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def write_profile(path: Path, profile: Profile) -> Path:
    """Write a profile as the TOML that `--profile` takes."""
    lines = []
    for name, value in asdict(profile).items():
        if name == "name":
            continue
        if isinstance(value, dict):
            pairs = ", ".join(f'"{key}" = {json.dumps(part)}' for key, part in value.items())
            lines.append(f"{name} = {{ {pairs} }}")
        else:
            lines.append(f"{name} = {json.dumps(value)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def bench(*words: str) -> tuple[int, str]:
    """Call the command line in this process; return its exit code and what it printed."""
    from bench.cli import app

    out, before = io.StringIO(), sys.argv
    sys.argv = ["bench", *words]
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(out):
            app.main()
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        sys.argv = before
    return code, out.getvalue()
