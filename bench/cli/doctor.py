"""`bench doctor`: what this machine has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import typer

from bench.cli import options
from bench.spec import installing, machine, registry
from bench.spec.errors import UsageError
from bench.spec.words import count


def doctor(as_json: options.Json = False) -> None:
    """Check this machine: versions, device, cores, memory, disk, folders.

    Examples:

        bench doctor

        bench doctor --json
    """
    from rich.table import Table
    from rich.text import Text

    checks = run_checks()
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
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
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
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    ok = os.access(place, os.W_OK) and free > 2e9
    return _check(name, ok, f"{path}, {free / 1e9:.1f} GB free", remedy)


def _check(name: str, ok: bool, found: str, remedy: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found, "remedy": "" if ok else remedy}
