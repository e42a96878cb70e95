"""The training loop: the same for every method, with the same stream and the same stopping rule.

An interrupted training continues from its checkpoint and gives the same result to the bit.
"""

from __future__ import annotations

import csv
import io
import math
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.data.grid import OnGrid
from bench.data.stream import Batch, Certificate, Stream
from bench.engine import checkpoint, together
from bench.engine.trainee import Trainee, count_idle_parameters, to_device
from bench.spec.capabilities import AveragesWeights, OwnOptimiser
from bench.spec.method import loss_of
from bench.spec.note import Note, Tell
from bench.spec.words import count
from bench.store.layout import CellFolder, write

CHECKPOINT_SECONDS = 30.0
"""Seconds between two checkpoints; so a killed process loses about this time of training."""
Beat = Callable[[int], None]
"""Called with the number of validation cases that are done; may raise Interrupted."""
LOSS_INTERVAL = 10
"""Steps between two readings of the loss; each reading waits until the device has computed it."""
COLUMNS = ("step", "training_loss", "validation_loss", "seconds")
"""The columns of train.csv."""
UNFIT = (RuntimeError, ValueError, TypeError, KeyError, EOFError, pickle.UnpicklingError)
"""Errors of loading a checkpoint that this training did not write: it has other weights, another
optimiser, or fields that this version does not know, or it is no checkpoint at all."""


class BatchTooLargeError(Exception):
    """The device's memory is too small for a batch, computed in this number of parts."""

    def __init__(self, parts: int) -> None:
        super().__init__(
            f"the device's memory is too small for a batch in {count(parts, 'part')}; "
            "give fewer --pixels, or a device with more memory"
        )
        self.parts = parts


class Interrupted(BaseException):
    """The cell was told to stop.

    Code with unsaved work must save its work and let the exception pass. This is no `Exception`, so
    that no handler of errors catches it.
    """


@dataclass
class TrainingState:
    """How far a training is; part of a checkpoint, with the weights and the optimiser's state."""

    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    stale: int = 0
    """Validations since the best one."""
    seconds: float = 0.0
    """Duration of the steps and validations so far, without the pauses between attempts."""
    losses: list[float] = field(default_factory=list)
    """Training losses since the last validation."""
    parts: list[list[int]] = field(default_factory=list)
    """Pairs (step, parts): after so many steps, batches were computed in so many parts, because the
    device's memory was too small."""
    idle: int | None = None
    """Number of parameters that no gradient reached at the last validated step; None if unknown."""
    certificate: dict[str, str | int] = field(default_factory=dict)
    """The certificate (`Certificate.head`): what proves the training data of the steps so far."""
    heads: list[dict[str, str | int]] = field(default_factory=list)
    """The certificate at each validation."""
    rows: list[list[float | str]] = field(default_factory=list)
    """Rows of train.csv."""


def validation_loss(
    trainee: Trainee, cases: OnGrid, indexes: Sequence[int], beat: Beat = lambda done: None
) -> float:
    """Return the mean loss over validation cases, which are not augmented.

    The random numbers of a case depend only on the seed and the case's id.

    Raises:
        NoRoomError: The device's memory is too small for a case.
    """
    trainee.net.eval()
    losses: list[float] = []
    cases_at_once = together.at_once_in_validation(trainee)
    losses_of_group = partial(_validation_losses, trainee, cases)
    with torch.no_grad():
        beat(0)
        groups = together.in_groups(  # raises NoRoomError
            "in validation", cases, indexes, cases_at_once, losses_of_group
        )
        for group_losses in groups:
            losses += group_losses
            # Not after the last case: `Interrupted` would discard a validation that is complete.
            if len(losses) < len(indexes):
                beat(len(losses))
    trainee.net.train()
    return math.fsum(losses) / len(losses)


def _validation_losses(trainee: Trainee, cases: OnGrid, group: Sequence[int]) -> list[float]:
    """Return the loss of each of some validation cases of equal size.

    There are several only if the method has the default loss, which needs no random numbers.
    """
    image = together.images_of(trainee, cases, group)
    pixels = np.array([cases.mask(index) for index in group], np.float32)
    mask = torch.from_numpy(pixels)[:, None].to(trainee.device)
    if len(group) == 1:
        (index,) = group
        return [float(trainee.loss(image, mask, "validation", cases.case(index).id))]
    with trainee.autocast():
        logits = trainee.method.logits(trainee.net, image)
        by_case = zip(torch.split(logits, 1), torch.split(mask, 1), strict=True)
        losses = [loss_of(*logits_and_mask) for logits_and_mask in by_case]
    return [float(loss) for loss in losses]


class Training:
    """A training that is under way: its steps, validations and checkpoints."""

    def __init__(self, trainee: Trainee, work: CellFolder) -> None:
        self.trainee, self.work = trainee, work
        self.state = TrainingState()
        self.optimiser = trainee.optimiser()
        self.best = self._weights()
        self._losses: list[Tensor] = []
        """Losses of the last steps, still on the device; `_flush` moves them to `state.losses`."""
        self.recent: float | None = None
        """Mean loss of the steps that were last copied from the device."""
        self.validation_loss: float | None = None
        """Of the last validation of this attempt."""
        self.saved: Path | None = None
        """The checkpoint on disk."""
        self._continue()
        self._began = time.monotonic() - self.state.seconds
        """When the training would have begun without the pauses between attempts."""
        self.batch_parts = self._batch_parts()
        self.certificate = Certificate(**self.state.certificate)  # type: ignore[arg-type]

    def _continue(self) -> None:
        """Continue from the latest checkpoint that is not damaged, if there is one."""
        path = next(checkpoint.newest(self.work), None)
        if path is None:
            return
        try:
            self._resume(path)
        except torch.cuda.OutOfMemoryError:  # a RuntimeError that says nothing of the checkpoint
            raise
        except UNFIT as error:
            raise RuntimeError(
                f"{path} is of another training ({error}); remove it and run again"
            ) from error

    def _batch_parts(self) -> int:
        """Return in how many parts a batch is computed; record the number if it has grown.

        It never falls again, because the same steps would not fit the device's memory again.
        """
        before = 1
        if self.state.parts:
            _since_step, before = self.state.parts[-1]
        if self.trainee.batch_parts > before:
            self.state.parts.append([self.state.step, self.trainee.batch_parts])
        return max(self.trainee.batch_parts, before)

    def _weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights; a tensor with several names (nnU-Net's) is copied once."""
        copies: dict[tuple[int, torch.Size], Tensor] = {}
        state = self.trainee.net.state_dict()
        for value in state.values():
            key = (value.data_ptr(), value.shape)
            if key not in copies:
                copies[key] = value.detach().to("cpu", copy=True)
        return {name: copies[value.data_ptr(), value.shape] for name, value in state.items()}

    @property
    def validation_due(self) -> bool:
        """Whether a validation must follow the step that was done last."""
        step, profile = self.state.step, self.trainee.profile
        last_validated = 0
        if self.state.rows:
            last_validated = int(self.state.rows[-1][0])
        at_interval = step % profile.validate_every == 0
        return step != last_validated and (at_interval or step == profile.steps)

    @property
    def finished(self) -> bool:
        """Whether the steps are used up or the validation loss has stopped falling."""
        profile = self.trainee.profile
        return self.state.step >= profile.steps or self.state.stale >= profile.patience

    @property
    def seconds(self) -> float:
        """Seconds of training up to now, without the pauses between attempts."""
        return time.monotonic() - self._began

    def step(self, batch: Batch) -> None:
        """Train on one batch."""
        device, pin = self.trainee.device, self.trainee.profile.pinned_memory
        images, masks = to_device(batch.images, device, pin), to_device(batch.masks, device, pin)
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        # Of 5 images, `tensor_split` makes 4 parts where 4 are asked for, `chunk` only 3.
        parts_of_both = (whole.tensor_split(self.batch_parts) for whole in (images, masks))
        pairs = zip(*parts_of_both, strict=True)
        for part, (image, mask) in enumerate(pairs):
            # By its address a part gets random numbers (`trainee.derive`). The first part has those
            # of a batch that is not divided.
            address = ("step", batch.step, part) if part else ("step", batch.step)
            share = len(image) / len(images)  # so that the parts' gradients add up to their mean
            loss = self.trainee.loss(image, mask, *address) * share
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.optimiser.step()
        if isinstance(self.trainee.method, AveragesWeights):
            self.trainee.method.stepped(self.trainee.net)
        self._losses.append(total)
        self.certificate.add(batch)
        self.state.step += 1
        if self.validation_due:
            self.state.idle = count_idle_parameters(self.trainee.net)
        if len(self._losses) >= LOSS_INTERVAL:
            self._flush()

    def _flush(self) -> None:
        """Copy the losses of the last steps from the device.

        Raises:
            FloatingPointError: A loss is not a finite number.
        """
        if not self._losses:
            return
        values = torch.stack(self._losses).tolist()
        self._losses.clear()
        first = self.state.step - len(values) + 1
        for step, value in enumerate(values, first):
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the training loss is {value} at step {step}; {self._advice()}"
                )
        self.recent = math.fsum(values) / len(values)
        self.state.losses += values

    def _check_weights(self) -> None:
        """Refuse weights that are no finite numbers: a gradient may be none where its loss is one.

        Raises:
            FloatingPointError: A weight is not finite.
        """
        finite = [weight.isfinite().all() for weight in self.trainee.net.parameters()]
        if finite and not bool(torch.stack(finite).all()):
            raise FloatingPointError(
                f"a weight is no finite number after step {self.state.step}; {self._advice()}"
            )

    def _advice(self) -> str:
        """Return advice for a training whose loss is not a finite number."""
        rate = self.optimiser.param_groups[0]["lr"]
        method = self.trainee.method
        usual = self.trainee.profile.lr
        if isinstance(method, OwnOptimiser):
            usual = method.usual_lr
        highest = method.lr or usual
        best = f"step {self.state.best_step}" if self.state.best_step else "none yet"
        kept = "none yet"
        if self.saved:
            kept = f"step {checkpoint.step_of(self.saved)} in {self.saved}"
        return (
            f"learning rate {rate:g}, best validation: {best}, last good checkpoint: {kept}; "
            f"give a lower rate by the method's option, such as lr={highest / 10:g}"
        )

    def record_validation(self, loss: float) -> None:
        """Record a validation loss: keep the weights if it is the lowest, extend train.csv.

        Raises:
            FloatingPointError: The loss is not a finite number.
        """
        self._flush()
        state = self.state
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the validation loss is {loss} after step {state.step}; {self._advice()}"
            )
        self.validation_loss = loss
        state.seconds = self.seconds
        state.stale += 1
        if loss < state.best_loss:
            state.best_loss, state.best_step, state.stale = loss, state.step, 0
            self.best = self._weights()
        mean_loss = math.fsum(state.losses) / len(state.losses)
        state.losses.clear()
        state.heads.append(self.certificate.head())
        state.rows.append([state.step, f"{mean_loss:.6g}", f"{loss:.6g}", f"{state.seconds:.2f}"])
        text = io.StringIO(newline="")
        csv.writer(text).writerows([COLUMNS, *state.rows])
        write(self.work.losses, text.getvalue())

    def save(self) -> None:
        """Write a checkpoint; keep the previous one.

        Raises:
            FloatingPointError: A loss or a weight is not a finite number.
        """
        self._flush()
        self._check_weights()
        self.state.seconds = self.seconds
        self.state.certificate = self.certificate.head()
        content = {
            "progress": asdict(self.state),
            "weights": self.trainee.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        }
        self.saved = checkpoint.write(self.work, self.state.step, content, self.saved)

    def _resume(self, path: Path) -> None:
        """Take everything from a checkpoint, as `save` wrote it."""
        content = checkpoint.read(path)
        self.state = TrainingState(**content["progress"])
        self.trainee.net.load_state_dict(content["weights"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.best = content["best"]
        self.saved = path


def train(
    trainee: Trainee,
    stream: Stream,
    validate: Callable[[Beat], float],
    work: CellFolder,
    tell: Tell = lambda note: None,
) -> TrainingState:
    """Train until the steps are used up or the validation loss stops falling.

    The network ends with the weights of the lowest validation loss. A training whose checkpoint is
    in `work` is continued, and on the same kind of processor the result is the same to the bit as
    without the interruption.

    Args:
        trainee: What is trained.
        stream: Its training data.
        validate: Returns the validation loss, and calls the given `Beat` after each case.
        work: The cell's folder.
        tell: Is told of the progress.

    Raises:
        BatchTooLargeError: The device's memory is too small for a batch.
        FloatingPointError: A loss is not a finite number.
        Interrupted: `tell` or `validate` raised it; there is a checkpoint of the last step.
    """
    training = Training(trainee, work)
    profile, state = trainee.profile, training.state
    last_saved = time.monotonic()
    trainee.net.train()

    def report(validated: int = 0) -> None:
        """Tell how far the training is; in a validation, how many of its cases are done."""
        note = Note(
            phase="train",
            step=state.step,
            steps=profile.steps,
            seconds=training.seconds,
            loss=training.recent,
            validation_loss=training.validation_loss,
            validated=validated,
        )
        tell(note)

    try:
        if training.validation_due:  # the last attempt was stopped during a validation
            training.record_validation(validate(report))
        # A training that had finished before it was continued has no steps left.
        last = state.step if training.finished else profile.steps
        for batch in stream.batches(state.step, last):
            try:
                training.step(batch)
            except torch.cuda.OutOfMemoryError as error:
                raise BatchTooLargeError(training.batch_parts) from error
            due = training.validation_due
            if due:
                training.record_validation(validate(report))
            if due or time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                training.save()
                last_saved = time.monotonic()
            report()
            if training.finished:
                break
    except Interrupted:
        # A second checkpoint of the same step would take the place of the previous one.
        if training.saved is None or checkpoint.step_of(training.saved) < state.step:
            training.save()
        raise
    trainee.net.load_state_dict(training.best)
    return state
