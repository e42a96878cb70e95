"""`bench clean`: removes the cells that it names, after it has listed them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.names import safe_name
from bench.spec.profile import name_of
from bench.spec.words import count
from bench.store.cells import Store
from bench.store.clean import delete, remains, remove, size
from bench.store.damage import Damage
from bench.store.lease import STALE_SECONDS, BusyError, Leases
from bench.store.plan import Place, Plan, planned

if TYPE_CHECKING:
    from rich.console import Console

STATES = ("failed", "stopped", "done", "damaged")
"""What can be removed: never a running cell, and of a waiting one there is nothing."""
LOOK_SECONDS = 1.0
"""Between two tries to take a cell's lease."""


def clean(
    states: Annotated[
        list[str],
        typer.Argument(
            help="failed, stopped, done, damaged: cells in these states.", metavar="STATES"
        ),
    ],
    out: options.Out = Path("results"),
    profile: options.ProfileOfPlan = None,
    methods: Annotated[
        str, typer.Option(help="Methods as bench status names them, separated by commas.")
    ] = "all",
    datasets: Annotated[
        str, typer.Option(help="Datasets likewise: mr, or mr@phantom-56a60cd6.")
    ] = "all",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove cells, and nothing beside their folders: lists them and asks first.

    `damaged` reads every file of the finished cells (but weights) and removes those of which one is
    not as the cell left it, and files such as split.csv that are not as a run left them. A running
    cell is never touched. Plans, splits, references and declared comparisons stay; a
    removed cell waits to be run again. Exit code 1 where one was left because another run has begun
    with it, or nothing was confirmed.

    Examples:

        bench clean failed stopped

        bench clean done --methods unet:width=32 --datasets mr --profile cpu --yes
    """
    for state in states:
        if state not in STATES:
            hint = did_you_mean(state, STATES)
            raise UsageError(f"cells that are '{state}' cannot be removed; {hint}")
    store = Store(out)
    chosen = safe_name(name_of(profile), "profile") if profile else next(iter(planned(store)), "")
    check_all_files = "damaged" in states
    places, damaged = Plan(store, chosen).look(check_all_files) if chosen else ([], [])
    if not places and not damaged:
        under = f" under the profile {profile!r}" if profile else ""
        raise UsageError(f"{out} has no planned cell{under}; see: bench status")
    named = [place for place in _chosen(places, methods, datasets) if place.state in states]
    files = _files(store, chosen, places, damaged) if check_all_files else []
    console = options.console()
    total = len(named) + len(files)
    if not total:
        options.say(f"No cell is {' or '.join(states)}; nothing to remove.", to=console)
        return
    _list(store, chosen, named, console)
    for path in files:
        options.say(f"damaged  {path}", to=console)
    if not yes:
        _confirm(total)
    refused = _remove(store, chosen, named, console)
    for path in files:
        delete(path)
    for place, why in refused:
        options.say(f"left: {place.name}: {why}", to=console)
    options.say(f"Removed {total - len(refused)} of {total}.", to=console)
    raise typer.Exit(1 if refused else 0)


def _files(
    store: Store, profile: str, places: Sequence[Place], damaged: Sequence[Damage]
) -> list[Path]:
    """Return the damaged files that are no cell's, and are there."""
    folder = store.layout.profile(profile)
    cells = {folder.cell(place.dataset, place.method, place.label).path for place in places}
    paths = [damage.path for damage in damaged if damage.path not in cells]
    return [path for path in paths if path.exists() or path.is_symlink()]


def _chosen(places: Sequence[Place], methods: str, datasets: str) -> list[Place]:
    """Return the places of the methods and datasets that are named as `bench status` does."""
    known_methods = {place.method for place in places}
    known_datasets = {place.dataset for place in places} | {p.dataset_name for p in places}
    wanted_methods = _names(methods, known_methods, "method")
    wanted_datasets = _names(datasets, known_datasets, "dataset")
    return [
        place
        for place in places
        if place.method in wanted_methods and wanted_datasets & {place.dataset, place.dataset_name}
    ]


def _names(text: str, known: set[str], what: str) -> set[str]:
    """Return the names in a comma-separated list; `all` is every known one."""
    if text == "all":
        return known
    names = {name.strip() for name in text.split(",")} - {""}
    for name in sorted(names - known):
        raise UsageError(f"no cell is of the {what} '{name}'; {did_you_mean(name, known)}")
    return names


def _list(store: Store, profile: str, places: Sequence[Place], console: Console) -> None:
    """Print each folder that would go, with its size."""
    from rich.filesize import decimal

    total = 0
    for place in places:
        for folder in remains(store, profile, place):
            bytes_here = size(folder)
            total += bytes_here
            options.say(f"{place.state:<8} {decimal(bytes_here):>9}  {folder}", to=console)
    options.say(f"{count(len(places), 'cell')}, {decimal(total)}.", to=console)


def _confirm(total: int) -> None:
    """Ask whether to remove so many cells; leave if not.

    Raises:
        UsageError: There is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            "nothing was removed, for this is no terminal to ask on; --yes removes what is listed"
        )
    what = "it" if total == 1 else f"these {total}"
    typer.confirm(f"Remove {what}?", abort=True)


def _remove(
    store: Store, profile: str, places: Sequence[Place], console: Console
) -> list[tuple[Place, str]]:
    """Remove cells; return which were left, and why.

    Whether the holder of another machine's lease is dead shows when its lease does not change for a
    while.
    """
    leases, began, told_to_wait = Leases(), time.monotonic(), False
    left: list[tuple[Place, str]] = []
    to_remove = list(places)
    while to_remove:
        busy = []
        for place in to_remove:
            try:
                if not remove(store, profile, place, leases):
                    left.append((place, "its state has just changed"))
            except BusyError:
                busy.append(place)
        if time.monotonic() - began > STALE_SECONDS + LOOK_SECONDS:
            return [*left, *((place, "another run is at work on it") for place in busy)]
        if busy and not told_to_wait:
            told_to_wait = True
            options.say(
                f"{len(busy)} have a lease; it is watched for {STALE_SECONDS:g} s, "
                "whether it changes.",
                to=console,
            )
        if busy:
            time.sleep(LOOK_SECONDS)
        to_remove = busy
    return left
