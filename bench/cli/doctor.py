"""`bench doctor`: what this machine has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import options
from bench.spec import installing, machine, registry
from bench.spec.errors import UsageError
from bench.spec.words import count

SECONDS = 10.0
"""How long a GPU's speed is measured."""
SLOW = 0.1
"""Share of an A100's speed under which something is probably wrong with a GPU."""


def doctor(
    as_json: options.Json = False,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Check each GPU too, and measure it for ten seconds.")
    ] = False,
) -> None:
    """Check this machine: versions, device, cores, memory, disk, folders.

    Examples:

        bench doctor

        bench doctor --gpu

        bench doctor --json
    """
    from rich.table import Table
    from rich.text import Text

    checks = run_checks()
    if gpu:
        checks += gpu_checks()
    if as_json:
        options.print_json(checks)
    else:
        table = Table("check", "", "found", "remedy")
        for check in checks:
            mark = Text("ok", "green") if check["ok"] else Text("fix", "red")
            table.add_row(check["name"], mark, check["found"], check["remedy"])
        options.console().print(table)
    raise typer.Exit(0 if all(check["ok"] for check in checks) else 1)


def run_checks() -> list[dict[str, Any]]:
    """Return checks of this machine: name, whether it is well, what was found, what fixes it."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes of the machine
    data = os.environ.get("BENCH_DATA")
    return [
        _check("versions", True, versions),
        _check("device", True, _device()),
        _check("methods", True, ", ".join(registry.names(registry.METHODS))),
        _check("memory", memory > 6e9, f"{memory / 1e9:.1f} GB", "6 GB are advised; try --jobs 1"),
        _check_cache(),
        _check_folder("results", Path("results"), "choose another folder with --out"),
        _check(
            "BENCH_DATA",
            data is None or Path(data).is_dir(),
            data or "not set: datasets are phantoms",
            "set it to a folder that exists",
        ),
    ]


def gpu_checks() -> list[dict[str, Any]]:
    """Return checks of each GPU: what it is, and how fast it trains."""
    if installing.of_train("torch"):
        return [_check("gpu", False, "none", installing.missing_for_training("torch"))]
    from bench.spec import devices

    missing = devices.why_no_gpu()
    if missing is not None:
        return [_check("gpu", False, missing.why, "cells run on the CPU until then")]
    import torch

    checks = []
    for index in range(torch.cuda.device_count()):
        name = f"cuda:{index}"
        checks.append(_check(name, True, devices.describe(name)))
        checks.append(_check_speed(name))
    return checks


def _check_speed(name: str) -> dict[str, Any]:
    """Measure how fast a GPU trains, beside an A100."""
    import torch

    from bench.engine import speed

    low, high = speed.PUBLISHED
    try:
        measured = speed.images_a_second(torch.device(name), SECONDS)
    except torch.cuda.OutOfMemoryError:
        why = f"no room for a batch of {speed.BATCH} images of 192 x 160"
        return _check(f"{name} speed", False, why, "see what else runs there: nvidia-smi")
    said = (
        f"{measured:.0f} images of 192 x 160 a second in training nnU-Net in 2D, bfloat16 "
        f"(NVIDIA's figure for an A100: {low} to {high})"
    )
    remedy = "see what else runs there, its temperature and its power limit: nvidia-smi -q"
    return _check(f"{name} speed", measured > SLOW * low, said, remedy)


def _device() -> str:
    """Return the device that cells run on by default, or what lets them run at all."""
    if installing.of_train("torch"):
        return f"none: {installing.missing_for_training('torch')}"
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = count(machine.cores(), "core")
    return f"CPU: {machine.processor()}, {cores}; the default profile is 'cpu'"


def _check_cache() -> dict[str, Any]:
    """Check the folder of prepared datasets."""
    try:
        folder = machine.cache_root()
    except UsageError as error:
        return _check("cache", False, "this user has no home folder", str(error))
    return _check_folder("cache", folder, "set BENCH_CACHE")


def _check_folder(name: str, folder: Path, remedy: str) -> dict[str, Any]:
    """Check that a folder can be made and written, and that its disk is not full."""
    path = folder.absolute()
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(nearest).free
    ok = os.access(nearest, os.W_OK) and free > 2e9
    return _check(name, ok, f"{path}, {free / 1e9:.1f} GB free", remedy)


def _check(name: str, ok: bool, found: str, remedy: str = "") -> dict[str, Any]:
    """Return a check as `--json` prints it; the remedy stands only where something is wrong."""
    return {"name": name, "ok": ok, "found": found, "remedy": "" if ok else remedy}
