"""The fairness ledger: what each method had, cost and was given, as it was measured in the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.report.figures.style import about, panels, point_style, save
from bench.report.listing import Listing, Number
from bench.report.sections.tables import Table, data
from bench.store.store import Store, column_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = dict[str, Any]
HEADS = {
    "dataset": "Dataset",
    "title": "Method",
    "parameters": "Parameters (M)",
    "idle_parameters": "without gradient",
    "multiply_adds": "Multiply-adds an image (G)",
    "steps": "Steps",
    "train_seconds": "Training (s)",
    "predict_seconds": "Prediction (s an image)",
    "memory": "Peak memory (MiB)",
    "energy": "Energy (kJ)",
    "trials": "Tuning trials",
    "pretraining": "Pretraining",
    "prompt": "Prompt",
    "ensembling": "Ensembling",
    "augmentation": "Own augmentation",
}
"""Columns of the ledger and their titles."""
NUMBERS = {
    "parameters": Number(".3f"),
    "idle_parameters": Number(",.0f"),
    "multiply_adds": Number(".3g"),
    "steps": Number(",.0f"),
    "train_seconds": Number(",.0f"),
    "predict_seconds": Number(".3g"),
    "memory": Number(",.0f"),
    "energy": Number(".3g"),
    "trials": Number(",.0f"),
}
WORDS = ("pretraining", "prompt", "ensembling", "augmentation")
"""What is measured, and what methods declare."""
CAPTION = (
    "What each method had and cost, means over folds and seeds. Measured in the run: parameters and"
    " those that no gradient reached, multiply-adds of one image's answer at the network's size"
    " (convolutions, matrix products and attention, all samples and views), optimiser steps,"
    " seconds beside the cells that ran at the same time, peak memory of the cell's process (of the"
    " device where there is one). Energy: by the counters of GPU and processor while the cell ran,"
    " others beside it included; no column where no device counts. Trials: of bench tune, before"
    " the cell. Declared by the method: pretraining, prompt, ensembling, augmentation beyond the"
    " shared stream."
)


def collect(store: Store, table: Table) -> pd.DataFrame:
    """Return a row for each dataset and method of a table, with `HEADS` and the keys `column` and `method`."""
    rows = []
    for record, _ in store.records(table.profile):
        if record["source"] == table.source:
            rows.append(_row(record, table))
    frame = pd.DataFrame(rows)
    how = {name: "mean" if name in NUMBERS else "first" for name in frame}
    return frame.groupby(["column", "method"], sort=False).agg(how).reset_index(drop=True)


def _row(record: Record, table: Table) -> dict[str, Any]:
    times, had, column = record["timings"], record["advantages"], column_of(record)
    memory = record["peak_device_memory_bytes"] or record["peak_memory_bytes"]
    return {
        "column": column,
        "method": record["spec"]["method"],
        "dataset": table.columns[column],
        "title": table.methods[record["spec"]["method"]],
        "parameters": record["parameters"] / 1e6,
        "idle_parameters": float(
            "nan" if record["idle_parameters"] is None else record["idle_parameters"]
        ),
        "multiply_adds": record["multiply_adds"] / 1e9,
        "steps": float(record["training"]["steps"]),
        "train_seconds": times["train_seconds"],
        "predict_seconds": times["predict_seconds_per_case"],
        "memory": memory / 2**20,
        "energy": _kilojoules(record["energy_joules"]),
        "trials": float(record["trials"]),
        **{name: had[name] for name in WORDS},
        "differs": "; ".join(record["deviations"]) or "nothing declared",
    }


def _kilojoules(counted: dict[str, float | None]) -> float:
    """Return the energy of the devices that count it; NaN where none does."""
    known = [value for value in counted.values() if value is not None]
    return sum(known) / 1e3 if known else float("nan")


def differences(frame: pd.DataFrame) -> list[str]:
    """Return what each method declares to do unlike its source."""
    each = frame.drop_duplicates("method")
    return [
        f"{title} differs from its source: {lines}."
        for title, lines in zip(each.title, each.differs, strict=True)
    ]


def listing(frame: pd.DataFrame, table: Table) -> Listing:
    """Return the ledger with what each method declares to do unlike its source."""
    return Listing(
        name=f"ledger-{table.source}",
        heading=f"Fairness ledger ({table.source})",
        caption=f"{data(table)}, profile '{table.profile}'. {CAPTION}",
        heads={
            name: head
            for name, head in HEADS.items()
            if name != "energy" or frame.energy.notna().any()
        },
        numbers=NUMBERS,
        frame=frame[["column", *HEADS, "differs"]],
        notes=tuple(differences(frame)),
    )


def dice_against_seconds(frame: pd.DataFrame, table: Table, paths: Sequence[Path]) -> None:
    """Draw each method's mean Dice against its seconds an image, one panel a dataset, into a PNG and a PDF."""
    from matplotlib.ticker import LogLocator, NullLocator

    means = table.scores["dice_mean"]
    order = {method: number for number, method in enumerate(table.methods)}

    def panel(axis: Axes, column: str, title: str) -> None:
        part = frame[frame.column == column]
        for row in part.to_dict("records"):
            place = row["predict_seconds"], 100 * means[column, row["method"]]
            axis.scatter(
                *place, s=34, label=row["title"], zorder=3, **point_style(order[row["method"]])
            )
        limits = part.predict_seconds.min() / 1.5, part.predict_seconds.max() * 1.5
        axis.set(
            xscale="log",
            xlabel="Seconds an image (log scale)",
            ylabel="Mean Dice (%)",
            title=title,
            xlim=limits,
        )
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(True, color="0.9", linewidth=0.6)

    with panels(
        table.columns, f"Dice against the time of an answer: {about(table)}", panel
    ) as figure:
        save(figure, paths)
