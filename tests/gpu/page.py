"""The page of a check: what is fast, what is slow and what failed, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.gpu.setting import Row

HIDDEN = ("met", "text", "dataset")


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
                lines += ["", row["text"].strip()]
    return "\n".join(lines) + "\n"


def _ended(result: dict[str, Any]) -> str:
    if result["whole"]:
        return "All stages are here."
    return "**It was cut off: later stages are missing.**"


def _summary(result: dict[str, Any]) -> list[str]:
    """Return what failed, and which goals are met and missed."""
    failed, missed, met = [], [], []
    for stage in result["stages"]:
        title = stage["title"]
        if stage.get("failed"):
            failed.append(f"- {title}: {stage['failed']}")
        for row in stage["rows"]:
            if "failed" in row:
                failed.append(f"- {title}: {_name(row)}: {row['failed']}")
            elif row.get("met") is False:
                missed.append(f"- {title}: {_name(row)}: {_figures(row)}")
            elif row.get("met") and "goal" in row:
                met.append(f"- {title}: {_name(row)}: {_figures(row)}")
    parts = (("Failed", failed), ("Goals missed", missed), ("Goals met", met))
    lines = []
    for title, items in parts:
        lines += [f"**{title}: {len(items)}**", "", *items, *([""] if items else [])]
    return lines


def _name(row: Row) -> str:
    """Return what a row is about: its first columns of text."""
    columns = ("method", "what", "height x width", "precision", "cells at once")
    words = [str(row[column]) for column in columns if column in row]
    return ", ".join(words)


def _figures(row: Row) -> str:
    """Return a row's figures with its goal."""
    columns = ("figure", "answers a second", "throughput", "out of memory", "twice the same")
    more = ("after a resume", "finite")
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
