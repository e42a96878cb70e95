"""`bench methods`: what methods there are; or what each one had and cost in finished runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.spec import registry

if TYPE_CHECKING:
    from rich.console import Console

    from bench.store.results import Results


COSTS = {
    "parameters": "params M",
    "idle_parameters": "idle",
    "multiply_adds": "MACs G",
    "steps": "steps",
    "train_seconds": "train s",
    "predict_seconds": "s/image",
    "memory": "MiB",
    "trials": "trials",
}
"""The ledger's columns that the terminal has room for, with short headings."""


def methods(
    table: Annotated[
        bool, typer.Option("--table", help="What each one had and cost in finished runs.")
    ] = False,
    out: options.Out = Path("results"),
    profile: options.ProfileOfResults = None,
    as_json: options.Json = False,
) -> None:
    """List the methods, their sources and options; or the fairness ledger of what ran.

    Examples:

        bench methods

        bench methods --table

        bench methods --json
    """
    if not table:
        rows = known_methods()
        if as_json:
            options.print_json(rows)
        else:
            _print_methods(rows, options.console())
        return
    from bench.store.cells import Store
    from bench.store.results import Results

    results = Results.load(Store(out), profile)
    rows = ledger_rows(results)
    if as_json:
        options.print_json(rows)
    else:
        _print_ledger(rows, options.console())
    raise typer.Exit(options.tell_damaged(results.damaged))


def known_methods() -> list[dict[str, Any]]:
    """Return what is known of each method before it is built."""
    return [_method(name) for name in registry.names(registry.METHODS)]


def _method(name: str) -> dict[str, Any]:
    """Return what `--json` prints of a method."""
    from bench.spec.options import options as options_of

    cls = registry.load(registry.METHODS, name)
    described = {}
    for key, field in options_of(cls).items():
        described[key] = {"default": field.default, "help": field.metadata.get("help", "")}
    return {
        "name": name,
        "title": cls.title,
        "source": cls.source,
        "in_all": cls.in_all,
        "multiclass": cls.multiclass,
        "options": described,
        "sizes": {scale: dict(sizes) for scale, sizes in cls.scales.items()},
        "deviations": list(cls().deviations(1)),
    }


def _print_methods(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print a paragraph a method."""
    from rich.table import Table
    from rich.text import Text

    from bench.spec.options import shown

    for row in rows:
        table = Table.grid(padding=(0, 2), pad_edge=True)
        table.add_row("source", row["source"])
        for key, option in row["options"].items():
            table.add_row("option", f"{key}={shown(option['default'])}  {option['help']}")
        for line in row["deviations"]:
            table.add_row("differs", line)
        left_out = "" if row["in_all"] else "  (not in 'all')"
        table.add_row("classes", "several" if row["multiclass"] else "one foreground only")
        title = Text.assemble((row["name"], "bold"), f"  {row['title']}{left_out}")
        console.print(title, table, "")


def ledger_rows(results: Results) -> list[dict[str, Any]]:
    """Return the fairness ledger of finished cells, a row for each dataset and method."""
    import pandas as pd

    from bench.report.sections import ledger
    from bench.report.sections.table import collect

    tables = collect(results)
    frames = [ledger.collect(table).assign(source=table.source) for table in tables]
    rows: list[dict[str, Any]] = json.loads(pd.concat(frames).to_json(orient="records"))
    return rows


def _print_ledger(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the ledger, a block a dataset, with what single methods had below it."""
    import pandas as pd
    from rich.table import Table

    from bench.report.sections import ledger

    frame = pd.DataFrame(rows)
    for (source, dataset), part in frame.groupby(["source", "dataset"], sort=False):
        title = f"{dataset}, {source} data"
        table = Table("method", *COSTS.values(), title=title, title_justify="left")
        for method, cells in zip(part.method, ledger.cells(part), strict=True):
            by_name = dict(zip(ledger.HEADS, cells, strict=True))
            table.add_row(method, *(by_name[name] for name in COSTS))
        console.print(table)
    for row in frame.drop_duplicates("method").to_dict("records"):
        special = [name for name in ledger.WORDS if row[name] not in ("none", "unknown")]
        had = "; ".join(f"{name}: {row[name]}" for name in special)
        if had:
            options.say(f"{row['method']} had {had}", to=console)
    one_foreground = [name for name in dict.fromkeys(frame["method"]) if not _multiclass(name)]
    if one_foreground:
        options.say(f"one foreground only, no classes: {', '.join(one_foreground)}", to=console)
    for difference in ledger.differences(frame):
        options.say(difference, to=console)


def _multiclass(key: str) -> bool:
    """Return whether a method tells classes apart; of one that is not here, nothing is said."""
    from bench.spec.names import Row

    name = Row.parse(key).spec.name
    if name not in registry.names(registry.METHODS):
        return True
    return bool(registry.load(registry.METHODS, name).multiclass)
