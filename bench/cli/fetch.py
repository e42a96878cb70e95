"""`bench data fetch`: the terms first, then the files."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from bench.data import fetch
from bench.data.fetch import sources
from bench.spec.errors import UsageError


def run(name: str, to: Path, accepted: bool, console: Console) -> bool:
    """Show a dataset's terms and, where they are accepted, fetch it; return whether it is there.

    Raises:
        UsageError: The name is unknown or of a dataset that is never downloaded, or it cannot be
            fetched.
    """
    source = sources.source(name)
    folder = to / source.folder
    if fetch.fetched(source, to):
        _say(console, f"{name}: all of it is in {folder}; nothing to fetch")
        return True
    for line in terms(source):
        _say(console, line)
    if not accepted:
        _say(console, f"size: {_size(source)}")
        command = f"bench data fetch {name} --to {shlex.quote(str(to))} --accept-licence"
        _say(console, f"Nothing was downloaded. If you accept the licence: {command}")
        return False
    with downloading(console) as progress:
        fetch.fetch(source, to, progress)
    _say(
        console,
        f"{name}: all of it is in {folder}, its terms and digests in {folder / fetch.RECORD}",
    )
    _say(console, f"Next: bench data prepare {source.folder} --from {shlex.quote(str(folder))}")
    return True


def terms(source: sources.Source) -> list[str]:
    """Return what a user must know before the first byte."""
    return [
        source.title,
        f"licence: {source.licence}, {source.licence_url}",
        f"cite: {source.cite}",
        f"from: {source.home}",
    ]


def _size(source: sources.Source) -> str:
    try:
        found = fetch.offer(source)
    except UsageError:  # the terms are the point here, and need no network
        return f"not known, {source.home} does not answer"
    return f"{decimal(found.size)} in {len(found.files)} files"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def downloading(console: Console) -> Iterator[sources.Progress]:
    """Show bytes, speed and the time left of each file; a line each where there is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(
                    what, total=total, completed=done
                )  # what was there has no speed
                if not console.is_terminal:
                    before = f", {decimal(done)} of them from before" if done else ""
                    _say(console, f"{what}: {decimal(total)}{before}")
            bars.update(tasks[what], completed=done)

        yield progress
