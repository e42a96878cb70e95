"""Names beside points, where all of them find a place: then a figure needs no legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.figures.style import SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import BboxBase

PLACES = (
    ((5, 0), "left", "center"),
    ((-5, 0), "right", "center"),
    ((0, 5), "center", "bottom"),
    ((0, -5), "center", "top"),
    ((4, 6), "left", "bottom"),
    ((4, -6), "left", "top"),
    ((-4, 6), "right", "bottom"),
    ((-4, -6), "right", "top"),
)
"""Where a name may stand: points to the right and up, and which of its sides is there."""
DOT = 4.0
"""Points from the middle of a dot to its edge."""


@dataclass(frozen=True)
class Point:
    """A dot and what it stands for."""

    axis: Axes
    place: tuple[float, float]
    name: str
    colour: str


def label(figure: Figure, points: Sequence[Point]) -> bool:
    """Write the name of each point beside it; return whether all found a place.

    No name covers another one, a dot or the frame. Where one finds no place, none is written.
    """
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # from here on axes lie where they will lie
    scale = figure.dpi / 72  # pixels of a point
    taken: list[BboxBase] = []
    for point in points:
        x, y = point.axis.transData.transform(point.place)
        taken.append(
            Bbox.from_extents(x - DOT * scale, y - DOT * scale, x + DOT * scale, y + DOT * scale)
        )
    written = []
    for own, point in enumerate(points):
        for offset, horizontal, vertical in PLACES:
            text = point.axis.annotate(
                point.name,
                point.place,
                offset,
                textcoords="offset points",
                ha=horizontal,
                va=vertical,
                fontsize=SMALL,
                color=point.colour,
            )
            text.set_in_layout(False)
            box = text.get_window_extent()
            others = [*taken[:own], *taken[own + 1 :]]  # a name may come near its own dot
            inside = point.axis.bbox.contains(box.x0, box.y0) and point.axis.bbox.contains(
                box.x1, box.y1
            )
            if inside and not box.count_overlaps(others):
                taken.append(box)
                written.append(text)
                break
            text.remove()
        else:
            for text in written:
                text.remove()
            return False
    return True
