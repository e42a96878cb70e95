"""`report.html`: one file that opens offline, with sortable tables, the scatter and the cases.

The scatter is 100 lines of page/report.js and no library: the one bundle that plotly ships for
Python is some 4.6 MB of script, half of what the file may hold and better given to pictures; its
dots cannot be reached by keyboard, and what a click shows would be own code with it too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from bench.report.document import SIGNS, Block, Cell, Document, Note
from bench.report.figures import parts, pictures
from bench.report.figures.style import point_style
from bench.report.page import forest
from bench.report.sections import answer, marks, table1
from bench.report.sections.comparisons import METHOD
from bench.report.sections.runs import MEANING
from bench.report.sections.table import Table
from bench.spec.metrics import PRINTED, TITLES

LIMIT = 9_500_000
"""Bytes of the file at most; pictures take what the numbers leave."""
DOTS = 200_000
"""Dots in the file at most, some 16 bytes each; beyond that the cases are thinned."""
FORMS = {"LaTeX": ".tex", "Markdown": ".md", "CSV": ".csv"}
"""What the buttons copy, and how the file of it ends."""
JOINED = "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
"""Between p and its value, so that no line ends there."""
APART = ("difference", "legend")
"""Kinds of notes that stand in a place of their own."""
VERDICT = "Verdict"
"""The heading of a column that stands second, so that it is always in view."""
HEADINGS = {
    "real": "Real data",
    "phantom": "Phantoms (simulated)",
    "external": "Data from outside",
}
"""What stands over the part of a source."""
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


def page(tables: Sequence[Table], listings: Mapping[str, Sequence[Document]]) -> str:
    """Return the page of a profile's tables with their listings, by source.

    The same results give the same text.
    """
    data = [_data(table) for table in tables]
    room = LIMIT - len(_render(tables, listings, data).encode())
    for number, (table, part) in enumerate(zip(tables, data, strict=True)):
        room -= _add_pictures(table, part, room // (len(tables) - number))
    return _render(tables, listings, data)


def _render(
    tables: Sequence[Table],
    listings: Mapping[str, Sequence[Document]],
    data: Sequence[dict[str, Any]],
) -> str:
    """Return the page with what `data` holds of pictures by now."""
    folder = resources.files("bench.report.page")
    style = (folder / "report.css").read_text(encoding="utf-8")
    script = (folder / "report.js").read_text(encoding="utf-8")
    columns = chain.from_iterable(part["columns"] for part in data)
    if any("key" in column for column in columns):
        style += (folder / "parts.css").read_text(encoding="utf-8")
        script += (folder / "parts.js").read_text(encoding="utf-8")
    # The browser itself refuses what is not ours: no script or style but these two, no request.
    policy = (
        "default-src 'none'; base-uri 'none'; img-src data:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    environment = Environment(
        loader=PackageLoader("bench.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    sections = []
    for table, part in zip(tables, data, strict=True):
        sections.append(_section(table, listings[table.source], part))
    return environment.get_template("report.html.jinja").render(
        profile=tables[0].profile,
        summary=tables[0].summary,
        sections=sections,
        forms=list(FORMS),
        meaning=MEANING,
        texts=_json(_texts(tables, listings)),
        policy=Markup(policy),
        style=Markup(style),
        script=Markup(script),
    )


def _texts(
    tables: Sequence[Table], listings: Mapping[str, Sequence[Document]]
) -> dict[str, dict[str, str]]:
    """Return what the buttons copy: each document's text in each form."""
    texts = {}
    for table in tables:
        for document in (table1.document(table), *listings[table.source]):
            written = document.texts()
            texts[document.name] = {form: written[end] for form, end in FORMS.items()}
    return texts


def _json(value: object) -> Markup:
    """Return data as JSON that cannot end the script that holds it."""
    return Markup(
        htmlsafe_json_dumps(
            value, dumps=json.dumps, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    )


def _hash(text: str) -> str:
    """Return by what a content security policy allows a style or script: its SHA-256."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _section(table: Table, listings: Sequence[Document], data: dict[str, Any]) -> dict[str, Any]:
    """Return what the template says of a table."""
    first = table1.document(table)
    kinds: dict[str, list[Note]] = {}
    for note in first.notes:
        kinds.setdefault(note.kind, []).append(note)
    differences, failures = kinds.pop("difference", []), kinds.pop("failure", [])
    legend = kinds.pop("legend", [])
    others = list(chain.from_iterable(kinds.values()))
    forests = [forest.of_column(table, column) for column in table.columns]
    shown = [_listing(listing) for listing in listings]
    contents = [("answer", "Answer"), ("forest", "Differences"), ("table1", "Table 1")]
    contents.append(("cases", "Patients and cases"))
    contents += [(listing["name"], listing["heading"]) for listing in shown]
    if not any(forests):
        contents.remove(("forest", "Differences"))
    return {
        "source": table.source,
        "name": first.name,
        "contents": contents,
        "answers": [one.text.replace(" = ", JOINED) for one in answer.answers(table)],
        "limits": answer.limits(table),
        "forests": [one for one in forests if one is not None],
        "heading": HEADINGS[table.source],
        "caption": first.caption,
        "columns": list(table.columns.values()),
        "groups": _groups(table),
        "rows": [_row(row) for row in first.blocks[0].rows],
        "failures": [note.text for note in failures],
        "legend": [note.text for note in legend],
        "warnings": [note for note in others if note.grave],
        "notes": [note for note in others if not note.grave],
        "differences": [note.text for note in differences],
        "methods": data["methods"],
        "data": _json(data),
        "listings": shown,
    }


def _groups(table: Table) -> list[dict[str, Any]]:
    """Return the heads of table 1: of each column its metrics, and the place of the first."""
    groups: list[dict[str, Any]] = []
    place = 1  # the methods are before
    for column, title in table.columns.items():
        metrics = [TITLES[metric] for metric in table.metrics(column)]
        head = marks.head(table, column)
        groups.append({"head": head, "title": title, "metrics": metrics, "at": place})
        place += len(metrics)
    return groups


def _row(row: Sequence[Cell]) -> dict[str, Any]:
    """Return what the template says of a row of table 1."""
    title, *scores = row
    return {"title": title.text, "cells": [_cell(cell) for cell in scores]}


def _cell(cell: Cell) -> dict[str, Any]:
    """Return what the template says of a cell; `sort` is None for words."""
    text = cell.text + SIGNS.get(cell.mark, "")
    sort = None
    if cell.number is not None:
        sort = "" if math.isnan(cell.number) else f"{cell.number:.9g}"
    return {"text": text, "best": cell.mark == "best", "sort": sort}


def _listing(listing: Document) -> dict[str, Any]:
    """Return what the template says of a document; a verdict stands in the second column."""
    return {
        "name": listing.name,
        "heading": re.sub(r" \((real|phantom|external)\)$", "", listing.heading),
        "caption": listing.caption,
        "blocks": [_block(block) for block in listing.blocks],
        "legend": [note.text for note in listing.notes if note.kind == "legend"],
        "notes": [note.text for note in listing.notes if note.kind not in APART],
    }


def _block(block: Block) -> dict[str, Any]:
    """Return what the template says of a block."""
    places = list(range(len(block.heads)))
    texts = [head.text for head in block.heads]
    order = (METHOD, VERDICT) if VERDICT in texts else ()
    for place, text in enumerate(order):
        if text in texts:  # of table 2 the effect is first already
            places.remove(texts.index(text))
            places.insert(place, texts.index(text))
    heads = [block.heads[place] for place in places]
    return {
        "caption": block.caption,
        "heads": [{"text": head.text, "word": head.align == "left"} for head in heads],
        "rows": [[_cell(row[place]) for place in places] for row in block.rows],
    }


def _data(table: Table) -> dict[str, Any]:
    """Return what the page's script draws: the scores of every case, worst mean Dice first."""
    methods = []
    for number, title in enumerate(table.methods.values()):
        style = point_style(number)
        shape = SHAPES[style["marker"]]
        methods.append({"title": title, "colour": style["edgecolors"], "shape": shape})
    columns = [_column(table, column) for column in table.columns]
    return {"source": table.source, "methods": methods, "columns": columns}


def _column(table: Table, column: str) -> dict[str, Any]:
    """Return what the page's script draws of a column; `pictures` are added later."""
    part = table.cases[table.cases.column == column]
    if part["dice"].isna().all():  # no case has any class
        return {
            "title": table.columns[column],
            "cases": [],
            "patients": [],
            "means": [],
            "low": 0.0,
            "scores": [[] for _ in table.methods],
            "pictures": {},
            "about": "No case has a score.",
        }
    wide = part.pivot_table(
        index=["case", "patient"], columns="method", values=list(PRINTED), sort=False
    )
    means = pd.DataFrame(wide["dice"]).mean(axis=1).sort_index().sort_values(kind="stable")
    cases, most_cases = len(means), DOTS // (len(table.columns) * len(table.methods))
    about = ""
    if cases > most_cases:
        evenly_spread = np.linspace(0, cases - 1, max(most_cases, 2)).round().astype(int)
        means = means.iloc[evenly_spread]
        about = (
            f"{len(means)} of {cases} cases are in this page, evenly from the worst to the best by "
            "mean Dice; the tables have all."
        )
    wide = wide.loc[means.index].astype(float).round(4)
    lowest = float(part[list(PRINTED)].min().min())
    return {
        "title": table.columns[column],
        "cases": [str(case) for case, _ in means.index],
        "patients": [str(patient) for _, patient in means.index],
        "means": [round(float(mean), 4) for mean in means],
        "low": max(0.0, float(np.floor(10 * lowest) / 10)),
        "scores": [_scores(wide, method) for method in table.methods],
        "pictures": {},
        "about": about,
    }


def _scores(wide: pd.DataFrame, method: str) -> list[list[float | None]]:
    """Return Dice and IoU of each case, None where the method was not tested on it.

    A method that was never tested has no list at all.
    """
    if method not in wide["dice"]:
        return []
    scores = pd.DataFrame(wide.xs(method, axis=1, level=1))
    pairs = scores.reindex(columns=list(PRINTED)).to_numpy()
    return [[_known(value) for value in pair] for pair in pairs]


def _known(value: float) -> float | None:
    """Return a number, None of NaN: JSON has none."""
    return None if math.isnan(value) else float(value)


def _add_pictures(table: Table, data: dict[str, Any], room: int) -> int:
    """Add pictures of cases, evenly from the worst to the best, as far as the room goes.

    Returns:
        The bytes that were taken.
    """
    all_places = pictures.places(table)
    taken = 0
    for number, column in enumerate(table.columns):
        drawn = data["columns"][number]
        share = (room - taken) // (len(table.columns) - number)
        used, without = _fill(table, all_places, column, drawn, share)
        taken += used
        drawn["about"] = " ".join(filter(None, (drawn["about"], _about(drawn, without))))
        key = _key(table, column, drawn)
        if key:
            drawn["key"] = key
    return taken


def _key(table: Table, column: str, drawn: dict[str, Any]) -> list[list[str]]:
    """Return what the colours of a column's pictures mean; nothing where there is one foreground.

    Returns:
        A colour and a name for each class; or of instances none, and what outlines mean.
    """
    if not any("words" in shown for shown in drawn["pictures"].values()):
        return []
    if column in table.instances:
        return [["", parts.MEANING]]
    named = next(cell.record for cell in table.cells if cell.record.column.key == column)
    return [
        [parts.COLOURS[parts.number_of(number) - 1], name]
        for number, name in enumerate(named.classes, 1)
    ]


def _fill(
    table: Table, all_places: pictures.Places, column: str, drawn: dict[str, Any], share: int
) -> tuple[int, int]:
    """Add pictures to one column; return the bytes taken, and how many cases have no image."""
    used, without = 0, 0
    for place in evenly(len(drawn["cases"])):
        shown = pictures.case(all_places, column, list(table.methods), drawn["cases"][place])
        if shown is None:
            if not drawn["pictures"]:
                break  # the first has none, so none has: results whose masks were removed
            continue
        size = len(json.dumps(shown)) + 16  # and its number, quotes and comma
        if used + size > share:
            break
        used += size
        without += shown["image"] is None
        drawn["pictures"][place] = shown
    return used, without


def _about(column: dict[str, Any], without: int) -> str:
    """Return what is said beside a column's pictures."""
    cases, shown = len(column["cases"]), len(column["pictures"])
    if not cases:
        return ""
    if not shown:
        return (
            "The store holds no masks of this dataset's cases, so there is nothing to show but the "
            "scores."
        )
    sentences = []
    if shown < cases:
        sentences.append(
            f"Pictures of {shown} of {cases} cases are in this page, chosen evenly from the worst "
            f"to the best by mean Dice, so that the file stays under {LIMIT / 1e6:g} MB."
        )
    if without:
        sentences.append(
            "These results are from before images and references were kept with them, so the "
            "predictions stand alone, in green; a run of today into another --out keeps both."
        )
    sentences.append(
        f"At most {pictures.SIDE} pixels a side, compressed; the first seed's. Scores are of the "
        "originals."
    )
    return " ".join(sentences)


def evenly(count: int) -> list[int]:
    """Return 0 to count - 1 so that each beginning of the list is spread over the whole.

    This is van der Corput's order: numbers are sorted by their binary digits read backwards.
    """
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda number: int(f"{number:0{bits}b}"[::-1], 2))
