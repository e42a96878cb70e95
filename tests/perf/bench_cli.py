"""The command line: help, a second run of a finished matrix, and planning 10,000 cells.

Run from the repository's root: ``python tests/perf/bench_cli.py``. The commands are processes of
their own; beside the time on the wall stands their processor time, which other work on the machine
disturbs less.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from timing import Row, table

from bench.data import cache
from bench.data.splits import Splitting
from bench.launch import matrix
from bench.spec.case import Sample
from bench.spec.config import SEED, Cell, DatasetRef
from bench.spec.dataset import Adapter, Item
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from bench.store.cells import Store

HELP_LIMIT, RERUN_LIMIT, PLAN_LIMIT = 0.4, 3.0, 2.0
REPEATS = 5
DATASETS = ("ct-verse", "ct-pri", "mr", "xray")
METHODS, FOLDS, SEEDS = 25, 5, 20
"""10,000 cells with the four datasets."""
HEADS = 36
"""Certificate heads of a full training under the paper's protocol, which make most of a
cell.json."""


def command(words: Sequence[str]) -> tuple[float, float]:
    """Run `bench` with some words; return its seconds on the wall and of the processor."""
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [f"{sysconfig.get_path('scripts')}/bench", *words], capture_output=True, text=True
    )
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode:
        raise RuntimeError(
            f"bench {' '.join(words)} ended with {done.returncode}: {done.stderr or done.stdout}"
        )
    return (
        wall,
        after.children_user + after.children_system - before.children_user - before.children_system,
    )


def timed(what: str, words: Sequence[str], limit: float) -> Row:
    """Return the row of a command, run several times after once uncounted."""
    command(words)
    times = [command(words) for _ in range(REPEATS)]
    wall, spent = (statistics.median(each) for each in zip(*times, strict=True))
    return row(f"{what} (processor: {spent:.2f} s)", wall, limit)


def row(what: str, seconds: float, limit: float) -> Row:
    """Return a row against a limit."""
    return Row(
        what,
        f"{seconds:.2f} s",
        "limit",
        f"{limit:g} s",
        f"{seconds / limit:.2f}",
        "1.00",
        seconds <= limit,
    )


def rerun(folder: Path) -> Row:
    """Return the row of a second run over all methods and datasets."""
    words = [
        "run",
        "--profile",
        "smoke",
        "--out",
        str(folder / "results"),
        "--report",
        str(folder / "reports"),
    ]
    command(words)
    cells = len(list((folder / "results").glob("smoke/*/*/*/cell.json")))
    return timed(f"second `bench run` of {cells} finished cells", words, RERUN_LIMIT)


@dataclass(frozen=True)
class Small(Adapter):
    """A dataset of 100 patients with three tiny cases each: planning reads names, not pixels."""

    name: str = ""
    title: str = ""

    source = "phantom"

    def rules(self) -> dict[str, Any]:
        """Return nothing: no rule decides the pixels."""
        return {}

    def items(self, root: Path) -> list[Item]:
        """List the patients."""
        return [Item(f"p{number:03d}") for number in range(100)]

    def read(self, item: Item) -> Iterator[Sample]:
        """Return three cases of one patient."""
        pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
        for number in range(3):
            yield Sample(
                f"{item.patient}_{number}",
                item.patient,
                pixels,
                (pixels > 32).astype(np.uint8),
                (1.0, 1.0),
            )


def references(folder: Path) -> list[DatasetRef]:
    """Return prepared datasets of 100 patients."""
    return [
        matrix.dataset_ref(cache.prepare(Small(name=name, title=name), folder)) for name in DATASETS
    ]


def planned(refs: Sequence[DatasetRef], store: Store) -> tuple[list[Cell], list[str], float]:
    """Plan the matrix and look up every cell; return both and the seconds."""
    start = time.perf_counter()
    methods = [Spec("unet", (f"width={width}",)) for width in range(1, METHODS + 1)]
    seeds = range(SEED, SEED + SEEDS)
    cells = matrix.cells(load_profile("paper"), refs, methods, store, Splitting(FOLDS), seeds)
    states: list[str] = [store.status(cell) for cell in cells]
    return cells, states, time.perf_counter() - start


def planning(folder: Path) -> list[Row]:
    """Return the rows of planning with no cell finished, and with all."""
    refs, store = references(folder), Store(folder / "store")
    rows = [plan_row("none finished", refs, store)]
    for cell in planned(refs, store)[0]:
        finished = store.folder(cell)
        finished.path.mkdir(parents=True)
        finished.record.write_text(json.dumps(record(cell), indent=1))
    return [*rows, plan_row("all finished", refs, store)]


def plan_row(what: str, refs: Sequence[DatasetRef], store: Store) -> Row:
    """Return one row of planning."""
    planned(refs, store)
    times = [planned(refs, store) for _ in range(REPEATS)]
    cells, states, _ = times[0]
    expected = {"none finished": "waiting", "all finished": "done"}[what]
    if set(states) != {expected}:
        raise RuntimeError(f"states are {set(states)}, expected {expected} alone")
    return row(
        f"planning {len(cells)} cells, {what}",
        statistics.median(seconds for *_, seconds in times),
        PLAN_LIMIT,
    )


def record(cell: Cell) -> dict[str, Any]:
    """Return a cell.json of about the size of a real one."""
    head = {"steps": 250, "draws": "0" * 64, "pixels": "0" * 64}
    versions = dict.fromkeys(
        ("python", "torch", "numpy", "scipy", "pandas", "timm", "diffusers", "nnunetv2"), "1.0.0"
    )
    return {
        "spec": cell.spec(),
        "hash": cell.hash,
        "certificate": {"heads": [head] * HEADS},
        "versions": versions,
    }


def measure() -> list[Row]:
    """Return all rows; what is prepared lies in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.setdefault("BENCH_CACHE", str(folder / "cache"))
        return [timed("`bench --help`", ["--help"], HELP_LIMIT), rerun(folder), *planning(folder)]


if __name__ == "__main__":
    print(table(measure()))
