"""`bench status`: the matrix as the files of the results folder tell it, whoever runs it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.spec import plain
from bench.spec.errors import UsageError, printable
from bench.spec.names import safe_name
from bench.spec.note import Note
from bench.spec.profile import name_of
from bench.spec.words import count, shortened_apart
from bench.store.cells import Store
from bench.store.damage import Damage
from bench.store.plan import STATES, Place, Plan, State, planned

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WATCH_SECONDS = 2.0
"""Between two looks of `--watch`."""
BORDER = 3
"""Characters that a column takes beside its words."""
SHORTEST = 12
"""Characters that a name keeps."""
SHOWN = 20
"""Failed cells that are listed; the rest are counted."""


def status(
    out: options.Out = Path("results"),
    profile: options.ProfileOfPlan = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until nothing runs.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show what of the matrix is done, running, failed and why, stopped, waiting and damaged.

    A cell is damaged if its record, cell.json, is not as it was left; scores and pictures are
    checked by bench report. Exit code 1 where anything is damaged.

    Examples:

        bench status

        bench status --watch
    """
    places, damaged = read_places(out, profile)
    if as_json:
        options.print_json([plain.builtins(asdict(place)) for place in places])
    elif watch:
        _watch(out, profile, places, options.console())
    else:
        console = options.console()
        console.print(picture(places, console.width))
    raise typer.Exit(options.tell_damaged(damaged))


def read_places(out: Path, profile: str | None) -> tuple[list[Place], list[Damage]]:
    """Return the places of a profile's matrix, and what is damaged; by default of the latest plan.

    Raises:
        UsageError: Nothing was planned.
    """
    store = Store(out)
    chosen = safe_name(name_of(profile), "profile") if profile else next(iter(planned(store)), "")
    places, damaged = Plan(store, chosen).look() if chosen else ([], [])
    if not places and not damaged:
        under = f" under the profile {profile!r}" if profile else ""
        raise UsageError(f"{out} has no planned cell{under}; run: bench run")
    return places, damaged


def _watch(out: Path, profile: str | None, places: list[Place], console: Console) -> None:
    """Print the matrix again and again, until nothing runs."""
    from rich.live import Live

    first = picture(places, console.width)
    with Live(first, console=console, auto_refresh=False) as live:
        while any(place.state == "running" for place in places):
            time.sleep(WATCH_SECONDS)
            places, _ = read_places(out, profile)
            live.update(picture(places, console.width), refresh=True)


def picture(places: Sequence[Place], width: int) -> RenderableType:
    """Return a row a dataset and method with its cells by state, then who runs and who failed.

    States that no cell has have no column, and long names lose their middle: so rows fit, and no
    two look alike.

    Args:
        places: The cells.
        width: Characters of a line.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    groups: dict[tuple[str, str], Counter[State]] = {}
    for place in places:
        key = (printable(place.dataset), printable(place.method))
        groups.setdefault(key, Counter())[place.state] += 1
    states = [state for state in STATES if any(counts[state] for counts in groups.values())]
    room = width - sum(len(state) + BORDER for state in states) - 2 * BORDER - 1
    longest = max((len(method) for _, method in groups), default=0)
    most = max(SHORTEST, room * 2 // 5, room - longest)
    datasets = shortened_apart([dataset for dataset, _ in groups], most)
    taken = max(map(len, datasets.values()), default=0)
    methods = shortened_apart([method for _, method in groups], max(SHORTEST, room - taken))
    table = Table(title=_summary(places), title_justify="left")
    for head in ("dataset", "method", *states):
        table.add_column(head, overflow="fold")
    for (dataset, method), counts in groups.items():
        names = Text(datasets[dataset]), Text(methods[method])
        table.add_row(*names, *(str(counts[state] or "") for state in states))
    running = [place for place in places if place.state == "running"]
    failed = [place for place in places if place.state == "failed"]
    lines = [f"running  {place.name}  {_progress(place.progress)}" for place in running]
    lines += [f"failed   {place.name}: {place.why}" for place in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"... and {len(failed) - SHOWN} more failed; --json lists all")
    return Group(table, *(Text(printable(line)) for line in lines))


def _summary(places: Sequence[Place]) -> str:
    """Return how many cells are in each state, in words."""
    counts = Counter(place.state for place in places)
    parts = [f"{counts[state]} {state}" for state in STATES if counts[state]]
    return f"{count(len(places), 'cell')}: {', '.join(parts)}"


def _progress(note: Note | None) -> str:
    """Return how far a running cell is, in words."""
    from bench.launch.board import clock, losses, seconds_left

    if note is None:
        return "starting"
    text = ", ".join(filter(None, (f"{note.phase} {note.step}/{note.steps}", losses(note))))
    left = seconds_left(note)
    if note.phase == "train" and left is not None:
        text += f", at most {clock(left)} left"
    return text
