"""The one training loop: every method, the same stream, the same stopping rule, resumable to the bit."""

from __future__ import annotations

import csv
import hashlib
import math
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.geometry import Geometry
from bench.data.stream import Batch, Certificate, Stream
from bench.engine import checkpoint
from bench.spec.case import Dataset
from bench.spec.config import Profile
from bench.spec.method import Method, Report, Task

CHECKPOINT_SECONDS = 30.0
"""Longest time of training that a kill may cost."""
Beat = Callable[[int], None]
"""Called with the number of validation cases that are done; may raise Interrupted."""
LOSS_INTERVAL = 10
"""Steps between looks at the loss: each look waits for the device."""


def derive(*parts: object) -> int:
    """Return a 63-bit seed of an address such as (35, "step", 12); near addresses give unrelated seeds."""
    return (
        int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
    )


def generator(device: torch.device, *parts: object) -> torch.Generator:
    """Return the random generator of an address."""
    return torch.Generator(device).manual_seed(derive(*parts))


class Interrupted(BaseException):
    """The cell was told to stop: whoever holds something worth keeping writes it down and lets this pass."""


@dataclass(frozen=True)
class Trainee:
    """What is trained: a method, its network on a device, under a profile and a seed."""

    method: Method
    net: nn.Module
    task: Task
    profile: Profile
    seed: int
    device: torch.device
    precision: str = "float32"
    parts: int = 1
    """Parts of a batch whose gradients are added up, where a whole one does not fit into memory."""

    def autocast(self) -> torch.autocast:
        """Return the autocast of the trainee's precision."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"
        )

    def optimiser(self) -> torch.optim.Optimizer:
        """Return the method's own optimiser, or the profile's Adam."""
        own = self.method.optimiser(self.net, self.task)
        return own or torch.optim.Adam(
            self.net.parameters(), lr=self.method.lr or self.profile.lr, fused=True
        )

    def loss(self, image: Tensor, mask: Tensor, *address: object) -> Tensor:
        """Return the loss of a batch, with the random numbers of an address."""
        torch.manual_seed(derive(self.seed, "global", *address))
        with self.autocast():
            return self.method.loss(
                self.net, image, mask, generator(self.device, self.seed, *address)
            )


@dataclass
class Progress:
    """How far a training is; with the weights and the optimiser, all that a checkpoint needs."""

    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    stale: int = 0
    """Validations since the best one."""
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    """Training losses since the last validation."""
    parts: list[list[int]] = field(default_factory=list)
    """Where the device's memory was too small: from which step (counted from 0) a batch went in how
    many parts."""
    idle: int | None = None
    """Parameters that no gradient reached at the last validated step; None where that was not
    seen."""
    certificate: dict[str, str | int] = field(default_factory=dict)
    heads: list[dict[str, str | int]] = field(default_factory=list)
    """The certificate's heads at each validation."""
    rows: list[list[float | str]] = field(default_factory=list)
    """Rows of train.csv."""


def validation_loss(
    trainee: Trainee,
    dataset: Dataset,
    indexes: Sequence[int],
    grid: tuple[int, int] | None,
    beat: Beat = lambda done: None,
) -> float:
    """Return the mean loss over validation cases, unaugmented, with random numbers fixed by the case's id."""
    trainee.net.eval()
    losses = []
    with torch.no_grad():
        for done, index in enumerate(indexes):
            beat(done)
            case = dataset.cases[index]
            native = (case.height, case.width)
            geometry = Geometry(native, grid or native)
            image = to_tensor(geometry.image(dataset.image(index)), trainee.device)
            mask = torch.from_numpy(np.array(geometry.mask(dataset.mask(index)), np.float32))[
                None, None
            ]
            losses.append(
                float(trainee.loss(image, mask.to(trainee.device), "validation", case.id))
            )
    trainee.net.train()
    return math.fsum(losses) / len(losses)


def to_tensor(image: np.ndarray[Any, np.dtype[np.uint16]], device: torch.device) -> Tensor:
    """Return an image (H, W) in 65535 steps as a tensor (1, 1, H, W) in [0, 1]."""
    return torch.from_numpy(image.astype(np.float32) / 65535)[None, None].to(device)


def idle(net: nn.Module) -> int | None:
    """Return how many parameters the last gradient did not reach; None where there was no gradient at all."""
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    without = sum(weight.numel() for weight in trained if weight.grad is None)
    return None if without == sum(weight.numel() for weight in trained) else without


class Training:
    """A training under way: steps, validations and checkpoints."""

    def __init__(self, trainee: Trainee, work: Path) -> None:
        self.trainee, self.work = trainee, work
        self.progress = Progress()
        self.optimiser = trainee.optimiser()
        self.best = self._weights()
        self._losses: list[Tensor] = []
        self.recent: float | None = None
        """Mean loss of the last steps that were looked at."""
        self.saved: Path | None = None
        """The checkpoint on disk."""
        for path in checkpoint.newest(work):
            try:
                self._resume(path)
            except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
                raise RuntimeError(
                    f"{path} is of another training ({error}); remove it and run again"
                ) from error
            break
        self.parts = max(trainee.parts, self.progress.parts[-1][1] if self.progress.parts else 1)
        if self.parts > 1 and (not self.progress.parts or self.parts > self.progress.parts[-1][1]):
            self.progress.parts.append([self.progress.step, self.parts])
        self.certificate = Certificate(**self.progress.certificate)  # type: ignore[arg-type]

    def _weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights; a tensor with several names (nnU-Net's) is copied once."""
        copies: dict[tuple[int, torch.Size], Tensor] = {}
        for value in (state := self.trainee.net.state_dict()).values():
            if (key := (value.data_ptr(), value.shape)) not in copies:
                copies[key] = value.detach().to("cpu", copy=True)
        return {name: copies[value.data_ptr(), value.shape] for name, value in state.items()}

    @property
    def due(self) -> bool:
        """Whether a validation is to follow on the last step."""
        step, profile = self.progress.step, self.trainee.profile
        seen = self.progress.rows[-1][0] if self.progress.rows else 0
        return step != seen and (step % profile.validate_every == 0 or step == profile.steps)

    @property
    def finished(self) -> bool:
        """Whether the steps are used up or the validation loss has stopped falling."""
        return (
            self.progress.step >= self.trainee.profile.steps
            or self.progress.stale >= self.trainee.profile.patience
        )

    def step(self, batch: Batch) -> None:
        """Train on one batch."""
        device = self.trainee.device
        images = torch.from_numpy(batch.images).to(device, non_blocking=True)
        masks = torch.from_numpy(batch.masks).to(device, non_blocking=True)
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        for part, (image, mask) in enumerate(
            zip(images.chunk(self.parts), masks.chunk(self.parts), strict=True)
        ):
            address = ("step", batch.step, part) if part else ("step", batch.step)
            loss = self.trainee.loss(image, mask, *address) * (len(image) / len(images))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.optimiser.step()
        self.trainee.method.stepped(self.trainee.net)
        self._losses.append(total)
        self.certificate.add(batch)
        self.progress.step += 1
        if self.due:
            self.progress.idle = idle(self.trainee.net)
        if len(self._losses) >= LOSS_INTERVAL:
            self._flush()

    def _flush(self) -> None:
        """Bring the losses of the last steps over from the device; stop if one is no number."""
        values = torch.stack(self._losses).tolist() if self._losses else []
        self._losses.clear()
        if not all(map(math.isfinite, values)):
            bad = next(i for i, value in enumerate(values) if not math.isfinite(value))
            step = self.progress.step - len(values) + 1 + bad
            raise FloatingPointError(
                f"the training loss is {values[bad]} at step {step}; {self._last_good()}"
            )
        if values:
            self.recent = math.fsum(values) / len(values)
        self.progress.losses += values

    def _last_good(self) -> str:
        rate = self.optimiser.param_groups[0]["lr"]
        kept = (
            f"step {int(self.saved.name.split('-')[1])} in {self.saved}"
            if self.saved
            else "none yet"
        )
        return (
            f"learning rate {rate:g}, best validation at step {self.progress.best_step}, last good"
            f" checkpoint: {kept}; try a profile with a lower learning rate"
        )

    def validated(self, lost: float) -> None:
        """Take note of a validation loss: keep the weights if it is the best, write a row of train.csv."""
        self._flush()
        progress = self.progress
        if not math.isfinite(lost):
            raise FloatingPointError(
                f"the validation loss is {lost} after step {progress.step}; {self._last_good()}"
            )
        progress.stale += 1
        if lost < progress.best_loss:
            progress.best_loss, progress.best_step, progress.stale = lost, progress.step, 0
            self.best = self._weights()
        mean = math.fsum(progress.losses) / len(progress.losses)
        progress.losses.clear()
        progress.heads.append(self.certificate.head())
        progress.rows.append(
            [progress.step, f"{mean:.6g}", f"{lost:.6g}", f"{progress.seconds:.2f}"]
        )
        beside = self.work / ".train.csv"  # who reads along sees whole lines
        with beside.open("w", newline="") as file:
            csv.writer(file).writerows(
                [["step", "training_loss", "validation_loss", "seconds"], *progress.rows]
            )
        beside.replace(self.work / "train.csv")

    def save(self) -> None:
        """Write a checkpoint; the one before it stays."""
        self._flush()
        self.progress.certificate = self.certificate.head()
        state = {
            "progress": asdict(self.progress),
            "weights": self.trainee.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        }
        self.saved = checkpoint.write(self.work, self.progress.step, state)

    def _resume(self, path: Path) -> None:
        state = checkpoint.read(path)
        self.progress = Progress(**state["progress"])
        self.trainee.net.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best = state["best"]
        self.saved = path


def train(
    trainee: Trainee,
    stream: Stream,
    validate: Callable[[Beat], float],
    work: Path,
    report: Report = lambda status: None,
) -> Progress:
    """Train until the steps are used up or the validation loss stops falling; leave the best weights in the network.

    A checkpoint in `work` is taken up, and the result is the same to the bit as without the
    interruption, on the same kind of processor.

    Raises:
        FloatingPointError: The loss is no longer a number.
        Interrupted: `report` or `validate` raised it; a checkpoint of the last step was written.
    """
    training = Training(trainee, work)
    profile, progress = trainee.profile, training.progress
    began, before = time.monotonic(), progress.seconds
    saved = began
    trainee.net.train()

    def tell(validated: int = 0) -> None:
        report(
            {
                "phase": "train",
                "step": progress.step,
                "steps": profile.steps,
                "seconds": progress.seconds,
                "loss": training.recent,
                "validated": validated,
            }
        )

    try:
        if training.due:  # stopped in the middle of a validation
            training.validated(validate(tell))
        for batch in stream.batches(
            progress.step, progress.step if training.finished else profile.steps
        ):
            training.step(batch)
            if looked := training.due:
                training.validated(validate(tell))
            progress.seconds = before + time.monotonic() - began
            if looked or time.monotonic() - saved > CHECKPOINT_SECONDS:
                training.save()
                saved = time.monotonic()
            tell()
            if training.finished:
                break
    except Interrupted:
        training.save()
        raise
    trainee.net.load_state_dict(training.best)
    return progress
