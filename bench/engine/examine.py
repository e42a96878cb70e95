"""What a trained network answers for validation and test cases, and what its grid allows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.engine import instances
from bench.engine.cut import Curve
from bench.engine.data import Data
from bench.engine.metrics import mean_dice, score, score_classes
from bench.engine.parts import Parts, of_mask
from bench.engine.predict import SPREAD, Mask, Prediction, foreground, predictions, stages
from bench.engine.trainee import Trainee
from bench.spec.case import Case
from bench.spec.note import Note, Tell
from bench.store.cells import keep_labels
from bench.store.layout import CellFolder
from bench.store.scores import CLASS, write_scores

KeepCase = Callable[[str, NDArray[np.uint16], NDArray[np.uint8]], None]
"""Stores a test case, given its id, native image (H, W) and reference (H, W)."""
Line = dict[str, float | int | str]
"""A line of `cases.csv`, by column."""


def validate(trainee: Trainee, data: Data, tell: Tell) -> dict[str, Curve]:
    """Return for each row the Dice of the validation cases at several thresholds.

    Of several classes, which have no threshold, it is the mean over the classes.
    """
    curves: dict[str, Curve] = defaultdict(Curve)
    upcoming = predictions(trainee, data.cases, data.validation)
    for done, index in enumerate(data.validation):
        # It is shown as a test that has not begun: a phase of its own would last too short. The
        # count changes the note, which is the sign of progress that `--timeout` waits for.
        tell(Note(phase="test", step=0, steps=len(data.test), validated=done))
        case, reference = data.cases.case(index), data.dataset.target(index)
        _add(curves, case.patient, next(upcoming), reference, data.dataset.classes)
    return curves


def _add(
    curves: dict[str, Curve],
    patient: str,
    prediction: Prediction,
    reference: NDArray[np.uint8],
    classes: Sequence[str],
) -> None:
    """Include a case's prediction in the curves of its rows."""
    for row, probability in prediction.probabilities.items():
        if classes:
            dice = mean_dice(prediction.masks[row], reference, classes)
            curves[row].add_at_half(patient, dice)
        else:
            curves[row].add(patient, probability, reference)


def test(
    trainee: Trainee,
    data: Data,
    work: CellFolder,
    tell: Tell,
    keep_case: KeepCase,
    tolerance: float,
    validation_dice: float | None,
) -> tuple[float, dict[str, Curve]]:
    """Predict and score every test case and write the results.

    Args:
        trainee: The trained network.
        data: The cell's data.
        work: Folder of the results.
        tell: Is told of the progress.
        keep_case: Stores a test case.
        tolerance: Largest distance that NSD accepts, in mm; in pixels where the spacing of a case
            is unknown.
        validation_dice: The mean Dice of the validation cases, for the progress; None if no case
            has one.

    Returns:
        Seconds per prediction, and for each row the Dice at several thresholds. The method's own
        row has the name "".
    """
    seconds = 0.0
    curves: dict[str, Curve] = defaultdict(Curve)
    lines_of_rows: dict[str, list[Line]] = defaultdict(list)
    classes = data.dataset.classes
    upcoming = predictions(trainee, data.cases, data.test)
    for done, index in enumerate(data.test, 1):
        case = data.cases.case(index)
        reference = data.dataset.target(index)
        instance_numbers = data.dataset.instances(index)
        began = time.monotonic()
        # The first case of a group takes the time of all that are computed at once with it.
        prediction = next(upcoming)
        seconds += time.monotonic() - began
        _add(curves, case.patient, prediction, reference, classes)
        for row, mask in prediction.masks.items():
            lines = _lines(case, mask, reference, classes, tolerance)
            if instance_numbers is not None:
                parts = of_mask(mask, reference, data.dataset.class_levels)
                of_instances = instances.rows(
                    parts, instance_numbers, reference, len(classes), case.spacing
                )
                for line, columns in zip(lines, of_instances, strict=True):
                    line.update(columns)
                _keep_named(parts, work.instances(row), case.id)
            lines_of_rows[row] += lines
            is_own_row = not row
            if is_own_row and prediction.spread is not None:
                lines[0]["spread"] = float(prediction.spread.mean())  # the line of all classes
        _write_maps(prediction, case.id, work)
        keep_case(case.id, data.dataset.image(index), reference)
        if instance_numbers is not None:
            keep_labels(work.reference_instances(case.id), instance_numbers)
        note = Note(
            phase="test",
            step=done,
            steps=len(data.test),
            seconds=seconds,
            validation_dice=validation_dice,
        )
        tell(note)
    for row, lines in lines_of_rows.items():
        write_scores(work.cases(row), lines)
    _write_stages(stages(trainee, data.cases, data.test[0]), work)
    return seconds / len(data.test), curves


def _lines(
    case: Case, mask: Mask, reference: NDArray[np.uint8], classes: Sequence[str], tolerance: float
) -> list[Line]:
    """Return the lines of `cases.csv` of a case: one, or that of all classes and each class's."""
    about = {"case": case.id, "patient": case.patient}
    if not classes:
        return [{**about, **score(mask, reference, case.spacing, tolerance).row()}]
    numbers = np.asarray(mask, np.uint8)  # as it is: masks of several classes hold numbers
    scores = score_classes(numbers, reference, classes, case.spacing, tolerance)
    return [{**about, CLASS: name, **of_class.row()} for name, of_class in scores.items()]


def _keep_named(parts: Parts, folder: Path, case: str) -> None:
    """Keep the instances of a prediction if their numbers are names.

    Readers of the results find other instances again: they are components of the kept mask.
    """
    if parts.named:
        keep_labels(folder / f"{case}.png", parts.codes.astype(np.uint16))


def highest_dice(data: Data) -> float:
    """Return the Dice that the test references themselves reach through the grid and back.

    It is the mean over patients; no network of this grid can be expected to do better.
    """
    reached = Curve()
    classes = data.dataset.classes
    for index in data.test:
        patient = data.cases.case(index).patient
        reference, on_grid = data.dataset.target(index), data.cases.mask(index)
        if classes:
            # As probabilities: the background and each class have a map, and the largest wins.
            maps = [on_grid == number for number in range(1 + len(classes))]
            back = data.cases.back(index, np.array(maps, np.float32)).argmax(0)
            dice = mean_dice(back.astype(np.uint8), reference, classes)
            reached.add_at_half(patient, dice)
        else:
            back = data.cases.back(index, on_grid.astype(np.float32))
            reached.add(patient, back, reference)
    return reached.at_half()


def _write_maps(prediction: Prediction, case: str, work: CellFolder) -> None:
    """Write a case's masks, and on the network's grid its probabilities and uncertainty."""
    pixels_in: dict[Path, NDArray[np.uint8]] = {}
    for row, mask in prediction.masks.items():
        pixels = mask.astype(np.uint8)
        is_foreground = mask.dtype == np.bool_  # shown white; numbers of classes stay as they are
        pixels_in[work.predictions(row)] = pixels * 255 if is_foreground else pixels
    for name, values in prediction.on_grid.items():
        folder = work.spread if name == SPREAD else work.probabilities(name)
        pixels_in[folder] = np.rint(foreground(values) * 255).astype(np.uint8)
    for folder, pixels in pixels_in.items():
        folder.mkdir(exist_ok=True)
        path = folder / f"{case}.png"
        if not cv2.imwrite(str(path), pixels):
            raise OSError(f"{path} could not be written")


def _write_stages(shown: Mapping[str, NDArray[np.float32]], work: CellFolder) -> None:
    """Write the maps that show how a method comes to its answer, if it has such maps."""
    if shown:
        # Half precision: they are looked at, and nothing is computed from them.
        half: dict[str, Any] = {name: values.astype(np.float16) for name, values in shown.items()}
        np.savez_compressed(work.stages, **half)
