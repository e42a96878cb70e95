"""One trial of a study: a cell's training with other options, judged by its validation patients."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.data import cache
from bench.data.stream import Stream
from bench.engine.cell import Data, build
from bench.engine.metrics import score
from bench.engine.predict import predict
from bench.engine.train import Beat, Interrupted, train, validation_loss
from bench.engine.trainee import Trainee
from bench.spec import machine
from bench.spec.case import Dataset, Split
from bench.store.layout import CellFolder
from bench.tuning.study import StoppedError, Study, suggest

if TYPE_CHECKING:
    import optuna


def sealed(dataset: Dataset, split: Split) -> Dataset:
    """Return a dataset of which nothing but training and validation cases can be read."""
    seen = {*split.indexes(dataset, "train"), *split.indexes(dataset, "validation")}
    return dataset.without(set(range(len(dataset.cases))) - seen)


def run(
    study: Study, trial: optuna.Trial, split: Split, device: str, stopped: Callable[[], bool]
) -> float:
    """Run a trial; return the mean Dice over the validation patients.

    The weights are those of the lowest validation loss.

    After each validation its loss is reported, negative, and a trial below the median of the others
    is stopped.

    Args:
        study: What the trial belongs to.
        trial: Optuna's trial.
        split: Of the study's cell.
        device: A PyTorch device.
        stopped: Whether the worker was told to stop.

    Raises:
        StoppedError: It was.
        FloatingPointError: The options do not train.
        optuna.TrialPruned: The trial is not worth its steps.
    """
    import optuna

    base = study.cell
    cell = replace(base, options={**base.options, **suggest(trial, base)})
    machine.limit_threads(cell.profile.threads)
    dataset = sealed(cache.load(Path(cell.dataset.cache)), split)
    data = Data.of(cell, dataset, split)
    trainee = build(cell, data, torch.device(device))
    stream = Stream(data.cases, data.train, cell.seed, cell.profile.batch)
    looks = 0

    def validate(beat: Beat) -> float:
        nonlocal looks
        lost = validation_loss(trainee, data.cases, data.validation, beat)
        if math.isfinite(lost):
            looks += 1
            trial.report(-lost, looks)
            if trial.should_prune():
                raise optuna.TrialPruned
        return lost

    def tell(_: object) -> None:
        if stopped():
            raise Interrupted

    with tempfile.TemporaryDirectory(prefix="bench-trial-") as work:
        try:
            train(trainee, stream, validate, CellFolder(Path(work)), tell)
        except Interrupted:
            raise StoppedError("told to stop") from None
    return _dice(trainee, data)


def _dice(trainee: Trainee, data: Data) -> float:
    """Return the mean over validation patients of their cases' mean Dice."""
    patients: dict[str, list[float]] = {}
    for index in data.validation:
        case = data.dataset.cases[index]
        answer = predict(trainee, data.cases, index)
        dice = score(answer.masks[""], data.dataset.mask(index), case.spacing).dice
        patients.setdefault(case.patient, []).append(dice)
    means = [math.fsum(scores) / len(scores) for scores in patients.values()]
    return math.fsum(means) / len(means)
