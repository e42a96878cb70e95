"""What happens inside one cell: train, predict, score, write. A cell is a process."""

from __future__ import annotations

import csv
import gc
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_model

from bench.data import cache
from bench.data.geometry import Geometry, shared_grid
from bench.data.stream import Stream
from bench.engine.energy import Meter
from bench.engine.metrics import Score, score
from bench.engine.predict import Grid, Prediction, multiply_adds, predict, stages
from bench.engine.train import Beat, Progress, Trainee, derive, idle, train, validation_loss
from bench.spec import machine, registry
from bench.spec.case import Dataset, Split
from bench.spec.config import Cell
from bench.spec.method import Cases, Example, Report, Task
from bench.store.store import Store

Keep = Callable[[str, NDArray[np.uint16], NDArray[np.uint8]], None]
"""Takes a test case's id, image (H, W) and reference (H, W)."""


@dataclass(frozen=True)
class Data:
    """A cell's data: the dataset, its sides, and the grid that all methods share."""

    dataset: Dataset
    train: list[int]
    validation: list[int]
    test: list[int]
    grid: Grid

    @classmethod
    def of(cls, cell: Cell, dataset: Dataset, split: Split) -> Data:
        """Arrange a dataset by a split; the grid comes from training cases alone."""
        indexes, profile = split.indexes(dataset, "train"), cell.profile
        sizes = [(dataset.cases[i].height, dataset.cases[i].width) for i in indexes]
        native = profile.pixels == 0 and (profile.batch == 1 or len(set(sizes)) == 1)
        grid = (
            None
            if native
            else shared_grid(sizes, profile.pixels or int(np.median([h * w for h, w in sizes])))
        )
        validation = split.indexes(dataset, "validation")
        if profile.validation_cases and len(validation) > profile.validation_cases:
            chosen = (
                np.linspace(0, len(validation) - 1, profile.validation_cases).round().astype(int)
            )
            validation = [validation[i] for i in chosen]
        return cls(dataset, indexes, validation, split.indexes(dataset, "test"), grid)

    def task(self, cell: Cell) -> Task:
        """Return what a method may know before it is built."""
        sizes = [(self.dataset.cases[i].height, self.dataset.cases[i].width) for i in self.train]
        shown = tuple(sizes) if self.grid is None else (self.grid,) * len(sizes)
        return Task(self.dataset.name, shown, cell.profile.batch, cell.profile.steps)

    def cases(self) -> Cases:
        """Return what a method that trains itself is given."""
        return Cases(lambda: self._examples(self.train), lambda: self._examples(self.validation))

    def _examples(self, indexes: Sequence[int]) -> Iterator[Example]:
        for index in indexes:
            case = self.dataset.cases[index]
            native = (case.height, case.width)
            geometry = Geometry(native, self.grid or native)
            image, mask = (
                geometry.image(self.dataset.image(index)),
                geometry.mask(self.dataset.mask(index)),
            )
            yield Example(case.id, np.asarray(image), np.asarray(mask))


def run_cell(
    cell: Cell, store: Store, work: Path, device: str = "cpu", report: Report = lambda status: None
) -> None:
    """Run a cell to its end in the folder that the store holds for it, or take it up where it was interrupted."""
    began, meter = time.monotonic(), Meter(device, work / "energy.json")

    def noted(status: dict[str, Any]) -> None:
        meter.look()
        report(status)

    machine.limit_threads(cell.profile.threads)
    dataset = cache.load(Path(cell.dataset.cache))
    split = store.split_of(cell, dataset.patients)
    data = Data.of(cell, dataset, split)
    trainee = build(cell, data, torch.device(device))
    if trainee.method.own_training:
        trainee, progress = _train_itself(trainee, data, work / "own", noted)
    # of a training case: test cases are not opened before training has ended
    counted = multiply_adds(trainee, dataset, data.train[0], data.grid)
    if not trainee.method.own_training:
        (work / "initial.json").write_text(
            json.dumps(_digests(trainee.net), indent=0) + "\n", encoding="utf-8"
        )
        trainee, progress = _train(cell, trainee, data, work, noted)
    seconds = _test(
        trainee,
        data,
        work,
        noted,
        lambda case, image, mask: store.keep_case(cell, case, image, mask),
    )
    plain = trainee.net.to(
        memory_format=torch.contiguous_format
    )  # what safetensors needs of tensors with two names
    save_model(plain, str(work / "model.safetensors"))
    record = {
        **_record(cell, trainee, data, progress),
        "multiply_adds": counted,
        "energy_joules": meter.joules(),
    }
    record["timings"] = {
        "train_seconds": round(progress.seconds, 3),
        "train_seconds_per_step": progress.seconds / progress.step,
        "predict_seconds_per_case": seconds,
        "total_seconds_of_last_attempt": round(time.monotonic() - began, 3),
    }
    store.finish(cell, record)


def build(cell: Cell, data: Data, device: torch.device) -> Trainee:
    """Build the network; its weights depend on the seed alone."""
    method, task = registry.of_cell(cell), data.task(cell)
    torch.manual_seed(derive(cell.seed, "weights"))
    net = (
        method.build(task).to(device).to(memory_format=torch.channels_last)
    )  # faster for convolutions
    return Trainee(method, net, task, cell.profile, cell.seed, device, cell.precision)


def _train(
    cell: Cell, trainee: Trainee, data: Data, work: Path, report: Report
) -> tuple[Trainee, Progress]:
    """Train on the shared stream; where the device's memory is too small, with a batch in twice as many parts.

    Such an attempt goes on from the last checkpoint, or from the beginning: no step is half done.
    """
    stream = Stream(data.dataset, data.train, data.grid, cell.seed, cell.profile.batch)
    while True:

        def validate(beat: Beat, trainee: Trainee = trainee) -> float:
            return validation_loss(trainee, data.dataset, data.validation, data.grid, beat)

        try:
            return trainee, train(trainee, stream, validate, work, report)
        except torch.cuda.OutOfMemoryError:
            if trainee.parts >= cell.profile.batch:
                raise
        parts = 2 * trainee.parts
        print(
            f"out of the device's memory: batches of {cell.profile.batch} go in {parts} parts from"
            " now on"
        )
        device = trainee.device
        trainee.net.zero_grad(set_to_none=True)
        trainee.net.cpu()  # whoever called still holds it
        del trainee, validate
        gc.collect()
        torch.cuda.empty_cache()
        trainee = replace(build(cell, data, device), parts=min(parts, cell.profile.batch))


def _train_itself(
    trainee: Trainee, data: Data, folder: Path, report: Report
) -> tuple[Trainee, Progress]:
    """Have the method train itself in an empty folder, which is removed afterwards."""
    steps = 0

    def noted(status: dict[str, Any]) -> None:
        nonlocal steps
        steps = status["step"]
        report({**status, "seconds": time.monotonic() - began})

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began, seed = time.monotonic(), derive(trainee.seed, "own")
    net = trainee.method.fit(data.cases(), trainee.task, folder, trainee.device, seed, noted)
    shutil.rmtree(folder)
    seconds = time.monotonic() - began
    return replace(trainee, net=net), Progress(
        step=steps, best_step=steps, seconds=seconds, idle=idle(net)
    )


def _digests(net: torch.nn.Module) -> dict[str, str]:
    """Return shape and digest of each tensor that training will change, so that arms of an ablation can be compared."""
    trained = {name: weight for name, weight in net.named_parameters() if weight.requires_grad}
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in trained.items()}
    return {
        name: (
            f"{'x'.join(map(str, value.shape))}:{hashlib.sha256(value.numpy().tobytes()).hexdigest()[:16]}"
        )
        for name, value in tensors.items()
    }


def _test(trainee: Trainee, data: Data, work: Path, report: Report, keep: Keep) -> float:
    """Predict and score every test case, write what comes of it, and return the seconds per prediction."""
    spent = 0.0
    rows: dict[str, list[list[str]]] = {}
    for done, index in enumerate(data.test):
        case = data.dataset.cases[index]
        began = time.monotonic()
        prediction = predict(trainee, data.dataset, index, data.grid)
        spent += time.monotonic() - began
        for name, mask in prediction.masks.items():
            result = score(mask, data.dataset.mask(index), case.spacing)
            row = [case.id, case.patient, *(_text(value) for value in asdict(result).values())]
            if prediction.spread is not None and not name:
                row.append(_text(float(prediction.spread.mean())))
            rows.setdefault(name, []).append(row)
        _keep(prediction, case.id, work)
        keep(case.id, data.dataset.image(index), data.dataset.mask(index))
        report({"phase": "test", "step": done + 1, "steps": len(data.test), "seconds": spent})
    for name, lines in rows.items():
        heads = ["case", "patient", *(f.name for f in fields(Score)), "spread"]
        with (work / (f"cases-{name}.csv" if name else "cases.csv")).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([heads[: len(lines[0])], *lines])
    shown = stages(trainee, data.dataset, data.test[0], data.grid)
    if shown:
        halves: dict[str, Any] = {name: values.astype(np.float16) for name, values in shown.items()}
        np.savez_compressed(work / "stages.npz", **halves)
    return spent / len(data.test)


def _keep(prediction: Prediction, case: str, work: Path) -> None:
    """Write a case's masks, and its uncertainty map in 65535 steps of the unit interval."""
    images = {
        f"predictions-{name}" if name else "predictions": m.astype(np.uint8) * 255
        for name, m in prediction.masks.items()
    }
    if prediction.spread is not None:
        images["spread"] = np.round(prediction.spread.clip(0, 1) * 65535).astype(np.uint16)
    for folder, pixels in images.items():
        (work / folder).mkdir(exist_ok=True)
        if not cv2.imwrite(str(work / folder / f"{case}.png"), pixels):
            raise OSError(f"{work / folder / case}.png could not be written")


def _text(value: float | int | str) -> str:
    """Return a value for cases.csv: floats to nine digits, undefined ones empty."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.9g}"
    return str(value)


def _record(cell: Cell, trainee: Trainee, data: Data, progress: Progress) -> dict[str, Any]:
    """Return what cell.json says beside the timings."""
    method = trainee.method
    sides = {"train": data.train, "validation": data.validation, "test": data.test}
    cases = data.dataset.cases
    cuda = trainee.device.type == "cuda"
    return {
        "spec": cell.spec(),
        "hash": cell.hash,
        "source": cell.dataset.source,
        "title": method.title,
        "summary": cell.profile.summary,
        "deviations": [
            *method.deviations(cell.profile.batch),
            *_tuned(cell),
            *_parted(cell, progress),
        ],
        "advantages": asdict(method.advantages()),
        "own_training": method.own_training,
        "oracle": method.oracle,
        "network": method.about(trainee.net),
        "grid": list(data.grid) if data.grid else "native",
        "certificate": {"seed": cell.seed, "heads": progress.heads},
        "training": {
            "steps": progress.step,
            "best_step": progress.best_step,
            "best_loss": progress.best_loss if math.isfinite(progress.best_loss) else None,
            "parts": progress.parts,
        },
        "parameters": sum(p.numel() for p in trainee.net.parameters() if p.requires_grad),
        "idle_parameters": progress.idle,
        "extras": list(method.extras),
        "trials": cell.tuning.get("trials", 0),
        "cases": {side: len(indexes) for side, indexes in sides.items()},
        "patients": {
            side: len({cases[i].patient for i in indexes}) for side, indexes in sides.items()
        },
        "left_out": len(data.dataset.left_out),
        "official_test": bool(data.dataset.official) and cell.folds == 1,
        "versions": machine.versions(),
        "revision": machine.revision(),
        "device": torch.cuda.get_device_name(trainee.device) if cuda else machine.processor(),
        "peak_memory_bytes": machine.peak_memory(),
        "peak_device_memory_bytes": (
            torch.cuda.max_memory_allocated(trainee.device) if cuda else None
        ),
    }


def _tuned(cell: Cell) -> list[str]:
    """Return what was chosen for a tuned method, and by what."""
    if not cell.tuning:
        return []
    values = ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in cell.tuning["values"].items()
    )
    return [
        f"{values}: the best of {cell.tuning['trials']} trials of at most {cell.tuning['steps']}"
        " steps, by the validation patients' Dice"
    ]


def _parted(cell: Cell, progress: Progress) -> list[str]:
    """Return what the device's memory made differ from the other cells."""
    return [
        f"from step {step + 1}, a batch of {cell.profile.batch} in {parts} parts whose gradients"
        " were added up, for lack of the device's memory; batch norm and Dice saw a part at a time"
        for step, parts in progress.parts
    ]
