"""What a trained network answers for validation and test cases, and what its grid allows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.engine import instances
from bench.engine.cut import Curve
from bench.engine.data import Data
from bench.engine.metrics import score
from bench.engine.predict import SPREAD, Prediction, predict, stages
from bench.engine.trainee import Trainee
from bench.spec.note import Note, Tell
from bench.store.cells import keep_labels
from bench.store.layout import CellFolder
from bench.store.scores import write_scores

Keep = Callable[[str, NDArray[np.uint16], NDArray[np.uint8]], None]
"""Stores a test case, given its id, image (H, W) and reference (H, W)."""


def validate(trainee: Trainee, data: Data, tell: Tell) -> dict[str, Curve]:
    """Return for each row the Dice of the validation cases at several thresholds."""
    curves: dict[str, Curve] = defaultdict(Curve)
    for index in data.validation:
        tell(Note(phase="test", step=0, steps=len(data.test)))
        case, reference = data.cases.case(index), data.dataset.mask(index)
        for name, value in predict(trainee, data.cases, index).probabilities.items():
            curves[name].add(case.patient, value, reference)
    return curves


def test(
    trainee: Trainee,
    data: Data,
    work: CellFolder,
    tell: Tell,
    keep: Keep,
    tolerance: float,
    validation_dice: float,
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
        Seconds per prediction, and for each row the Dice at several thresholds.
    """
    spent = 0.0
    curves: dict[str, Curve] = defaultdict(Curve)
    rows: dict[str, list[dict[str, float | int | str]]] = {}
    for done, index in enumerate(data.test, 1):
        case = data.cases.case(index)
        reference = data.dataset.mask(index)
        labels = data.dataset.instances(index)
        began = time.monotonic()
        prediction = predict(trainee, data.cases, index)
        spent += time.monotonic() - began
        for name, probability in prediction.probabilities.items():
            curves[name].add(case.patient, probability, reference)
        for name, mask in prediction.masks.items():
            scores = score(mask, reference, case.spacing, tolerance).row()
            row = {"case": case.id, "patient": case.patient, **scores}
            row.update(instances.row(instances.of_components(mask), labels, case.spacing))
            if prediction.spread is not None and not name:
                row["spread"] = float(prediction.spread.mean())
            rows.setdefault(name, []).append(row)
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


def ceiling(data: Data) -> float:
    """Return the Dice that the test references themselves reach through the grid and back.

    It is the mean over patients; no network of this grid can be expected to do better.
    """
    reached = Curve()
    for index in data.test:
        there = data.cases.mask(index).astype(np.float32)
        patient = data.cases.case(index).patient
        reached.add(patient, data.cases.back(index, there), data.dataset.mask(index))
    return reached.at_half()


def _keep(prediction: Prediction, case: str, work: CellFolder) -> None:
    """Write a case's masks, and on the network's grid its probabilities and uncertainty."""
    images: dict[Path, NDArray[Any]] = {}
    for extra, mask in prediction.masks.items():
        images[work.predictions(extra)] = mask.astype(np.uint8) * 255
    for name, values in prediction.on_grid.items():
        place = work.spread if name == SPREAD else work.probabilities(name)
        images[place] = np.rint(values * 255).astype(np.uint8)
    for folder, pixels in images.items():
        folder.mkdir(exist_ok=True)
        path = folder / f"{case}.png"
        if not cv2.imwrite(str(path), pixels):
            raise OSError(f"{path} could not be written")
