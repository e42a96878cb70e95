"""What happens in one cell: train, predict, score, write. Each cell runs in its own process."""

from __future__ import annotations

import csv
import gc
import hashlib
import json
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from bench.data import cache
from bench.data.geometry import shared_grid
from bench.data.grid import Grid, OnGrid
from bench.data.stream import Stream
from bench.engine import cut, size
from bench.engine import trainee as trainees
from bench.engine.cut import Curve
from bench.engine.energy import Meter
from bench.engine.metrics import score
from bench.engine.predict import Prediction, multiply_adds, predict, stages
from bench.engine.train import Beat, TrainingState, train, validation_loss
from bench.engine.trainee import Trainee, derive, idle, save_weights
from bench.spec import machine, registry
from bench.spec.capabilities import Described, ToldBox, TrainsItself, further_rows
from bench.spec.case import Dataset, Split
from bench.spec.config import Cell
from bench.spec.errors import UsageError
from bench.spec.method import Cases, Example, Task
from bench.spec.note import Note, Tell
from bench.spec.plain import convert
from bench.spec.profile import Profile
from bench.store.cells import Store
from bench.store.layout import CellFolder
from bench.store.plan import split_of
from bench.store.record import (
    SET_ASIDE,
    CellSpec,
    Certificate,
    Cut,
    Head,
    Joules,
    Record,
    Timings,
    Training,
)

LACKS = "does not have a deterministic implementation"
"""What PyTorch says of an operation that may differ from run to run."""
Keep = Callable[[str, NDArray[np.uint16], NDArray[np.uint8]], None]
"""Stores a test case, given its id, image (H, W) and reference (H, W)."""


@dataclass(frozen=True)
class Data:
    """A cell's data: the cases on the grid that all methods share, and the sides of its split.

    Each side lists the indexes of its cases in the dataset.
    """

    cases: OnGrid
    train: list[int]
    validation: list[int]
    test: list[int]
    set_aside: int = 0
    """Number of cases that nothing sees, though their patients are tested."""

    @classmethod
    def of(cls, cell: Cell, dataset: Dataset, split: Split) -> Data:
        """Arrange a dataset by a split; the grid depends only on training cases.

        If the profile limits the validation cases, they are taken at equal distances from the list.
        """
        training = split.indexes(dataset, "train")
        grid = _grid(dataset, training, cell.profile)
        validation = split.indexes(dataset, "validation")
        limit = cell.profile.validation_cases
        if limit and len(validation) > limit:
            chosen = np.linspace(0, len(validation) - 1, limit).round().astype(int)
            validation = [validation[place] for place in chosen]
        test = split.indexes(dataset, "test")
        aside = len(split.set_aside(dataset))
        return cls(OnGrid(dataset, grid), training, validation, test, aside)

    @property
    def dataset(self) -> Dataset:
        """The dataset at native resolution."""
        return self.cases.dataset

    def task(self, cell: Cell) -> Task:
        """Return what a method may know before it is built."""
        sizes = tuple(self.cases.size(index) for index in self.train)
        return Task(self.dataset.name, sizes, cell.profile.batch, cell.profile.steps)

    def given(self) -> Cases:
        """Return the cases that a method which trains itself is given."""
        return Cases(lambda: self._examples(self.train), lambda: self._examples(self.validation))

    def _examples(self, indexes: Sequence[int]) -> Iterator[Example]:
        for index in indexes:
            image = np.asarray(self.cases.image(index))
            mask = np.asarray(self.cases.mask(index))
            yield Example(self.cases.case(index).id, image, mask)


def _grid(dataset: Dataset, training: Sequence[int], profile: Profile) -> Grid:
    """Return the grid that a profile asks for; None keeps native sizes.

    With `pixels` = 0 the profile asks for native sizes. If a batch would then hold images of
    several sizes, all cases share a grid with the median number of pixels.
    """
    native = OnGrid(dataset, None)
    sizes = [native.native_size(index) for index in training]
    pixels = profile.pixels
    if pixels == 0:
        if profile.batch == 1 or len(set(sizes)) == 1:
            return None
        pixels = int(np.median([height * width for height, width in sizes]))
    return shared_grid(sizes, pixels)


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
        work: The folder that the store keeps for this cell.
        device: A PyTorch device.
        tell: Is told of the progress.

    Raises:
        UsageError: The cell is to be deterministic, and PyTorch lacks an operation for it.
    """
    if not cell.deterministic:
        _run(cell, store, work, device, tell)
        return
    machine.make_deterministic()
    try:
        _run(cell, store, work, device, tell)
    except RuntimeError as error:
        if LACKS not in str(error):
            raise
        operation = str(error).split()[0]
        raise UsageError(
            f"{cell.method} cannot be deterministic on {device}: PyTorch has no {operation} that "
            "gives the same bits each time; leave --deterministic out"
        ) from error


def _run(cell: Cell, store: Store, work: CellFolder, device: str, tell: Tell) -> None:
    began = time.monotonic()
    meter = Meter(device, work.energy)

    def metered(note: Note) -> None:
        meter.look()
        tell(note)

    def keep(case: str, image: NDArray[np.uint16], reference: NDArray[np.uint8]) -> None:
        store.keep_case(cell, case, image, reference)

    machine.limit_threads(cell.profile.threads)
    dataset = cache.load(Path(cell.dataset.cache))
    split = split_of(store, cell, dataset.patients)
    data = Data.of(cell, dataset, split)
    trainee = build(cell, data, torch.device(device))
    trains_itself = isinstance(trainee.method, TrainsItself)
    if trains_itself:
        trainee, state = _train_itself(trainee, data, work.own, metered)
    # A training case is counted, because test cases must not be opened before training has ended.
    counted = multiply_adds(trainee, data.cases, data.train[0])
    relative = size.relative(trainee, data.cases, data.train[0])
    if not trains_itself:
        initial = json.dumps(_digests(trainee.net), indent=0) + "\n"
        work.initial.write_text(initial, encoding="utf-8")
        trainee, state = _train(cell, trainee, data, work, metered)
    known = _validate(trainee, data, metered)
    seconds, scored = _test(trainee, data, work, metered, keep)
    cuts = {name: cut.chosen(known[name], scored[name]) for name in scored}
    save_weights(trainee.net, work.weights)
    joules = Joules(**meter.joules())
    timings = Timings(
        train_seconds=round(state.seconds, 3),
        train_seconds_per_step=state.seconds / state.step,
        predict_seconds_per_case=seconds,
        total_seconds_of_last_attempt=round(time.monotonic() - began, 3),
    )
    record = _record(cell, trainee, data, state, counted, cuts, joules, timings)
    known_size, ceiling = _finite(relative), _ceiling(data)
    store.finish(cell, msgspec.structs.replace(record, size=known_size, ceiling=ceiling))


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

        def validate(beat: Beat, trainee: Trainee = trainee) -> float:
            return validation_loss(trainee, data.cases, data.validation, beat)

        try:
            return trainee, train(trainee, stream, validate, work, tell)
        except torch.cuda.OutOfMemoryError:
            if trainee.parts >= profile.batch:
                raise
        parts = 2 * trainee.parts
        print(
            f"out of the device's memory: batches of {cell.profile.batch} go in {parts} parts from"
            " now on"
        )
        device = trainee.device
        trainee.net.zero_grad(set_to_none=True)
        # The caller still refers to the network, so `del` would not free its memory on the device.
        trainee.net.cpu()
        del trainee, validate
        gc.collect()
        torch.cuda.empty_cache()
        trainee = replace(build(cell, data, device), parts=min(parts, cell.profile.batch))


def _train_itself(
    trainee: Trainee, data: Data, folder: Path, tell: Tell
) -> tuple[Trainee, TrainingState]:
    """Let the method train itself in an empty folder, which is removed afterwards."""
    steps = 0

    def timed(note: Note) -> None:
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
    seconds = time.monotonic() - began
    state = TrainingState(step=steps, best_step=steps, seconds=seconds, idle=idle(net))
    return replace(trainee, net=net), state


def _digests(net: torch.nn.Module) -> dict[str, str]:
    """Return the shape and digest of each tensor that training will change.

    The report compares the initial weights of the arms of an ablation by them.
    """
    digests = {}
    for name, weight in net.named_parameters():
        if weight.requires_grad:
            values = weight.detach().cpu().contiguous().numpy()
            shape = "x".join(map(str, values.shape))
            digests[name] = f"{shape}:{hashlib.sha256(values.tobytes()).hexdigest()[:16]}"
    return digests


def _validate(trainee: Trainee, data: Data, tell: Tell) -> dict[str, Curve]:
    """Return for each row the Dice of the validation cases at several thresholds."""
    curves: dict[str, Curve] = defaultdict(Curve)
    for index in data.validation:
        tell(Note(phase="test", step=0, steps=len(data.test)))
        case, reference = data.cases.case(index), data.dataset.mask(index)
        for name, value in predict(trainee, data.cases, index).probabilities.items():
            curves[name].add(case.patient, value, reference)
    return curves


def _test(
    trainee: Trainee, data: Data, work: CellFolder, tell: Tell, keep: Keep
) -> tuple[float, dict[str, Curve]]:
    """Predict and score every test case and write the results.

    Returns:
        Seconds per prediction, and for each row the Dice at several thresholds.
    """
    spent = 0.0
    curves: dict[str, Curve] = defaultdict(Curve)
    rows: dict[str, list[dict[str, str]]] = {}
    for done, index in enumerate(data.test, 1):
        case = data.cases.case(index)
        reference = data.dataset.mask(index)
        began = time.monotonic()
        prediction = predict(trainee, data.cases, index)
        spent += time.monotonic() - began
        for name, probability in prediction.probabilities.items():
            curves[name].add(case.patient, probability, reference)
        for name, mask in prediction.masks.items():
            row = {"case": case.id, "patient": case.patient}
            for column, value in score(mask, reference, case.spacing).row().items():
                row[column] = _text(value)
            if prediction.spread is not None and not name:
                row["spread"] = _text(float(prediction.spread.mean()))
            rows.setdefault(name, []).append(row)
        _keep(prediction, case.id, work)
        keep(case.id, data.dataset.image(index), reference)
        tell(Note(phase="test", step=done, steps=len(data.test), seconds=spent))
    for name, lines in rows.items():
        with work.cases(name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    shown = stages(trainee, data.cases, data.test[0])
    if shown:
        half_precision: dict[str, Any] = {}
        for name, values in shown.items():
            half_precision[name] = values.astype(np.float16)
        np.savez_compressed(work.stages, **half_precision)
    return spent / len(data.test), curves


def _ceiling(data: Data) -> float:
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
    """Write a case's masks, and its uncertainty map with 65535 for 1."""
    images: dict[Path, NDArray[Any]] = {}
    for extra, mask in prediction.masks.items():
        images[work.predictions(extra)] = mask.astype(np.uint8) * 255
    if prediction.spread is not None:
        images[work.spread] = np.round(prediction.spread.clip(0, 1) * 65535).astype(np.uint16)
    for folder, pixels in images.items():
        folder.mkdir(exist_ok=True)
        path = folder / f"{case}.png"
        if not cv2.imwrite(str(path), pixels):
            raise OSError(f"{path} could not be written")


def _text(value: float | int | str) -> str:
    """Return a value for cases.csv: floats with nine digits, and NaN as an empty text."""
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return ""
    return f"{value:.9g}"


def _record(
    cell: Cell,
    trainee: Trainee,
    data: Data,
    state: TrainingState,
    multiply_adds: int,
    cuts: dict[str, Cut],
    joules: Joules,
    timings: Timings,
) -> Record:
    """Return everything about a finished cell but its scores, predictions and weights."""
    method = trainee.method
    device, device_memory = _device(trainee.device)
    cases = {"train": data.train, "validation": data.validation, "test": data.test}
    return Record(
        spec=convert(cell.spec(), CellSpec),
        hash=cell.hash,
        source=cell.dataset.id.source,
        title=method.title,
        summary=cell.profile.summary,
        deviations=(
            *method.deviations(cell.profile.batch),
            *_tuned(cell),
            *_parted(cell, state),
        ),
        advantages=asdict(method.advantages()),
        own_training=isinstance(method, TrainsItself),
        oracle=isinstance(method, ToldBox),
        network=_about(trainee),
        grid=data.cases.grid or "native",
        certificate=Certificate(seed=cell.seed, heads=convert(state.heads, tuple[Head, ...])),
        training=Training(
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
        cases=_counts(data, cases),
        patients={side: _patients(data, indexes) for side, indexes in cases.items()},
        left_out=len(data.dataset.left_out),
        official_test=bool(data.dataset.official) and cell.scheme.folds == 1,
        versions=machine.versions(),
        revision=machine.revision(),
        device=device,
        peak_memory_bytes=machine.peak_memory(),
        peak_device_memory_bytes=device_memory,
        multiply_adds=multiply_adds,
        energy_joules=joules,
        timings=timings,
    )


def _device(device: torch.device) -> tuple[str, int | None]:
    """Return the name of a device, and its peak memory in bytes, which is None for the CPU."""
    if device.type != "cuda":
        return machine.processor(), None
    return torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device)


def _about(trainee: Trainee) -> dict[str, Any]:
    """Return what the method says of its network."""
    if isinstance(trainee.method, Described):
        return trainee.method.about(trainee.net)
    return {}


def _counts(data: Data, cases: dict[str, list[int]]) -> dict[str, int]:
    """Return the number of cases of each side, and of those set aside if there are any."""
    counts = {side: len(indexes) for side, indexes in cases.items()}
    return counts | ({SET_ASIDE: data.set_aside} if data.set_aside else {})


def _finite(value: float) -> float | None:
    """Return a number, or None if it is infinite: JSON has no infinity."""
    return value if math.isfinite(value) else None


def _patients(data: Data, indexes: Sequence[int]) -> int:
    """Return the number of patients to whom the cases belong."""
    return len({data.cases.case(index).patient for index in indexes})


def _tuned(cell: Cell) -> list[str]:
    """Return the deviation that says which options were tuned, and how; none without tuning."""
    if not cell.tuning:
        return []
    values = []
    for key, value in cell.tuning["values"].items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        values.append(f"{key}={text}")
    return [
        f"{', '.join(values)}: the best of {cell.tuning['trials']} trials of at most"
        f" {cell.tuning['steps']} steps, by the validation patients' Dice"
    ]


def _parted(cell: Cell, state: TrainingState) -> list[str]:
    """Return the deviations of batches that were split because the device's memory was small."""
    return [
        f"from step {step + 1}, a batch of {cell.profile.batch} in {parts} parts whose gradients"
        " were added up, for lack of the device's memory; batch norm and Dice saw a part at a time"
        for step, parts in state.parts
    ]
