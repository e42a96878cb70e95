"""A table's figures beside figure 8 and the ledger's, and a list of what each shows and what could not be drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from bench.report.figures import curves, grids, matrix, patients, pictures
from bench.report.figures.style import about
from bench.report.sections import tables
from bench.report.sections.inference import rank
from bench.report.sections.tables import Table
from bench.spec.errors import UsageError
from bench.stats.ranking import blocks
from bench.store.store import Store

Draw = Callable[[Sequence[Path]], Sequence[str]]


METRIC = "dice"
"""What the maps of pairs and of ranks show; the listings have IoU too."""


@dataclass(frozen=True)
class Drawing:
    """One figure."""

    stem: str
    """Its files' name without suffix."""
    caption: str
    draw: Draw
    """Writes a PNG and a PDF where it can; returns a line for each thing that could not be
    drawn."""


def drawings(store: Store, table: Table) -> list[Drawing]:
    """Return the figures of a table in the order of their list."""

    @cache
    def places() -> pictures.Places:
        return pictures.places(store, table)

    def grid(column: str, paths: Sequence[Path]) -> Sequence[str]:
        return grids.draw(store, table, column, places(), paths)

    def whole(
        draw: Callable[[Table, Sequence[Path]], str | None], paths: Sequence[Path]
    ) -> Sequence[str]:
        missing = draw(table, paths)
        return [missing] if missing else []

    found = []
    for column, title in table.columns.items():
        slug = column.replace("/", "-")
        found += [
            Drawing(
                f"grid-{slug}",
                f"{title}: best, median and worst case by the mean Dice over all methods; contours "
                "of reference and answer, false positives and false negatives tinted.",
                partial(grid, column),
            ),
            Drawing(
                f"curves-{slug}",
                f"{title}: each method's own training and validation loss, and the step whose "
                "weights were kept.",
                partial(curves.draw, store, table, column),
            ),
        ]
    for column, title in table.columns.items():
        if (column, METRIC) in table.pairs:
            caption = (
                f"{title}: every method against every other, mean difference in Dice and"
                " corrected p."
            )
            found.append(
                Drawing(
                    f"pairs-{column.replace('/', '-')}",
                    caption,
                    partial(whole, partial(pairs, column)),
                )
            )
    if table.pairs:
        found += [
            Drawing(
                f"critical-{table.source}",
                "Critical-difference diagram of each dataset, patients as blocks.",
                partial(whole, critical),
            ),
            Drawing(
                f"ranks-{table.source}",
                "Probability of each rank by mean Dice over the datasets.",
                partial(whole, ranks),
            ),
        ]
    return [
        *found,
        Drawing(
            f"patients-{table.source}",
            "Dice by patient of every method: boxes of quartiles, all patients as points.",
            partial(whole, patients.boxes),
        ),
        Drawing(
            f"differences-{table.source}",
            "Paired differences in Dice by patient from the best mean of each "
            "dataset, and the region of practical equivalence.",
            partial(whole, patients.differences),
        ),
    ]


def pairs(column: str, table: Table, paths: Sequence[Path]) -> None:
    """Draw all pairs of methods on a dataset."""
    each = table.pairs[column, METRIC]
    order = (
        table.scores["dice_mean"][column]
        .loc[list(each.methods)]
        .sort_values(ascending=False, kind="stable")
        .index
    )
    names = [table.methods[method] for method in each.methods]
    shown = [table.methods[method] for method in order]
    p, means = (
        pd.DataFrame(values, index=names, columns=names).loc[shown, shown]
        for values in (each.p, each.means)
    )
    shared = each.patients[~np.eye(len(names), dtype=bool)]
    n = "-".join(str(count) for count in dict.fromkeys((int(shared.min()), int(shared.max()))))
    how = {"max-t": "max-T", "holm": "Holm"}[each.correction]
    matrix.significance(
        p,
        means,
        f"{table.columns[column]}: difference in Dice (points), row less column; sign-flip "
        f"test over {n} patients, {how} for {each.tests} pairs; {about(table)}",
        paths,
    )


def critical(table: Table, paths: Sequence[Path]) -> str | None:
    """Draw the critical-difference diagrams of a table's datasets; say if there is none to draw."""
    averages, p = {}, {}
    for column, title in table.columns.items():
        try:
            found = blocks(table.patients[column][METRIC].only(table.rivals(column)))
        except UsageError:
            continue
        names = [table.methods[method] for method in found.methods]
        friedman = (
            "" if found.friedman != found.friedman else f", Friedman p = {found.friedman:.2g}"
        )
        head = f"{title} ({found.patients} patients{friedman})"
        averages[head] = pd.Series(found.ranks, index=names)
        p[head] = pd.DataFrame(found.p, index=names, columns=names)
    if not averages:
        return "no dataset has two methods on the same patients"
    heading = (
        "Average rank in Dice within each patient, 1 the best; bars join methods that sign-flip"
        f" tests over patients do not tell apart at 5 % (max-T for all pairs); {about(table)}"
    )
    matrix.critical_difference(averages, p, heading, paths)
    return None


def ranks(table: Table, paths: Sequence[Path]) -> str | None:
    """Draw the probability of each rank over a table's datasets; say if there is none to draw."""
    found = rank(table, METRIC)
    if found is None:
        return "no two methods share two patients on every dataset"
    names = [table.methods[method] for method in found.methods]
    frame = pd.DataFrame(found.probabilities, index=names, columns=range(1, len(names) + 1))
    over = f"{len(found.columns)} dataset{'s' * (len(found.columns) != 1)}"
    matrix.ranks(
        frame,
        f"Rank by mean Dice over {over}; patients resampled within each; {about(table)}",
        paths,
    )
    return None


def write(store: Store, table: Table, target: Path, redraw: bool) -> list[Path]:
    """Draw a table's figures and write the list of them; return the files.

    Args:
        store: The results.
        table: Whose figures.
        target: The folder.
        redraw: Draw also what is there.
    """
    index, wanted = target / f"figures-{table.source}.md", drawings(store, table)
    paths = {
        each.stem: [target / f"{each.stem}.{suffix}" for suffix in ("png", "pdf")]
        for each in wanted
    }
    listed = index.read_text(encoding="utf-8") if index.is_file() else ""
    lacking = [
        stem
        for stem, files in paths.items()
        if f"`{stem}`" in listed and not all(f.is_file() for f in files)
    ]
    if redraw or not listed or lacking:
        shown, missing = [], []
        for each in wanted:
            for path in paths[each.stem]:
                path.unlink(missing_ok=True)  # an older one would pass for these results
            missing += [f"{each.stem}: {line}." for line in each.draw(paths[each.stem])]
            if paths[each.stem][0].is_file():
                shown.append(f"`{each.stem}`: {each.caption}")
        missing += tables.failures(table)
        lines = [
            f"# Figures ({table.source})",
            "",
            f"As PNG and PDF; {about(table)}.",
            "",
            *(f"- {s}" for s in shown),
        ]
        lines += ["", "Not drawn:", "", *(f"- {line}" for line in missing)] if missing else []
        index.write_text("\n".join(lines) + "\n", encoding="utf-8")
        listed = index.read_text(encoding="utf-8")
    return [
        *(file for stem, files in paths.items() if f"`{stem}`" in listed for file in files),
        index,
    ]
