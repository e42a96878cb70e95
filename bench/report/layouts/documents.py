"""The tables and notes that a layout asks for, as documents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.report.document import Block, Cell, Document, Head, Mark, Note, rounded
from bench.report.layouts.file import UNITS, Layout, metric_of
from bench.report.layouts.notes import Signs, caption_of, notes_of, titled
from bench.report.layouts.values import (
    Chosen,
    Value,
    choose,
    frame_of,
    left_out,
    places_of,
    stars_of,
    values_of,
)
from bench.report.sections import table1
from bench.report.sections.table import Table, data


def documents(tables: Sequence[Table], layout: Layout) -> list[Document]:
    """Return the tables that a layout asks for, and the complete notes.

    Raises:
        UsageError: A row, a column or the source that it names has no result.
    """
    chosen = choose(tables, layout)
    parts = [_document(chosen, layout.name)]
    if layout.tables == "each":
        parts = []
        for key, title in chosen.columns.items():
            column = chosen.table.by_key[key]
            alone = replace(chosen, columns={key: title})
            parts.append(_document(alone, f"{layout.name}-{column.folder}"))
    return [*parts, _complete(chosen)]


def _mark(table: Table, column: str, places: Mapping[str, int], key: str) -> Mark:
    """Return whether the tests tell a row from the best one that is shown."""
    pairs = table.pairs.get(column)
    best = next(one for one, place in places.items() if place == 0)
    if pairs is None or best not in pairs.methods or key not in pairs.methods:
        return ""
    return table1.mark(table, column, best, key)


def _document(chosen: Chosen, name: str) -> Document:
    """Return a table of the chosen rows and columns."""
    layout, table = chosen.layout, chosen.table
    columns = [*chosen.columns.items(), *([("", "Mean")] if layout.mean else [])]
    values = {metric: values_of(chosen, metric) for metric in layout.metrics}
    stars = stars_of(chosen) if layout.marks == "baseline" else {}
    heads = [Head("Method", "left")]
    cells: dict[str, list[Cell]] = {key: [] for key in chosen.rows}
    compared: list[Cell] = []
    for column, title in columns:
        for metric in layout.metrics:
            heads.append(Head(_title(table, column, metric), "right", title))
            places = places_of(chosen, values[metric], column, metric)
            for key in chosen.rows:
                value = values[metric].get((column, key))
                bears_marks = metric == table1.bearer(layout.metrics)
                star = stars.get((column, key), "") if bears_marks else ""
                cell = _cell(value, layout, places.get(key, 2), star)
                if bears_marks and layout.marks == "best" and places.get(key, 0) > 0:
                    cell = replace(cell, mark=_mark(table, column, places, key))
                competes = column not in table.uneven and key not in table.marked
                if bears_marks and column and competes:
                    compared.append(cell)
                cells[key].append(cell)
    signs = Signs(table1.marks_of(compared), frozenset(stars.values()))
    rows: list[tuple[Cell, ...]] = []
    rules = []
    for group in chosen.groups:
        rules.append(len(rows))
        if group.title:
            rows.append((Cell(group.title), *(Cell("") for _ in heads[1:])))
        for key in group.rows:
            rows.append((Cell(chosen.names[key]), *cells[key]))
    block = Block(tuple(heads), tuple(rows), rules=tuple(rules[1:]))
    return Document(
        name=name,
        heading=layout.caption or f"{data(table)}: {', '.join(chosen.columns.values())}",
        caption=layout.caption or caption_of(chosen),
        blocks=(block,),
        notes=tuple(notes_of(chosen, signs)),
        frames={"": frame_of(chosen, values)},
    )


def _title(table: Table, column: str, metric: str) -> str:
    """Return the heading of a metric, with its class and the unit of a distance."""
    title, metric = titled(metric), metric_of(metric)
    if UNITS[metric] == "fraction":
        return title
    units = {table.units[column]} if column else {*table.units.values()}
    return f"{title} ({', '.join(sorted(units))})"


def _cell(value: Value | None, layout: Layout, place: int, star: str) -> Cell:
    """Return a mean with its spread, bold if it is the best, underlined if it is the second."""
    if value is None:
        return Cell("-", number=math.nan)
    form = f".{layout.decimals}f"
    text = rounded(value.mean, form)
    spread = [rounded(number, form) for number in value.spread]
    if len(spread) == 1:
        text += f" ± {spread[0]}"
    if len(spread) == 2:
        text += f" [{spread[0]}, {spread[1]}]"
    best = layout.best and place == 0
    second = layout.second and place == 1
    return Cell(text + star, "best" if best else "", value.mean, second)


def _complete(chosen: Chosen) -> Document:
    """Return all notes of table 1 beside the whole table, for a supplement."""
    first = table1.document(chosen.table)
    words_of_left_out = left_out(chosen)
    notes = (*first.notes, *([Note(words_of_left_out, "data")] if words_of_left_out else []))
    return replace(
        first,
        name=f"{chosen.layout.name}-notes",
        heading=f"Complete table and notes ({chosen.table.source})",
        notes=notes,
        label=f"{chosen.layout.name}-notes",
    )
