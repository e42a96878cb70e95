"""Tables and figures from the store alone: no torch, and never a change to a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import UsageError
from bench.report import beside, figures, gallery, inference, ledger, macros, stages, tables
from bench.report.listing import Listing
from bench.store import Store


def write(
    store: Store, folder: Path, profile: str | None = None, redraw: bool = True, whole: bool = True
) -> list[Path]:
    """Write table 1 and the fairness ledger (Markdown, LaTeX, CSV), and the figures (PNG, PDF); return the files.

    Args:
        store: The results.
        folder: Where reports go; a folder named after the profile is made in it.
        profile: Which results; the latest where not given.
        redraw: Draw the figures also where the table's numbers are as they were.
        whole: Also what takes a while: a picture of every dataset's cases, the page, a paper's macros.

    Raises:
        UsageError: No cell is finished, or the folder cannot be written.
    """
    profile = store.finished_profile(profile)
    target = folder / profile
    written: list[Path] = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        found = tables.collect(store, profile)
        listings = {table.source: [ledger.listing(ledger.collect(store, table), table)] for table in found}
        if whole:
            for table in found:
                listings[table.source] = [*inference.listings(table), *beside.listings(table), *listings[table.source]]
        drawn = {table.source: _table(table, target, redraw, written) for table in found}
        for table in found:
            for listing in listings[table.source]:
                for suffix, text in listing.texts().items():
                    written.append(target / f"{listing.name}.{suffix}")
                    written[-1].write_text(text, encoding="utf-8")
            written += _seconds(store, table, target, not drawn[table.source])
            if whole:
                written += gallery.write(store, table, target, not drawn[table.source])
        written += _stages(store, profile, target, redraw)
        if whole:
            written += _whole(store, found, listings, target, redraw)
    except OSError as error:
        raise UsageError(
            f"report folder {target} cannot be written ({error.strerror}); choose another with --to"
        ) from error
    return written


def _table(table: tables.Table, target: Path, redraw: bool, written: list[Path]) -> bool:
    """Write table 1 and figure 8; return whether the figures of the same numbers are there already."""
    numbers = target / f"table1-{table.source}.csv"
    drawn = not redraw and numbers.is_file() and numbers.read_text(encoding="utf-8") == tables.csv(table)
    for suffix, render in (("md", tables.markdown), ("tex", tables.latex), ("csv", tables.csv)):
        written.append(target / f"table1-{table.source}.{suffix}")
        written[-1].write_text(render(table), encoding="utf-8")
    paths = [target / f"figure8-{table.source}.{suffix}" for suffix in ("png", "pdf")]
    if not drawn or not all(path.is_file() for path in paths):
        figures.dice_against_iou(table, paths)
    written += paths
    return drawn


def _seconds(store: Store, table: tables.Table, target: Path, redraw: bool) -> list[Path]:
    """Draw Dice against the seconds of an answer."""
    paths = [target / f"seconds-{table.source}.{suffix}" for suffix in ("png", "pdf")]
    if redraw or not all(path.is_file() for path in paths):
        ledger.dice_against_seconds(ledger.collect(store, table), table, paths)
    return paths


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
                case = (folder / "cases.csv").read_text(encoding="utf-8").splitlines()[1].split(",")[0]
                stages.draw(maps, f"{record['title']}, {data['name']}, case {case} ({data['source']} data)", path)
    return list(drawn)


def _whole(
    store: Store,
    found: Sequence[tables.Table],
    listings: Mapping[str, Sequence[Listing]],
    target: Path,
    redraw: bool,
) -> list[Path]:
    """Write what holds real data and phantoms side by side: a paper's macros, and the page."""
    numbers, page = target / "numbers.tex", target / "report.html"
    text = macros.numbers(found)
    drawn = page.is_file() and numbers.is_file() and numbers.read_text(encoding="utf-8") == text
    numbers.write_text(text, encoding="utf-8")
    if redraw or not drawn:
        from bench.report import html

        page.write_text(html.page(store, found, listings), encoding="utf-8")
    return [numbers, page]
