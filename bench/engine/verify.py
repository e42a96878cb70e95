"""Compute all again that a results folder says: scores from masks, digests, and what lies about."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.engine import instances, volumes
from bench.engine.metrics import Score, score, score_classes
from bench.engine.outside.missing import zero, zero_classes
from bench.engine.parts import no_parts, of_labels, of_mask, with_classes
from bench.spec import files, machine
from bench.spec.case import UNION
from bench.spec.errors import UsageError
from bench.spec.metrics import INSTANCE_COUNTS
from bench.spec.names import Row
from bench.spec.words import count
from bench.store import check
from bench.store.cells import read_labels
from bench.store.layout import CellFolder, ProfileFolder
from bench.store.outside import unpack
from bench.store.record import Record
from bench.store.scores import CLASS, MISSING, text

IDENTIFIED = "identified"
"""The score that says whether a method names its instances, where it predicted none of a case."""


@dataclass
class Findings:
    """What was compared, and what does not hold."""

    wrong: list[str] = field(default_factory=list)
    """A line for each thing that does not hold; it names the cell or the file."""
    remarks: list[str] = field(default_factory=list)
    """A line for each thing that could not be checked."""
    cells: int = 0
    scores: int = 0
    """Scores that were computed again."""
    digests: int = 0
    """Files whose digest was compared."""


def verify(folder: ProfileFolder) -> Findings:
    """Check a profile's results: everything `bench report` checks, and all scores from the masks.

    Raises:
        UsageError: The declared comparisons are damaged.
    """
    findings = Findings()
    believed, _ = check.cases(folder, pictures=True)
    findings.wrong += [damage.line for damage in believed.damaged]
    older = []
    unpacked: list[str] = []
    for cell, record in believed.cells.items():
        findings.cells += 1
        if not record.digests:
            older.append(cell.name)
            continue
        findings.digests += len(record.digests) + len(record.references)
        findings.wrong += _files(cell, record)
        if cell.weights.name in record.digests and not cell.weights.is_file():
            unpacked.append(cell.name)
        if record.external is not None and record.external.kind == "scores":
            continue  # they came without masks
        for row in record.rows:
            scored, lines, remarks = _scores(cell, record, row)
            findings.scores += scored
            findings.wrong += lines
            findings.remarks += remarks
    if unpacked:
        findings.remarks.append(f"the archive has no weights of {count(len(unpacked), 'cell')}")
    if older:
        findings.remarks.append(
            f"{count(len(older), 'cell')} of an older version without digests ({older[0]}, ...): "
            "only their numbers were checked"
        )
    return findings


def _files(cell: CellFolder, record: Record) -> Iterator[str]:
    """Yield a line for weights that were changed, and for files that the cell did not leave."""
    weights = record.digests.get(cell.weights.name)
    packed = weights and not cell.weights.is_file()  # an archive without weights
    if weights and not packed and files.digest(cell.weights) != weights:
        yield f"{cell.weights} is damaged (its digest is not that of its record: it was changed)"
    for path in cell.kept():
        name = path.relative_to(cell.path).as_posix()
        if name not in record.digests:
            yield f"{path} is no file of {cell.name}: its record does not name it; remove it"


def _scores(cell: CellFolder, record: Record, row: Row) -> tuple[int, list[str], list[str]]:
    """Compute the scores of a row again.

    Returns:
        Their number, a line for each case whose scores are others, and remarks.
    """
    with cell.cases(row.extra).open(newline="", encoding="utf-8") as file:
        kept_lines = list(csv.DictReader(file))
    with ThreadPoolExecutor(machine.cores()) as pool:
        lines = list(pool.map(partial(_case, cell, record, row), kept_lines))
    wrong = [line for line in lines if line]
    if record.spec.volumes:
        wrong += _volumes(cell, row, record)
    without_spacing = [
        line for line in kept_lines if "spacing" not in line and line["unit"] == "mm"
    ]
    remarks = []
    if without_spacing:
        remarks.append(
            f"{cell.name}: the scores of {count(len(without_spacing), 'case')} lack the spacing, "
            "as older versions left them: their distances were not computed again"
        )
    return len(kept_lines), wrong, remarks


def _case(cell: CellFolder, record: Record, row: Row, kept_line: Mapping[str, str]) -> str:
    """Return a line if the scores of a case are not those of its masks; else nothing.

    Of several classes it is the line of one of them, or of all together.
    """
    case, classes, tolerance = kept_line["case"], record.classes, record.spec.nsd_tolerance
    reference = _mask(cell, case, of_reference=True)
    if reference is None:
        return f"{cell.name}: the reference of case {case} is not there or cannot be read"
    spacing = tuple(map(float, kept_line.get("spacing", "").split())) or None
    missing = record.external.missing if record.external else ()
    unanswered = kept_line["empty"] == MISSING or case in missing
    prediction = None if unanswered else _mask(cell, case, row.extra)
    if not unanswered and (prediction is None or prediction.shape != reference.shape):
        return f"{cell.name}: the prediction of case {case} cannot be compared"
    if classes:
        by_class = _of_classes(prediction, reference, classes, spacing, tolerance)
        computed = by_class[kept_line[CLASS]]
    elif prediction is None:
        computed = zero(reference > 0, spacing)
    else:
        computed = score(prediction > 0, reference > 0, spacing, tolerance)
    skipped = set()
    if "spacing" not in kept_line and kept_line["unit"] == "mm":
        skipped = {"hd95", "assd", "nsd", "unit", "diagonal"}
    values = dict(computed.row())
    if INSTANCE_COUNTS[0] in kept_line:
        values |= _instances(cell, row, kept_line, (prediction, reference), classes)
    for name, value in values.items():
        if name in kept_line and name not in skipped and kept_line[name] != text(value):
            return (
                f"{cell.name}: {name} of case {case} is {kept_line[name] or 'empty'}, but its "
                f"masks give {text(value) or 'none'}"
            )
    return ""


def _volumes(cell: CellFolder, row: Row, record: Record) -> Iterator[str]:
    """Yield a line for each volume whose scores are not those of the kept slices."""
    with cell.volumes(row.extra).open(newline="", encoding="utf-8") as file:
        kept_lines = list(csv.DictReader(file))
    # A volume has a line of all classes together and one of each; of one foreground a single line.
    lines_of_volume = len(record.classes) + 1 if record.classes else 1
    for start in range(0, len(kept_lines), lines_of_volume):
        lines = kept_lines[start : start + lines_of_volume]
        first_line = lines[0]
        volume, tolerance = first_line["case"], record.spec.nsd_tolerance
        try:
            stack = volumes.of_line(first_line)
            named = bool(first_line.get(IDENTIFIED))
            computed = volumes.rows(cell, row.extra, stack, tolerance, record.classes, named)
        except (UsageError, ValueError, KeyError) as error:
            yield f"{cell.name}: the scores of volume {volume} cannot be checked ({error})"
            continue
        for line, values in zip(lines, computed, strict=True):
            for name, value in values.items():
                if line.get(name) != text(value):
                    yield (
                        f"{cell.name}: {name} of volume {volume} is {line.get(name) or 'empty'}, "
                        f"but its slices give {text(value) or 'none'}"
                    )
                    break


def _instances(
    cell: CellFolder,
    row: Row,
    kept_line: Mapping[str, str],
    pair: tuple[NDArray[np.uint8] | None, NDArray[np.uint8]],
    classes: Sequence[str],
) -> dict[str, int | float]:
    """Return the scores of a case's instances, computed again: of a class, or of all.

    Args:
        cell: Whose case it is.
        row: The row of the tables.
        kept_line: The case's line of cases.csv.
        pair: The predicted mask or numbers of classes, None where it is missing; the reference's.
        classes: The names of the classes, none of one foreground.
    """
    case, (prediction, reference) = kept_line["case"], pair
    labels = read_labels(cell.reference_instances(case))
    if labels is None:
        # They cannot be computed again: -1 is never what the line says, so the case is told.
        return dict.fromkeys(INSTANCE_COUNTS, -1)
    folder = cell.instances(row.extra)
    named = folder.is_dir()
    parts = no_parts(labels.shape, bool(kept_line[IDENTIFIED]))
    if prediction is not None:
        predicted_labels = read_labels(folder / f"{case}.png") if named else None
        if predicted_labels is not None:
            parts = of_labels(predicted_labels)
            parts = with_classes(parts, prediction) if classes else parts
        elif not named:
            parts = of_mask(prediction, reference, (0,) * len(classes))
    spacing = tuple(map(float, kept_line.get("spacing", "").split())) or None
    of_all_and_each = instances.rows(parts, labels, reference, len(classes), spacing)
    place = [UNION, *classes].index(kept_line.get(CLASS, UNION))
    return of_all_and_each[place]


def _of_classes(
    prediction: NDArray[np.uint8] | None,
    reference: NDArray[np.uint8],
    classes: Sequence[str],
    spacing: tuple[float, ...] | None,
    tolerance: float,
) -> dict[str, Score]:
    """Return the scores of each class and of all together; of no prediction those of a failure."""
    if prediction is None:
        return zero_classes(reference, classes, spacing)
    return score_classes(prediction, reference, classes, spacing, tolerance)


def _mask(
    cell: CellFolder, case: str, extra: str = "", *, of_reference: bool = False
) -> NDArray[np.uint8] | None:
    """Return a kept mask, whole where it is a volume; None where it cannot be read.

    Foreground is not 0; of several classes it holds their numbers.
    """
    import cv2

    path = cell.predictions(extra) / f"{case}.png"
    volume = cell.volume(case)
    if of_reference:
        path, volume = cell.reference(case), cell.reference_volume(case)
    if volume.is_file():
        kept_volume = unpack(volume)
        return None if kept_volume is None else kept_volume.view(np.uint8)
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    return None if pixels is None else np.asarray(pixels, np.uint8)
