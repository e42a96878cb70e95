"""A training step of the harness against a bare PyTorch loop with the same network and batches.

Run from the repository's root: ``python tests/perf/bench_step.py``. Three loops take turns, each
from the same weights: the bare one over batches made beforehand; the harness over the same batches,
so that only the loop itself is compared; and the harness over the shared stream, which augments in
a thread while the network computes. Where as many cells run as there are cores, that thread has no
core of its own, so the processor time of all threads is compared too. Validation and checkpoints
are not in the step; they have a line of their own.
"""

from __future__ import annotations

import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cv2
import numpy as np
import torch
from timing import Row, milliseconds, one_thread, paired, table
from torch import Tensor

from bench.data.augment import PAPER
from bench.data.grid import OnGrid
from bench.data.stream import Batch, Stream
from bench.engine.train import Training, train
from bench.engine.trainee import Trainee
from bench.spec import registry
from bench.spec.case import Case, Dataset
from bench.spec.method import Task
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from bench.store.layout import CellFolder

WARM, STEPS, REPEATS = 1, 5, 9
LIMIT, CHECKPOINT = 1.05, 0.02
SIZES = [
    ("unet", "small", (112, 112), 2),
    ("fcn", "small", (112, 112), 2),
    ("unet", "tiny", (64, 64), 2),
]
"""Method, scale, grid, batch: the networks and grids of the cpu profile, and the smallest step of
the smoke profile."""
CASES = 12

Ends = list[tuple[float, float]]
Loop = Callable[[], Ends]


@dataclass(frozen=True)
class Prepared:
    """A stream whose batches were made beforehand."""

    made: list[Batch]

    def batches(self, start: int, stop: int, **_: object) -> Iterator[Batch]:
        """Yield the batches of steps [start, stop)."""
        yield from self.made[start:stop]


def dataset(height: int, width: int) -> Dataset:
    """Return a dataset of noise with elliptic masks."""
    rng = np.random.default_rng(0)
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 4, height // 4), 20, 0, 360, 1, -1)
    images = rng.integers(0, 65536, (CASES, height, width), dtype=np.uint16)
    cases = tuple(Case(f"c{i}", f"p{i}", height, width, None) for i in range(CASES))
    starts = tuple(i * height * width for i in range(CASES))
    return Dataset(
        "mr", "phantom", "0" * 64, cases, images.ravel(), np.tile(mask.ravel(), CASES), starts
    )


def trainee(name: str, scale: str, grid: tuple[int, int], batch: int, steps: int) -> Trainee:
    """Return what a cell would train, validated after its last step alone."""
    profile = replace(
        load_profile("cpu"), scale=scale, batch=batch, steps=steps, validate_every=steps, threads=1
    )
    method = registry.method(Spec.parse(name), scale)
    task = Task("mr", (grid,) * CASES, batch, steps)
    torch.manual_seed(0)
    net = method.build(task).to(memory_format=torch.channels_last)
    return Trainee(method, net, task, profile, 35, torch.device("cpu"))


def bare(subject: Trainee, pairs: Sequence[tuple[Tensor, Tensor]]) -> Ends:
    """Train by the shortest loop there is; return when each step ended."""
    net, method, rng = subject.net.train(), subject.method, torch.Generator()
    ends: Ends = []
    optimiser = torch.optim.Adam(net.parameters(), lr=subject.profile.lr, fused=True)
    for image, mask in pairs:
        loss = method.loss(net, image, mask, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        ends.append(clocks())
    return ends


def harness(subject: Trainee, stream: Stream | Prepared) -> Ends:
    """Train as a cell does; return when each step ended."""
    ends: Ends = []
    with tempfile.TemporaryDirectory() as work:
        train(
            subject, stream, lambda _: 1.0, CellFolder(Path(work)), lambda _: ends.append(clocks())
        )  # type: ignore[arg-type]
    return ends


def clocks() -> tuple[float, float]:
    """Return the time on the wall and the processor time of all threads."""
    return time.perf_counter(), time.process_time()


def per_step(subject: Trainee, weights: dict[str, Tensor], loop: Loop) -> tuple[float, float]:
    """Return the mean seconds (wall, processor) of the steps after the warm ones.

    The last step, which validates, is left out.
    """
    subject.net.load_state_dict(weights)
    ends = loop()
    first, last = ends[WARM - 1], ends[WARM + STEPS - 1]
    return (last[0] - first[0]) / STEPS, (last[1] - first[1]) / STEPS


def compare(name: str, scale: str, grid: tuple[int, int], batch: int) -> list[Row]:
    """Return the rows of one size."""
    subject = trainee(name, scale, grid, batch, WARM + STEPS + 1)
    weights = copy.deepcopy(subject.net.state_dict())
    stream = Stream(OnGrid(dataset(*grid), grid), range(CASES), 35, batch, PAPER)
    made = [stream.at(step) for step in range(subject.profile.steps)]
    pairs = [(torch.from_numpy(b.images), torch.from_numpy(b.masks)) for b in made]
    loops: dict[str, Loop] = {
        "bare": partial(bare, subject, pairs),
        "loop": partial(harness, subject, Prepared(made)),
        "stream": partial(harness, subject, stream),
    }
    times: dict[str, list[tuple[float, float]]] = {key: [] for key in loops}
    for _ in range(REPEATS):
        for key, loop in loops.items():
            times[key].append(per_step(subject, weights, loop))
    wall, spent = ({key: [each[i] for each in times[key]] for key in loops} for i in (0, 1))
    what = f"step {name} {scale} {batch}x{grid[0]}x{grid[1]}"
    typical = scale != "tiny"
    return [
        row(f"{what}, loop alone", wall["loop"], wall["bare"], typical),
        row(f"{what}, with the stream", wall["stream"], wall["bare"], typical),
        row(f"{what}, loop alone, processor time", spent["loop"], spent["bare"], typical),
        row(f"{what}, with the stream, processor time", spent["stream"], spent["bare"], typical),
        checkpoint(what, subject, made[0], wall["bare"], typical),
    ]


def row(what: str, ours: list[float], theirs: list[float], typical: bool) -> Row:
    """Return a row; the goal is for networks that someone would train."""
    ratio = paired(ours, theirs)
    goal = {"goal": f"{LIMIT:.2f}", "met": ratio <= LIMIT} if typical else {}
    return Row(what, milliseconds(ours), "bare loop", milliseconds(theirs), f"{ratio:.3f}", **goal)


def checkpoint(what: str, subject: Trainee, batch: Batch, step: list[float], typical: bool) -> Row:
    """Return the row of validation without its losses: best weights, train.csv, checkpoint."""
    spent = []
    with tempfile.TemporaryDirectory() as work:
        training = Training(subject, CellFolder(Path(work)))
        training.step(batch)
        for attempt in range(REPEATS):
            training.state.losses.append(0.0)
            start = time.perf_counter()
            training.record_validation(-float(attempt))
            training.save()
            spent.append(time.perf_counter() - start)
    every = load_profile("cpu").validate_every
    share = statistics.median(spent) / (every * statistics.median(step))
    theirs = milliseconds([every * seconds for seconds in step])
    goal = {"goal": f"{CHECKPOINT:.2f}", "met": share <= CHECKPOINT} if typical else {}
    return Row(
        f"{what}, checkpoint",
        milliseconds(spent),
        f"{every} bare steps",
        theirs,
        f"{share:.3f}",
        **goal,
    )


def measure() -> list[Row]:
    """Return the rows of every size."""
    one_thread()
    return [row for size in SIZES for row in compare(*size)]


if __name__ == "__main__":
    print(table(measure()))
