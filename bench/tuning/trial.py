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
from bench.engine.cell import build
from bench.engine.data import Data
from bench.engine.metrics import mean_dice
from bench.engine.predict import predictions
from bench.engine.train import Beat, Interrupted, train, validation_loss
from bench.engine.trainee import Trainee
from bench.spec import machine
from bench.spec.case import Dataset, Split
from bench.store.layout import CellFolder
from bench.tuning.study import Study, TrialStoppedError, suggest

if TYPE_CHECKING:
    import optuna


def sealed(dataset: Dataset, split: Split) -> Dataset:
    """Return a dataset of which only training and validation cases can be read."""
    readable = {*split.indexes(dataset, "train"), *split.indexes(dataset, "validation")}
    return dataset.without(set(range(len(dataset.cases))) - readable)


def run(
    study: Study, trial: optuna.Trial, split: Split, device: str, stopped: Callable[[], bool]
) -> float:
    """Run a trial; return the mean Dice over the validation patients.

    The Dice is that of the weights with the lowest validation loss. After each validation, Optuna
    is told the negative loss, because it expects a value of which more is better. It then stops a
    trial whose best value is below the median of the other trials at the same validation.

    Args:
        study: The study of the trial.
        trial: Optuna's trial.
        split: The split of the study's cell.
        device: A PyTorch device.
        stopped: Returns whether the worker was told to stop.

    Raises:
        TrialStoppedError: The worker was told to stop.
        FloatingPointError: A loss is not finite: the network does not train with these options.
        optuna.TrialPruned: Optuna has stopped the trial.
    """
    import optuna

    base = study.cell
    cell = replace(base, options={**base.options, **suggest(trial, base)})
    machine.limit_threads(cell.profile.threads)
    dataset = sealed(cache.load(Path(cell.dataset.cache)), split)
    data = Data.of(cell, dataset, split)
    trainee = build(cell, data, torch.device(device))
    profile = cell.profile
    stream = Stream(data.cases, data.train, cell.seed, profile.batch, profile.augmentation)
    validations = 0

    def validate(beat: Beat) -> float:
        """Return the validation loss, and report it; end the trial if others are far better."""
        nonlocal validations
        loss = validation_loss(trainee, data.cases, data.validation, beat)
        if math.isfinite(loss):
            validations += 1
            trial.report(-loss, validations)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    def tell(_: object) -> None:
        if stopped():
            raise Interrupted

    with tempfile.TemporaryDirectory(prefix="bench-trial-") as work:
        try:
            train(trainee, stream, validate, CellFolder(Path(work)), tell)
        except Interrupted:
            raise TrialStoppedError("told to stop") from None
    return _dice(trainee, data)


def _dice(trainee: Trainee, data: Data) -> float:
    """Return the mean Dice over the validation patients; a patient's cases are averaged first."""
    patients: dict[str, list[float]] = {}
    answers = predictions(trainee, data.cases, data.validation)
    for index, answer in zip(data.validation, answers, strict=True):
        case = data.dataset.cases[index]
        own_mask = answer.masks[""]  # of the method's own row, not of one such as `prior`
        reference = data.dataset.target(index)
        dice = mean_dice(own_mask, reference, data.dataset.classes)
        if not math.isnan(dice):
            patients.setdefault(case.patient, []).append(dice)
    if not patients:  # no class is in any validation case
        return 0.0
    means = [math.fsum(scores) / len(scores) for scores in patients.values()]
    return math.fsum(means) / len(means)
