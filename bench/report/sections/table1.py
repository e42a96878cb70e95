"""Table 1: mean ± std of Dice and IoU, methods x datasets, and what must stand under it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import pandas as pd

from bench.data.grid import WHY_SHARED
from bench.report.document import (
    DAGGER,
    DOUBLE_DAGGER,
    SECTION,
    Block,
    Cell,
    Document,
    Head,
    Mark,
    Note,
    mean_and_std,
)
from bench.report.sections import marks
from bench.report.sections.table import ENDPOINT, Table, data
from bench.spec.metrics import PRINTED, TITLES, listed
from bench.spec.names import Row

FURTHER = (
    " A method's further rows, such as its prior alone, are from the same weights and compete too."
)
"""The end of the caption where there are further rows."""


def entry(table: Table, column: str, key: str, metric: str) -> Cell:
    """Return what the table says of a row on a column: `mean ± std` in percent, `failed` or `-`."""
    if not table.was_tested(column, key):
        return Cell("failed" if _failed(table, column, key) else "-", number=float("nan"))
    means, stds = table.scores[f"{metric}_mean"], table.scores[f"{metric}_std"]
    mean, std = float(means[column, key]), float(stds[column, key])
    if np.isnan(mean):  # the metric is newer than the result
        return Cell("-", number=mean)
    text = mean_and_std(mean, std)
    if key in table.marked or column in table.uneven:  # no comparison: neither bold nor marked
        return Cell(text, number=mean)
    best = str(means[column].drop(labels=table.marked, errors="ignore").idxmax())
    if mean == float(means[column, best]):
        return Cell(text, "best", mean)
    if metric != ENDPOINT:  # the endpoint alone is tested
        return Cell(text, number=mean)
    return Cell(text, mark(table, column, best, key), mean)


def mark(table: Table, column: str, best: str, key: str) -> Mark:
    """Return the mark of a row that the tests do not tell from the best one, or only in doubt.

    It is empty for a row that is significantly lower.
    """
    pairs = table.pairs[column]
    if key in pairs.not_below(best):
        return "like" if pairs.runs_of(best, key) > 1 else "weights"
    return "doubt" if key in pairs.doubtful(best) else ""


def _failed(table: Table, column: str, key: str) -> bool:
    """Return whether the cell that a row comes from has failed on a column."""
    method = table.rows[key].spec if key in table.rows else Row.parse(key).spec
    return any(failure.column == column and failure.method == method for failure in table.failures)


def caption(table: Table) -> str:
    """Return the sentence above the table."""
    return (
        f"{data(table)}, profile '{table.profile}': {table.summary}. {listed(PRINTED)} in percent, "
        "mean ± std over the test images of all seeds (slice level, as papers print it; "
        f"the tests are of patients' means).{FURTHER if table.extras else ''}"
    )


def failure_notes(table: Table) -> list[Note]:
    """Return a note for each failed cell."""
    lines = []
    for failure in table.failures:
        column = table.columns.get(failure.column, failure.column)
        text = f"Failed: {column}, {failure.method}: {failure.why}"
        lines.append(Note(text, "failure", grave=True))
    return lines


def grid_notes(table: Table) -> list[Note]:
    """Return a note for each grid that took the place of the native sizes that were asked for."""
    columns: dict[tuple[int, int, int], dict[str, None]] = {}
    for cell in table.cells:
        record = cell.record
        asked = record.spec.profile
        if asked.get("pixels") != 0 or isinstance(record.grid, str):
            continue
        key = record.column.key
        titles = columns.setdefault((*record.grid, asked.get("batch", 0)), {})
        titles[table.columns.get(key, key)] = None
    notes = []
    for (height, width, batch), titles in columns.items():
        text = (
            f"{', '.join(titles)}: networks saw {height} x {width} pixels and not native sizes "
            f"(pixels = 0), for {WHY_SHARED.format(batch)}."
        )
        notes.append(Note(text, "data"))
    return notes


def document(table: Table) -> Document:
    """Return table 1 with all that stands under it."""
    heads = [Head("Method", "left")]
    for column in table.columns:
        over = marks.head(table, column)
        heads += [Head(TITLES[metric], group=over) for metric in table.metrics(column)]
    rows = []
    compared: list[Cell] = []
    for key, title in table.methods.items():
        cells = []
        for column in table.columns:
            cells += [entry(table, column, key, metric) for metric in table.metrics(column)]
            if key not in table.marked and column not in table.uneven:
                compared.append(entry(table, column, key, ENDPOINT))
        rows.append((Cell(title), *cells))
    occurring = marks_of(compared)
    shown = list(chain.from_iterable(map(table.metrics, table.columns)))
    return Document(
        name=f"table1-{table.source}",
        heading=f"Table 1 ({table.source})",
        caption=caption(table),
        blocks=(Block(tuple(heads), tuple(rows)),),
        notes=(
            *legend(occurring, shown),
            *marks.legend_of_uneven(table),
            *marks.legend_of_heads(heads),
            *marks.legend_of_looks(table),
            *marks.footnotes(table, occurring),
            *marks.suitability_notes(table),
            *grid_notes(table),
            *table.notes,
            *failure_notes(table),
        ),
        frames={"": _numbers(table)},
        label=table.source,
    )


LEGEND: dict[Mark, str] = {
    "best": "Bold: the best mean of its column.",
    "like": f"{DAGGER}: not significantly different from the best (p > 0.05), over patients and "
    "seeds.",
    "weights": f"{DOUBLE_DAGGER}: not significantly different from the best (p > 0.05), with one "
    "seed: this compares these trained weights, not the methods.",
    "doubt": f"{SECTION}: lower than the best, unless so few patients hide rare outliers "
    "(predictions with a Dice near 0).",
    "": "{} without a mark: significantly lower than the best.",
}
"""What the marks of a mean say."""


def marks_of(cells: Iterable[Cell]) -> frozenset[Mark]:
    """Return the marks of the cells that hold a mean; the number of others is NaN or None."""
    return frozenset(cell.mark for cell in cells if cell.number is not None and cell.number >= 0)


def bearer(metrics: Sequence[str]) -> str:
    """Return the metric whose means have the marks: Dice, or IoU where Dice is not shown."""
    shown = [metric for metric in PRINTED if metric in metrics]
    return shown[0] if shown else ""


def legend(occurring: Iterable[Mark], metrics: Sequence[str]) -> list[Note]:
    """Return what the marks that occur mean, a note for each, and nothing of others.

    Args:
        occurring: The marks of the table.
        metrics: The metrics that the table shows.
    """
    occurring_marks = set(occurring)
    if occurring_marks <= {"best"}:  # bold alone needs no words
        return []
    texts = [text for sign, text in LEGEND.items() if sign in occurring_marks]
    title = TITLES[bearer(metrics)]
    if {*PRINTED} <= {*metrics}:
        texts.append(
            "Dice alone is tested and has marks. They hold for IoU too, which measures the same "
            "overlap."
        )
    elif bearer(metrics) != ENDPOINT:
        texts.append(
            f"The marks of {title} are those of Dice, which alone is tested: both measure the "
            "same overlap."
        )
    return [Note(text.format(title), "legend") for text in texts]


def _numbers(table: Table) -> pd.DataFrame:
    """Return the table's numbers: fractions, one row a method and dataset."""
    scores = table.scores.reset_index()
    scores.insert(0, "source", table.source)
    scores.insert(1, "profile", table.profile)
    scores["compares"] = ~scores.method.isin(table.marked)
    for metric in PRINTED:
        signs = []
        for column, key in zip(scores.column, scores.method, strict=True):
            signs.append(entry(table, column, key, metric).mark)
        scores[f"{metric}_best"] = [sign == "best" for sign in signs]
        if metric == ENDPOINT:
            scores[f"{metric}_like_best"] = [sign not in ("", "doubt") for sign in signs]
    verdicts = {column: proof.verdict for column, proof in table.certificates.items()}
    scores["certificates"] = scores.column.map(verdicts)
    return scores.rename(columns={"column": "dataset"})
