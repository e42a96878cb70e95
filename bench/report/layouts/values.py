"""The rows and columns that a layout chooses, and their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bench.report.layouts.file import UNITS, Group, Layout, Spread, class_of, metric_of
from bench.report.sections.table import Table
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.metrics import LOWER
from bench.stats import intervals
from bench.stats.scores import arrange
from bench.store.scores import CLASS

POINTS = 100
"""Points of a fraction."""


@dataclass(frozen=True)
class Chosen:
    """A table with the rows and columns that a layout names."""

    table: Table
    layout: Layout
    columns: dict[str, str]
    """Keys with their printed names."""
    groups: tuple[Group, ...]
    names: dict[str, str]
    """The rows' keys with their printed names."""

    @property
    def rows(self) -> list[str]:
        """The keys of all rows in order."""
        keys: list[str] = []
        for group in self.groups:
            keys += group.rows
        return keys


def choose(tables: Sequence[Table], layout: Layout) -> Chosen:
    """Return the rows and columns that a layout names.

    Raises:
        UsageError: A row, a column or the source that it names has no result.
    """
    by_source = {table.source: table for table in tables}
    sources = [str(source) for source in by_source]
    source = layout.source or sources[0]
    if source not in sources:
        raise UsageError(f"source '{source}' has no result; {did_you_mean(source, sources)}")
    table = next(table for table in tables if table.source == source)
    columns: dict[str, str] = {}
    for name in layout.datasets or tuple(table.columns):
        for key in _columns(table, name):
            dataset = table.by_key[key].dataset.name
            own_name = layout.names.get(key) or layout.names.get(dataset)
            columns[key] = own_name or table.columns[key]
    groups = layout.groups or (Group(tuple(table.methods)),)
    names: dict[str, str] = {}
    for group in groups:
        for key in group.rows:
            if key not in table.methods:
                hint = did_you_mean(key, table.methods)
                raise UsageError(f"row '{key}' has no result here; {hint}")
            if key in names:
                raise UsageError(f"row '{key}' is named twice; name it once")
            names[key] = layout.names.get(key, table.methods[key])
    allowed_names = {*table.methods, *table.columns}
    allowed_names.update(column.dataset.name for column in table.by_key.values())
    for key in layout.names:
        if key not in allowed_names:
            raise UsageError(
                f"names: '{key}' is no row or column; {did_you_mean(key, allowed_names)}"
            )
    return Chosen(table, layout, columns, groups, names)


def _columns(table: Table, name: str) -> list[str]:
    """Return the columns that a name means: a key, or the name of a dataset."""
    keys = [key for key, column in table.by_key.items() if name in (key, column.dataset.name)]
    if not keys:
        names = {column.dataset.name for column in table.by_key.values()}
        hint = did_you_mean(name, {*table.columns, *names})
        raise UsageError(f"dataset '{name}' has no result here; {hint}")
    return keys


@dataclass(frozen=True)
class Value:
    """A mean with what stands behind it, in the printed unit."""

    mean: float
    spread: tuple[float, ...] = ()
    """A std, or the two ends of an interval."""


def values_of(chosen: Chosen, metric: str) -> dict[tuple[str, str], Value]:
    """Return the means by column and row; those over datasets under the column `""`."""
    table, layout = chosen.table, chosen.layout
    factor = POINTS if UNITS[metric_of(metric)] == "fraction" else 1
    values: dict[tuple[str, str], Value] = {}
    for column in chosen.columns:
        for key, (mean, *spread) in _measured(table, column, metric, layout.spread).items():
            if key in chosen.names and not math.isnan(mean):
                scaled_spread = tuple(factor * value for value in spread if not math.isnan(value))
                values[column, key] = Value(factor * mean, scaled_spread)
    if layout.mean:
        units = {table.units.get(column, "") for column in chosen.columns}
        comparable = UNITS[metric_of(metric)] == "fraction" or len(units) == 1
        for key in chosen.rows if comparable else ():
            of_row = [values[column, key] for column in chosen.columns if (column, key) in values]
            means = [value.mean for value in of_row]
            if len(means) == len(chosen.columns):  # else no mean over all datasets
                values["", key] = Value(math.fsum(means) / len(means))
    return values


def _measured(table: Table, column: str, metric: str, spread: Spread) -> dict[str, list[float]]:
    """Return mean and spread of each row on a column, as they were measured.

    Behind the mean stand a std, or the two ends of an interval, or nothing.
    """
    part = _cases(table, column, metric)
    of_class, metric = class_of(metric), metric_of(metric)
    if part.empty:
        return {}
    if spread == "interval":
        patients = arrange(part) if of_class else table.patients
        rows = intervals.summarise(patients[column][metric])
        return {row.method: [row.mean, *row.bootstrap] for row in rows}
    if metric not in part:  # no dataset has instances
        return {}
    measured = {}
    for key, scores in part.groupby("method", sort=False, observed=True)[metric]:
        measured[str(key)] = [float(scores.mean())]
        if spread == "std":
            measured[str(key)].append(float(scores.std()))
    return measured


def _cases(table: Table, column: str, metric: str) -> pd.DataFrame:
    """Return a column's cases, of all methods; of one class where a metric names it."""
    of_class = class_of(metric)
    part = _rows_of(table, of_class) if of_class else table.images
    return part[part.column == column]


def lacking(chosen: Chosen, column: str, metric: str) -> dict[str, int]:
    """Return how many cases of each row are left out of its mean, for they have no number.

    Rows that have one for all cases are not named, nor those that have none.
    """
    part = _cases(chosen.table, column, metric)
    if metric_of(metric) not in part:
        return {}
    numbers = {}
    for key, scores in part.groupby("method", sort=False, observed=True)[metric_of(metric)]:
        without = int(scores.isna().sum())
        if key in chosen.names and 0 < without < len(scores):
            numbers[str(key)] = without
    return numbers


def _rows_of(table: Table, name: str) -> pd.DataFrame:
    """Return the scores of a class.

    Raises:
        UsageError: No dataset has it.
    """
    if table.classes is None:
        raise UsageError(f"metrics: class '{name}' is named, but no dataset here has classes")
    rows = table.classes[table.classes[CLASS] == name]
    if rows.empty:
        hint = did_you_mean(name, set(table.classes[CLASS]))
        raise UsageError(f"metrics: no dataset here has the class '{name}'; {hint}")
    return rows


def stars_of(chosen: Chosen) -> dict[tuple[str, str], str]:
    """Return the stars of the declared comparisons by column and row."""
    stars = {}
    for family in chosen.table.families.values():
        for one in family.comparisons:
            stars[family.column, one.pair.second] = one.mark
    return stars


def places_of(
    chosen: Chosen, values: Mapping[tuple[str, str], Value], column: str, metric: str
) -> dict[str, int]:
    """Return 0 for the best row of a column, 1 for the second: of those that compete.

    Means of an uneven column do not compare, nor do means from which cases are left out: so none
    has a place.
    """
    if any(lacking(chosen, name, metric) for name in chosen.columns if column in ("", name)):
        return {}
    averaged = {column} if column else {*chosen.columns}
    if averaged & chosen.table.uneven:
        return {}
    decimals = chosen.layout.decimals
    rivals = [key for key in chosen.rows if key not in chosen.table.marked]
    shown = {}
    for key in rivals:
        if (column, key) in values:
            shown[key] = round(values[column, key].mean, decimals)
    order = sorted(set(shown.values()), reverse=metric_of(metric) not in LOWER)
    return {key: order.index(value) for key, value in shown.items()}


def frame_of(chosen: Chosen, values: Mapping[str, Mapping[tuple[str, str], Value]]) -> pd.DataFrame:
    """Return the numbers of every row and column of the source, those left out included."""
    everything = replace(
        chosen,
        columns=chosen.table.columns,
        groups=(Group(tuple(chosen.table.methods)),),
        names=chosen.table.methods,
    )
    lines: list[dict[str, Any]] = []
    for metric in chosen.layout.metrics:
        for (column, key), value in values_of(everything, metric).items():
            low, high = (*value.spread, np.nan, np.nan)[:2]  # NaN for what there is not
            lines.append(
                {
                    "dataset": column or "mean",
                    "method": key,
                    "metric": metric,
                    "mean": value.mean,
                    "std" if chosen.layout.spread == "std" else "low": low,
                    "high": high,
                    "shown": key in chosen.names and (not column or column in chosen.columns),
                }
            )
    return pd.DataFrame(lines)


def left_out(chosen: Chosen) -> str:
    """Return what the layout leaves out; nothing where it has all."""
    rows = [title for key, title in chosen.table.methods.items() if key not in chosen.names]
    columns = [title for key, title in chosen.table.columns.items() if key not in chosen.columns]
    parts = []
    if rows:
        parts.append(f"methods {', '.join(rows)}")
    if columns:
        parts.append(f"datasets {', '.join(columns)}")
    return f"Left out of this table: {'; '.join(parts)}." if parts else ""
