"""The report without its pictures from up to a million cases, its memory, and the audit of a table.

Run from the repository's root: ``python tests/perf/bench_report.py``. The results are made up: 11
methods on 4 datasets under 5 seeds in 5 folds, 1,100 finished cells as the store lays them down,
with the scores that a cell writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise, product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
from timing import Row, table

from bench.spec.plain import content_hash

METHODS, DATASETS, SEEDS, FOLDS = 11, 4, 5, 5
SIZES = (10_000, 100_000, 1_000_000)
SLICES = 10
"""Cases of a patient."""
SECONDS, MEMORY, AUDIT = 10.0, 2**30, 2.0
GROWTH = 1.25
"""Ten times the cases may cost at most ten times this."""


def store(root: Path, rows: int) -> Path:
    """Write finished cells with so many rows of cases in all."""
    rng = np.random.default_rng(35)
    cells = METHODS * DATASETS * SEEDS * FOLDS
    count = -(-rows // cells)
    for dataset, method, seed, fold in product(
        range(DATASETS), range(METHODS), range(SEEDS), range(FOLDS)
    ):
        dataset_id = {"name": f"set{dataset}", "source": "real", "digest": f"{dataset}abcdef0123"}
        folder = (
            root
            / "cpu"
            / f"set{dataset}@real-{dataset}abcdef0"
            / f"m{method}"
            / f"f{fold}of{FOLDS}-s{35 + seed}"
        )
        folder.mkdir(parents=True)
        head = {"steps": 10, "draws": "h", "pixels": "h"}
        spec = {
            "dataset": dataset_id,
            "method": f"m{method}",
            "options": {},
            "fold": fold,
            "folds": FOLDS,
            "seed": 35 + seed,
            "split": "s",
            "scheme": "",
            "profile": {"steps": 9},
            "precision": "float32",
            "protocol": 3,
        }
        names = [f"f{fold}-{number:05}" for number in range(count)]
        patients = [name[:-1] for name in names]
        record = {
            "spec": spec,
            "hash": content_hash(spec),
            "source": "real",
            "title": f"M{method}",
            "summary": "made up",
            "deviations": [],
            "grid": "native",
            "device": "CPU",
            "versions": {"torch": "2.9"},
            "revision": "0123456789",
            "certificate": {"seed": 35 + seed, "heads": [head]},
            "parameters": 1,
            "idle_parameters": 0,
            "multiply_adds": 1,
            "training": {"steps": 9, "best_step": 9, "best_loss": 0.5},
            "cases": {"test": count},
            "patients": {"test": len(set(patients))},
            "peak_memory_bytes": 1,
            "peak_device_memory_bytes": None,
            "timings": {
                "train_seconds": 7.0,
                "train_seconds_per_step": 0.8,
                "predict_seconds_per_case": 0.25,
                "total_seconds_of_last_attempt": 9.0,
            },
            "advantages": dict.fromkeys(
                ("pretraining", "prompt", "ensembling", "augmentation"), "none"
            ),
        }
        (folder / "cell.json").write_text(json.dumps(record))
        dice = np.clip(rng.beta(30, 4, count) - 0.01 * method, 0, 1).round(4)
        hits = (1e4 * dice).round().astype(int)
        pd.DataFrame(
            {
                "case": names,
                "patient": patients,
                "tp": hits,
                "fp": 10_000 - hits,
                "fn": 10_000 - hits,
                "tn": 50_000,
                "dice": dice,
                "iou": (dice / (2 - dice)).round(6),
                "precision": dice,
                "recall": dice,
                "hd95": (20 * (1 - dice)).round(4),
                "assd": (5 * (1 - dice)).round(4),
                "nsd": dice,
                "unit": "mm",
                "empty": "none",
            }
        ).to_csv(folder / "cases.csv", index=False)
    return root


def spent(code: str) -> tuple[float, int]:
    """Return the seconds of a fresh Python's code and the most memory that it held."""
    start = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - start, 1024 * int(done.stdout.splitlines()[-1])


def reports(folder: Path) -> list[Row]:
    """Return the rows of a whole report's tables and listings."""
    seconds, memory = {}, 0
    for rows in SIZES:
        root = store(folder / str(rows), rows)
        code = (
            "from pathlib import Path; from bench.report import write; "
            "from bench.store.cells import Store; from bench.store.results import Results\n"
            f"results = Results.load(Store(Path({str(root)!r})))\n"
            f"write(results, Path({str(folder / 'out')!r}), 'texts')"
        )
        seconds[rows], memory = spent(code)
    rows = [
        Row(
            f"report of {SIZES[-1]:,} cases, no pictures",
            f"{seconds[SIZES[-1]]:.1f} s",
            "limit",
            f"{SECONDS:g} s",
            f"{seconds[SIZES[-1]] / SECONDS:.2f}",
            "1.00",
            seconds[SIZES[-1]] <= SECONDS,
        ),
        Row(
            "its memory",
            f"{memory / 2**20:.0f} MiB",
            "limit",
            f"{MEMORY / 2**20:.0f} MiB",
            f"{memory / MEMORY:.2f}",
            "1.00",
            memory <= MEMORY,
        ),
    ]
    for few, many in pairwise(SIZES):
        old, new = 1e6 * seconds[few] / few, 1e6 * seconds[many] / many
        rows.append(
            Row(
                f"a case of {many:,}",
                f"{new:.0f} us",
                f"a case of {few:,}",
                f"{old:.0f} us",
                f"{new / old:.2f}",
                f"{GROWTH:g}",
                new / old <= GROWTH,
            )
        )
    return rows


def audits() -> Row:
    """Return the row of the audit of both published tables."""
    seconds, _ = spent("from bench.cli.audit import audits; audits(None, True)")
    return Row(
        "audit of a paper's two tables, 36 cells",
        f"{seconds:.2f} s",
        "limit",
        f"{AUDIT:g} s",
        f"{seconds / AUDIT:.2f}",
        "1.00",
        seconds <= AUDIT,
    )


def measure() -> list[Row]:
    """Return all rows."""
    with tempfile.TemporaryDirectory() as folder:
        return [*reports(Path(folder)), audits()]


if __name__ == "__main__":
    print(table(measure()))
