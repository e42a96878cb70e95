"""`bench clean`: removes the cells that it names, after it has listed them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.filesize import decimal

from bench.spec.config import safe_name
from bench.spec.errors import UsageError, did_you_mean
from bench.store.lease import STALE_SECONDS, BusyError, Watch
from bench.store.store import Place, Store

STATES = ("failed", "stopped", "done")
"""What can be removed: a running cell never is, and of a waiting one there is nothing."""
LOOK_SECONDS = 1.0


def run(
    out: Path,
    profile: str | None,
    methods: str,
    datasets: str,
    states: Sequence[str],
    yes: bool,
    console: Console,
) -> bool:
    """List the cells in these states and remove them, once that is confirmed; return whether all of them are gone.

    Raises:
        UsageError: Nothing was planned, a name or a state is unknown, or there is nobody to ask;
            nothing was removed.
    """
    for state in states:
        if state not in STATES:
            raise UsageError(
                f"cells that are '{state}' cannot be removed; {did_you_mean(state, STATES)}"
            )
    store = Store(out)
    chosen = safe_name(profile, "profile") if profile else next(iter(store.planned()), "")
    places = store.places(chosen) if chosen else []
    if not places:
        raise UsageError(
            f"{out} has no planned cell{f' under the profile {profile!r}' if profile else ''};"
            " bench status"
        )
    wanted = _wanted(places, methods, datasets)
    named = [place for place in wanted if place.state in states]
    if not named:
        console.print(f"No cell is {' or '.join(states)}; nothing to remove.", highlight=False)
        return True
    _list(store, chosen, named, console)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "nothing was removed, for this is no terminal to ask on; --yes removes what is"
                " listed"
            )
        typer.confirm(f"Remove {'it' if len(named) == 1 else f'these {len(named)}'}?", abort=True)
    left = _remove(store, chosen, named, console)
    for place, why in left:
        name = f"{place.dataset}/{place.method}/{place.label}"
        console.print(f"left: {name}: {why}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Removed {len(named) - len(left)} of {len(named)}.", highlight=False)
    return not left


def _wanted(places: Sequence[Place], methods: str, datasets: str) -> list[Place]:
    """Return the places of the methods and datasets that are named as `bench status` calls them."""
    slugs = {place.dataset: place.dataset.rpartition("@")[0] for place in places}
    kept = _chosen(methods, {place.method for place in places}, "method")
    inside = _chosen(datasets, {*slugs, *slugs.values()}, "dataset")
    return [p for p in places if p.method in kept and {p.dataset, slugs[p.dataset]} & inside]


def _chosen(text: str, there: set[str], what: str) -> set[str]:
    """Return the names in a comma-separated list, `all` being every one that is there."""
    if text == "all":
        return there
    names = {name.strip() for name in text.split(",")} - {""}
    for name in sorted(names - there):
        raise UsageError(f"no cell is of the {what} '{name}'; {did_you_mean(name, there)}")
    return names


def _list(store: Store, profile: str, named: Sequence[Place], console: Console) -> None:
    total = 0
    for place in named:
        for folder in store.remains(profile, place):
            size = sum(store.files(folder).values())
            total += size
            console.print(
                f"{place.state:<8} {decimal(size):>9}  {folder}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    console.print(f"{len(named)} cells, {decimal(total)}.", highlight=False)


def _remove(
    store: Store, profile: str, named: Sequence[Place], console: Console
) -> list[tuple[Place, str]]:
    """Remove cells; return which were left, and why.

    Whether the holder of another machine's lease is dead shows when the lease does not change for a
    while.
    """
    watch, began, busy, told = Watch(), time.monotonic(), list(named), False
    left: list[tuple[Place, str]] = []
    while busy:
        again = []
        for place in busy:
            try:
                if not store.remove(profile, place, watch):
                    left.append((place, "its state has just changed"))
            except BusyError:
                again.append(place)
        if time.monotonic() - began > STALE_SECONDS + LOOK_SECONDS:
            return [*left, *((place, "another run is at work on it") for place in again)]
        if again and not told:
            told = True
            console.print(
                f"{len(again)} have a lease; it is watched for {STALE_SECONDS:g} s, whether it"
                " changes.",
                highlight=False,
            )
        time.sleep(LOOK_SECONDS if again else 0)
        busy = again
    return left
