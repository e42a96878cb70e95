"""Slices of one volume, stacked and scored in 3D with the volume's spacing.

Slices that no case shows are background in the reference and in the prediction: nobody was asked
about them. The score is that of the slab of slices that were tested, and the faces where it was cut
are no boundary: the distances of a single slice are those in its plane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.engine import instances
from bench.engine.metrics import score, score_classes
from bench.engine.outside.missing import zero, zero_classes
from bench.engine.parts import Parts, no_parts, of_labels, of_mask, with_classes
from bench.spec.case import Case
from bench.spec.errors import UsageError
from bench.spec.metrics import TOLERANCE
from bench.store.cells import read_labels, read_mask
from bench.store.layout import CellFolder
from bench.store.scores import CLASS, SLICES, write_scores

DEEPEST = 4096
"""Slices that a volume may have from the first to the last."""
Row = dict[str, float | int | str]
Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True)
class Stack:
    """The slices of one volume that were tested."""

    volume: str
    patient: str
    cases: tuple[str, ...]
    """The slices' ids, in the order of their positions."""
    positions: tuple[int, ...]
    """Their numbers in the volume, ascending."""
    spacing: tuple[float, float, float] | None
    """mm from a slice to the next, and the sides of a pixel; None where one is unknown."""

    @property
    def asked(self) -> list[bool]:
        """Which of the slices from the first to the last were predicted."""
        first, last = self.positions[0], self.positions[-1]
        return [position in set(self.positions) for position in range(first, last + 1)]

    def whole(self, read: Callable[[str], NDArray[Pixel] | None]) -> NDArray[Pixel] | None:
        """Return the slices (D, H, W) of all cases; None where one is not there or sizes differ.

        Slices between them that no case shows are 0.

        Args:
            read: Returns what a case holds (H, W); None where it is not there.
        """
        planes = [read(case) for case in self.cases]
        existing_planes = [plane for plane in planes if plane is not None]
        one_is_missing = len(existing_planes) < len(planes)
        if one_is_missing or len({plane.shape for plane in existing_planes}) > 1:
            return None
        depth = self.positions[-1] - self.positions[0] + 1
        volume = np.zeros((depth, *existing_planes[0].shape), existing_planes[0].dtype)
        for position, plane in zip(self.positions, existing_planes, strict=True):
            volume[position - self.positions[0]] = plane
        return volume


def stacks(cases: Iterable[Case]) -> list[Stack]:
    """Return the volumes that cases were cut from, in the order of their first case.

    Raises:
        UsageError: A case was cut from no volume, or those of one do not lie on each other.
    """
    by_volume: dict[str, list[Case]] = {}
    for case in cases:
        if case.place is None:
            raise UsageError(
                f"--score volume: case {case.id} is no slice of a known volume; give volumes, or "
                "the column slice in index.csv; or leave --score out"
            )
        by_volume.setdefault(case.place.volume, []).append(case)
    return [_stack(volume, of_volume) for volume, of_volume in by_volume.items()]


def _stack(volume: str, cases: list[Case]) -> Stack:
    """Return the stack of a volume's cases.

    Raises:
        UsageError: They do not lie on each other, or are numbered too far apart.
    """
    placed = {case.place.position: case for case in cases if case.place}
    patients = {case.patient for case in cases}
    grids = {(case.height, case.width, case.spacing) for case in cases}
    depths = {case.place.thickness for case in cases if case.place}
    for kinds, what in (
        (patients, "patients"),
        (grids, "sizes or spacings"),
        (depths, "distances between slices"),
    ):
        if len(kinds) > 1:
            raise UsageError(
                f"--score volume: the slices of volume {volume} have {len(kinds)} {what}; "
                "expected one: correct the table, or leave --score out"
            )
    if len(placed) < len(cases):
        kept = {case.id for case in placed.values()}
        second = next(case for case in cases if case.id not in kept)
        assert second.place is not None
        position = second.place.position
        raise UsageError(
            f"--score volume: two slices of volume {volume} have the number {position} "
            f"({second.id} and {placed[position].id}); correct the table, or leave --score out"
        )
    positions = tuple(sorted(placed))
    if positions[-1] - positions[0] >= DEEPEST:
        raise UsageError(
            f"--score volume: the slices of volume {volume} are numbered from {positions[0]} to "
            f"{positions[-1]}, expected {DEEPEST} slices at most: number them in their order, or "
            "leave --score out"
        )
    first = cases[0]
    spacing = None
    if first.place and first.place.thickness is not None and first.spacing:
        spacing = (first.place.thickness, *first.spacing)
    ids = tuple(placed[position].id for position in positions)
    return Stack(volume, first.patient, ids, positions, spacing)


def write(
    work: CellFolder,
    extra: str,
    stacks: Iterable[Stack],
    tolerance: float,
    classes: Sequence[str] = (),
    named: bool = False,
) -> None:
    """Score the kept masks of a row in 3D, and write the scores; see `rows`."""
    lines: list[Row] = []
    for stack in stacks:
        for row in rows(work, extra, stack, tolerance, classes, named):
            lines.append({**about(stack), **row})
    write_scores(work.volumes(extra), lines)


def about(stack: Stack) -> Row:
    """Return the columns that say which slices a volume is of."""
    positions = " ".join(map(str, stack.positions))
    return {
        "case": stack.volume,
        "patient": stack.patient,
        SLICES: " ".join(stack.cases),
        "positions": positions,
    }


def of_line(line: Mapping[str, str]) -> Stack:
    """Return the volume of a line of scores.

    Raises:
        ValueError: The line is none of a volume.
    """
    sides = tuple(float(side) for side in line["spacing"].split())
    spacing = (sides[0], sides[1], sides[2]) if len(sides) == 3 else None
    positions = tuple(int(position) for position in line["positions"].split())
    cases = tuple(line[SLICES].split(" "))
    if len(cases) != len(positions) or list(positions) != sorted(set(positions)):
        raise ValueError(f"volume {line['case']} has other positions than slices")
    return Stack(line["case"], line["patient"], cases, positions, spacing)


def rows(
    work: CellFolder,
    extra: str,
    stack: Stack,
    tolerance: float = TOLERANCE,
    classes: Sequence[str] = (),
    named: bool = False,
) -> list[Row]:
    """Return the scores of a volume by the masks that a cell keeps, without what it is of.

    A slice without a prediction is an empty one; if all are, the volume scores zero.

    Args:
        work: The cell.
        extra: The row of the tables.
        stack: The volume.
        tolerance: Largest distance that NSD accepts.
        classes: The classes; then there is a line of all together, and one of each.
        named: Whether the method names its instances; asked where it predicted no slice.

    Raises:
        UsageError: A mask is not there, or of another size.
    """
    reference = stack.whole(lambda case: read_mask(work.reference(case)))
    if reference is None:
        raise UsageError(
            f"{work.name}: a reference of volume {stack.volume} is not there, or of another size"
        )

    def predicted(case: str) -> NDArray[np.uint8]:
        mask = read_mask(work.predictions(extra) / f"{case}.png")
        return np.zeros(reference.shape[1:], np.uint8) if mask is None else mask

    missing = not any((work.predictions(extra) / f"{case}.png").is_file() for case in stack.cases)
    prediction = stack.whole(predicted)
    if prediction is None:
        raise UsageError(f"{work.name}: predictions of volume {stack.volume} have other sizes")
    lines = _lines(prediction, reference, stack, tolerance, classes, missing)
    labels = stack.whole(lambda case: read_labels(work.reference_instances(case)))
    if labels is not None:
        parts = no_parts(labels.shape, named)
        if not missing:
            parts = _parts(work, extra, stack, (prediction, reference), len(classes))
        of_instances = instances.rows(parts, labels, reference, len(classes), stack.spacing)
        for line, columns in zip(lines, of_instances, strict=True):
            line.update(columns)
    return lines


def _lines(
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    stack: Stack,
    tolerance: float,
    classes: Sequence[str],
    missing: bool,
) -> list[Row]:
    """Return the line of two volumes (D, H, W), or those of all classes together and of each."""
    spacing = stack.spacing
    if not classes:
        predicted, true = prediction > 0, reference > 0
        scored = zero(true, spacing)
        if not missing:
            scored = score(predicted, true, spacing, tolerance, stack.asked)
        return [dict(scored.row())]
    by_class = zero_classes(reference, classes, spacing)
    if not missing:
        by_class = score_classes(prediction, reference, classes, spacing, tolerance, stack.asked)
    return [{CLASS: name, **scored.row()} for name, scored in by_class.items()]


def _parts(
    work: CellFolder,
    extra: str,
    stack: Stack,
    pair: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    classes: int,
) -> Parts:
    """Return the instances of a predicted volume: those with names, or components."""
    folder = work.instances(extra)
    if not folder.is_dir():
        return of_mask(*pair, (0,) * classes)
    nothing = np.zeros(pair[0].shape[1:], np.uint16)

    def named(case: str) -> NDArray[np.uint16]:
        labels = read_labels(folder / f"{case}.png")
        return nothing if labels is None else labels

    labels_of_volume = stack.whole(named)
    if labels_of_volume is None:
        raise UsageError(f"{work.name}: instances of volume {stack.volume} have other sizes")
    parts = of_labels(labels_of_volume)
    return with_classes(parts, pair[0]) if classes else parts
