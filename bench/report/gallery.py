"""A table's figures beside figure 8 and the ledger's, and a list of what each shows and what could not be drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from bench.report import curves, grids, patients, pictures, tables
from bench.report.figures import about
from bench.report.tables import Table
from bench.store import Store

Draw = Callable[[Sequence[Path]], Sequence[str]]


@dataclass(frozen=True)
class Drawing:
    """One figure."""

    stem: str
    """Its files' name without suffix."""
    caption: str
    draw: Draw
    """Writes a PNG and a PDF where it can; returns a line for each thing that could not be drawn."""


def drawings(store: Store, table: Table) -> list[Drawing]:
    """Return the figures of a table in the order of their list."""

    @cache
    def places() -> pictures.Places:
        return pictures.places(store, table)

    def grid(column: str, paths: Sequence[Path]) -> Sequence[str]:
        return grids.draw(store, table, column, places(), paths)

    def whole(draw: Callable[[Table, Sequence[Path]], None], paths: Sequence[Path]) -> Sequence[str]:
        draw(table, paths)
        return ()

    found = []
    for column, title in table.columns.items():
        slug = column.replace("/", "-")
        found += [
            Drawing(f"grid-{slug}", f"{title}: best, median and worst case by the mean Dice over all methods; contours "
                    "of reference and answer, false positives and false negatives tinted.", partial(grid, column)),
            Drawing(f"curves-{slug}", f"{title}: each method's own training and validation loss, and the step whose "
                    "weights were kept.", partial(curves.draw, store, table, column)),
        ]  # fmt: skip
    return [
        *found,
        Drawing(f"patients-{table.source}", "Dice by patient of every method: boxes of quartiles, all patients as "
                "points.", partial(whole, patients.boxes)),
        Drawing(f"differences-{table.source}", "Paired differences in Dice by patient from the best mean of each "
                "dataset, and the region of practical equivalence.", partial(whole, patients.differences)),
    ]  # fmt: skip


def write(store: Store, table: Table, target: Path, redraw: bool) -> list[Path]:
    """Draw a table's figures and write the list of them; return the files.

    Args:
        store: The results.
        table: Whose figures.
        target: The folder.
        redraw: Draw also what is there.
    """
    index, wanted = target / f"figures-{table.source}.md", drawings(store, table)
    paths = {each.stem: [target / f"{each.stem}.{suffix}" for suffix in ("png", "pdf")] for each in wanted}
    listed = index.read_text(encoding="utf-8") if index.is_file() else ""
    lacking = [stem for stem, files in paths.items() if f"`{stem}`" in listed and not all(f.is_file() for f in files)]
    if redraw or not listed or lacking:
        shown, missing = [], []
        for each in wanted:
            for path in paths[each.stem]:
                path.unlink(missing_ok=True)  # an older one would pass for these results
            missing += [f"{each.stem}: {line}." for line in each.draw(paths[each.stem])]
            if paths[each.stem][0].is_file():
                shown.append(f"`{each.stem}`: {each.caption}")
        missing += tables.failures(table)
        lines = [f"# Figures ({table.source})", "", f"As PNG and PDF; {about(table)}.", "", *(f"- {s}" for s in shown)]
        lines += ["", "Not drawn:", "", *(f"- {line}" for line in missing)] if missing else []
        index.write_text("\n".join(lines) + "\n", encoding="utf-8")
        listed = index.read_text(encoding="utf-8")
    return [*(file for stem, files in paths.items() if f"`{stem}`" in listed for file in files), index]
