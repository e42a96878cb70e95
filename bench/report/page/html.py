"""`report.html`: one file that opens offline, with sortable tables, the scatter, and each case under every method.

The scatter is 100 lines of page/report.js and no library: the one bundle that plotly ships for
Python is some 4.6 MB of script, half of what the file may hold and better given to pictures; its
dots cannot be reached by keyboard, and what a click shows would be own code with it too.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from bench.report.figures import pictures
from bench.report.figures.style import point_style
from bench.report.listing import Listing
from bench.report.sections import tables
from bench.report.sections.tables import Table
from bench.store.store import Store

LIMIT = 9_500_000
"""Bytes of the file at most; pictures take what the numbers leave."""
DOTS = 200_000
"""Dots in the file at most, some 16 bytes each; beyond that the cases are thinned."""
SHAPES = {
    "o": "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0",
    "s": "m-3.2-3.2h6.4v6.4h-6.4z",
    "^": "m0-4.2l3.9 7h-7.8z",
    "D": "m0-4.5l4.5 4.5l-4.5 4.5l-4.5-4.5z",
    "v": "m0 4.2l3.9-7h-7.8z",
    "P": "m-1.4-4.2h2.8v2.8h2.8v2.8h-2.8v2.8h-2.8v-2.8h-2.8v-2.8h2.8z",
    "X": "m0-2l2-2l2 2l-2 2l2 2l-2 2l-2-2l-2 2l-2-2l2-2l-2-2l2-2z",
    "*": "m0-4.8l1.2 3.2l3.4.1l-2.7 2.1l1 3.3l-2.9-1.9l-2.9 1.9l1-3.3l-2.7-2.1l3.4-.1z",
}
"""Figure 8's markers as paths around the point where they start."""


def page(store: Store, found: Sequence[Table], listings: Mapping[str, Sequence[Listing]]) -> str:
    """Return the page of a profile's tables with their listings, by source; the same store gives the same text."""
    data = [_data(table) for table in found]
    room = LIMIT - len(_render(found, listings, data).encode())
    for number, (table, each) in enumerate(zip(found, data, strict=True)):
        room -= _add_pictures(store, table, each, room // (len(found) - number))
    return _render(found, listings, data)


def _render(
    found: Sequence[Table],
    listings: Mapping[str, Sequence[Listing]],
    data: Sequence[dict[str, Any]],
) -> str:
    folder = resources.files("bench.report") / "page"
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    # The browser itself refuses what is not ours: no script or style but these two, no request to
    # anywhere.
    policy = (
        f"default-src 'none'; base-uri 'none'; img-src data:; style-src {_hash(style)}; script-src"
        f" {_hash(script)}"
    )
    environment = Environment(
        loader=PackageLoader("bench.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        profile=found[0].profile,
        summary=found[0].summary,
        sections=[
            _section(table, listings[table.source], each)
            for table, each in zip(found, data, strict=True)
        ],
        metrics=[tables.TITLES[metric] for metric in tables.METRICS],
        policy=Markup(policy),
        style=Markup(style),
        script=Markup(script),
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _section(table: Table, listings: Sequence[Listing], data: dict[str, Any]) -> dict[str, Any]:
    """Return what the template says of a table."""
    rows = []
    for method, title in table.methods.items():
        cells = []
        for column in table.columns:
            for metric in tables.METRICS:
                cell = tables.entry(table, column, method, metric)
                there = (column, method) in table.scores.index
                sort = f"{table.scores[f'{metric}_mean'][column, method]:.9f}" if there else ""
                cells.append(
                    {"text": cell.text + tables.MARK * cell.like, "best": cell.best, "sort": sort}
                )
        rows.append({"title": title, "cells": cells})
    notes = [note for note in table.notes if " differs from its source: " not in note]
    return {
        "source": table.source,
        "heading": "Phantoms (simulated)" if table.source == "phantom" else "Real data",
        "caption": tables.caption(table),
        "columns": list(table.columns.values()),
        "rows": rows,
        "failures": tables.failures(table),
        "notes": [
            {"text": note, "grave": "NOT the same" in note or "DIFFER" in note}
            for note in [*tables.footnotes(table), *notes]
        ],
        "differences": [note for note in table.notes if note not in notes],
        "methods": data["methods"],
        "data": htmlsafe_json_dumps(
            data, dumps=json.dumps, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ),
        "listings": [_listing(each) for each in listings],
    }


def _listing(listing: Listing) -> dict[str, Any]:
    def cell(text: str, key: float | None) -> dict[str, Any]:
        return {"text": text, "sort": None if key is None else "" if key != key else f"{key:.9g}"}

    return {
        "heading": listing.heading.rpartition(" (")[0],
        "caption": listing.caption,
        "heads": [
            {"text": head, "word": name not in listing.numbers}
            for name, head in listing.heads.items()
        ],
        "rows": [
            list(map(cell, *both)) for both in zip(listing.cells(), listing.keys(), strict=True)
        ],
        "notes": [note for note in listing.notes if " differs from its source: " not in note],
    }


def _data(table: Table) -> dict[str, Any]:
    """Return what the page's script draws: the scores of every case under every method, worst mean Dice first."""
    styles = [point_style(number) for number in range(len(table.methods))]
    methods = [
        {"title": title, "colour": style["edgecolors"], "shape": SHAPES[style["marker"]]}
        for title, style in zip(table.methods.values(), styles, strict=True)
    ]
    return {
        "source": table.source,
        "methods": methods,
        "columns": [_column(table, column) for column in table.columns],
    }


def _column(table: Table, column: str) -> dict[str, Any]:
    part = table.cases[table.cases.column == column]
    wide = part.pivot_table(
        index=["case", "patient"], columns="method", values=list(tables.METRICS), sort=False
    )
    means = pd.DataFrame(wide["dice"]).mean(axis=1).sort_index().sort_values(kind="stable")
    cases, most = len(means), DOTS // (len(table.columns) * len(table.methods))
    if cases > most:
        means = means.iloc[np.linspace(0, cases - 1, max(most, 2)).round().astype(int)]
    wide = wide.loc[means.index].astype(float).round(4)
    return {
        "title": table.columns[column],
        "cases": [str(case) for case, _ in means.index],
        "patients": [str(patient) for _, patient in means.index],
        "means": [round(float(mean), 4) for mean in means],
        "low": max(0.0, float(np.floor(10 * part[list(tables.METRICS)].min().min()) / 10)),
        "scores": [_scores(wide, method) for method in table.methods],
        "pictures": {},
        "about": (
            ""
            if len(means) == cases
            else (
                f"{len(means)} of {cases} cases are in this page, evenly from the "
                "worst to the best by mean Dice; the tables have all."
            )
        ),
    }


def _scores(wide: pd.DataFrame, method: str) -> list[list[float | None]]:
    """Return Dice and IoU of each case, None where the method was not tested on it; nothing for one never tested."""
    if method not in wide["dice"]:
        return []
    own = pd.DataFrame(wide.xs(method, axis=1, level=1))
    pairs = own.reindex(columns=list(tables.METRICS)).to_numpy()
    return [[None if value != value else float(value) for value in pair] for pair in pairs]


def _add_pictures(store: Store, table: Table, data: dict[str, Any], room: int) -> int:
    """Add pictures of cases, evenly from the worst to the best, as far as the room goes; return the bytes taken."""
    lying = pictures.places(store, table)
    taken = 0
    for number, (column, drawn) in enumerate(zip(table.columns, data["columns"], strict=True)):
        share = (room - taken) // (len(table.columns) - number)
        used, without = 0, 0
        for place in evenly(len(drawn["cases"])):
            shown = pictures.case(store, lying, column, list(table.methods), drawn["cases"][place])
            if shown is None:
                if not drawn["pictures"]:
                    break  # the first has none, so none has: results whose masks were removed
                continue
            size = len(json.dumps(shown)) + 16
            if used + size > share:
                break
            used += size
            without += shown["image"] is None
            drawn["pictures"][place] = shown
        taken += used
        drawn["about"] = " ".join(filter(None, (drawn["about"], _about(drawn, without))))
    return taken


def _about(column: dict[str, Any], without: int) -> str:
    """Return what is said beside a column's pictures."""
    cases, shown = len(column["cases"]), len(column["pictures"])
    if not shown:
        return (
            "The store holds no masks of this dataset's cases, so there is nothing to show but the"
            " scores."
        )
    parts = (
        []
        if shown == cases
        else [
            f"Pictures of {shown} of {cases} cases are in this page, chosen evenly from the worst"
            f" to the best by mean Dice, so that the file stays under {LIMIT / 1e6:g} MB."
        ]
    )
    if without:
        parts.append(
            "These results are from before images and references were kept with them, so the"
            " answers stand alone, in green; a run of today into another --out keeps both."
        )
    parts.append(
        f"At most {pictures.SIDE} pixels a side, compressed; the first seed's. Scores are of the"
        " originals."
    )
    return " ".join(parts)


def evenly(count: int) -> list[int]:
    """Return 0 to count - 1 such that each beginning of the list is spread over the whole (van der Corput's order)."""
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda number: int(f"{number:0{bits}b}"[::-1], 2))
