"""What a trained network answers for validation and test cases, and what its grid allows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.engine import instances
from bench.engine.cut import Curve
from bench.engine.data import Data
from bench.engine.metrics import mean_dice, score, score_classes
from bench.engine.parts import of_mask
from bench.engine.predict import SPREAD, Mask, Prediction, foreground, predictions, stages
from bench.engine.trainee import Trainee
from bench.spec.case import Case
from bench.spec.note import Note, Tell
from bench.store.cells import keep_labels
from bench.store.layout import CellFolder
from bench.store.scores import CLASS, write_scores

Keep = Callable[[str, NDArray[np.uint16], NDArray[np.uint8]], None]
"""Stores a test case, given its id, image (H, W) and reference (H, W)."""


def validate(trainee: Trainee, data: Data, tell: Tell) -> dict[str, Curve]:
    """Return for each row the Dice of the validation cases at several thresholds.

    Of several classes, which have no threshold, it is the mean over the classes.
    """
    curves: dict[str, Curve] = defaultdict(Curve)
    answers = predictions(trainee, data.cases, data.validation)
    for done, index in enumerate(data.validation):
        # It is shown as a test that has not begun: a phase of its own would last too short. The
        # count changes the note, which is the sign of progress that `--timeout` waits for.
        tell(Note(phase="test", step=0, steps=len(data.test), validated=done))
        case, reference = data.cases.case(index), data.dataset.target(index)
        _add(curves, case.patient, next(answers), reference, data)
    return curves


def _add(
    curves: dict[str, Curve],
    patient: str,
    prediction: Prediction,
    reference: NDArray[np.uint8],
    data: Data,
) -> None:
    """Include a case's prediction in the curves of its rows."""
    classes = data.dataset.classes
    for name, probability in prediction.probabilities.items():
        if classes:
            dice = mean_dice(prediction.masks[name], reference, classes)
            curves[name].add_at_half(patient, dice)
        else:
            curves[name].add(patient, probability, reference)


def test(
    trainee: Trainee,
    data: Data,
    work: CellFolder,
    tell: Tell,
    keep: Keep,
    tolerance: float,
    validation_dice: float | None,
) -> tuple[float, dict[str, Curve]]:
    """Predict and score every test case and write the results.

    Args:
        trainee: The trained network.
        data: The cell's data.
        work: Folder of the results.
        tell: Is told of the progress.
        keep: Stores a test case.
        tolerance: Largest distance that NSD accepts.
        validation_dice: The mean Dice of the validation cases, for the progress.

    Returns:
        Seconds per prediction, and for each row the Dice at several thresholds. The method's own
        row has the name "".
    """
    spent = 0.0
    curves: dict[str, Curve] = defaultdict(Curve)
    rows: dict[str, list[dict[str, float | int | str]]] = {}
    answers = predictions(trainee, data.cases, data.test)
    for done, index in enumerate(data.test, 1):
        case = data.cases.case(index)
        reference = data.dataset.target(index)
        labels = data.dataset.instances(index)
        began = time.monotonic()
        prediction = next(answers)
        spent += time.monotonic() - began
        _add(curves, case.patient, prediction, reference, data)
        for name, mask in prediction.masks.items():
            is_own_row = not name
            lines = _rows(case, mask, reference, data.dataset.classes, tolerance)
            if labels is not None:
                parts = of_mask(mask, reference, data.dataset.class_levels)
                class_count = len(data.dataset.classes)
                of_instances = instances.rows(parts, labels, reference, class_count, case.spacing)
                for line, columns in zip(lines, of_instances, strict=True):
                    line.update(columns)
                if parts.named:
                    path = work.instances(name) / f"{case.id}.png"
                    keep_labels(path, parts.codes.astype(np.uint16))
            if prediction.spread is not None and is_own_row:
                lines[0]["spread"] = float(prediction.spread.mean())
            rows.setdefault(name, []).extend(lines)
        _keep(prediction, case.id, work)
        keep(case.id, data.dataset.image(index), reference)
        if labels is not None:
            keep_labels(work.reference_instances(case.id), labels)
        note = Note(
            phase="test",
            step=done,
            steps=len(data.test),
            seconds=spent,
            validation_dice=validation_dice,
        )
        tell(note)
    for name, lines in rows.items():
        write_scores(work.cases(name), lines)
    shown = stages(trainee, data.cases, data.test[0])
    if shown:
        half_precision: dict[str, Any] = {}
        for name, values in shown.items():
            half_precision[name] = values.astype(np.float16)
        np.savez_compressed(work.stages, **half_precision)
    return spent / len(data.test), curves


def _rows(
    case: Case, mask: Mask, reference: NDArray[np.uint8], classes: Sequence[str], tolerance: float
) -> list[dict[str, float | int | str]]:
    """Return the lines of `cases.csv` of a case: one, or that of all classes and each class's."""
    about = {"case": case.id, "patient": case.patient}
    if not classes:
        return [{**about, **score(mask, reference, case.spacing, tolerance).row()}]
    labels = np.asarray(mask, np.uint8)
    scores = score_classes(labels, reference, classes, case.spacing, tolerance)
    return [{**about, CLASS: name, **of_class.row()} for name, of_class in scores.items()]


def highest_dice(data: Data) -> float:
    """Return the Dice that the test references themselves reach through the grid and back.

    It is the mean over patients; no network of this grid can be expected to do better.
    """
    reached = Curve()
    classes = data.dataset.classes
    for index in data.test:
        patient, on_grid = data.cases.case(index).patient, data.cases.mask(index)
        if classes:
            maps = [on_grid == number for number in range(1 + len(classes))]
            back = data.cases.back(index, np.array(maps, np.float32)).argmax(0)
            reference = data.dataset.target(index)
            reached.add_at_half(patient, mean_dice(back.astype(np.uint8), reference, classes))
            continue
        back = data.cases.back(index, on_grid.astype(np.float32))
        reached.add(patient, back, data.dataset.mask(index))
    return reached.at_half()


def _keep(prediction: Prediction, case: str, work: CellFolder) -> None:
    """Write a case's masks, and on the network's grid its probabilities and uncertainty."""
    images: dict[Path, NDArray[Any]] = {}
    for extra, mask in prediction.masks.items():
        pixels = mask.astype(np.uint8)
        images[work.predictions(extra)] = pixels * 255 if mask.dtype == np.bool_ else pixels
    for name, values in prediction.on_grid.items():
        place = work.spread if name == SPREAD else work.probabilities(name)
        images[place] = np.rint(foreground(values) * 255).astype(np.uint8)
    for folder, pixels in images.items():
        folder.mkdir(exist_ok=True)
        path = folder / f"{case}.png"
        if not cv2.imwrite(str(path), pixels):
            raise OSError(f"{path} could not be written")
