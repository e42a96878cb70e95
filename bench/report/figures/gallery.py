"""A table's figures, and a list of what each shows and what could not be drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from bench.report.figures import comparisons, curves, grids, patients, pictures
from bench.report.figures.style import PAPER, Paper, about
from bench.report.sections.ranks import rank
from bench.report.sections.table import ENDPOINT, Table
from bench.report.sections.table1 import failure_notes
from bench.spec.errors import UsageError
from bench.spec.words import count
from bench.stats.ranking import blocks

Draw = Callable[[Sequence[Path]], Sequence[str]]
Whole = Callable[[Table, Sequence[Path], Paper], str | None]
"""Draws one figure of a table; returns why it could not be drawn."""

RESAMPLED = (
    "Share of bootstrap resamples of patients (and of seeds, where there are several) in which "
    "each method"
)
"""How the captions of ranks begin. Seeds are resampled only where there are several of them."""


@dataclass(frozen=True)
class Drawing:
    """One figure."""

    stem: str
    """The name of its files without suffix."""
    caption: str
    draw: Draw
    """Writes a PNG and a PDF; returns a line for each thing that could not be drawn."""


def drawings(table: Table, paper: Paper = PAPER) -> list[Drawing]:
    """Return the figures of a table in the order of their list."""
    figures = list(_of_columns(table, paper))
    for column in table.columns:
        if column in table.pairs:
            figures.append(
                Drawing(
                    f"pairs-{table.by_key[column].folder}",
                    of_pairs(table, column),
                    partial(_whole, partial(pairs, column), table, paper),
                )
            )
    if table.pairs:
        figures += [
            Drawing(
                f"critical-{table.source}",
                of_ranks(table),
                partial(_whole, critical, table, paper),
            ),
            Drawing(
                f"ranks-{table.source}",
                f"{RESAMPLED} has each rank by mean Dice over the datasets; {about(table)}.",
                partial(_whole, ranks, table, paper),
            ),
        ]
    figures += [
        Drawing(
            f"patients-{table.source}",
            "Dice by patient of every method, a patient's cases and the seeds averaged: boxes of "
            f"quartiles, all patients as points; {about(table)}.",
            partial(_whole, _boxes, table, paper),
        ),
        Drawing(
            f"differences-{table.source}",
            "Each method less the baseline, by patient, in points of Dice, and the region of "
            "practical equivalence. The baseline is the declared one, else the best mean of a "
            f"dataset; {about(table)}.",
            partial(_whole, _differences, table, paper),
        ),
    ]
    return figures


def _of_columns(table: Table, paper: Paper) -> Iterator[Drawing]:
    """Yield the figures that each column has."""

    @cache
    def places() -> pictures.Places:
        return pictures.places(table)

    def grid(column: str, paths: Sequence[Path]) -> Sequence[str]:
        return grids.draw(table, column, places(), paths, paper)

    def curve(column: str, paths: Sequence[Path]) -> Sequence[str]:
        return curves.draw(table, column, paths, paper)

    for column in table.columns:
        name = table.by_key[column].folder
        yield Drawing(f"grid-{name}", f"{grids.heading(table, column)}.", partial(grid, column))
        yield Drawing(f"curves-{name}", f"{curves.heading(table, column)}.", partial(curve, column))


def _whole(draw: Whole, table: Table, paper: Paper, paths: Sequence[Path]) -> Sequence[str]:
    """Draw one figure of a table; return a line if it could not be drawn."""
    missing = draw(table, paths, paper.of(table))
    return [missing] if missing else []


def _boxes(table: Table, paths: Sequence[Path], paper: Paper) -> None:
    patients.boxes(table, paths, paper)


def _differences(table: Table, paths: Sequence[Path], paper: Paper) -> None:
    patients.differences(table, paths, paper=paper)


def of_pairs(table: Table, column: str) -> str:
    """Return what the map of a dataset's pairs shows."""
    compared = table.pairs[column]
    diagonal = np.eye(len(compared.methods), dtype=bool)
    shared = compared.patients[~diagonal]
    least, most = int(shared.min()), int(shared.max())
    n = str(most) if least == most else f"{least}-{most}"
    one_seed = compared.seeds == (1,)
    how = {"max-t": "max-T", "holm": "Holm"}[compared.correction]
    seeds = f"{' to '.join(map(str, compared.seeds))} {'seed' if one_seed else 'seeds'}"
    corrected = f"{how} for {count(compared.tests, 'pair')}"
    if compared.declared:
        corrected += f", the {compared.declared.tests} declared among themselves"
    return (
        f"{table.columns[column]}: every method against every other: difference in Dice (points), "
        f"row less column, and corrected p; tested over {n} patients and {seeds}, {corrected}; "
        f"{about(table)}."
    )


def of_ranks(table: Table) -> str:
    """Return what the critical-difference diagrams show."""
    return (
        "Critical-difference diagram of each dataset: average rank in Dice within each patient, 1 "
        "the best. A line joins the methods at its dots: no two of them differ significantly (p of "
        "the report). At a dashed line some two differ, unless so few patients hide rare outliers; "
        f"{about(table)}."
    )


def pairs(column: str, table: Table, paths: Sequence[Path], paper: Paper = PAPER) -> None:
    """Draw all pairs of methods on a dataset."""
    compared = table.pairs[column]
    means_of = table.scores["dice_mean"][column].loc[list(compared.methods)]
    order = means_of.sort_values(ascending=False, kind="stable").index
    names = [table.methods[key] for key in compared.methods]
    shown = [table.methods[key] for key in order]
    p = pd.DataFrame(compared.p, index=names, columns=names).loc[shown, shown]
    means = pd.DataFrame(compared.means, index=names, columns=names).loc[shown, shown]
    doubt = pd.DataFrame(compared.in_doubt, index=names, columns=names).loc[shown, shown]
    comparisons.significance(p, means, of_pairs(table, column), paths, in_doubt=doubt, paper=paper)


def critical(table: Table, paths: Sequence[Path], paper: Paper = PAPER) -> str | None:
    """Draw the critical-difference diagrams of a table's datasets; say if there is none to draw."""
    averages, p, in_doubt = {}, {}, {}
    for column, title in table.columns.items():
        try:
            ranked = blocks(table.patients[column][ENDPOINT].only(table.rivals(column)))
        except UsageError:
            continue
        pairs = table.pairs[column]  # the same tests as in table 1 and in the map of pairs
        names = [table.methods[key] for key in ranked.methods]
        head = f"{title} ({count(ranked.patients, 'patient')}"
        # Friedman's test takes seeds for fixed, so it is told of one seed alone.
        one_seed = max(pairs.seeds, default=1) == 1
        if one_seed and not math.isnan(ranked.friedman):
            head += f", Friedman p = {ranked.friedman:.2g}"
        head += ")"
        averages[head] = pd.Series(ranked.mean_ranks, index=names)
        p[head] = pd.DataFrame(pairs.p, index=names, columns=names)
        in_doubt[head] = pd.DataFrame(pairs.in_doubt, index=names, columns=names)
    if not averages:
        return "no dataset has two methods on the same patients"
    comparisons.critical_difference(averages, p, in_doubt, of_ranks(table), paths, paper=paper)
    return None


def ranks(table: Table, paths: Sequence[Path], paper: Paper = PAPER) -> str | None:
    """Draw the probability of each rank over a table's datasets; say if there is none to draw."""
    ranking = rank(table, ENDPOINT)
    if ranking is None:
        return "no two methods share two patients on every dataset"
    names = [table.methods[key] for key in ranking.methods]
    places = range(1, len(names) + 1)
    frame = pd.DataFrame(ranking.probabilities, index=names, columns=places)
    over = count(len(ranking.columns), "dataset")
    heading = f"{RESAMPLED} has each rank by mean Dice over {over}; {about(table)}"
    comparisons.ranks(frame, heading, paths, paper)
    return None


def write(table: Table, target: Path, redraw: bool, paper: Paper = PAPER) -> list[Path]:
    """Draw a table's figures and write the list of them; return the files.

    Args:
        table: Whose figures.
        target: The folder.
        redraw: Draw also what is there.
        paper: What they are printed on.
    """
    index = target / f"figures-{table.source}.md"
    wanted = drawings(table, paper)
    listed = index.read_text(encoding="utf-8") if index.is_file() else ""
    all_there = bool(listed)  # what the list does not name could not be drawn
    for drawing in wanted:
        if f"`{drawing.stem}`" in listed:
            all_there &= all(path.is_file() for path in _paths(drawing, target))
    if redraw or not all_there:
        listed = _draw(table, wanted, target)
        index.write_text(listed, encoding="utf-8")
    files = []
    for drawing in wanted:
        if f"`{drawing.stem}`" in listed:
            files += _paths(drawing, target)
    return [*files, index]


def _paths(drawing: Drawing, target: Path) -> list[Path]:
    """Return the PNG and the PDF of a figure."""
    return [target / f"{drawing.stem}.{suffix}" for suffix in ("png", "pdf")]


def _beside(table: Table) -> list[str]:
    """Return the captions of the figures that every run draws, and not this gallery."""
    captions = [
        f"`figure8-{table.source}`: Dice against IoU of each test case as fractions, seeds "
        "averaged, as in figure 8 of Verdiff-Net's paper. The IoU of one image is D/(2 - D); means "
        f"over seeds lie on this curve or above it; {about(table)}.",
        f"`seconds-{table.source}`: Mean Dice of each method against the seconds of the prediction "
        f"of an image; {about(table)}.",
    ]
    if any(cell.stages() for cell in table.cells):
        captions.append(
            "`stages-*` (PNG alone): the steps by which a diffusion comes to its prediction of one "
            f"case, a figure for each dataset and method; {about(table)}."
        )
    return captions


def _draw(table: Table, wanted: Sequence[Drawing], target: Path) -> str:
    """Draw the figures; return the list of them, with what could not be drawn."""
    shown, missing = [], []
    for drawing in wanted:
        paths = _paths(drawing, target)
        for path in paths:
            path.unlink(missing_ok=True)  # an older one would pass for these results
        missing += [f"{drawing.stem}: {line}." for line in drawing.draw(paths)]
        if paths[0].is_file():
            shown.append(f"`{drawing.stem}`: {drawing.caption}")
    missing += [note.text for note in failure_notes(table)]
    shown += _beside(table)
    lines = [f"# Figures ({table.source})", "", "As PNG and PDF, with their captions.", ""]
    lines += [f"- {line}" for line in shown]
    if missing:
        lines += ["", "Not drawn:", "", *(f"- {line}" for line in missing)]
    return "\n".join(lines) + "\n"
