"""Starting a cell, two cells at once, and the state of 10,000 finished cells.

Run from the repository's root: ``python tests/perf/bench_launch.py``. Cells run as `bench run` has
them run, each a process forked from the warm server, on the phantom of the MR.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_cli import command
from bench_cli import row as limited
from timing import Row, table

from bench.data.splits import Splitting
from bench.launch import local, matrix
from bench.launch.base import Request
from bench.launch.follow import follow
from bench.launch.local import Local
from bench.spec import registry
from bench.spec.config import SEED, Cell
from bench.spec.names import Spec
from bench.spec.profile import Profile, load_profile
from bench.store import record
from bench.store.cells import Store
from tests.written import record as made_up

START_LIMIT, STATUS_LIMIT = 0.7, 3.0
JOBS_GOAL = 1.6
CELLS = 6
STEPS = 120
"""Steps of the cells whose throughput is measured, under the profile `cpu`."""
FINISHED = 10_000


def planned(folder: Path, profile: Profile, seeds: int) -> tuple[Store, list[Cell]]:
    """Return cells of U-Net on the MR's phantom, one a seed."""
    store = Store(folder)
    store.open(profile)
    refs = [found.prepare() for found in matrix.find([Spec("mr")], None, profile)]
    numbers = range(SEED, SEED + seeds)
    return store, matrix.cells(profile, refs, [Spec("unet")], store, Splitting(), numbers)


def launched(store: Store, cells: Sequence[Cell], jobs: int) -> float:
    """Run cells; return the seconds on the wall."""
    began = time.perf_counter()
    request = Request(store, cells[0].profile.threads, "cpu", jobs=jobs)
    follow(cells, store, Local(request))
    seconds = time.perf_counter() - began
    if any(store.status(cell) != "done" for cell in cells):
        raise RuntimeError("a cell failed: " + " ".join(store.error(cell) for cell in cells))
    return seconds


def start(folder: Path) -> Row:
    """Return the row of a cell's cost beside its training and predictions, from fork to end.

    The first cell is not counted.
    """
    store, cells = planned(folder / "start", load_profile("smoke"), CELLS + 1)
    launched(store, cells[:1], 1)  # loads PyTorch once
    spent = []
    for cell in cells[1:]:
        seconds = launched(store, [cell], 1)
        done = record.read(store.folder(cell))
        timings, cases = done.timings, done.cases["test"]
        spent.append(seconds - timings.train_seconds - cases * timings.predict_seconds_per_case)
    return limited("starting a cell after the first", statistics.median(spent), START_LIMIT)


def throughput(folder: Path) -> Row:
    """Return the row of two cells at once against one after the other."""
    profile = replace(load_profile("cpu"), steps=STEPS, patience=STEPS)
    one, two = (launched(*planned(folder / f"jobs{jobs}", profile, 4), jobs) for jobs in (1, 2))
    return Row(
        f"4 cells of `cpu`, {STEPS} steps, --jobs 2 on {os.cpu_count()} cores",
        f"{two:.1f} s",
        "--jobs 1",
        f"{one:.1f} s",
        f"{one / two:.2f}x",
        f"{JOBS_GOAL:g}x",
        one / two >= JOBS_GOAL,
    )


def status(folder: Path) -> Row:
    """Return the row of `bench status` over finished cells."""
    cells = folder / "status" / "smoke" / "mr@phantom-abcdef01"
    names = []
    for number in range(FINISHED):
        method, fold, seed = f"m{number % 25}", number // 25 % 5, 35 + number // 125
        place = cells / method / f"f{fold}of5-s{seed}"
        place.mkdir(parents=True)
        said = made_up(method, fold=fold, folds=5, seed=seed)
        (place / "cell.json").write_text(json.dumps(said))
        names.append(str(place.relative_to(folder / "status" / "smoke")))
    (folder / "status" / "smoke" / "plan.txt").write_text("\n".join(names) + "\n")
    words = ["status", "--out", str(folder / "status")]
    command(words)
    wall = statistics.median(command(words)[0] for _ in range(3))
    return limited(f"`bench status` of {FINISHED:,} finished cells", wall, STATUS_LIMIT)


def measure() -> list[Row]:
    """Return all rows."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("BENCH_CACHE", f"{folder}/cache")
        local.preload(
            registry.method(Spec("unet")).needs
        )  # as `bench run` does, before the first fork
        return [start(Path(folder)), throughput(Path(folder)), status(Path(folder))]


if __name__ == "__main__":
    print(table(measure()))
