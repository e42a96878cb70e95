"""Results as a run leaves them, written by hand, so a test of a report trains nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.report.sections.table import Table, collect
from bench.spec import plain
from bench.spec.config import Cell
from bench.store.cells import Store
from bench.store.record import Record
from bench.store.results import Results

DICE = {"unet": (0.80, 0.90, 0.95, 0.60), "fcn": (0.70, 0.85, 0.90, 0.50)}
PROFILE = "cpu"
NONE = dict.fromkeys(("pretraining", "prompt", "ensembling", "augmentation"), "none")


def record(
    method: str,
    *,
    dataset: str = "mr",
    source: str = "phantom",
    digest: str = "abcdef0123",
    seed: int = 35,
    fold: int = 0,
    folds: int = 1,
    heads: dict[int, str] | None = None,
    steps: int = 9,
    profile: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return what `cell.json` says of a cell; `more` replaces fields."""
    certified = []
    for step, value in (heads or {10: "h"}).items():
        certified.append({"steps": step, "draws": value, "pixels": value})
    spec = {
        "dataset": {"name": dataset, "source": source, "digest": digest},
        "method": method,
        "options": {"width": 8},
        "fold": fold,
        "folds": folds,
        "seed": seed,
        "split": "s",
        "scheme": "",
        "tuning": {},
        "profile": profile or {"steps": steps},
        "precision": "float32",
        "protocol": 3,
    }
    return {
        "spec": spec,
        "hash": plain.content_hash(spec),
        "source": source,
        "title": method.split(":")[0].upper(),
        "summary": "small",
        "extras": [],
        "deviations": ["something_new & 50 % more"],
        "grid": [60, 44],
        "device": "CPU",
        "versions": {"torch": "2.9"},
        "revision": "0123456789abcdef",
        "certificate": {"seed": seed, "heads": certified},
        "advantages": NONE,
        "parameters": 1_234_000,
        "idle_parameters": 0,
        "multiply_adds": 5_600_000_000,
        "training": {"steps": steps, "best_step": 6, "best_loss": 0.5},
        "cases": {"train": 8, "validation": 2, "test": 4},
        "patients": {"train": 4, "validation": 1, "test": 2},
        "timings": timings(),
        "peak_memory_bytes": 100 * 2**20,
        "peak_device_memory_bytes": None,
        **more,
    }


def record_of(cell: Cell, **more: Any) -> Record:
    """Return the record of a cell; `more` replaces fields."""
    said = record(cell.method.key, **more)
    identity = {"spec": cell.spec(), "hash": cell.hash, "source": cell.dataset.id.source}
    return plain.convert({**said, **identity}, Record)


def timings(**seconds: float) -> dict[str, float]:
    """Return the times of a record; those that are not given are of a short cell."""
    return {
        "train_seconds": 7.0,
        "train_seconds_per_step": 0.5,
        "predict_seconds_per_case": 0.25,
        "total_seconds_of_last_attempt": 9.0,
        **seconds,
    }


APART = {
    "unet": (0.69, 0.77, 0.4, 0.48, 0.77, 0.67, 0.88, 0.59, 0.56, 0.5),
    "fcn": (0.73, 0.75, 0.36, 0.4, 0.73, 0.61, 0.9, 0.56, 0.53, 0.44),
}
"""Dice of ten patients: their sign-flip p is 0.04, and that of their IoU is 0.06."""


def patients(dice: Sequence[float]) -> tuple[float, ...]:
    """Return the Dice of the two cases that `scores` gives to each patient, both alike."""
    return tuple(np.repeat(dice, 2).tolist())


def scores(dice: Sequence[float], first: int = 0) -> pd.DataFrame:
    """Return `cases.csv` of cases with these Dice, two of each patient, from a number on."""
    values = np.array(dice)
    numbers = range(first, first + len(values))
    return pd.DataFrame(
        {
            "case": [f"c{number}" for number in numbers],
            "patient": [f"p{number // 2}" for number in numbers],
            "dice": values,
            "iou": values / (2 - values),
            "precision": values,
            "recall": values,
            "hd95": 2.0,
            "assd": 1.0,
            "nsd": 1.0,
            "unit": "px",
            "empty": "none",
        }
    )


def finished(root: Path, method: str, dice: Sequence[float], first: int = 0, **more: Any) -> Path:
    """Write a finished cell as the store lays it down, its further rows too; return its folder."""
    made = record(method, **more)
    spec, extras = made["spec"], made["extras"]
    dataset, folds = spec["dataset"], spec["folds"]
    place = f"f{spec['fold']}" if folds == 1 else f"f{spec['fold']}of{folds}"
    folder = (
        root
        / PROFILE
        / f"{dataset['name']}@{dataset['source']}-{dataset['digest'][:8]}"
        / method.replace(":", ",")
        / f"{place}-s{spec['seed']}"
    )
    folder.mkdir(parents=True)
    patients = (len(dice) + 1) // 2
    made["cases"] = {**made["cases"], "test": len(dice)}
    made["patients"] = {**made["patients"], "test": patients}
    made["hash"] = plain.content_hash(spec)
    (folder / "cell.json").write_text(json.dumps(made))
    for extra in ("", *extras):
        suffix = f"-{extra}" if extra else ""
        scores(dice, first).to_csv(folder / f"cases{suffix}.csv", index=False)
    return folder


def failed(root: Path, method: str, why: str, label: str = "f0-s35", dataset: str = "") -> None:
    """Leave the error of a cell that failed."""
    place = dataset or "mr@phantom-abcdef01"
    work = root / PROFILE / place / method.replace(":", ",") / f"{label}.part"
    work.mkdir(parents=True)
    (work / "error.txt").write_text(f"Traceback\n{why}\n")


def results(store: Store) -> Results:
    """Return the results of the profile that `finished` writes under."""
    return Results.load(store, PROFILE)


def tables(store: Store) -> list[Table]:
    """Return the tables of those results."""
    return collect(results(store))


def table(store: Store) -> Table:
    """Return the one table of those results."""
    (only,) = tables(store)
    return only


NO_CERTIFICATE = {"seed": 35, "heads": []}
"""Of a method that trained on data of its own making."""
