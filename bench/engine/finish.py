"""The record of a finished cell, from all that is known of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from bench.data import twins
from bench.engine.data import Data
from bench.engine.train import TrainingState
from bench.engine.trainee import Trainee
from bench.spec import devices, machine
from bench.spec.capabilities import Described, ToldBox, TrainsItself, further_rows
from bench.spec.config import Cell
from bench.spec.options import idle
from bench.spec.plain import convert
from bench.store.record import (
    SET_ASIDE,
    CellSpec,
    Certificate,
    Cut,
    Head,
    Joules,
    Record,
    Timings,
    TrainingRecord,
)


@dataclass(frozen=True)
class Measured:
    """What a network costs, and what its grid allows."""

    multiply_adds: int
    """Of the answer for one case."""
    size: float
    """Multiply-adds of the training of one case, with U-Net's as 1; NaN if it trains itself."""
    ceiling: float
    """Dice that the test references reach through the grid and back."""


def record_of(
    cell: Cell,
    trainee: Trainee,
    data: Data,
    state: TrainingState,
    measured: Measured,
    cuts: dict[str, Cut],
    joules: Joules,
    timings: Timings,
) -> Record:
    """Return everything about a finished cell but its scores, predictions and weights.

    Args:
        cell: What was asked for.
        trainee: The trained network.
        data: What it was trained, validated and tested on.
        state: How the training went.
        measured: What was measured of the network and its grid.
        cuts: The threshold that validation patients prefer, by row.
        joules: The energy of all attempts.
        timings: How long they took.
    """
    method = trainee.method
    sides = {"train": data.train, "validation": data.validation, "test": data.test}
    return Record(
        spec=convert(cell.spec(), CellSpec),
        hash=cell.hash,
        source=cell.dataset.id.source,
        title=method.title,
        summary=cell.profile.summary,
        deviations=(
            *_deviations(trainee),
            *_tuned(cell),
            *_split_batches(cell, state),
        ),
        advantages=asdict(method.advantages()),
        own_training=isinstance(method, TrainsItself),
        oracle=isinstance(method, ToldBox),
        without_effect=tuple(idle(asdict(method), type(method))),
        network=_about(trainee),
        grid=data.cases.grid or "native",
        certificate=Certificate(seed=cell.seed, heads=convert(state.heads, tuple[Head, ...])),
        training=TrainingRecord(
            steps=state.step,
            best_step=state.best_step,
            best_loss=_finite(state.best_loss),
            parts=tuple((step, parts) for step, parts in state.parts),
        ),
        parameters=sum(p.numel() for p in trainee.net.parameters() if p.requires_grad),
        idle_parameters=state.idle,
        extras=further_rows(method),
        trials=cell.tuning.get("trials", 0),
        cuts=cuts,
        cases=_counts(data, sides),
        patients={side: _patients(data, indexes) for side, indexes in sides.items()},
        classes=data.dataset.classes,
        void=bool(data.dataset.void),
        left_out=len(data.dataset.left_out),
        twins=_twins(data, sides),
        assumed=data.dataset.how,
        # Several folds are drawn from all patients, also from those on the publisher's test side.
        official_test=bool(data.dataset.official) and cell.scheme.takes_official,
        versions=machine.versions(),
        revision=machine.revision(),
        device=devices.name_of(str(trainee.device)),
        peak_memory_bytes=machine.peak_memory(),
        peak_device_memory_bytes=_peak_memory(trainee.device),
        multiply_adds=measured.multiply_adds,
        size=_finite(measured.size),
        ceiling=_finite(measured.ceiling),
        energy_joules=joules,
        timings=timings,
    )


def _deviations(trainee: Trainee) -> tuple[str, ...]:
    """Return how the method differs from its source, in the words for the task's classes."""
    lines = trainee.method.deviations(trainee.profile.batch)
    if not trainee.task.classes:
        return lines
    for of_one_class, of_several in trainee.method.of_one.items():
        lines = tuple(line.replace(of_one_class, of_several) for line in lines)
    return tuple(filter(None, lines))  # what holds for one class alone has become empty


def _peak_memory(device: torch.device) -> int | None:
    """Return the most bytes that PyTorch had on a GPU at once; None for the CPU."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device)


def _about(trainee: Trainee) -> dict[str, Any]:
    """Return what the method says of its network."""
    if isinstance(trainee.method, Described):
        return trainee.method.about(trainee.net)
    return {}


def _counts(data: Data, sides: dict[str, list[int]]) -> dict[str, int]:
    """Return the number of cases of each side, and of those set aside if there are any."""
    counts = {side: len(indexes) for side, indexes in sides.items()}
    if data.set_aside:
        counts[SET_ASIDE] = data.set_aside
    return counts


def _twins(data: Data, sides: dict[str, list[int]]) -> tuple[str, ...]:
    """Return a line for each pair of patients' cases that share an image, with their sides."""
    side_of: dict[str, str] = {}
    for side, indexes in sides.items():
        side_of.update((data.cases.case(index).patient, side) for index in indexes)
    return twins.described(data.dataset, side_of)


def _finite(value: float) -> float | None:
    """Return a number, or None if it is infinite or NaN, which JSON has not."""
    return value if math.isfinite(value) else None


def _patients(data: Data, indexes: Sequence[int]) -> int:
    """Return the number of patients to whom the cases belong."""
    return len({data.cases.case(index).patient for index in indexes})


def _tuned(cell: Cell) -> list[str]:
    """Return the deviation that says which options were tuned, and how; none without tuning."""
    if not cell.tuning:
        return []
    options = []
    for name, value in cell.tuning["values"].items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        options.append(f"{name}={text}")
    return [
        f"{', '.join(options)}: the best of {cell.tuning['trials']} trials of at most"
        f" {cell.tuning['steps']} steps, by the validation patients' Dice"
    ]


def _split_batches(cell: Cell, state: TrainingState) -> list[str]:
    """Return the deviations of batches that were split because the device's memory was small."""
    return [
        f"from step {step + 1}, a batch of {cell.profile.batch} in {parts} parts whose gradients"
        " were added up, for lack of the device's memory; batch norm and Dice saw a part at a time"
        for step, parts in state.parts
    ]
