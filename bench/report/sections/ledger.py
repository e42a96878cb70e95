"""The fairness ledger: what each method had, cost and was given, as measured in the run."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from bench.report.document import Document, Note, Number, block
from bench.report.sections.table import Table, data
from bench.store.record import Joules, Record

HEADS = {
    "dataset": "Dataset",
    "title": "Method",
    "size": "Size (U-Net: 1)",
    "parameters": "Parameters (M)",
    "idle_parameters": "Parameters without gradient",
    "multiply_adds": "Multiply-adds an image (10^9)",
    "steps": "Steps",
    "train_seconds": "Training (s)",
    "predict_seconds": "Prediction (s an image)",
    "memory": "Peak memory (MiB)",
    "energy": "Energy (kJ)",
    "trials": "Tuning trials",
    "dice_at_half": "Dice at 0.5 (%)",
    "threshold": "Threshold that validation prefers",
    "dice_there": "Dice at that threshold (%)",
    "pretraining": "Pretraining",
    "prompt": "Prompt",
    "ensembling": "Ensembling",
    "augmentation": "Own augmentation",
}
"""Columns of the ledger and their titles."""
UNKNOWN = "unknown"
"""What is printed for a number that nobody measured: of older results, and of rows from outside."""
NUMBERS = {
    "size": Number(".2f", missing=UNKNOWN),
    "parameters": Number(".3f", missing=UNKNOWN),
    "idle_parameters": Number(",.0f", missing=UNKNOWN),
    "multiply_adds": Number(".3g", missing=UNKNOWN),
    "steps": Number(",.0f", missing=UNKNOWN),
    "train_seconds": Number(",.0f", missing=UNKNOWN),
    "predict_seconds": Number(".3g", missing=UNKNOWN),
    "memory": Number(",.0f", missing=UNKNOWN),
    "energy": Number(".3g", missing=UNKNOWN),
    "trials": Number(",.0f", missing=UNKNOWN),
    "dice_at_half": Number(".2f", missing=UNKNOWN),
    "threshold": Number(".2f", missing=UNKNOWN),
    "dice_there": Number(".2f", missing=UNKNOWN),
}
REFINED = ("answer_dice", "prior_dice", "prior_dice_there")
"""Dice (%) of a method that refines a prior: of its answer, of its prior, and of the prior cut
where validation patients prefer."""
WORDS = ("pretraining", "prompt", "ensembling", "augmentation")
"""What is measured, and what methods declare."""
CAPTION = (
    "What each method had and cost, means over folds and seeds. Measured: size (the multiply-adds "
    "of a training case, divided by U-Net's at the same grid), parameters and those that no "
    "gradient reached, multiply-adds of one image's prediction at the network's size "
    "(convolutions, matrix products and attention, all samples and views), optimiser steps, "
    "seconds (other cells may have run at the same time), peak memory of the cell's process (of "
    "the device where there is one). Energy: by the counters of GPU and processor while the cell "
    "ran, other processes included; no column where no device counts. Trials: of bench tune, "
    "before the cell. Threshold: the one with the best Dice on validation patients, and the test "
    "patients' Dice at it and at 0.5, where all other tables cut; these are means over patients, "
    "those of table 1 over images. With several classes there is no threshold: a pixel has its "
    "likeliest class. Declared by the method: pretraining, "
    "prompt, ensembling, augmentation beyond the shared stream."
)


def documents(table: Table) -> list[Document]:
    """Return the ledger, with what each method declares to do unlike its source."""
    frame = collect(table)
    heads = dict(HEADS)
    if not frame.energy.notna().any():
        del heads["energy"]
    document = Document(
        name=f"ledger-{table.source}",
        heading=f"Fairness ledger ({table.source})",
        caption=f"{data(table)}, profile '{table.profile}'. {CAPTION}",
        blocks=(block(frame, heads, NUMBERS),),
        notes=(
            *(Note(text, "difference") for text in differences(frame)),
            *(Note(text, "difference") for text in refinements(frame)),
        ),
        frames={"": frame[["column", *HEADS, "differs"]]},
        wide=True,
    )
    return [document]


def collect(table: Table) -> pd.DataFrame:
    """Return a row for each dataset and method: `HEADS` and the keys `column` and `method`."""
    rows = [_row(cell.record, table) for cell in table.cells]
    frame = pd.DataFrame(rows)
    how = {name: "mean" if name in (*NUMBERS, *REFINED) else "first" for name in frame}
    return frame.groupby(["column", "method"], sort=False).agg(how).reset_index(drop=True)


def cells(frame: pd.DataFrame) -> list[list[str]]:
    """Return the ledger's rows as text, in the order of `HEADS`."""
    return [[cell.text for cell in row] for row in block(frame, HEADS, NUMBERS).rows]


def _row(record: Record, table: Table) -> dict[str, Any]:
    """Return what a cell cost; `collect` averages over folds and seeds."""
    column, method = record.column.key, record.method.key
    memory = record.peak_device_memory_bytes or record.peak_memory_bytes
    steps = float(record.training.steps) if record.training else math.nan
    row = {
        "column": column,
        "method": method,
        "dataset": table.columns[column],
        "title": table.methods[method],
        "size": _or_nan(record.size),
        "parameters": _or_nan(record.parameters) / 1e6,
        "idle_parameters": _or_nan(record.idle_parameters),
        "multiply_adds": _or_nan(record.multiply_adds) / 1e9,
        "steps": steps,
        **_seconds(record),
        "memory": _or_nan(memory) / 2**20,
        "energy": _kilojoules(record.energy_joules),
        "trials": math.nan if record.outside else float(record.trials),
    }
    for name in WORDS:
        row[name] = record.advantages[name]
    row.update(_cuts(record))
    row["differs"] = differs(record)
    return row


def differs(record: Record) -> str:
    """Return what a method declares to do unlike its source; unknown from outside."""
    if record.outside:
        return "unknown"
    return "; ".join(record.deviations) or "nothing declared"


def _seconds(record: Record) -> dict[str, float]:
    """Return the columns of the seconds; NaN from outside."""
    timings = record.timings
    if timings is None:
        return {"train_seconds": math.nan, "predict_seconds": math.nan}
    return {
        "train_seconds": timings.train_seconds,
        "predict_seconds": timings.predict_seconds_per_case,
    }


def _or_nan(value: float | None) -> float:
    """Return a number, NaN where it is unknown."""
    return float("nan") if value is None else float(value)


def _cuts(record: Record) -> dict[str, float]:
    """Return the columns of the threshold, NaN in older results, and those of `REFINED`."""
    of_answer, of_prior = record.cuts.get(""), record.cuts.get("prior")
    names = ("dice_at_half", "threshold", "dice_there", *REFINED)
    cuts = dict.fromkeys(names, float("nan"))
    if of_answer:
        cuts["dice_at_half"] = 100 * of_answer.test_at_half
        cuts["threshold"] = of_answer.threshold
        cuts["dice_there"] = 100 * of_answer.test
    if of_answer and of_prior:
        halves = (of_answer.test_at_half, of_prior.test_at_half, of_prior.test)
        cuts |= {name: 100 * dice for name, dice in zip(REFINED, halves, strict=True)}
    return cuts


def _kilojoules(joules: Joules) -> float:
    """Return the energy of the devices that count it; NaN where none does."""
    counted = [value for value in (joules.gpu, joules.processor) if value is not None]
    return sum(counted) / 1e3 if counted else float("nan")


def differences(frame: pd.DataFrame) -> list[str]:
    """Return what each method declares to do unlike its source."""
    rows = frame.drop_duplicates("method")
    lines = []
    for title, words in zip(rows.title, rows.differs, strict=True):
        lines.append(f"{title} differs from its source: {words}.")
    return lines


def refinements(frame: pd.DataFrame) -> list[str]:
    """Return how much of what a method adds to its prior a threshold of the prior gives too."""
    lines = []
    for row in frame.dropna(subset=list(REFINED)).itertuples():
        answer, prior, prior_cut = (getattr(row, name) for name in REFINED)
        lines.append(
            f"{row.title} on {row.dataset}: Dice {answer:.2f} %, its prior {prior:.2f} %, "
            f"and {prior_cut:.2f} % if the prior is cut where validation patients prefer "
            "(means over patients)."
        )
    return lines
