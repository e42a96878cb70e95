"""The page of a check: what is fast, what is slow and what failed, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.gpu.setting import IMAGE, STEP, Row

HIDDEN = ("met", "text")


def markdown(result: dict[str, Any]) -> str:
    """Return the page of a result, which may be one that was cut off."""
    lines = [
        "# GPU check",
        "",
        f"Device: {result['device']}. {result['versions']}. {result['date']}.",
        f"It took {result['seconds']:.0f} s. {_ended(result)}",
        "",
        *_summary(result),
    ]
    for stage in result["stages"]:
        lines += ["", f"## {stage['title']}", "", stage["about"]]
        lines += [f"It took {stage['seconds']:.0f} s.", "", *_table(stage["rows"])]
        if stage.get("failed"):
            lines += ["", f"**The stage ended with an error: {stage['failed']}**"]
        for row in stage["rows"]:
            if "text" in row:
                lines += ["", row["text"].strip().replace("# ", "### ", 1)]
    return "\n".join(lines) + "\n"


def _ended(result: dict[str, Any]) -> str:
    if result["whole"]:
        return f"All {len(result['stages'])} stages ran."
    return "**It was cut off: later stages are missing.**"


def _summary(result: dict[str, Any]) -> list[str]:
    """Return errors, goals, what was skipped, and which methods are fast."""
    failed, missed, met, skipped = [], [], [], []
    for stage in result["stages"]:
        title = stage["title"]
        if stage.get("failed"):
            failed.append(f"- {title}: {stage['failed']}")
        for row in stage["rows"]:
            if "failed" in row:
                failed.append(f"- {title}: {_name(row)}: {row['failed']}")
            elif "skipped" in row:
                skipped.append(f"- {title}: {_name(row)}: {row['skipped']}")
            elif row.get("met") is False:
                missed.append(f"- {title}: {_name(row)}: {_figures(row)}")
            elif row.get("met") and "goal" in row:
                met.append(f"- {title}: {_name(row)}: {_figures(row)}")
    parts = (
        ("Errors", failed),
        ("Goals missed", missed),
        ("Goals met", met),
        ("Not run", skipped),
        ("Fast and slow", _fast_and_slow(result)),
    )
    lines = []
    for title, items in parts:
        count = "" if title == "Fast and slow" else f": {len(items)}"
        lines += [f"**{title}{count}**", "", *items, *([""] if items else [])]
    return lines


def _fast_and_slow(result: dict[str, Any]) -> list[str]:
    """Return the methods from the fastest to the slowest, on the largest images."""
    rows = [row for row in result["stages"][0]["rows"] if STEP in row] if result["stages"] else []
    largest = [row for row in rows if row["height x width"] == rows[-1]["height x width"]]
    lines = []
    for precision in dict.fromkeys(row["precision"] for row in largest):
        mine = [row for row in largest if row["precision"] == precision]
        for column in (STEP, IMAGE):
            order = sorted(mine, key=lambda row: row[column])
            names = ", ".join(f"{row['method']} {row[column]:g}" for row in order)
            lines.append(f"- {column}, {rows[-1]['height x width']}, {precision}: {names}")
    return lines


def _name(row: Row) -> str:
    """Return what a row is about: its first columns of text."""
    columns = ("method", "what", "height x width", "precision", "cells at once")
    words = [str(row[column]) for column in columns[:-1] if column in row]
    if "cells at once" in row:
        words.append(f"{row['cells at once']} cells at once")
    return ", ".join(words)


def _figures(row: Row) -> str:
    """Return a row's figures with its goal."""
    columns = ("result", "images a second", "too little memory", "two trainings identical")
    more = ("stopped and resumed identical", "weights finite")
    words = [f"{column} {row[column]}" for column in (*columns, *more) if column in row]
    goal = f" (goal: {row['goal']})" if "goal" in row else ""
    return f"{', '.join(words)}{goal}"


def _table(rows: Sequence[Row]) -> list[str]:
    """Return rows as a Markdown table; columns in the order in which rows first have them."""
    shown = [row for row in rows if "text" not in row]
    columns = [
        name for name in dict.fromkeys(k for row in shown for k in row) if name not in HIDDEN
    ]
    if not columns:
        return ["Nothing was measured."]
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for row in shown:
        texts = [_text(row.get(column)) for column in columns]
        lines.append(f"| {' | '.join(texts)} |")
    return lines


def _text(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|")
