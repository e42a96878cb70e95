"""The six stages. Each yields the rows of its table, as soon as it has them."""

from __future__ import annotations

import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench.data.augment import PAPER
from bench.data.stream import Batch, Stream
from bench.engine.predict import predict
from bench.engine.train import Interrupted, Training, train
from bench.engine.trainee import Trainee
from bench.spec import machine
from bench.spec.names import Spec
from bench.spec.note import Note
from bench.spec.profile import load_profile
from bench.store.layout import CellFolder
from tests.gpu.setting import (
    IMAGE,
    STEP,
    Row,
    Setting,
    bench,
    cases,
    last_line,
    missing,
    tf32,
    write_profile,
)

STEPS, WARM = 20, 3
AT_ONCE = 8
"""Images that are predicted at once, where it is compared with one by one."""
SWITCHES = ("channels_last", "fused_adam", "pinned_memory")
"""Keys of a profile that only make training faster."""
LATE = "the time of this stage was used up"
PRECISIONS = ("float32", "tf32", "bfloat16")
Stage = Callable[[Setting, float], Iterator[Row]]
"""Receives the setting and the time (`time.monotonic`) at which it should end."""
Rows = Sequence[Row]


def steps_and_predictions(setting: Setting, until: float) -> Iterator[Row]:
    """Every method with its full network, on the image size of each dataset, batch 1.

    A step is a training step. An image is a whole prediction with all samples of a diffusion.
    """
    precisions = setting.choose(PRECISIONS, ("bfloat16",))
    for name, size in setting.sizes.items():
        for spec in setting.methods:
            subject: Trainee | None = None
            for precision in precisions:
                row: Row = {"method": spec.key, "height x width": "{} x {}".format(*size)}
                row |= {"dataset": name, "precision": precision}
                if time.monotonic() > until:
                    yield row | {"skipped": LATE}
                    continue
                setting.free()
                try:
                    subject = subject or setting.trainee(spec, size, "float32", batch=1)
                    kind = "bfloat16" if precision == "bfloat16" else "float32"
                    with tf32(precision == "tf32"):
                        row |= _one(setting, replace(subject, precision=kind), name, size)
                except Exception as error:
                    row["failed"] = last_line(error)
                yield row


def _one(setting: Setting, subject: Trainee, name: str, size: tuple[int, int]) -> Row:
    """Train a network for some steps and let it predict a case."""
    on_grid = cases(name, size)
    stream = Stream(on_grid, range(2), 35, 1, PAPER)
    warm, steps = setting.choose((WARM, STEPS), (1, 1))
    batches = [stream.at(step) for step in range(warm + steps)]
    with TemporaryDirectory() as work:
        training = Training(subject, CellFolder(Path(work)))
        subject.net.train()
        for batch in batches[:warm]:
            training.step(batch)
        began, done = setting.seconds(), 0
        for batch in batches[warm:]:
            training.step(batch)
            done += 1
            if done == 5 and setting.seconds() - began > 0.5:  # slow: five steps are enough
                break
        per_step = (setting.seconds() - began) / done
    finite = all(bool(weight.isfinite().all()) for weight in subject.net.parameters())
    trained = setting.peak_gib()
    began = setting.seconds()
    predict(subject, on_grid, 0)
    per_case = setting.seconds() - began
    if per_case < 1:  # the first prediction also chooses kernels
        began = setting.seconds()
        predict(subject, on_grid, 1)
        per_case = setting.seconds() - began
    return {
        STEP: round(1000 * per_step, 1),
        "steps timed": done,
        IMAGE: round(1000 * per_case, 1),
        "training: peak GiB": trained,
        "weights finite": "yes" if finite else "NO",
        "met": finite,
    }


@dataclass
class _Timed:
    """A stream that measures how long training takes, and how long it waits for batches."""

    stream: Any
    setting: Setting
    warm: int
    count: int
    took: float = 0.0
    """Seconds of the steps after the warm ones."""
    waited: float = 0.0
    """Seconds of them in which the next batch was not there."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield batches; the steps happen between them."""
        began = 0.0
        source = iter(self.stream.batches(start, self.count))
        for number in range(start, self.count):
            if number == self.warm:
                began = self.setting.seconds()
            asked = time.perf_counter()
            batch = next(source)
            if number >= self.warm:
                self.waited += time.perf_counter() - asked
            yield batch
        self.took = self.setting.seconds() - began


@dataclass(frozen=True)
class _Made:
    """Batches that were made beforehand."""

    made: Sequence[Batch]

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        yield from self.made[start:stop]


def against_a_bare_loop(setting: Setting, until: float) -> Iterator[Row]:
    """The training loop of this project against a bare loop: forward, backward, update.

    U-Net and nnU-Net in bfloat16 on the same batches of the largest size, batch 1.
    """
    size = setting.sizes["mr"]
    warm, count = setting.choose((5, 35), (1, 4))
    stream = Stream(cases("mr", size), range(2), 35, 1, PAPER)
    made = [stream.at(step) for step in range(count)]
    for key in ("unet", "nnunet"):
        setting.free()
        row: Row = {"method": key, "what": "the harness against a bare loop"}
        try:
            subject = setting.trainee(Spec(key), size, "bfloat16", steps=count + 1)
            weights = {name: value.clone() for name, value in subject.net.state_dict().items()}
            bare, ours, waits = [], [], []
            for _ in range(setting.choose(3, 1)):
                subject.net.load_state_dict(weights)
                bare.append(_bare(setting, subject, made, warm))
                subject.net.load_state_dict(weights)
                ours.append(_harness(setting, subject, _Made(made), warm, count).took)
                subject.net.load_state_dict(weights)
                real = _harness(setting, subject, stream, warm, count)
                waits.append(real.waited / real.took)
            ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
            per_step = 1000 * statistics.median(ours) / (count - warm)
            row |= {STEP: round(per_step, 1), "result": f"{ratio:.3f} x the time of the bare loop"}
            yield row | setting.goal("at most 1.05", ratio <= 1.05)
            share = statistics.median(waits)
            row = {"method": key, "what": "share of the time that waits for data"}
            row["result"] = f"{100 * share:.1f} %"
            yield row | setting.goal("at most 5 %", share <= 0.05)
        except Exception as error:
            yield row | {"failed": last_line(error)}
            continue
        yield from _switched_off(setting, Spec(key), made, warm, statistics.median(ours))
        yield from _at_once(setting, Spec(key))
        if setting.small:
            yield {"method": key, "what": "a CUDA graph", "skipped": "needs a GPU"}
            continue
        for what, change in (("a CUDA graph", _graphed), ("torch.compile", _compiled)):
            row = {"method": key, "what": f"the bare loop with {what}"}
            if time.monotonic() > until:
                yield row | {"skipped": LATE}
                continue
            try:
                again = setting.trainee(Spec(key), size, "bfloat16", steps=count + 1)
                again = replace(again, net=change(again, made[0]))
                took = _bare(setting, again, made, warm)
                ratio = took / statistics.median(bare)
                yield row | {
                    STEP: round(1000 * took / (count - warm), 1),
                    "result": f"{ratio:.3f} x the time of the bare loop",
                }
            except Exception as error:
                yield row | {"failed": last_line(error)}


def _switched_off(
    setting: Setting, spec: Spec, made: Sequence[Batch], warm: int, seconds: float
) -> Iterator[Row]:
    """Yield how much longer the harness trains without each switch; with all it took `seconds`."""
    size, count = made[0].images.shape[2:], len(made)
    for switch in SWITCHES:
        row: Row = {"method": spec.key, "what": f"the harness with {switch} = false"}
        try:
            values = {"steps": count + 1, switch: False}
            subject = setting.trainee(spec, size, "bfloat16", **values)
            took = _harness(setting, subject, _Made(made), warm, count).took
            row[STEP] = round(1000 * took / (count - warm), 1)
            yield row | {"result": f"{took / seconds:.3f} x the time with it"}
        except Exception as error:
            yield row | {"failed": last_line(error)}


def _at_once(setting: Setting, spec: Spec) -> Iterator[Row]:
    """Yield what it costs to predict several images at once, for the least and the largest size."""
    sizes = sorted(setting.sizes.values())
    for size in (sizes[0], sizes[-1]):
        row: Row = {"method": spec.key, "what": f"{AT_ONCE} predictions at once, {size}"}
        try:
            subject = setting.trainee(spec, size, "bfloat16")
            images = torch.rand(AT_ONCE, 1, *size, device=setting.device)
            alone = _predicting(setting, subject, images.split(1))
            together = _predicting(setting, subject, (images,))
            row["result"] = f"{together / alone:.3f} x the time of one by one"
            yield row | {IMAGE: round(1000 * together / AT_ONCE, 1)}
        except Exception as error:
            yield row | {"failed": last_line(error)}


def _predicting(setting: Setting, subject: Trainee, batches: Sequence[torch.Tensor]) -> float:
    """Return the median seconds of the forward passes of batches of images."""
    subject.net.eval()
    times, rng = [], torch.Generator(setting.device)
    for _ in range(setting.choose(1 + WARM, 2)):
        began = setting.seconds()
        with torch.inference_mode(), subject.autocast():
            for images in batches:
                subject.method.predict(subject.net, images, rng)
        times.append(setting.seconds() - began)
    return statistics.median(times[1:])  # the first also chooses kernels


def _bare(setting: Setting, subject: Trainee, made: Sequence[Batch], warm: int) -> float:
    """Return the seconds of the shortest training loop, without its warm steps."""
    optimiser = subject.optimiser()
    rng = torch.Generator(setting.device)
    subject.net.train()
    began = 0.0
    for number, batch in enumerate(made):
        if number == warm:
            began = setting.seconds()
        image = torch.from_numpy(batch.images).to(setting.device)
        mask = torch.from_numpy(batch.masks).to(setting.device)
        optimiser.zero_grad(set_to_none=True)
        with subject.autocast():
            loss = subject.method.loss(subject.net, image, mask, rng)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return setting.seconds() - began


def _harness(setting: Setting, subject: Trainee, stream: Any, warm: int, count: int) -> _Timed:
    """Train as a cell does, without validations and checkpoints."""
    timed = _Timed(stream, setting, warm, count)
    with TemporaryDirectory() as work:
        train(subject, timed, lambda _: 1.0, CellFolder(Path(work)))  # type: ignore[arg-type]
    return timed


def _graphed(subject: Trainee, batch: Batch) -> torch.nn.Module:
    """Return the network as CUDA graphs of its forward and backward pass."""
    image = subject.method.inputs.enter(torch.from_numpy(batch.images).to(subject.device))
    with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
        net: torch.nn.Module = torch.cuda.make_graphed_callables(subject.net, (image,))
    return net


def _compiled(subject: Trainee, batch: Batch) -> Any:
    """Return the network, compiled at its first step."""
    return torch.compile(subject.net)


def sampling(setting: Setting, until: float) -> Iterator[Row]:
    """Verdiff-Net and MedSegDiff in bfloat16: images a second.

    First the mean of 10 samples of 5 steps, then one sample by ordinary DDPM sampling.
    """
    side, many = setting.choose((512, 1000), (32, 10))
    fast, slow = "samples=10:steps=5", f"samples=1:scheduler=ddpm:steps={many}"
    for key in ("verdiff", "medsegdiff"):
        for options in (fast, slow):
            row: Row = {"method": f"{key}:{options}", "height x width": f"{side} x {side}"}
            if time.monotonic() > until:
                yield row | {"skipped": LATE}
                continue
            setting.free()
            try:
                on_grid = cases("mr", (side, side))
                spec = Spec.parse(f"{key}:{options}")
                subject = setting.trainee(spec, (side, side), "bfloat16")
                if options == fast:
                    predict(subject, on_grid, 0)
                began = setting.seconds()
                predict(subject, on_grid, 1)
                took = setting.seconds() - began
                row |= {"seconds an image": round(took, 3), "images a second": f"{1 / took:.3g}"}
                row["peak GiB"] = setting.peak_gib()
                if options == fast:
                    row |= setting.goal("1 a second", took <= 1)
            except Exception as error:
                row["failed"] = last_line(error)
            yield row


def the_same_bytes(setting: Setting, until: float) -> Iterator[Row]:
    """Reproducibility under `--deterministic`, then a batch that does not fit in the memory.

    Weights are compared bit by bit. A batch that does not fit must be trained in parts.
    """
    if not setting.small:
        machine.make_deterministic()
    try:
        for spec in setting.main_methods:
            row: Row = {"method": spec.key}
            if time.monotonic() > until:
                yield row | {"skipped": LATE}
                continue
            setting.free()
            try:
                one, two, resumed = (_trained(setting, spec, stop) for stop in (None, None, 3))
                row |= {"two trainings identical": _equal(one, two)}
                row |= {"stopped and resumed identical": _equal(one, resumed)}
                row["met"] = _equal(one, two) == _equal(one, resumed) == "yes"
                row["goal"] = "identical weights"
            except Exception as error:
                row["failed"] = last_line(error)
            yield row
    finally:
        torch.use_deterministic_algorithms(False)
        setting.free()
    yield _full_device(setting)


def _trained(setting: Setting, spec: Spec, stop: int | None) -> dict[str, torch.Tensor]:
    """Return the weights after a few steps; with `stop`, after a stop at this step and a resume."""
    size = setting.sizes["ct-verse"]
    on_grid = cases("ct-verse", size)
    stream = Stream(on_grid, range(2), 35, 2, PAPER)

    def stopping(note: Note) -> None:
        if note.step == stop:
            raise Interrupted

    with TemporaryDirectory() as work:
        folder = CellFolder(Path(work))
        for tell in [stopping, None] if stop else [None]:
            subject = setting.trainee(spec, size, "float32", batch=2, steps=6, validate_every=3)
            try:
                words = {"tell": tell} if tell else {}
                train(subject, stream, lambda _: 1.0, folder, **words)
            except Interrupted:
                continue
    return {name: value.cpu().clone() for name, value in subject.net.state_dict().items()}


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> str:
    same = all(torch.equal(one[name], other[name]) for name in one)
    return "yes" if same else "NO"


def _full_device(setting: Setting) -> Row:
    """Run a cell on a device that holds one image but not the whole batch."""
    row: Row = {"method": "unet, a batch of 8 on a device without room for it"}
    if setting.small:
        return row | {"skipped": "needs a GPU"}
    try:
        size = setting.sizes["xray"]
        peaks = [_peak(setting, size, batch) for batch in (2, 8)]
        total = torch.cuda.get_device_properties(setting.device).total_memory
        torch.cuda.set_per_process_memory_fraction(sum(peaks) / 2 / total, setting.device)
        profile = setting.profile(batch=8, steps=6, validate_every=3, validation_cases=1)
        profile = replace(profile, phantom_patients={"xray": 10}, phantom_slices={"xray": 1})
        path = write_profile(setting.work / "full.toml", profile)
        out = setting.work / "full"
        words = _words(setting, path, out, "unet", "xray")
        code, told = bench(*words, "--launcher", "debug")
        parts = [json.loads(file.read_text()) for file in out.rglob("cell.json")]
        if code or not parts:
            return row | {"failed": told.strip().splitlines()[-1]}
        retried = parts[0]["training"]["parts"]
        met = bool(retried)
        return row | {"too little memory": f"in parts: {retried}", "goal": "in parts", "met": met}
    except Exception as error:
        return row | {"failed": last_line(error)}
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, setting.device)
        setting.free()


def _peak(setting: Setting, size: tuple[int, int], batch: int) -> int:
    """Return the peak memory of a U-Net's step in bytes."""
    setting.free()
    stream = Stream(cases("xray", size), range(2), 35, batch, PAPER)
    subject = setting.trainee(Spec("unet"), size, "bfloat16", batch=batch)
    with TemporaryDirectory() as work:
        Training(subject, CellFolder(Path(work))).step(stream.at(0))
    return int(torch.cuda.max_memory_reserved(setting.device))


def _words(setting: Setting, profile: Path, out: Path, methods: str, dataset: str) -> list[str]:
    """Return the words of a `bench run` on the device."""
    names = {"--methods": methods, "--datasets": dataset, "--device": str(setting.device)}
    paths = {"--profile": profile, "--out": out, "--report": f"{out}-report"}
    return ["run", *(str(word) for pair in (names | paths).items() for word in pair)]


def packing(setting: Setting, until: float) -> Iterator[Row]:
    """Several cells at once on the device, against one after the other.

    A cell is one training run: a method on a dataset with one fold and seed. Here it is a U-Net.
    Running several on one GPU is off by default; use `--jobs` if the gain is 1.3 or more.
    """
    values = setting.choose({"steps": 60, "validate_every": 60, "validation_cases": 1}, {})
    phantoms = {"phantom_patients": {"ct-pri": 5}, "phantom_slices": {"ct-pri": 1}}
    path = write_profile(setting.work / "packed.toml", setting.profile(**values, **phantoms))
    count = setting.choose(4, 2)
    run = partial(_cells, setting, path)
    run("warm", jobs=1, seeds=1)  # the server that cells are forked from starts with the first
    alone = 0.0
    for jobs in setting.choose((1, 2, 4), (1, 2)):
        row: Row = {"cells at once": jobs, "cells": count}
        if time.monotonic() > until:
            yield row | {"skipped": LATE}
            continue
        try:
            took = run(f"jobs-{jobs}", jobs=jobs, seeds=count)
        except Exception as error:
            yield row | {"failed": last_line(error)}
            continue
        row |= {"seconds": round(took, 1)}
        if jobs == 1:
            alone = took
        elif alone:
            gain = alone / took
            row |= {"throughput gain": f"{gain:.2f} x", "worth it": "yes" if gain >= 1.3 else "no"}
        yield row


def _cells(setting: Setting, profile: Path, name: str, *, jobs: int, seeds: int) -> float:
    """Return the seconds that some cells of a U-Net take."""
    words = _words(setting, profile, setting.work / name, "unet", "ct-pri")
    began = time.monotonic()
    code, told = bench(*words, "--jobs", str(jobs), "--seeds", str(seeds))
    if code:
        raise RuntimeError(told.strip().splitlines()[-1])
    return time.monotonic() - began


def the_main_job(setting: Setting, until: float) -> Iterator[Row]:
    """All methods on the MR phantom as users run them: the `paper` profile cut to 300 steps.

    On the CPU: two methods and the `smoke` profile. A whole cell is training, testing and writing.
    """
    values = setting.choose({"steps": 300, "validate_every": 150, "validation_cases": 2}, {})
    phantoms = {"phantom_patients": {"mr": 10}, "phantom_slices": {"mr": 1}}
    path = write_profile(setting.work / "job.toml", setting.profile(**values, **phantoms))
    out = setting.work / "job"
    for spec in setting.main_methods:
        if why := missing(spec.name):
            yield {"method": spec.key, "failed": why}
    methods = ",".join(spec.key for spec in setting.main_methods if not missing(spec.name))
    left = max(1.0, until - time.monotonic())
    clock = threading.Timer(left, os.kill, (os.getpid(), signal.SIGINT))
    clock.start()
    try:
        code, told = bench(*_words(setting, path, out, methods, "mr"))
    finally:
        clock.cancel()
    for file in sorted(out.rglob("cell.json")):
        cell = json.loads(file.read_text())
        timings = cell["timings"]
        yield {
            "method": cell["spec"]["method"],
            "steps": cell["training"]["steps"],
            STEP: round(1000 * timings["train_seconds_per_step"], 1),
            IMAGE: round(1000 * timings["predict_seconds_per_case"], 1),
            "whole cell: seconds": timings["total_seconds_of_last_attempt"],
        }
    if code == 130:
        yield {"method": "the rest", "skipped": LATE}
    elif code:
        yield {"method": "bench run", "failed": told.strip().splitlines()[-1]}
    report = f"{out}-report"
    bench("report", "--out", str(out), "--to", report, "--no-pictures")
    for table in Path(report).rglob("table1-*.md"):
        yield {"text": table.read_text(encoding="utf-8")}
    plan = ("plan", "--out", str(out), "--profile", str(path), "--datasets", "mr")
    plan = (*plan, "--methods", methods)
    _, simulated = bench(*plan, "--folds", "5", "--seeds", "5", "--simulate", "gpus=8")
    yield {"text": f"bench plan --folds 5 --seeds 5 --simulate gpus=8:\n\n{simulated}"}


def whole_matrix(rows: Rows) -> Iterator[Row]:
    """Estimated hours of all training, from the times of the first table.

    One cell for each method and dataset, one after the other: 9000 steps without early stopping,
    and a test set of 20 % of the cases.
    """
    paper = load_profile("paper")
    for precision in PRECISIONS:
        mine = [row for row in rows if row["precision"] == precision]
        seconds = 0.0
        for row in mine:
            if STEP not in row:
                continue
            name = row["dataset"]
            tested = paper.phantom_patients[name] * paper.phantom_slices[name] / 5
            seconds += (paper.steps * row[STEP] + tested * row[IMAGE]) / 1000
        missing = sum(STEP not in row for row in mine)
        if mine:
            hours = f"{seconds / 3600:.1f}"
            yield {
                "precision": precision,
                "cells": len(mine),
                "hours": hours,
                "cells left out, not measured": missing,
            }


STAGES: dict[str, tuple[Stage, float]] = {
    "Steps and predictions": (steps_and_predictions, 0.40),
    "Against a bare loop": (against_a_bare_loop, 0.50),
    "Sampling": (sampling, 0.60),
    "The same bytes": (the_same_bytes, 0.70),
    "Packing": (packing, 0.80),
    "The main job": (the_main_job, 0.97),
}
"""Each stage, and the share of the whole time at which it should have ended."""
