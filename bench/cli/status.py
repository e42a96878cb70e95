"""`bench status`: the matrix as the files of the results folder tell it, whoever runs it and wherever."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.launch.board import clock, share_done
from bench.spec.errors import UsageError
from bench.store.store import Place, State, Store

STATES: tuple[State, ...] = ("done", "running", "failed", "stopped", "waiting")
WATCH_SECONDS = 2.0
SHOWN = 20
"""Failed cells that are listed; the rest are counted."""


def rows(out: Path, profile: str | None) -> list[dict[str, Any]]:
    """Return a row a cell.

    Raises:
        UsageError: Nothing was planned.
    """
    return [asdict(place) for place in _places(out, profile)]


def show(out: Path, profile: str | None, watch: bool, console: Console) -> None:
    """Print the state of the matrix; with `watch` again and again, until nothing runs.

    Raises:
        UsageError: Nothing was planned.
    """
    places = _places(out, profile)
    if not watch:
        console.print(picture(places))
        return
    with Live(picture(places), console=console, auto_refresh=False) as live:
        while any(place.state == "running" for place in places):
            time.sleep(WATCH_SECONDS)
            places = _places(out, profile)
            live.update(picture(places), refresh=True)


def _places(out: Path, profile: str | None) -> list[Place]:
    store = Store(out)
    chosen = profile or next(iter(store.planned()), "")
    places = store.places(chosen) if chosen else []
    if not places:
        raise UsageError(
            f"{out} has no planned cell{f' under the profile {profile!r}' if profile else ''};"
            " bench run"
        )
    return places


def picture(places: Sequence[Place]) -> RenderableType:
    """Return a row a dataset and method with its cells by state, then who runs, and who failed and why."""
    table = Table("dataset", "method", *STATES, title=_summary(places), title_justify="left")
    groups: dict[tuple[str, str], Counter[State]] = {}
    for place in places:
        groups.setdefault((place.dataset, place.method), Counter())[place.state] += 1
    for (dataset, method), counts in groups.items():
        table.add_row(dataset, method, *(str(counts[state] or "") for state in STATES))
    lines = [
        Text(f"running  {_name(place)}  {_told(place.progress)}")
        for place in places
        if place.state == "running"
    ]
    failed = [place for place in places if place.state == "failed"]
    lines += [Text(f"failed   {_name(place)}: {place.why}") for place in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(Text(f"... and {len(failed) - SHOWN} more failed; --json lists all"))
    return Group(table, *lines)


def _summary(places: Sequence[Place]) -> str:
    counts = Counter(place.state for place in places)
    return f"{len(places)} cells: " + ", ".join(
        f"{counts[state]} {state}" for state in STATES if counts[state]
    )


def _name(place: Place) -> str:
    return f"{place.dataset}/{place.method}/{place.label}"


def _told(progress: dict[str, Any]) -> str:
    if not progress:
        return "starting"
    loss = f", loss {progress['loss']:.4g}" if progress.get("loss") is not None else ""
    share, left = share_done(progress), ""
    if progress["phase"] == "train" and share > 0.02:
        left = f", at most {clock(progress['seconds'] * (1 / share - 1))} left"
    return f"{progress['phase']} {progress['step']}/{progress['steps']}{loss}{left}"
