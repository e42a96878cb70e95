"""Figures 6 and 7: best, median and worst case of a dataset under all methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.report.figures import overlay, parts
from bench.report.figures.pictures import Place, Places, first_kept, predicted, spacing_of
from bench.report.figures.stages import ANSWER, REFERENCE
from bench.report.figures.style import PAGE, PAPER, SMALL, Paper, about, save, sheet, wrapped
from bench.report.sections.table import Table
from bench.spec.case import VOID
from bench.spec.words import count, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Mask = NDArray[np.bool_]
LINE, GAP = 0.1, 0.05
"""Inches of a line of small print, and between pictures."""
TOP, CASE = 0.3, 0.2
"""Inches of the legend, and of a case's heading."""
LARGEST, SMALLEST = 1.65, 0.56
"""Inches: the largest and the smallest width of a picture."""
DPI = 200
"""Of the pictures, in the PNG and in the PDF."""
REFERENCE_ALONE = "reference"
"""The title of the picture that shows no prediction."""
BEYOND = "*"
"""Stands at the Dice of a prediction that is not shown in full."""
MOST_NAMES = 7
"""Classes that a legend names."""
GREYS = np.uint8(0xFC)
"""64 greys: with both tints fewer than 256 colours, which a PDF keeps in a third of the bytes."""


@dataclass(frozen=True)
class Shown:
    """A case with its answers."""

    heading: str
    image: NDArray[np.uint8]
    reference: Mask
    answers: Mapping[str, Mask | None]
    """By the method's title; None where there is none."""
    spacing: tuple[float, float] | None = None
    """mm per pixel (row, column), None where unknown."""
    classes: Sequence[str] = ()
    """The names of the classes; none where there is one foreground."""
    labels: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Numbers of classes of the reference (`REFERENCE_ALONE`) and of predictions, by title."""

    @cached_property
    def part(self) -> tuple[slice, slice]:
        """What is shown: the window of the reference and of what half of the predictions mark.

        One method's specks at the image's border would make all pictures small.
        """
        masks = [answer for answer in self.answers.values() if answer is not None]
        votes = np.sum(masks, axis=0) if masks else np.zeros(self.reference.shape)
        marked_by_half = 2 * votes >= max(1, len(masks))
        return overlay.window([self.reference, marked_by_half])

    @property
    def ratio(self) -> float:
        """Height of what is shown over its width."""
        height, width = self.reference[self.part].shape
        return float(height / width)


def choose(cases: pd.DataFrame) -> tuple[dict[str, str], int]:
    """Choose the worst, the median and the best case by the mean Dice over all methods.

    Where methods were not tested on the same cases, those that most of them have are chosen from,
    for a mean over other methods would be no measure of the case.

    Args:
        cases: One row a method and case of one dataset.

    Returns:
        The cases' ids with what each is, and how many were chosen from.
    """
    scores = cases.groupby("case").dice.agg(["mean", "count"])
    shared = scores[scores["count"] == scores["count"].max()]
    return overlay.chosen(shared["mean"]), len(shared)


def heading(table: Table, column: str) -> str:
    """Return what a dataset's grid shows, and how its cases were chosen."""
    cases = table.cases[table.cases.column == column]
    _, total = choose(cases)
    rows = cases.method.nunique()
    chosen = _chosen(total, cases.case.nunique(), rows)
    of_column = (cell.record for cell in table.cells if cell.record.column.key == column)
    what = (
        "Contours of reference (dashed) and prediction; false positives are light, false negatives "
        "dark"
    )
    if any(record.classes for record in of_column):
        what = "Classes in colours; the contour is that of all classes of the reference (dashed)"
    return (
        f"{table.columns[column]}: {about(table)}.{chosen} Predictions of the first seed with "
        f"their Dice in percent; {BEYOND}: the prediction has pixels outside of the part that is "
        f"shown, too. {what}"
    )


def draw(
    table: Table, column: str, places: Places, paths: Sequence[Path], paper: Paper = PAPER
) -> list[str]:
    """Draw a dataset's grid into a PNG and a PDF.

    The predictions are those of the first seed; of a cross-validation, those of the fold that
    tested the case.

    Args:
        table: Whose cases are chosen from, its methods in order.
        column: The dataset and its splitting.
        places: Where each prediction lies, the first seed's.
        paths: The PNG and the PDF; not written where references were not kept.
        paper: What it is printed on.

    Returns:
        A line for each thing that could not be drawn.
    """
    cases = table.cases[table.cases.column == column]
    tested = set(cases.method)
    methods = {method: title for method, title in table.methods.items() if method in tested}
    picked, _ = choose(cases)
    means = cases.groupby("case").dice.mean()
    shown, not_kept, left_out = [], [], []
    for case, what in reversed(picked.items()):  # the best first
        place_of = {}
        for method, title in methods.items():
            place_of[title] = places.get((column, method), {}).get(case)
        kept = first_kept(list(place_of.values()), case)
        if kept is None:
            not_kept.append(case)
            continue
        image, reference = kept
        answers = {}
        for title, place in place_of.items():
            mask = predicted(place, case)
            answers[title] = mask if mask is not None and mask.shape == reference.shape else None
            if place and answers[title] is None:
                left_out.append(f"{title} has no prediction of case {case} that can be read")
        words = f"{what.capitalize()} case: {case}, mean Dice {100 * means[case]:.1f}"
        spacing = next(filter(None, map(partial(spacing_of, case), place_of.values())), None)
        classes, labels = _classes(place_of, case, answers)
        shown.append(Shown(words, image, reference, answers, spacing, classes, labels))
    if not_kept:
        left_out.append(
            f"image and reference of {', '.join(not_kept)} are not in the store, as in results "
            "from before they were kept; run again into another --out"
        )
    if shown:
        compose(shown, heading(table, column), paths, paper.of(table))
    return left_out


def _classes(
    place_of: Mapping[str, Place | None], case: str, answers: Mapping[str, Mask | None]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.uint8]]]:
    """Return the classes of a case, and their numbers in reference and predictions by title.

    Args:
        place_of: Where each method's prediction lies, by its title.
        case: The case.
        answers: The predictions that can be shown.
    """
    classes: tuple[str, ...] = ()
    labels: dict[str, NDArray[np.uint8]] = {}
    for title, place in place_of.items():
        if place is None or answers.get(title) is None:
            continue
        cell, extra = place
        if not cell.record.classes:
            continue
        classes = cell.record.classes
        reference, labels[title] = cell.labels(case, extra)
        labels[REFERENCE_ALONE] = np.where(reference == VOID, 0, reference)
    return classes, labels


def _chosen(total: int, tested: int, rows: int) -> str:
    """Return from how many cases the shown ones were chosen; nothing where there was no choice."""
    if total <= 1:
        return ""
    among = count(total, "test case")
    if total != tested:
        among = f"the {total} of {tested} test cases that most rows have"
    return f" Chosen from {among} by the mean Dice over all {rows} rows, seeds averaged."


def compose(
    shown: Sequence[Shown], title: str, paths: Sequence[Path], paper: Paper = PAPER
) -> None:
    """Draw cases one below the other, in as many lines as make the pictures largest on a page.

    Where all cases do not fit on the page, the best one is left out, then the worst.
    """
    titles = [REFERENCE_ALONE, *shown[0].answers]
    ratios = [case.ratio for case in shown]
    wide = paper.width
    lines_above = wrapped(paper.head(title), wide, 7)
    legend = TOP + (0.13 if paper.narrow else 0)
    top = legend + 0.13 * len(lines_above)
    _, page_height = PAGE
    across, side, head = _arrange(ratios, titles, page_height - top, wide)
    lines = math.ceil(len(titles) / across)
    # A row of pictures: the titles above, the pictures, a line of words below and the gaps.
    row_heights = [head + side * ratio + LINE + 2 * GAP for ratio in ratios]
    height = top + sum(CASE + lines * row_height for row_height in row_heights)
    if height > page_height and len(shown) > 1:
        compose(shown[1:] if len(shown) > 2 else shown[:1], title, paths, paper)
        return
    with sheet(wide, height, constrained=False) as figure:
        above = "\n".join(lines_above)
        figure.text(0.5, 1 - 0.04 / height, above, ha="center", va="top", fontsize=7)
        _legend(figure, 1 - (top - legend + 0.02) / height, paper, shown[0].classes)
        # matplotlib's places are shares of the figure from its lower left corner; y is in inches.
        slot, y = wide / across, height - top
        for case, ratio, row_height in zip(shown, ratios, row_heights, strict=True):
            figure.text(
                GAP / wide,
                (y - 0.05) / height,
                shortened(case.heading, int(wide * 72 / (0.62 * 7))),
                va="top",
                fontsize=7,
                weight="bold",
            )
            y -= CASE
            for number, name in enumerate(titles):
                place = number % across
                begins_a_row = number > 0 and place == 0
                if begins_a_row:
                    y -= row_height
                left, low = place * slot + (slot - side) / 2, y - head - side * ratio
                axis = figure.add_axes(
                    (left / wide, low / height, side / wide, side * ratio / height)
                )
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                axis.set_title(
                    "\n".join(wrapped(name, slot)), fontsize=SMALL, pad=2, linespacing=1.1
                )
                words = _panel(axis, case, name if number else None, side)
                if not number and case.spacing:
                    words = overlay.scale_bar(axis, case.reference[case.part].shape, case.spacing)
                axis.set_xlabel(words, fontsize=SMALL, labelpad=2)
            y -= row_height
        save(figure, paths)


def _arrange(
    ratios: Sequence[float], titles: Sequence[str], room: float, wide: float
) -> tuple[int, float, float]:
    """Return how many pictures stand side by side, their width, and the height of their titles.

    Widths and heights are in inches.
    """
    layouts = []
    for lines in range(1, len(titles) + 1):
        across = math.ceil(len(titles) / lines)
        slot = wide / across
        if slot < SMALLEST + GAP and lines < len(titles):
            continue
        head = LINE * max(len(wrapped(name, slot)) for name in titles) + 0.04
        free = room - len(ratios) * (CASE + lines * (head + LINE + 2 * GAP))
        side = min(slot - GAP, LARGEST, free / (lines * sum(ratios)))
        layouts.append((max(side, SMALLEST), -lines, across, head))
    side, _, across, head = max(layouts)  # the widest pictures; of equal ones the fewest lines
    return across, side, head


def _panel(axis: Axes, case: Shown, name: str | None, side: float) -> str:
    """Draw one picture, the reference's where no method is named; return what stands under it.

    Args:
        axis: Where.
        case: The case.
        name: A method's title, None for the reference.
        side: Width in inches.
    """
    answer = case.answers[name] if name else case.reference
    if answer is None:
        axis.set_facecolor("0.92")
        return "no prediction"
    longest = round(DPI * side * max(1, case.ratio))  # pixels of the longer side in print
    line = max(0.35, 0.55 * side)
    image = overlay.reduced(case.image[case.part], longest).round().astype(np.uint8) & GREYS
    # Shares of a pixel that are foreground.
    small_answer = overlay.reduced(answer[case.part], longest)
    small_reference = overlay.reduced(case.reference[case.part], longest)
    labels = case.labels.get(name or REFERENCE_ALONE)
    if labels is not None:
        small = parts.classes(labels[case.part], longest).pixels
        tinted = overlay.in_colours(image, small, parts.COLOURS)
    else:
        tinted = overlay.tinted(image, small_answer >= 0.5, small_reference >= 0.5)
    axis.imshow(tinted, interpolation="none", aspect="auto")
    if labels is None:
        overlay.contour(axis, small_reference, REFERENCE, "dashed", line)
    elif name:  # white and black show on every class
        overlay.contour(axis, small_reference, "black", "solid", line)
        overlay.contour(axis, small_reference, "white", "dashed", line)
    if not name:
        return ""
    if labels is None:
        overlay.contour(axis, small_answer, ANSWER, "solid", line)
    pixels_of_both = int(answer.sum()) + int(case.reference.sum())
    hit = int((answer & case.reference).sum())
    dice = 2 * hit / pixels_of_both if pixels_of_both else 1
    text = f"Dice {100 * dice:.1f}"
    if labels is not None:
        text = f"union {text}"
    has_pixels_beyond = answer.sum() > answer[case.part].sum()
    if has_pixels_beyond:
        text += BEYOND
    return text


def _legend(figure: Figure, top: float, paper: Paper, classes: Sequence[str]) -> None:
    """Write what contours and colours mean; `top` is a share of the figure's height."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = [
        Line2D([], [], color=REFERENCE, linestyle="dashed", label="reference"),
        Line2D([], [], color=ANSWER, label="prediction"),
        Patch(
            facecolor=overlay.FALSE_POSITIVE,
            edgecolor="0.4",
            linewidth=0.5,
            label="false positive (light)",
        ),
        Patch(
            facecolor=overlay.FALSE_NEGATIVE,
            edgecolor="0.4",
            linewidth=0.5,
            label="false negative (dark)",
        ),
    ]
    if classes:
        handles = [Line2D([], [], color="black", linestyle="dashed", label="reference")]
        for number, name in enumerate(classes[:MOST_NAMES], 1):
            colour = parts.COLOURS[parts.number_of(number) - 1]
            handles.append(Patch(facecolor=colour, edgecolor="0.4", linewidth=0.5, label=name))
    figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, top),
        ncols=2 if paper.narrow else max(4, len(handles)),
        frameon=False,
        fontsize=7,
        borderaxespad=0,
    )
