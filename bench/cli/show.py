"""`bench methods`, `bench doctor`, `bench data list`: what there is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from bench.data import cache
from bench.launch import matrix as plan
from bench.spec import machine, options, registry
from bench.spec.config import load_profile
from bench.spec.errors import UsageError
from bench.store.store import Store


@contextmanager
def preparing(console: Console) -> Iterator[plan.Progress]:
    """Show how far the preparation of datasets is, with the time left; a line each where there is no terminal."""
    columns = (
        TextColumn("preparing {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        tasks: dict[str, Any] = {}

        def progress(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
                if not console.is_terminal:
                    console.print(f"preparing {name}: {total} items", highlight=False)
            bars.update(tasks[name], completed=done)

        yield progress


def print_left_out(name: str, lines: Sequence[str], console: Console, most: int = 5) -> None:
    """Say what of a dataset could not be used; the rest is."""
    if lines:
        console.print(f"{name}: {len(lines)} left out:", style="bold", highlight=False)
    for line in lines[:most]:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if len(lines) > most:
        console.print(
            f"  ... and {len(lines) - most} more: bench data check {name}",
            markup=False,
            highlight=False,
        )


def methods() -> list[dict[str, Any]]:
    """Return what is known of each method before it is built."""
    rows = []
    for name in registry.names(registry.METHODS):
        cls = registry.load(registry.METHODS, name)
        rows.append(
            {
                "name": name,
                "title": cls.title,
                "source": cls.source,
                "in_all": cls.in_all,
                "options": {
                    key: {"default": field.default, "help": field.metadata.get("help", "")}
                    for key, field in options.options(cls).items()
                },
                "sizes": {scale: dict(sizes) for scale, sizes in cls.scales.items()},
                "deviations": list(cls().deviations(1)),
            }
        )
    return rows


def print_methods(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print a paragraph a method."""
    for row in rows:
        table = Table.grid(padding=(0, 2), pad_edge=True)
        table.add_row("source", row["source"])
        for key, option in row["options"].items():
            table.add_row("option", f"{key}={options.shown(option['default'])}  {option['help']}")
        for line in row["deviations"]:
            table.add_row("differs", line)
        left_out = "" if row["in_all"] else "  (not in 'all')"
        console.print(
            Text.assemble((row["name"], "bold"), f"  {row['title']}{left_out}"), table, ""
        )


def ledger(out: Path, profile: str | None) -> list[dict[str, Any]]:
    """Return the fairness ledger of finished cells, a row for each dataset and method.

    Raises:
        UsageError: No cell of the profile is finished.
    """
    import pandas as pd

    from bench.report.sections import ledger as book
    from bench.report.sections import tables

    store = Store(out)
    frames = [
        book.collect(store, table).assign(source=table.source)
        for table in tables.collect(store, store.finished_profile(profile))
    ]
    rows: list[dict[str, Any]] = json.loads(pd.concat(frames).to_json(orient="records"))
    return rows


def print_ledger(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the ledger, a block a dataset, with what single methods had below it."""
    import pandas as pd

    from bench.report.listing import Listing
    from bench.report.sections import ledger as book

    frame = pd.DataFrame(rows)
    for (source, dataset), part in frame.groupby(["source", "dataset"], sort=False):
        table = Table(
            "method",
            "params M",
            "idle",
            "MACs G",
            "steps",
            "train s",
            "s/image",
            "MiB",
            "trials",
            title=f"{dataset}, {source} data",
            title_justify="left",
        )
        for method, row in zip(
            part.method, Listing("", "", "", book.HEADS, book.NUMBERS, part).cells(), strict=True
        ):
            table.add_row(method, *row[2:10])
        console.print(table)
    for each in frame.drop_duplicates("method").to_dict("records"):
        had = "; ".join(
            f"{name}: {each[name]}" for name in book.WORDS if each[name] not in ("none", "unknown")
        )
        if had:
            console.print(f"{each['method']} had {had}", markup=False, highlight=False)
    for line in book.differences(frame):
        console.print(line, markup=False, highlight=False)


def datasets(wanted: str, data: Path | None, profile: str) -> list[dict[str, Any]]:
    """Return each dataset's source and extent; what is not prepared yet is."""
    found = plan.find(registry.expand(registry.DATASETS, wanted), data, load_profile(profile))
    rows = []
    with preparing(Console(stderr=True)) as progress:
        for each in found:
            dataset = cache.load(Path(plan.prepare(each, machine.cores(), progress).cache))
            rows.append(
                {
                    "name": dataset.name,
                    "source": dataset.source,
                    "patients": len(dataset.patients),
                    "cases": len(dataset.cases),
                    "sizes": sorted({f"{case.width}x{case.height}" for case in dataset.cases}),
                    "spacing": (
                        "known" if all(case.spacing for case in dataset.cases) else "unknown"
                    ),
                    "digest": dataset.digest,
                    "folder": str(each.root.resolve()) if each.root else None,
                }
            )
    return rows


def prepare(spec: str, source: Path) -> dict[str, Any]:
    """Prepare the dataset of a folder, and return its manifest and where it lies.

    Raises:
        UsageError: There is no such dataset or folder, or it cannot be prepared.
    """
    if not source.is_dir():
        raise UsageError(
            f"--from {source} is not there; expected the folder that the dataset lies in"
        )
    found = plan.Found(registry.dataset(spec), source)
    with preparing(Console(stderr=True)) as progress:
        folder = Path(plan.prepare(found, machine.cores(), progress).cache)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {**manifest, "prepared": str(folder)}


def print_manifest(manifest: dict[str, Any], console: Console) -> None:
    """Print what was read, and what was left out."""
    sizes = [f"{width}x{height}" for width, height in manifest["sizes"]]
    shown = ", ".join(sizes[:3]) + (f" and {len(sizes) - 3} more" if len(sizes) > 3 else "")
    console.print(
        f"{manifest['name']}: {manifest['patients']} patients, {manifest['cases']} cases of {shown}"
        f" pixels, {100 * manifest['foreground_share']:.1f} % foreground, digest"
        f" {manifest['digest'][:8]}",
        highlight=False,
        soft_wrap=True,
    )
    if reading := manifest["rules"].get("reading"):
        console.print(f"{manifest['name']}: {reading}", highlight=False, soft_wrap=True)
    print_left_out(manifest["name"], manifest["left_out"], console)
    console.print(
        f"Manifest: {Path(manifest['prepared']) / 'manifest.json'}", highlight=False, soft_wrap=True
    )


def check(wanted: str, data: Path | None, profile: str) -> list[dict[str, Any]]:
    """Return what is found in each dataset; what is not prepared yet is."""
    from dataclasses import asdict

    from bench.data import check as checks

    found = plan.find(registry.expand(registry.DATASETS, wanted), data, load_profile(profile))
    rows = []
    with preparing(Console(stderr=True)) as progress:
        for each in found:
            folder = Path(plan.prepare(each, machine.cores(), progress).cache)
            findings = [
                {"dataset": each.adapter.name, **asdict(finding)}
                for finding in checks.check(folder)
            ]
            rows += findings or [
                {
                    "dataset": each.adapter.name,
                    "kind": "well",
                    "cases": [],
                    "text": "nothing found",
                    "grave": False,
                }
            ]
    return rows


def print_check(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the findings, a line each."""
    for row in rows:
        style = "bold red" if row["grave"] else "bold"
        line = Text.assemble((f"{row['dataset']}: {row['kind']}", style), f"  {row['text']}")
        console.print(line, highlight=False, soft_wrap=True)


def print_datasets(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the datasets as a table."""
    table = Table("name", "source", "patients", "cases", "width x height", "spacing", "digest")
    for row in rows:
        sizes = row["sizes"]
        shown = ", ".join(sizes[:2]) + (f" and {len(sizes) - 2} more" if len(sizes) > 2 else "")
        table.add_row(
            row["name"],
            "[bold]real[/]" if row["source"] == "real" else "phantom (simulated)",
            str(row["patients"]),
            str(row["cases"]),
            shown,
            row["spacing"],
            row["digest"][:8],
        )
    console.print(table)


def doctor() -> list[dict[str, Any]]:
    """Return checks of this machine: name, whether it is well, what was found, what mends it."""
    import torch

    cuda = torch.cuda.is_available()
    device = (
        torch.cuda.get_device_name()
        if cuda
        else f"CPU: {machine.processor()}, {machine.cores()} cores"
    )
    checks = [
        _check("versions", True, ", ".join(f"{k} {v}" for k, v in machine.versions().items())),
        _check("device", True, device + ("" if cuda else "; the default profile is 'cpu'")),
        _check("methods", True, ", ".join(registry.names(registry.METHODS))),
    ]
    memory = _memory()
    checks.append(
        _check("memory", memory > 6e9, f"{memory / 1e9:.1f} GB", "6 GB are advised; try --jobs 1")
    )
    for what, folder in (("cache", machine.cache_root()), ("results", Path("results"))):
        place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        free = shutil.disk_usage(place).free
        well = os.access(place, os.W_OK) and free > 2e9
        remedy = "set BENCH_CACHE" if what == "cache" else "choose another folder with --out"
        checks.append(_check(what, well, f"{folder.absolute()}, {free / 1e9:.1f} GB free", remedy))
    data = os.environ.get("BENCH_DATA")
    there = data is None or Path(data).is_dir()
    checks.append(
        _check(
            "BENCH_DATA",
            there,
            data or "not set: datasets are phantoms",
            "set it to a folder that exists",
        )
    )
    return checks


def _check(name: str, ok: bool, found: str, remedy: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found, "remedy": "" if ok else remedy}


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def print_doctor(checks: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the checks as a table."""
    table = Table("check", "", "found", "remedy")
    for check in checks:
        table.add_row(
            check["name"],
            "[green]ok[/]" if check["ok"] else "[red]mend[/]",
            check["found"],
            check["remedy"],
        )
    console.print(table)
