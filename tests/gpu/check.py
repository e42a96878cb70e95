"""Run the stages one after the other, and keep what is known after each row.

Run from the repository's root: `make gpu-check`, or `python -m tests.gpu --device cuda`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from bench.spec import devices, machine
from bench.spec.errors import UsageError
from tests.gpu.page import markdown
from tests.gpu.setting import Row, Setting, last_line
from tests.gpu.stages import STAGES, Stage, whole_matrix


def main(words: Sequence[str] | None = None) -> int:
    """Check a device; return 0 where nothing failed, 1 where something did, 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="gpu-check", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu (tiny, to try it)")
    parser.add_argument("--out", type=Path, default=Path("build/gpu-check"), help="a folder")
    parser.add_argument("--minutes", type=float, default=8.0, help="when stages are cut short")
    asked = parser.parse_args(words)
    try:
        devices.check(asked.device)
    except UsageError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    if asked.device == "cpu":
        machine.limit_threads(1)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # is read at the first matrix product
    asked.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="gpu-check-"))
    os.environ["BENCH_CACHE"] = str(work / "cache")
    try:
        return Check(torch.device(asked.device), asked.out, work, asked.minutes).run()
    finally:
        shutil.rmtree(work, ignore_errors=True)


class Check:
    """A check under way: its result is written again after every row."""

    def __init__(self, device: torch.device, out: Path, work: Path, minutes: float) -> None:
        self.setting = Setting(device, work)
        self.out = out
        self.began = time.monotonic()
        self.minutes = minutes
        self.result: dict[str, Any] = {
            "device": _named(device),
            "versions": _versions(),
            "date": date.today().isoformat(),
            "seconds": 0.0,
            "whole": False,
            "stages": [],
        }

    def run(self) -> int:
        """Run all stages; return 1 where something failed."""
        for title, (stage, share) in STAGES.items():
            self._stage(title, stage, self.began + 60 * self.minutes * share)
        first = self.result["stages"][0]["rows"]
        self._stage("The whole matrix", lambda *_: whole_matrix(first), 0.0, whole_matrix.__doc__)
        self.result["whole"] = True
        self.write()
        stages = self.result["stages"]
        bad = [row for one in stages for row in one["rows"] if "failed" in row]
        print(f"{self.out / 'page.md'}: {len(bad)} rows failed")
        return 1 if bad or any(one.get("failed") for one in stages) else 0

    def _stage(self, title: str, stage: Stage, until: float, about: str | None = None) -> None:
        rows: list[Row] = []
        text = " ".join((about or stage.__doc__ or "").split())
        one: dict[str, Any] = {"title": title, "about": text, "seconds": 0.0, "rows": rows}
        self.result["stages"].append(one)
        began = time.monotonic()
        try:
            for row in stage(self.setting, until):
                rows.append(row)
                one["seconds"] = time.monotonic() - began
                self.write()
                if "text" not in row:
                    print(f"{title}: {json.dumps(row)}", flush=True)
        except Exception as error:
            one["failed"] = last_line(error)
        one["seconds"] = time.monotonic() - began
        self.setting.free()
        self.write()

    def write(self) -> None:
        """Write the JSON and the page, so that a check that is cut off keeps what it has."""
        self.result["seconds"] = time.monotonic() - self.began
        for name, text in (
            ("result.json", json.dumps(self.result, indent=1)),
            ("page.md", markdown(self.result)),
        ):
            part = self.out / f"{name}.part"
            part.write_text(text, encoding="utf-8")
            part.replace(self.out / name)


def _named(device: torch.device) -> str:
    """Return the device's name, and its memory where it is a GPU."""
    if device.type != "cuda":
        tried = "tiny sizes, to try the script: **these figures mean nothing**"
        return f"{machine.processor()} ({machine.cores()} cores), {tried}"
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB; {machine.cores()} cores"


def _versions() -> str:
    return f"Python {platform.python_version()}, PyTorch {torch.__version__}"
