"""`bench calibrate`, as a user calls it."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.cli import calibrate as command
from bench.cli.app import app
from bench.spec.errors import UsageError
from bench.stats.calibrate import DAGGER, EQUIVALENT, MARK, VERDICT
from bench.store.cells import Store
from bench.store.results import Results
from tests.written import record


def results(
    patients: int = 20,
    slices: int = 8,
    seeds: int = 4,
    between: float = 0.03,
    methods: int = 3,
    checkpoints: float = 0.01,
) -> pd.DataFrame:
    """Return methods that differ by patient and by checkpoint, slices of a patient alike."""
    rng = np.random.default_rng(1)
    made = []
    for method, seed in product(range(methods), range(seeds)):
        level = checkpoints * rng.normal()
        for patient in range(patients):
            own = 0.8 + level + between * rng.normal()
            for case in range(slices):
                dice = own + 0.01 * rng.normal()
                made.append(
                    {
                        "dataset": "mr",
                        "source": "real",
                        "digest": "abcdef0123",
                        "method": f"m{method}",
                        "scheme": "",
                        "folds": 1,
                        "fold": 0,
                        "seed": 35 + seed,
                        "case": f"c{patient}-{case}",
                        "patient": f"p{patient:02}",
                        "dice": dice,
                        "column": "mr@real-abcdef01",
                    }
                )
    return pd.DataFrame(made)


def stored(root: Path, frame: pd.DataFrame) -> Path:
    """Write finished cells as the store lays them down."""
    for (method, seed), part in frame.groupby(["method", "seed"]):
        folder = root / "cpu" / "mr@real-abcdef01" / str(method) / f"f0-s{seed}"
        folder.mkdir(parents=True)
        counts = {"test": len(part)}, {"test": part.patient.nunique()}
        said = record(
            str(method), source="real", seed=int(str(seed)), cases=counts[0], patients=counts[1]
        )
        (folder / "cell.json").write_text(json.dumps(said))
        part[["case", "patient", "dice"]].to_csv(folder / "cases.csv", index=False)
    return root


def test_the_command_prints_rates_with_their_intervals(tmp_path: Path) -> None:
    out = stored(tmp_path, results(patients=9, slices=3, seeds=2))
    done = CliRunner().invoke(app, ["calibrate", "--out", str(out), "--rounds", "100", "--json"])
    rows = json.loads(done.stdout)
    assert done.exit_code == 0
    assert [row["claim"] for row in rows] == [MARK, VERDICT, EQUIVALENT, DAGGER]
    assert all(row["low"] <= row["rate"] <= row["high"] for row in rows)
    assert {row["patients"] for row in rows} == {9}
    shown = CliRunner().invoke(app, ["calibrate", "--out", str(out), "--rounds", "100"]).stdout
    assert "mr@real-abcdef01, real data: 3 methods, 9 patients, seeds: 2" in shown
    assert "100 worlds of each kind." in shown
    assert "One seed" not in shown


def test_results_with_nothing_to_compare_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no finished cell"):
        command.measure(Results.load(Store(tmp_path)), 100)
    out = stored(tmp_path, results(methods=1, seeds=1))
    with pytest.raises(UsageError, match="nothing to compare; bench run --methods all"):
        command.measure(Results.load(Store(out)), 100)
