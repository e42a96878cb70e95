"""Tables and figures from the store alone: no torch, and never a change to a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from bench.report.figures import gallery, stages
from bench.report.figures import style as figures
from bench.report.listing import Listing
from bench.report.paper import macros
from bench.report.sections import beside, inference, ledger, tables
from bench.spec.errors import UsageError
from bench.store.store import Store

Extent = Literal["run", "texts", "whole"]
"""What a run writes at its end; all that has no picture in it; everything."""


def write(
    store: Store,
    folder: Path,
    profile: str | None = None,
    extent: Extent = "whole",
    redraw: bool = True,
) -> list[Path]:
    """Write tables and listings (Markdown, LaTeX, CSV), a paper's numbers, figures (PNG, PDF), the page.

    Args:
        store: The results.
        folder: Where reports go; a folder named after the profile is made in it.
        profile: Which results; the latest where not given.
        extent: `run` leaves out what takes a while: the inference, a picture of every dataset's
            cases, the page.
        redraw: Draw the figures also where the table's numbers are as they were.

    Returns:
        The files.

    Raises:
        UsageError: No cell is finished, or the folder cannot be written.
    """
    profile = store.finished_profile(profile)
    target = folder / profile
    written: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        found = tables.collect(store, profile)
        listings = {table.source: _listings(store, table, extent != "run") for table in found}
        for table in found:
            numbers = target / f"table1-{table.source}.csv"
            drawn = numbers.is_file() and numbers.read_text(encoding="utf-8") == tables.csv(table)
            written += _texts(table, listings[table.source], target)
            if extent != "texts":
                written += _figures(store, table, target, redraw or not drawn)
            if extent == "whole":
                written += gallery.write(store, table, target, redraw or not drawn)
        if extent != "texts":
            written += _stages(store, profile, target, redraw)
        if extent != "run":
            written += _both_sources(store, found, listings, target, extent, redraw)
    except OSError as error:
        raise UsageError(
            f"report folder {target} cannot be written ({error.strerror}); choose another with --to"
        ) from error
    return written


def _listings(store: Store, table: tables.Table, whole: bool) -> list[Listing]:
    """Return what stands beside table 1: the ledger; and the inference and the published numbers."""
    book = ledger.listing(ledger.collect(store, table), table)
    return [*inference.listings(table), *beside.listings(table), book] if whole else [book]


def _texts(table: tables.Table, listings: Sequence[Listing], target: Path) -> list[Path]:
    """Write table 1 and its listings."""
    texts = {
        f"table1-{table.source}": {
            "md": tables.markdown(table),
            "tex": tables.latex(table),
            "csv": tables.csv(table),
        }
    }
    texts |= {listing.name: listing.texts() for listing in listings}
    paths = {
        target / f"{name}.{suffix}": text
        for name, kinds in texts.items()
        for suffix, text in kinds.items()
    }
    for path, text in paths.items():
        path.write_text(text, encoding="utf-8")
    return list(paths)


def _figures(store: Store, table: tables.Table, target: Path, redraw: bool) -> list[Path]:
    """Draw figure 8, and Dice against the seconds of an answer."""
    clouds, costs = (
        [target / f"{stem}-{table.source}.{suffix}" for suffix in ("png", "pdf")]
        for stem in ("figure8", "seconds")
    )
    if redraw or not all(path.is_file() for path in clouds):
        figures.dice_against_iou(table, clouds)
    if redraw or not all(path.is_file() for path in costs):
        ledger.dice_against_seconds(ledger.collect(store, table), table, costs)
    return clouds + costs


def _stages(store: Store, profile: str, target: Path, redraw: bool) -> list[Path]:
    """Draw the stages of each method that has any, once a dataset: those of its first seed and fold."""
    drawn: dict[Path, None] = {}
    for record, folder in store.records(profile):
        data, method = record["spec"]["dataset"], record["spec"]["method"]
        slug = f"{data['name']}@{data['source']}-{data['digest'][:8]}"
        path = target / f"stages-{slug}-{method.replace(':', ',')}.png"
        if path in drawn:
            continue
        maps = store.stages(folder)
        if maps:
            drawn[path] = None
            if redraw or not path.is_file():
                case = (
                    (folder / "cases.csv").read_text(encoding="utf-8").splitlines()[1].split(",")[0]
                )
                stages.draw(
                    maps,
                    f"{record['title']}, {data['name']}, case {case} ({data['source']} data)",
                    path,
                )
    return list(drawn)


def _both_sources(
    store: Store,
    found: Sequence[tables.Table],
    listings: Mapping[str, Sequence[Listing]],
    target: Path,
    extent: Extent,
    redraw: bool,
) -> list[Path]:
    """Write what holds real data and phantoms side by side: a paper's macros, and the page."""
    numbers, page = target / "numbers.tex", target / "report.html"
    text = macros.numbers(found)
    drawn = page.is_file() and numbers.is_file() and numbers.read_text(encoding="utf-8") == text
    numbers.write_text(text, encoding="utf-8")
    if extent == "texts":
        return [numbers]
    if redraw or not drawn:
        from bench.report.page import html

        page.write_text(html.page(store, found, listings), encoding="utf-8")
    return [numbers, page]
