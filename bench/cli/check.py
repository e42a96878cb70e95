"""`bench data check`: what spoils a result before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bench.cli import options
from bench.spec.errors import UsageError, printable
from bench.spec.profile import load_profile

if TYPE_CHECKING:
    from bench.data.check import Finding


def check(
    datasets: options.Datasets = "all",
    data: options.Data = None,
    profile: options.ProfileOfPhantoms = "cpu",
    as_json: options.Json = False,
) -> None:
    """Look for what spoils a result: damage, twins of two patients, odd masks, flipped cases.

    Exit code 1 where results cannot be believed before something is fixed.

    Examples:

        bench data check --data ~/spine

        bench data check --datasets path/to/folder --json
    """
    from rich.text import Text

    rows = run_checks(datasets, data, profile)
    if as_json:
        options.print_json(rows)
    else:
        console = options.console()
        for row in rows:
            style = "bold red" if row["grave"] else "bold"
            heading = (f"{row['dataset']}: {row['kind']}", style)
            line = Text.assemble(heading, f"  {printable(row['text'])}")
            console.print(line, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if any(row["grave"] for row in rows) else 0)


def _volumes(folder: Path) -> Iterator[Finding]:
    """Say where --score volume would refuse slices that have places in volumes."""
    from bench.data import cache
    from bench.data.check import Finding
    from bench.engine.volumes import stacks

    try:
        stacks(case for case in cache.load(folder).cases if case.place)
    except UsageError as error:
        yield Finding("volumes", (), str(error))


def run_checks(names: str, data: Path | None, profile: str) -> list[dict[str, Any]]:
    """Return what is found in each dataset; what is not prepared yet is."""
    from bench.data.check import READING, Finding, check
    from bench.launch import matrix

    chosen = load_profile(profile)
    specs = options.datasets_of(names, data, chosen)
    nothing = Finding("well", (), "nothing found")
    rows = []
    with options.preparing_quietly() as told:
        for dataset in matrix.find(specs, data, chosen):
            folder = Path(dataset.prepare(told).cache)
            findings = [*check(folder), *_volumes(folder)]
            if all(finding.kind == READING for finding in findings):
                findings.append(nothing)
            for finding in findings:
                rows.append({"dataset": dataset.adapter.name, **asdict(finding)})
    return rows
