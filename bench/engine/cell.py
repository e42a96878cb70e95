"""What happens in one cell: train, predict, score, write. Each cell runs in its own process."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from bench.data import cache
from bench.data.stream import Stream
from bench.engine import cut, examine, program, size, volumes
from bench.engine import trainee as trainees
from bench.engine.data import Data
from bench.engine.energy import Meter
from bench.engine.finish import Measured, record_of
from bench.engine.predict import multiply_adds
from bench.engine.train import BatchTooLargeError, Beat, TrainingState, train, validation_loss
from bench.engine.trainee import Trainee, count_idle_parameters, derive, save_weights
from bench.spec import machine, own_files, registry
from bench.spec.capabilities import TrainsItself
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.spec.note import Note, Tell
from bench.spec.program import Program
from bench.store.cells import Store
from bench.store.layout import CellFolder
from bench.store.plan import split_of
from bench.store.record import Joules, Timings

NOT_DETERMINISTIC = "does not have a deterministic implementation"
"""What PyTorch says of an operation that may differ from run to run."""


def run_cell(
    cell: Cell,
    store: Store,
    work: CellFolder,
    device: str = "cpu",
    tell: Tell = lambda note: None,
) -> None:
    """Run a cell to its end; continue it if it was interrupted.

    Args:
        cell: The cell.
        store: Where results are kept.
        work: The cell's folder while it is not finished, held by `Store.at_work`.
        device: A PyTorch device.
        tell: Is told of the progress.

    Raises:
        UsageError: The cell is to be deterministic, and PyTorch lacks an operation for it.
    """
    # Read now and remembered: the source files may be edited while the cell trains.
    machine.revision()
    if not cell.deterministic:
        _run(cell, store, work, device, tell)
        return
    machine.make_deterministic()
    try:
        _run(cell, store, work, device, tell)
    except RuntimeError as error:
        if NOT_DETERMINISTIC not in str(error):
            raise
        operation = str(error).split()[0]  # PyTorch's message begins with its name
        raise UsageError(
            f"{cell.method} cannot be deterministic on {device}: PyTorch has no {operation} that "
            "gives the same bits each time; leave --deterministic out"
        ) from error


def _run(cell: Cell, store: Store, work: CellFolder, device: str, tell: Tell) -> None:
    """Run a cell to its end; the arguments are those of `run_cell`."""
    began = time.monotonic()
    meter = Meter(device, work.energy)

    def metered(note: Note) -> None:
        meter.look()
        tell(note)

    machine.limit_threads(cell.profile.threads)
    users_file = own_files.source(cell.method.name)  # of `--methods ./my_method.py:MyNet`
    if users_file:
        shutil.copyfile(users_file, work.method)  # so that the results have all that made them
    method = registry.of_cell(cell)
    if isinstance(method, Program):
        program.run(cell, method, derive(cell.seed, "own"), store, work, meter, metered)
        return
    dataset = cache.load(Path(cell.dataset.cache))
    split = split_of(store, cell, dataset.patients)
    data = Data.of(cell, dataset, split)
    # For a method that trains itself, the network is a placeholder: training returns its own.
    trainee = build(cell, data, torch.device(device))
    trains_itself = isinstance(trainee.method, TrainsItself)
    if trains_itself:
        trainee, state = _train_itself(trainee, data, work.own, metered)
    # Measured on a training case: test cases must not be opened before training has ended. The
    # network of a method that trains itself exists only now, that of others has not been trained.
    multiply_add_count = multiply_adds(trainee, data.cases, data.train[0])
    relative_size = size.relative(trainee, data.cases, data.train[0])
    if not trains_itself:
        initial = json.dumps(_digests(trainee.net), indent=0) + "\n"
        work.initial.write_text(initial, encoding="utf-8")
        trainee, state = _train(cell, trainee, data, work, metered)

    def keep(case: str, image: NDArray[np.uint16], reference: NDArray[np.uint8]) -> None:
        store.keep_case(cell, case, image, reference, has_classes=bool(dataset.classes))

    # Dice by threshold, of each row: "" is the method's own, another one (`prior`) a further row.
    validation_curves = examine.validate(trainee, data, metered)
    tolerance = cell.profile.nsd_tolerance
    dice = validation_curves[""].at_half()  # at the threshold 0.5
    # NaN: no validation case shows any of the classes.
    validation_dice = None if math.isnan(dice) else dice
    seconds_per_case, test_curves = examine.test(
        trainee, data, work, metered, keep, tolerance, validation_dice
    )
    if cell.volumes:  # the slices of a volume are scored in 3D too
        tested_volumes = volumes.stacks(data.cases.case(index) for index in data.test)
        for row in test_curves:
            volumes.write(work, row, tested_volumes, tolerance, dataset.classes)
    chosen_cuts = {}
    # Of several classes, a pixel gets the most probable one, so there is no threshold to choose.
    if not dataset.classes:
        for row, test_curve in test_curves.items():
            chosen_cuts[row] = cut.chosen(validation_curves[row], test_curve)
    save_weights(trainee.net, work.weights)
    joules = Joules(**meter.joules())
    timings = Timings(
        train_seconds=round(state.seconds, 3),
        train_seconds_per_step=state.seconds / state.step,
        predict_seconds_per_case=seconds_per_case,
        total_seconds_of_last_attempt=round(time.monotonic() - began, 3),
    )
    measured = Measured(
        multiply_adds=multiply_add_count,
        size=relative_size,
        ceiling=examine.highest_dice(data),
    )
    store.finish(
        cell, record_of(cell, trainee, data, state, measured, chosen_cuts, joules, timings)
    )


def build(cell: Cell, data: Data, device: torch.device) -> Trainee:
    """Build the network of a cell; its initial weights depend only on the seed."""
    method, task = registry.of_cell(cell), data.task(cell)
    return trainees.build(method, task, cell.profile, cell.seed, device, cell.precision)


def _train(
    cell: Cell, trainee: Trainee, data: Data, work: CellFolder, tell: Tell
) -> tuple[Trainee, TrainingState]:
    """Train on the shared stream.

    If the device's memory is too small, try again with each batch in twice as many parts. The new
    attempt continues from the last checkpoint, or from the start, so that no step is half done.
    """
    profile = cell.profile
    stream = Stream(data.cases, data.train, cell.seed, profile.batch, profile.augmentation)
    while True:
        # `of=trainee` keeps this attempt's trainee: further down, the name gets the next one's.
        def validate(beat: Beat, of: Trainee = trainee) -> float:
            return validation_loss(of, data.cases, data.validation, beat)

        try:
            return trainee, train(trainee, stream, validate, work, tell)
        except BatchTooLargeError as error:
            if error.parts >= profile.batch:
                raise
            parts = min(2 * error.parts, profile.batch)
        print(
            f"out of the device's memory: batches of {profile.batch} go in {parts} parts from"
            " now on"
        )
        device = trainee.device
        # All that holds the device's memory must go before the next attempt.
        trainee.net.zero_grad(set_to_none=True)
        # The caller still refers to the network, so `del` would not free its memory on the device.
        trainee.net.cpu()
        del trainee, validate
        gc.collect()
        torch.cuda.empty_cache()
        trainee = replace(build(cell, data, device), batch_parts=parts)


def _train_itself(
    trainee: Trainee, data: Data, folder: Path, tell: Tell
) -> tuple[Trainee, TrainingState]:
    """Let the method train itself in an empty folder, which is removed afterwards.

    The last step that it reports is its number of steps, and counts as the best one.

    Raises:
        UsageError: It reports no step.
    """
    steps = 0

    def timed(note: Note) -> None:
        """Hand on how far the method is, with the seconds since it began."""
        nonlocal steps
        steps = note.step
        tell(msgspec.structs.replace(note, seconds=time.monotonic() - began))

    method = trainee.method
    assert isinstance(method, TrainsItself)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began, seed = time.monotonic(), derive(trainee.seed, "own")
    net = method.fit(data.given(), trainee.task, folder, trainee.device, seed, timed)
    shutil.rmtree(folder)
    if steps < 1:
        raise UsageError(
            f"{method.title} reported no step of its training; expected fit to call "
            'tell(Note(phase="train", step=1, steps=...)) after its first step, and so on'
        )
    seconds = time.monotonic() - began
    state = TrainingState(
        step=steps, best_step=steps, seconds=seconds, idle=count_idle_parameters(net)
    )
    return replace(trainee, net=net), state


def _digests(net: torch.nn.Module) -> dict[str, str]:
    """Return the shape and digest of each tensor that training will change.

    By these the report compares the initial weights of the arms of an ablation.
    """
    digests = {}
    for name, weight in net.named_parameters():
        if weight.requires_grad:
            values = weight.detach().cpu().contiguous().numpy()
            shape = "x".join(map(str, values.shape))
            digests[name] = f"{shape}:{hashlib.sha256(values.tobytes()).hexdigest()[:16]}"
    return digests
