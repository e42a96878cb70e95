"""How long cells would take here, by some steps of each: what `bench plan --measure` prints."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import options
from bench.spec import installing, registry
from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.spec.profile import Profile
from bench.spec.words import count

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.splits import Splitting


@dataclass(frozen=True)
class Place:
    """On what cells would run."""

    data: Path | None
    profile: Profile
    splitting: Splitting
    device: str


def measure(methods: str, datasets: str, place: Place, seconds: float) -> list[dict[str, Any]]:
    """Time each method on each dataset, so long in all; return a row of seconds for each.

    Raises:
        UsageError: Something is wrong with the names or the data, or a method trains itself.
    """
    installing.refuse_untrainable([])
    from bench.engine.timing import timed
    from bench.launch import matrix
    from bench.store.cells import Store

    specs = registry.expand(registry.METHODS, methods)
    chosen = options.datasets_of(datasets, place.data, place.profile)
    readers = matrix.find(chosen, place.data, place.profile)
    if not readers:
        raise UsageError("no dataset is named, so there is nothing to time")
    share = seconds / (len(specs) * len(readers))
    rows = []
    with options.preparing_quietly() as told:
        prepared = [reader.prepare(told) for reader in readers]
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        store.open(place.profile)
        cells = matrix.cells(
            place.profile, prepared, specs, store, place.splitting, [SEED], place.device
        )
        for cell in (cell for cell in cells if cell.fold == 0):
            taken = asdict(timed(cell, store, place.device, share))
            rows.append(
                {
                    "dataset": cell.dataset.id.name,
                    "method": cell.method.key,
                    "device": place.device,
                    "seconds": taken.pop("total"),
                    **taken,
                }
            )
    return rows


def show(rows: Sequence[dict[str, Any]], cells_of_a_pair: int, console: Console) -> None:
    """Print the seconds of each part and of a cell, and the time of all cells."""
    from rich.table import Table

    from bench.launch.board import clock

    table = Table("dataset", "method", "s a step", "s an image", "a cell, at most")
    for row in rows:
        numbers = (f"{row['step']:.3g}", f"{row['prediction']:.3g}", clock(row["seconds"]))
        table.add_row(row["dataset"], row["method"], *numbers)
    console.print(table)
    total = cells_of_a_pair * sum(row["seconds"] for row in rows)
    steps = sum(row["steps"] for row in rows)
    options.say(
        f"{count(cells_of_a_pair * len(rows), 'cell')}, one after the other on "
        f"{rows[0]['device']}: at most {clock(total)}. From {count(steps, 'step')} that were "
        "timed beside what else ran here; training may stop early.",
        to=console,
    )
