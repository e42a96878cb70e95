"""Verdiff-Net's samplers: the Dice that they reach against the network evaluations that they take.

Run from the repository's root: ``python tests/perf/bench_sampling.py``. One network is trained as a
cell of the cpu profile is, on the phantom of MR; then every sampler draws from it for the same test
images, with the random numbers that the harness would give it. Draws sampling.png beside this file.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from timing import Row, one_thread, table
from torch import Tensor

from bench.data import cache
from bench.data.splits import Splitting
from bench.data.stream import Stream
from bench.engine.cell import build
from bench.engine.data import Data
from bench.engine.metrics import score
from bench.engine.predict import THRESHOLD
from bench.engine.train import train, validation_loss
from bench.engine.trainee import Trainee, generator, to_tensor
from bench.launch import matrix
from bench.report.figures.style import COLOURS, MARKERS
from bench.spec.config import SEED
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from bench.store.cells import Store
from bench.store.layout import CellFolder
from bench.store.plan import split_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT = Path(__file__).with_name("sampling.png")
DATASET, T = "mr", 1000
IMAGES = 12
"""Test images, evenly spaced among all; one network call takes them all."""
FEW, SAMPLES = 3, 10
"""Samples of an image: the first three, as in the profile, and all. The goal is judged with all,
because the mean of three noisy masks depends more on their number than on the sampler."""
FEWER, POINTS, STEPS = 50, 0.5, 20
"""The goal: evaluations saved, Dice points lost or won at most, and up to which number of steps."""


@dataclass(frozen=True)
class Setting:
    """A way to sample."""

    scheduler: str
    steps: int
    start: int = T

    @property
    def what(self) -> str:
        """Return it in words."""
        begin = "" if self.start == T else f" from t = {self.start}"
        return f"{self.scheduler} {self.steps}{begin}"

    @property
    def judged(self) -> bool:
        """Return whether the goal is meant for it."""
        return self.scheduler == "dpm" and self.steps <= STEPS

    def of(self, method: Any) -> Any:
        """Return a method that samples this way."""
        return replace(method, scheduler=self.scheduler, steps=self.steps, start=self.start)


@dataclass(frozen=True)
class Result:
    """What a setting reached."""

    dice: float
    """Mean over the images, in percent, of all samples' mean."""
    few: float
    """The same of the first three samples' mean."""
    evaluations: int
    """Network evaluations a sample, counted."""
    seconds: float
    """Seconds an image, all its samples together."""

    def text(self) -> str:
        """Return it for a table."""
        three = f"{FEW} samples {self.few:.2f} %"
        return (
            f"{self.dice:.2f} % ({three}) in {self.evaluations} evaluations, {self.seconds:.3g} s"
        )


REFERENCE = Setting("ddpm", T)
SETTINGS = [
    REFERENCE,
    Setting("ddpm", 100),
    Setting("ddim", 50),
    Setting("ddim", 20),
    *(Setting("dpm", steps) for steps in (20, 10, 5, 3)),
    *(Setting("dpm", 5, start) for start in (500, 300, 200)),
]
Results = dict[Setting, Result]


@dataclass(frozen=True)
class Subject:
    """A trained network and the test images that it answers for."""

    trainee: Trainee
    data: Data
    images: list[int]

    def seen(self) -> Tensor:
        """Return the images as the network takes them (B, 1, H, W)."""
        images = [self.data.cases.image(i) for i in self.images]
        return self.trainee.method.inputs.enter(
            torch.cat([to_tensor(each, self.trainee.device) for each in images])
        )

    def dice(self, probability: Tensor) -> float:
        """Return the mean Dice in percent of predictions (B, 1, H, W), at native resolution."""
        dataset, scores = self.data.dataset, []
        for index, predicted in zip(self.images, probability[:, 0].numpy(), strict=True):
            mask = self.data.cases.back(index, predicted) >= THRESHOLD
            scores.append(score(mask, dataset.mask(index), dataset.cases[index].spacing).dice)
        return 100 * float(np.mean(scores))

    def sample(self, setting: Setting) -> tuple[Result, float]:
        """Return what a setting reaches, and the prior's mean Dice in percent."""
        averaged: Any = self.trainee.net
        net = averaged.network  # outside training, the average
        method: Any = setting.of(self.trainee.method)
        dataset, device, seed = self.data.dataset, self.trainee.device, self.trainee.seed
        rngs = [generator(device, seed, "predict", dataset.cases[i].id) for i in self.images]
        calls: list[None] = []
        hook = net.denoiser.register_forward_hook(lambda *_: calls.append(None))
        began = time.perf_counter()
        with torch.inference_mode():
            condition = net.condition(self.seen())
            many = condition.repeat(SAMPLES)
            x0 = net.diffusion.sample(
                lambda x_t, t: net.denoise(x_t, t, many),
                many.f,
                [rng for rng in rngs for _ in range(SAMPLES)],
                **method.how(),
            )
        seconds = (time.perf_counter() - began) / len(self.images)
        hook.remove()
        each = ((x0 + 1) / 2).reshape(len(rngs), SAMPLES, *x0.shape[1:])
        dice, few = (self.dice(each[:, :count].mean(1)) for count in (SAMPLES, FEW))
        return Result(dice, few, len(calls), seconds), self.dice(torch.sigmoid(condition.logits))


def trained(folder: Path) -> Subject:
    """Train Verdiff-Net as a cell of the cpu profile is trained."""
    profile = load_profile("cpu")
    store = Store(folder / "store")
    store.open(profile)
    refs = [found.prepare() for found in matrix.find([Spec(DATASET)], None, profile)]
    cell = matrix.cells(profile, refs, [Spec("verdiff")], store, Splitting(), [SEED])[0]
    dataset = cache.load(Path(cell.dataset.cache))
    data = Data.of(cell, dataset, split_of(store, cell, dataset.patients))
    trainee = build(cell, data, torch.device("cpu"))
    stream = Stream(data.cases, data.train, cell.seed, profile.batch, profile.augmentation)
    train(
        trainee,
        stream,
        lambda _: validation_loss(trainee, data.cases, data.validation),
        CellFolder(folder),
    )
    trainee.net.eval()
    chosen = np.linspace(0, len(data.test) - 1, min(IMAGES, len(data.test))).round().astype(int)
    return Subject(trainee, data, [data.test[i] for i in chosen])


def row(setting: Setting, result: Result, reference: Result) -> Row:
    """Return a sampler's row against the reference."""
    fewer, points = reference.evaluations / result.evaluations, result.dice - reference.dice
    met = fewer >= FEWER and abs(points) <= POINTS
    goal: dict[str, Any] = (
        {"goal": f"{FEWER}x, {POINTS:g} points", "met": met} if setting.judged else {}
    )
    theirs = f"{reference.dice:.2f} % in {reference.evaluations}"
    return Row(
        setting.what,
        result.text(),
        REFERENCE.what,
        theirs,
        f"{fewer:.3g}x, {points:+.2f} points",
        **goal,
    )


def draw(results: Results, prior: float, path: Path, subtitle: str) -> None:
    """Draw Dice against evaluations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
        _curves(axis, results)
        dice = results[REFERENCE].dice
        axis.axhspan(
            dice - POINTS,
            dice + POINTS,
            color="0.9",
            zorder=0,
            label=f"ddpm {T} ± {POINTS:g} points",
        )
        axis.axhline(
            prior,
            color="0.3",
            linestyle="--",
            linewidth=1,
            zorder=1,
            label="prior alone, 0 evaluations",
        )
        ticks = sorted({each.evaluations for each in results.values()})
        axis.set_xscale("log")
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.set(xlabel="Network evaluations per sample", ylabel="Mean Dice (%)")
        axis.set_title(subtitle, fontsize=9)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        figure.savefig(path, dpi=200, metadata={"Software": None})
        plt.close(figure)


def _curves(axis: Axes, results: Results) -> None:
    """Draw a line for each scheduler from T, and the shortened ones as points of their own."""
    titles = {"dpm": "DPM-Solver++", "ddim": "DDIM", "ddpm": "ancestral (ddpm)"}
    style: dict[str, Any] = {
        "markersize": 6,
        "linewidth": 1.2,
        "markerfacecolor": "white",
        "zorder": 3,
    }
    for (name, title), colour, marker in zip(titles.items(), COLOURS, MARKERS, strict=False):
        line = {
            r.evaluations: r.dice for s, r in results.items() if (s.scheduler, s.start) == (name, T)
        }
        axis.plot(
            *zip(*sorted(line.items()), strict=True),
            marker=marker,
            color=colour,
            label=title,
            **style,
        )
    late = {s.start: r for s, r in results.items() if s.start < T}
    starts = ", ".join(map(str, late))  # in the legend: the points may lie on one another
    for number, result in enumerate(late.values()):
        label = None if number else f"DPM-Solver++ from t = {starts}"
        place = (result.evaluations, result.dice)
        axis.plot(*place, MARKERS[3], color=COLOURS[3], label=label, **style)


def measure() -> list[Row]:
    """Return the rows of every sampler and of the prior, and draw the plot."""
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        subject = trained(Path(folder))
    results: Results = {}
    for setting in SETTINGS:
        results[setting], prior = subject.sample(setting)
    reference = results[REFERENCE]
    count = len(subject.images)
    title = (
        f"Verdiff-Net on the {DATASET.upper()} PHANTOM, profile 'cpu': {count} test images,"
        f" {SAMPLES} samples each"
    )
    draw(results, prior, PLOT, title)
    first = Row(REFERENCE.what, reference.text(), "", "", "")
    theirs, points = (
        f"{reference.dice:.2f} % in {reference.evaluations}",
        f"{prior - reference.dice:+.2f} points",
    )
    last = Row("prior alone", f"{prior:.2f} % in 0 evaluations", REFERENCE.what, theirs, points)
    return [first, *(row(s, r, reference) for s, r in results.items() if s != REFERENCE), last]


if __name__ == "__main__":
    print(table(measure()))
