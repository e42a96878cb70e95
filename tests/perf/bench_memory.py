"""Peak memory of a whole cell as its steps grow: it must stay flat.

Run from the repository's root: ``python tests/perf/bench_memory.py``. Each training is a fresh
process that runs a cell as the launcher does: certificate, validations, checkpoints, prediction and
scores included. The network is small, so that what a step leaves behind would show.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from timing import Row, table

STEPS = (50, 200, 800)
MIB = 1024.0
FLAT = 1.02
"""Most that the longest training may need over the shortest."""


def peak() -> float:
    """Return the largest resident memory of this process so far, in MiB.

    Read from the system where it tells: the usual call also counts the parent, until this program
    was started.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
        return int(peak[1]) / MIB  # type: ignore[index]
    from bench.spec.machine import peak_memory

    return peak_memory() / MIB**2


def run(steps: int, folder: Path) -> None:
    """Run one cell of so many steps and print the peak."""
    from bench.data.splits import Splitting
    from bench.engine.cell import run_cell
    from bench.launch import matrix
    from bench.spec.config import SEED
    from bench.spec.names import Spec
    from bench.spec.profile import load_profile
    from bench.store.cells import Store

    profile = replace(load_profile("smoke"), steps=steps, validate_every=25, patience=steps)
    store = Store(folder / str(steps))
    store.open(profile)
    refs = [found.prepare() for found in matrix.find([Spec("mr")], None, profile)]
    method = Spec.parse("unet:width=4")
    cell = matrix.cells(profile, refs, [method], store, Splitting(), [SEED])[0]
    with store.at_work(cell) as work:
        run_cell(cell, store, work)
    print(peak())


def measure() -> list[Row]:
    """Return a row for each number of steps, against the smallest."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "BENCH_CACHE": os.environ.get("BENCH_CACHE", f"{folder}/cache"),
        }
        for steps in (STEPS[0], *STEPS):  # the first one may have to prepare the dataset
            words = [sys.executable, __file__, str(steps), f"{folder}/{len(peaks)}"]
            done = subprocess.run(
                words, capture_output=True, text=True, check=True, env=environment
            )
            peaks[steps] = float(done.stdout.split()[-1])
    first = peaks[STEPS[0]]
    rows = [Row(f"peak memory, {STEPS[0]} steps", f"{first:.1f} MiB", "", "", "")]
    for steps in STEPS[1:]:
        ratio = peaks[steps] / first
        rows.append(
            Row(
                f"peak memory, {steps} steps",
                f"{peaks[steps]:.1f} MiB",
                f"{STEPS[0]} steps",
                f"{first:.1f} MiB",
                f"{ratio:.3f}",
                f"{FLAT:g}",
                ratio <= FLAT,
            )
        )
    return rows


if __name__ == "__main__":
    if len(sys.argv) == 3:
        run(int(sys.argv[1]), Path(sys.argv[2]))
    else:
        print(table(measure()))
