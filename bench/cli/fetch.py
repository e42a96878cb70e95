"""`bench data fetch`: the terms first, then the files."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.spec.errors import UsageError
from bench.spec.words import count

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data.fetch.collections import Collection
    from bench.spec.note import Progress


def fetch(
    name: Annotated[str, typer.Argument(help="spider or ctspine1k.")],
    to: options.DataFetched,
    accept: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence that is shown.")
    ] = False,
) -> None:
    """Download a dataset that anyone may have; without --accept-licence, show its terms alone.

    What is stopped continues when the same command is called again.

    Examples:

        bench data fetch spider --to ~/spine

        bench data fetch spider --to ~/spine --accept-licence
    """
    from bench.data import fetch
    from bench.data.fetch import collections

    collection = collections.collection(name)
    folder = to / collection.folder
    if fetch.fetched(collection, to):
        options.say(f"{name}: all of it is in {folder}; nothing to fetch")
        return
    for line in terms(collection):
        options.say(line)
    if not accept:
        options.say(f"size: {_size(collection)}")
        command = f"bench data fetch {name} --to {shlex.quote(str(to))} --accept-licence"
        options.say(f"Nothing was downloaded. If you accept the licence: {command}")
        raise typer.Exit(2)
    with downloading(options.console()) as progress:
        fetch.fetch(collection, to, progress)
    options.say(
        f"{name}: all of it is in {folder}, its terms and digests in {folder / fetch.RECORD}"
    )
    place = shlex.quote(str(folder))
    options.say(f"Next: bench data prepare {collection.folder} --from {place}")


def terms(collection: Collection) -> list[str]:
    """Return what a user must know before the first byte."""
    return [
        collection.title,
        f"licence: {collection.licence}, {collection.licence_url}",
        f"cite: {collection.cite}",
        f"from: {collection.home}",
    ]


def _size(collection: Collection) -> str:
    """Return how large a dataset is, as its host says it."""
    from rich.filesize import decimal

    from bench.data import fetch

    try:
        offer = fetch.offer(collection)
    except UsageError:  # the terms are the point here, and need no network
        return f"not known, {collection.home} does not answer"
    return f"{decimal(offer.size)} in {count(len(offer.files), 'file')}"


@contextmanager
def downloading(console: Console) -> Iterator[Progress]:
    """Show bytes, speed and the time left of each file; a line each where there is no terminal."""
    from rich import progress
    from rich.filesize import decimal

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    quiet = not console.is_terminal
    with progress.Progress(*columns, console=console, transient=True, disable=quiet) as bars:
        tasks: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                # What was there before counts as done, but not for the speed.
                tasks[what] = bars.add_task(what, total=total, completed=done)
                if quiet:
                    before = f", {decimal(done)} of them from before" if done else ""
                    options.say(f"{what}: {decimal(total)}{before}", to=console)
            bars.update(tasks[what], completed=done)

        yield told
