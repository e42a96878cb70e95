"""`bench data list`: the datasets, real or phantom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.cli import options
from bench.spec.profile import load_profile


def datasets(
    datasets: options.Datasets = "all",
    data: options.Data = None,
    profile: options.ProfileOfPhantoms = "cpu",
    as_json: options.Json = False,
) -> None:
    """List the datasets: real or phantom, how many patients and cases.

    Examples:

        bench data list

        bench data list --data ~/spine --json
    """
    rows = read_datasets(datasets, data, profile)
    if as_json:
        options.print_json(rows)
    else:
        _show(rows)


def read_datasets(names: str, data: Path | None, profile: str) -> list[dict[str, Any]]:
    """Return each dataset's source and extent; what is not prepared yet is."""
    from bench.data import cache
    from bench.launch import matrix

    chosen = load_profile(profile)
    specs = options.datasets_of(names, data, chosen)
    rows = []
    with options.preparing_quietly() as told:
        for reader in matrix.find(specs, data, chosen):
            dataset = cache.load(Path(reader.prepare(told).cache))
            has_spacing = all(case.spacing for case in dataset.cases)
            folder = str(reader.root.resolve()) if reader.root else None
            row = {
                "name": dataset.name,
                "source": dataset.source,
                "patients": len(dataset.patients),
                "cases": len(dataset.cases),
                "sizes": sorted({f"{case.width}x{case.height}" for case in dataset.cases}),
                "spacing": "known" if has_spacing else "unknown",
                "digest": dataset.digest,
                "folder": folder,
            }
            rows.append(row)
    return rows


def _show(rows: list[dict[str, Any]]) -> None:
    """Print the datasets as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "source", "patients", "cases", "width x height", "spacing", "digest")
    for row in rows:
        source = Text("real", "bold") if row["source"] == "real" else Text("phantom (simulated)")
        counts = (str(row["patients"]), str(row["cases"]))
        sizes = shorten(row["sizes"], 2)
        table.add_row(row["name"], source, *counts, sizes, row["spacing"], row["digest"][:8])
    options.console().print(table)


def shorten(texts: list[str], most: int) -> str:
    """Return the first texts, and how many more there are."""
    shown = ", ".join(texts[:most])
    if len(texts) > most:
        shown += f" and {len(texts) - most} more"
    return shown
