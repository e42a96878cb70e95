"""`bench merge` and `bench pack`: results folders become one, or an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.spec.errors import UsageError
from bench.spec.words import count


def merge(
    sources: Annotated[list[Path], typer.Argument(help="Results folders.")],
    into: Annotated[Path, typer.Option(help="The new folder.")],
) -> None:
    """Join results of several machines: same protocol, same datasets; nothing is overwritten.

    What both have with other content is named, and nothing is written then.

    Examples:

        bench merge cluster-a/results cluster-b/results --into results
    """
    from bench.store.merge import merge as join

    if len(sources) < 2:
        raise UsageError("expected two results folders or more: bench merge A B --into C")
    merged = join(sources, into)
    options.say(f"{into}: {count(merged.cells, 'cell')}, {count(len(merged.files), 'file')}")


def pack(
    results: Annotated[Path, typer.Argument(help="A results folder.")] = Path("results"),
    to: Annotated[Path, typer.Option("--to", help="The archive.")] = Path("results.zip"),
    weights: Annotated[bool, typer.Option("--weights", help="Pack trained weights too.")] = False,
) -> None:
    """Pack what a reviewer needs into one zip file: records, scores, splits and masks.

    It has a manifest of digests, and licence and citation of datasets and methods as RO-Crate
    metadata. Unpacked elsewhere it is read by bench report --out and bench verify.

    Examples:

        bench pack results --to results.zip

        bench pack results --to results.zip --weights
    """
    from bench.data.fetch.collections import COLLECTIONS
    from bench.store.pack import pack as write

    terms = {one.folder: (one.licence, one.cite) for one in COLLECTIONS.values()}
    names = write(results, to, weights, terms, _published(results))
    options.say(f"{to}: {count(len(names), 'file')}, {to.stat().st_size / 1e6:.1f} MB")


def _published(results: Path) -> dict[str, str]:
    """Return where the methods of a results folder are published, as far as they are installed."""
    from bench.spec import registry
    from bench.store import check
    from bench.store.cells import Store
    from bench.store.results import finished_profiles

    store = Store(results)
    published = {}
    for profile in finished_profiles(store):
        for record in check.records(store.layout.profile(profile)).cells.values():
            if record.external is not None and record.external.kind != "program":
                continue
            try:
                published[record.spec.method] = registry.load(
                    registry.METHODS, record.method.name
                ).source
            except UsageError:  # a package that is not installed here
                published[record.spec.method] = "unknown"
    return published
