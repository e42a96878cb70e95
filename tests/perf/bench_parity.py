"""`nnunet:recipe=native` against nnU-Net's own command line, on the same cases and the same plan.

Run from the repository's root: ``python tests/perf/bench_parity.py WORK --data DIR``, where DIR
holds `mr/` with real slices; without `--data` the phantom alone is compared. WORK keeps every
finished training, so a run that was interrupted goes on. Rewrites PARITY.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from timing import one_thread
from torch import Tensor

from bench.data import cache
from bench.data.export import Export
from bench.data.splits import Splitting
from bench.engine.cell import run_cell
from bench.engine.data import Data
from bench.engine.metrics import score
from bench.engine.predict import THRESHOLD
from bench.engine.trainee import derive
from bench.launch import matrix
from bench.spec import registry
from bench.spec.case import Dataset
from bench.spec.config import SEED, Cell
from bench.spec.machine import processor
from bench.spec.names import Source, Spec
from bench.spec.profile import Profile, load_profile
from bench.stats.intervals import bootstrap
from bench.store.cells import Store
from bench.store.plan import split_of
from verdiff_bench_methods.nnunet_native import schedule

HERE = Path(__file__).parent
PARITY = HERE / "PARITY.md"
TRAINERS = HERE / "parity"
TRAINER = "ParityTrainer"
METHOD = Spec("nnunet", ("recipe=native",))
STEPS: dict[Source, int] = {"real": 400, "phantom": 150}
"""Steps of a training: those of the profile `cpu`, and fewer for the phantom, whose planned batch
is three times as large."""
POINTS = 0.3
"""The goal: Dice points between the means at most, or a 95 % interval that holds 0."""
HEADS = (
    "| data | seed | test | nnU-Net's command line | `nnunet:recipe=native` | difference |"
    " equal masks | largest difference of a weight |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


@dataclass(frozen=True)
class Score:
    """A test case under both."""

    case: str
    patient: str
    ours: float
    theirs: float
    """Dice at native resolution, from 0 to 1."""
    same: bool
    """Whether both masks are equal, pixel for pixel."""


@dataclass(frozen=True)
class Run:
    """What one seed on one dataset gave."""

    data: str
    seed: int
    steps: int
    batch: int
    patch: tuple[int, int]
    train_cases: int
    scores: tuple[Score, ...]
    weights: float
    """The largest difference of a trained weight."""
    ours_seconds: float
    theirs_seconds: float
    """Seconds of training; of nnU-Net with its own start and its own last validation."""

    @cached_property
    def patients(self) -> pd.DataFrame:
        """Dice of each patient in percent, under `ours` and `theirs`."""
        table = pd.DataFrame([asdict(score) for score in self.scores])
        return 100 * table.groupby("patient")[["ours", "theirs"]].mean()

    def save(self, path: Path) -> None:
        """Write it as JSON, in one step."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        part.rename(path)

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read it back."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values["scores"] = tuple(Score(**score) for score in values["scores"])
        values["patch"] = tuple(values["patch"])
        return cls(**values)


@dataclass(frozen=True)
class CommandLine:
    """nnU-Net's own command line on the cases of a cell, in a folder of its own."""

    data: Data
    cell: Cell
    root: Path

    def run(self, command: str, *words: str, augmenters: int = 1, **more: str) -> None:
        """Run one of nnU-Net's commands; what it prints goes to a log.

        Raises:
            SystemExit: It failed.
        """
        variables = {
            **more,
            "nnUNet_raw": str(self.root / "raw"),
            "nnUNet_preprocessed": str(self.root / "preprocessed"),
            "nnUNet_results": str(self.results),
            "nnUNet_extTrainer": str(TRAINERS),
            "nnUNet_n_proc_DA": str(augmenters),
            "nnUNet_def_n_proc": "1",
            "nnUNet_compile": "f",
            "nnUNet_wandb_enabled": "0",
            "OMP_NUM_THREADS": "1",
            "PARITY_SCHEDULE": ",".join(map(str, schedule(self.cell.profile.steps))),
            "PARITY_SEED": str(derive(self.cell.seed, "own")),
        }
        program = Path(sys.executable).with_name(command)
        log = self.root / "log.txt"
        with log.open("a", encoding="utf-8") as file:
            done = subprocess.run(
                [str(program), *words],
                env={**os.environ, **variables},
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        if done.returncode:
            sys.exit(f"{command} ended with {done.returncode}; see {log}")

    @property
    def results(self) -> Path:
        """Where the trainings of the cell's seed lie."""
        return self.root / f"results-s{self.cell.seed}"

    @property
    def folder(self) -> Path | None:
        """The exported dataset; None before `export`."""
        return next((self.root / "raw").glob("Dataset*"), None)

    @property
    def number(self) -> str:
        """The dataset's number."""
        assert self.folder
        return self.folder.name[len("Dataset") : len("DatasetNNN")]

    @property
    def plans(self) -> Path:
        """nnU-Net's plans."""
        assert self.folder
        return self.root / "preprocessed" / self.folder.name / "nnUNetPlans.json"

    def prepare(self, store: Store) -> None:
        """Export the cases, plan and preprocess; what is there is not repeated."""
        ready = self.root / "prepared"
        if ready.is_file():
            return
        raw = self.root / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        if self.folder is None:
            split = split_of(store, self.cell, self.data.dataset.patients)
            Export(gridded(self.data), split).nnunet(raw)
        processes = ("-npfp", "1", "-np", "1")
        self.run("nnUNetv2_plan_and_preprocess", "-d", self.number, "-c", "2d", *processes)
        self.narrow()
        ready.touch()

    def narrow(self) -> None:
        """Give the plan the channels of the cell's method: plans are made to be edited."""
        plans = json.loads(self.plans.read_text(encoding="utf-8"))
        method: Any = registry.of_cell(self.cell)
        architecture = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
        channels = []
        for stage in range(architecture["n_stages"]):
            channels.append(min(method.features * 2**stage, method.max_features))
        architecture["features_per_stage"] = channels
        self.plans.write_text(json.dumps(plans, indent=1), encoding="utf-8")

    def compare_plans(self, ours: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration that both have.

        Raises:
            SystemExit: They have different ones.
        """
        theirs = json.loads(self.plans.read_text(encoding="utf-8"))
        parts = [plans["configurations"]["2d"] for plans in (ours, theirs)]
        for key in sorted({*parts[0], *parts[1]}):
            mine, other = (part.get(key) for part in parts)
            if mine != other:
                sys.exit(f"the plans differ in {key}: ours {mine}, nnU-Net's {other}")
        configuration: dict[str, Any] = parts[0]
        return configuration

    def train(self) -> float:
        """Train fold 0 and return the seconds; a finished training is not repeated."""
        clock = self.results / "seconds"
        if clock.is_file():
            return float(clock.read_text(encoding="utf-8"))
        began = time.monotonic()
        words = (self.number, "2d", "0", "-tr", TRAINER, "-device", "cpu")
        self.run("nnUNetv2_train", *words, augmenters=0)
        seconds = time.monotonic() - began
        clock.write_text(str(seconds), encoding="utf-8")
        return seconds

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the last epoch by name."""
        path = next(self.results.glob("*/*/fold_0/checkpoint_final.pth"))
        # The file is nnU-Net's own, written by the command above.
        known: dict[str, Tensor] = torch.load(path, weights_only=False)["network_weights"]
        return known

    def probabilities(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Predict the test cases; yield the index and the map (H, W) on native pixels of each."""
        assert self.folder
        to = self.results / "predictions"
        images = str(self.folder / "imagesTs")
        words = ("-i", images, "-o", str(to), "-d", self.number, "-c", "2d", "-f", "0")
        how = ("-tr", TRAINER, "-device", "cpu", "-npp", "0", "-nps", "0", "--save_probabilities")
        self.run("nnUNetv2_predict", *words, *how)
        for index in self.data.test:
            path = to / f"{self.data.cases.case(index).id}.npz"
            with np.load(path) as file:
                foreground = file["probabilities"][1, 0].astype(np.float32)
            yield index, self.data.cases.back(index, foreground)


def gridded(data: Data) -> Dataset:
    """Return the cases that a cell uses as its networks see them, as a dataset of their own."""
    indexes = sorted([*data.train, *data.validation, *data.test])
    cases, images, masks, starts = [], [], [], [0]
    for index in indexes:
        height, width = data.cases.size(index)
        known = data.cases.case(index)
        cases.append(replace(known, height=height, width=width, spacing=None))
        images.append(data.cases.image(index).ravel())
        masks.append(data.cases.mask(index).ravel())
        starts.append(starts[-1] + height * width)
    return Dataset(
        data.dataset.name,
        data.dataset.source,
        data.dataset.digest,
        tuple(cases),
        np.concatenate(images),
        np.concatenate(masks),
        tuple(starts[:-1]),
    )


def furthest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Return the largest difference of a weight; ours have `net.` before their names."""
    differences = []
    for name, weight in ours.items():
        differences.append(float((weight - theirs[name.removeprefix("net.")]).abs().max()))
    return max(differences)


def compare(cell: Cell, store: Store, work: Path) -> Run:
    """Train and score a cell under both, or read what an earlier run found."""
    path = work / f"{cell.dataset.id.key}-s{cell.seed}.json"
    if path.is_file():
        return Run.read(path)
    work.mkdir(exist_ok=True)
    cell = Cell.from_json(cell.to_json())  # with its options in the order of any launcher
    if store.status(cell) != "done":
        with store.at_work(cell) as folder:
            run_cell(cell, store, folder)
    dataset = cache.load(Path(cell.dataset.cache))
    data = Data.of(cell, dataset, split_of(store, cell, dataset.patients))
    theirs = CommandLine(data, cell, work / cell.dataset.id.key)
    theirs.prepare(store)
    done = store.folder(cell)
    record = json.loads(done.record.read_text(encoding="utf-8"))
    plan = theirs.compare_plans(record["network"])
    seconds = theirs.train()
    ours = pd.read_csv(done.cases(""), dtype={"case": str, "patient": str}).set_index("case")
    scores = []
    for index, probability in theirs.probabilities():
        case = dataset.cases[index]
        mask = probability >= THRESHOLD
        mine = cv2.imread(str(done.predictions("") / f"{case.id}.png"), cv2.IMREAD_GRAYSCALE)
        assert mine is not None
        dice = score(mask, dataset.mask(index), case.spacing).dice
        dice = float(f"{dice:.9g}")  # as `cases.csv` keeps ours
        same = bool(((mine > 0) == mask).all())
        scores.append(Score(case.id, case.patient, float(ours.dice[case.id]), dice, same))
    run = Run(
        data=cell.dataset.id.key,
        seed=cell.seed,
        steps=cell.profile.steps,
        batch=plan["batch_size"],
        patch=(plan["patch_size"][0], plan["patch_size"][1]),
        train_cases=len(data.train),
        scores=tuple(scores),
        weights=furthest(load_file(done.weights), theirs.weights()),
        ours_seconds=record["timings"]["train_seconds"],
        theirs_seconds=seconds,
    )
    run.save(path)
    return run


def cells(
    profile: Profile, source: Source, data: Path | None, work: Path, seeds: int
) -> list[Cell]:
    """Return the cells of the real slices, or of the phantom."""
    real = source == "real"
    store = Store(work)
    store.open(profile)
    datasets = matrix.find([Spec("mr")], data if real else None, profile, real_only=real)
    refs = [dataset.prepare() for dataset in datasets]
    return matrix.cells(profile, refs, [METHOD], store, Splitting(), range(SEED, SEED + seeds))


def line(run: Run) -> str:
    """Return a run as a line of the table."""
    means = run.patients.mean()
    same = sum(score.same for score in run.scores)
    return (
        f"| {run.data} | {run.seed} | {len(run.patients)} patients, {len(run.scores)} cases |"
        f" {means.theirs:.2f} | {means.ours:.2f} | {means.ours - means.theirs:+.2f} |"
        f" {same} of {len(run.scores)} | {run.weights:.2g} |"
    )


def verdict(runs: list[Run]) -> str:
    """Return what the runs of a dataset say together, in a line."""
    tables = [run.patients for run in runs]
    differences = np.stack([(table.ours - table.theirs).to_numpy(float) for table in tables])
    mean = float(differences.mean())
    low, high = bootstrap(differences[:, :, None])[0][0]
    met = abs(mean) <= POINTS or low <= 0 <= high
    answer = "**parity**" if met else "**no parity**"
    first = runs[0]
    epochs, iterations, validations = schedule(first.steps)
    ours_seconds = np.mean([run.ours_seconds for run in runs])
    theirs_seconds = np.mean([run.theirs_seconds for run in runs])
    return (
        f"- `{first.data}`: {mean:+.3f} points over {len(runs)} seeds, {len(tables[0])} patients;"
        f" 95 % interval [{low:+.3f}, {high:+.3f}]: {answer}. {first.train_cases} training cases,"
        f" batch {first.batch}, patch {first.patch[0]} x {first.patch[1]}, {epochs} epochs of"
        f" {iterations} training and {validations} validation steps. Seconds of a training: ours"
        f" {ours_seconds:.0f}, nnU-Net's {theirs_seconds:.0f}."
    )


TEXT = """# Is `nnunet:recipe=native` nnU-Net?

`nnunet:recipe=native` as `bench run` computes it, against nnU-Net's own commands
(`nnUNetv2_plan_and_preprocess`, `nnUNetv2_train`, `nnUNetv2_predict`) on the same cases: those of
the profile `cpu` at its image size, exported in nnU-Net's raw layout, with the same training and
validation cases (`splits_final.json`). Both plans must be equal, or the benchmark stops; nnU-Net's
got the channels of the profile's scale. nnU-Net's trainer is given fewer epochs, a seed and one
thread by [`parity/parity_trainer.py`](parity/parity_trainer.py), which it finds through
`nnUNet_extTrainer`; nothing else of it is changed. The last weights answer, with mirrored views.
Dice in percent at native resolution; a patient's cases are averaged first. Goal: means within
{points} points, or a 95 % interval of the paired difference (over seeds and patients) that holds 0.

{date}; {processor}, one thread; torch {torch}, nnunetv2 {nnunetv2}.

{verdicts}

{table}

Both draw their random numbers from the same seed, so equal weights mean that both did the same,
step by step. Where the Dice is 0, neither has found any foreground yet: nnU-Net's recipe is made
for 250,000 steps. Not compared here: cases at native sizes, spacing in mm (`recipe=native` does not
resample to it), a GPU, more steps. Seconds are as measured, whatever else ran on the machine.

To repeat it: `python tests/perf/bench_parity.py WORK --data DIR`, where `DIR/mr` holds SPIDER's
slices (`images/`, `labels/`, `index.csv`) and WORK is an empty folder. A run that was stopped goes
on; `--steps 10 --seeds 1 --to FILE` is a trial.
"""


def page(runs: list[Run]) -> str:
    """Return the page of all runs."""
    by_data: dict[str, list[Run]] = {}
    for run in runs:
        by_data.setdefault(run.data, []).append(run)
    return TEXT.format(
        points=POINTS,
        date=date.today().isoformat(),
        processor=processor(),
        torch=version("torch"),
        nnunetv2=version("nnunetv2"),
        verdicts="\n".join(verdict(group) for group in by_data.values()),
        table="\n".join([HEADS, *map(line, runs)]),
    )


def main() -> None:
    """Compare every seed of every dataset, and write the page after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="keeps every finished training")
    parser.add_argument("--data", type=Path, help="folder with mr/, real slices")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of every training; for a trial")
    parser.add_argument("--to", type=Path, default=PARITY, help="the page that is written")
    given = parser.parse_args()
    work = given.work.resolve()
    os.environ.setdefault("BENCH_CACHE", str(work / "cache"))
    one_thread()
    shared = load_profile("cpu")
    runs: list[Run] = []
    for source, usual in STEPS.items():
        if source == "real" and given.data is None:
            continue
        steps = given.steps or usual
        profile = shared
        if steps != shared.steps:
            profile = replace(shared, name=f"cpu-{steps}-steps", steps=steps)
        for cell in cells(profile, source, given.data, work / "results", given.seeds):
            runs.append(compare(cell, Store(work / "results"), work / profile.name))
            print(line(runs[-1]), flush=True)
            given.to.write_text(page(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
