from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import msgspec
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from bench.data.augment import PAPER
from bench.data.grid import OnGrid
from bench.data.stream import Stream
from bench.engine import checkpoint
from bench.engine.train import (
    BatchTooLargeError,
    Beat,
    Interrupted,
    Training,
    TrainingState,
    train,
    validation_loss,
)
from bench.engine.trainee import Trainee, derive, generator
from bench.spec import registry
from bench.spec.method import Method, Task
from bench.spec.names import Spec
from bench.spec.note import Note, Tell
from bench.spec.profile import Profile, load_profile
from bench.store.layout import CellFolder
from tests.data.test_stream import dataset

GRID = (64, 48)
DATA = OnGrid(dataset(), GRID)


@dataclass(frozen=True)
class Small(Method):
    """A network with dropout and batch norm: it has state and needs random numbers."""

    title = "Small"
    source = "tests"

    def build(self, task: Task) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout2d(0.3),
            nn.Conv2d(6, 1, 1),
        )

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        noise = 0.1 * torch.randn(image.shape, generator=rng)
        return super().loss(net, image + noise, mask, rng)


def profile(**changes: object) -> Profile:
    return replace(
        load_profile("smoke"), **{"steps": 24, "validate_every": 6, "patience": 9, **changes}
    )


def trainee(method: Method | None = None, **changes: object) -> Trainee:
    chosen, task = method or Small(), Task("mr", (GRID,), 2, 24)
    torch.manual_seed(derive(35, "weights"))
    return Trainee(chosen, chosen.build(task), task, profile(**changes), 35, torch.device("cpu"))


def fit(
    work: Path, subject: Trainee, tell: Tell = lambda note: None
) -> tuple[TrainingState, dict[str, torch.Tensor]]:
    work.mkdir(exist_ok=True)
    stream = Stream(DATA, range(5), 35, 2, PAPER)
    progress = train(
        subject,
        stream,
        lambda beat: validation_loss(subject, DATA, [5, 6], beat),
        CellFolder(work),
        tell,
    )
    return progress, {k: v.clone() for k, v in subject.net.state_dict().items()}


@pytest.mark.parametrize("name", ["verdiff", "medsegdiff", "nnunet", "sam", "swin_unet"])
def test_an_interrupted_method_ends_bit_identical(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with an average of weights outside the optimiser, and the method's own schedule."""
    method = registry.method(Spec.parse(name), "tiny")
    _, weights = fit(tmp_path / "whole", trainee(method, steps=12, validate_every=4))
    monkeypatch.setattr("bench.engine.train.CHECKPOINT_SECONDS", 0.0)

    def kill(note: Note) -> None:
        if note.step == 7:
            raise KilledError

    with pytest.raises(KilledError):
        fit(tmp_path / "part", trainee(method, steps=12, validate_every=4), kill)
    _, again = fit(tmp_path / "part", trainee(method, steps=12, validate_every=4))
    assert all(torch.equal(weights[k], again[k]) for k in weights)


class KilledError(Exception):
    """Stands in for the end of the process."""


@pytest.mark.parametrize("at", [1, 6, 7, 13, 23])
def test_an_interrupted_training_ends_bit_identical(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, weights = fit(tmp_path / "whole", trainee())
    monkeypatch.setattr("bench.engine.train.CHECKPOINT_SECONDS", 0.0 if at % 2 else 1e9)

    def kill(note: Note) -> None:
        if note.step == at:
            raise KilledError

    with pytest.raises(KilledError):
        fit(tmp_path / "part", trainee(), kill)
    torch.manual_seed(999)
    resumed, again = fit(tmp_path / "part", trainee())
    assert all(torch.equal(weights[k], again[k]) for k in weights)
    assert resumed.heads == whole.heads
    assert [row[:3] for row in resumed.rows] == [row[:3] for row in whole.rows]
    assert (resumed.best_step, resumed.best_loss) == (whole.best_step, whole.best_loss)


@pytest.mark.parametrize(("at", "validated"), [(5, 0), (6, 0), (6, 1), (24, 1)])
def test_who_is_told_to_stop_writes_a_checkpoint_of_that_step(
    tmp_path: Path, at: int, validated: int
) -> None:
    """Also in the middle of a validation, which is made up for."""
    whole, weights = fit(tmp_path / "whole", trainee())

    def stop(note: Note) -> None:
        if (note.step, note.validated) == (at, validated):
            raise Interrupted

    with pytest.raises(Interrupted):
        fit(tmp_path / "part", trainee(), stop)
    assert next(checkpoint.newest(CellFolder(tmp_path / "part"))).name.startswith(
        f"checkpoint-{at:08}-"
    )
    resumed, again = fit(tmp_path / "part", trainee())
    assert all(torch.equal(weights[k], again[k]) for k in weights)
    assert resumed.heads == whole.heads
    assert [row[:3] for row in resumed.rows] == [row[:3] for row in whole.rows]
    assert resumed.idle == whole.idle


@dataclass(frozen=True)
class Separable(Method):
    """A network and a loss of which a batch's mean is the mean of its parts'."""

    title = "Separable"
    source = "tests"

    def build(self, task: Task) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1)).double()

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        return nn.functional.mse_loss(net(image.double()), mask.double())


def test_a_batch_in_parts_is_the_same_batch(tmp_path: Path) -> None:
    """Up to rounding, where neither the network nor the loss looks across the batch."""
    _, whole = fit(tmp_path / "whole", trainee(Separable()))
    progress, parts = fit(tmp_path / "parts", replace(trainee(Separable()), batch_parts=2))
    assert progress.parts == [[0, 2]]
    for name, weight in whole.items():
        assert torch.allclose(weight, parts[name], rtol=1e-9, atol=1e-12)


def test_a_batch_is_in_as_many_parts_as_are_told(tmp_path: Path) -> None:
    sizes = []

    @dataclass(frozen=True)
    class Noting(Separable):
        def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
            sizes.append(len(image))
            return super().loss(net, image, mask, rng)

    training = Training(replace(trainee(Noting()), batch_parts=4), CellFolder(tmp_path))
    training.step(Stream(DATA, range(6), 35, 6, PAPER).at(0))
    assert sizes == [2, 2, 1, 1]


def test_parts_are_kept_by_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.engine.train.CHECKPOINT_SECONDS", 0.0)

    def kill(note: Note) -> None:
        if note.step == 7:
            raise KilledError

    with pytest.raises(KilledError):
        fit(tmp_path, trainee(), kill)
    with pytest.raises(KilledError):  # the device had too little memory for step 8
        fit(
            tmp_path,
            replace(trainee(), batch_parts=2),
            lambda note: kill(msgspec.structs.replace(note, step=note.step - 2)),
        )
    progress, _ = fit(tmp_path, trainee())
    assert progress.parts == [[7, 2]]


def test_a_kill_while_a_checkpoint_is_written_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, weights = fit(tmp_path / "whole", trainee())
    real = torch.save
    calls = []

    def half(state: dict, file: BinaryIO) -> None:
        calls.append(file)
        real(state, file)
        if len(calls) == 2:
            file.truncate(1000)
            raise KilledError

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KilledError):
        fit(tmp_path / "part", trainee())
    monkeypatch.setattr(torch, "save", real)
    _, again = fit(tmp_path / "part", trainee())
    assert all(torch.equal(weights[k], again[k]) for k in weights)


@pytest.mark.parametrize("harm", ["truncated", "altered", "both"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    _, weights = fit(tmp_path / "whole", trainee())
    fit(tmp_path / "part", trainee())
    newest, before = sorted((tmp_path / "part").glob("checkpoint-*.pt"), reverse=True)
    whole = newest.read_bytes()
    newest.write_bytes(whole[:1000] if harm == "truncated" else whole[:500] + b"?" + whole[501:])
    if harm == "both":
        before.write_bytes(b"")
    _, again = fit(tmp_path / "part", trainee())
    assert all(torch.equal(weights[k], again[k]) for k in weights)
    assert capsys.readouterr().out.count("is truncated or altered") == 1 + (harm == "both")


@pytest.mark.parametrize("progress", [{}, {"field_of_another_version": 1}])
def test_a_checkpoint_of_another_network_is_named_with_the_remedy(
    tmp_path: Path, progress: dict[str, int]
) -> None:
    checkpoint.write(
        CellFolder(tmp_path), 3, {"progress": progress, "weights": {}, "optimiser": {}, "best": {}}
    )
    with pytest.raises(
        RuntimeError,
        match=r"checkpoint-00000003-\w+\.pt is of another training (?s:.*) remove it and run",
    ):
        fit(tmp_path, trainee())


def test_a_checkpoint_that_does_not_fit_into_the_device_is_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path, trainee())

    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.Adam, "load_state_dict", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fit(tmp_path, trainee())


@dataclass(frozen=True)
class Large(Small):
    """Does not fit into the device's memory after some steps, in however many parts."""

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        if ROOM.pop() == 0:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().loss(net, image, mask, rng)


ROOM: list[int] = []
"""What `Large` finds, the last first: 0 is no room."""


def test_a_batch_that_does_not_fit_says_in_how_many_parts_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.engine.train.CHECKPOINT_SECONDS", 0.0)
    ROOM[:] = [0, 1, 1]  # a step in two parts, then no room
    with pytest.raises(BatchTooLargeError) as first:
        fit(tmp_path, replace(trainee(Large()), batch_parts=2))
    ROOM[:] = [0]
    with pytest.raises(BatchTooLargeError) as continued:
        fit(tmp_path, trainee(Large()))
    assert (first.value.parts, continued.value.parts) == (2, 2)


def test_training_stops_when_the_validation_loss_stops_falling_and_keeps_the_best(
    tmp_path: Path,
) -> None:
    subject = trainee(steps=100, validate_every=5, patience=3)
    losses = iter([5.0, 3.0, 4.0, 3.5, 3.0, 1.0])
    stream = Stream(DATA, range(5), 35, 2, PAPER)
    at_best: dict[str, Tensor] = {}

    def validate(_: Beat) -> float:
        lost = next(losses)
        if lost == 3.0 and not at_best:
            at_best.update({k: v.clone() for k, v in subject.net.state_dict().items()})
        return lost

    progress = train(subject, stream, validate, CellFolder(tmp_path))
    assert (progress.step, progress.best_step, progress.best_loss) == (25, 10, 3.0)
    assert all(torch.equal(at_best[k], v) for k, v in subject.net.state_dict().items())


def test_a_training_that_had_stopped_is_not_continued(tmp_path: Path) -> None:
    rising = iter(range(1, 100))
    for _ in range(2):
        subject = trainee(steps=100, validate_every=4, patience=2)
        progress = train(
            subject,
            Stream(DATA, range(5), 35, 2, PAPER),
            lambda _: float(next(rising)),
            CellFolder(tmp_path),
        )
        assert (progress.step, progress.best_step) == (12, 4)
    assert next(rising) == 4


@dataclass(frozen=True)
class Broken(Small):
    """Its loss is no number after the first few."""

    good: int = 3

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        loss = super().loss(net, image, mask, rng)
        object.__setattr__(self, "count", getattr(self, "count", 0) + 1)
        return loss * float("nan") if self.count > self.good else loss


def test_a_loss_that_is_no_number_stops_with_the_step_and_the_rate(tmp_path: Path) -> None:
    with pytest.raises(
        FloatingPointError,
        match=r"is nan at step 4; learning rate 0\.001, .* none yet; .* lr=0\.0001$",
    ):
        fit(tmp_path, trainee(Broken()))


def test_the_advice_follows_the_rate_that_the_method_has(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"option, such as lr=2$"):
        fit(tmp_path, trainee(Broken(lr=20.0)))


def test_weights_that_are_no_numbers_are_not_kept_in_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.engine.train.CHECKPOINT_SECONDS", 0.0)
    subject = trainee()
    weight = next(subject.net.parameters())

    def spoil(note: Note) -> None:
        if note.step == 3:
            with torch.no_grad():
                weight.fill_(float("nan"))

    # Step 4 has a loss that is no number too, but losses are read every few steps.
    with pytest.raises(FloatingPointError, match=r"after step 4|at step 4"):
        fit(tmp_path, subject, spoil)
    kept = sorted(tmp_path.glob("checkpoint-*.pt"))
    assert [checkpoint.step_of(path) for path in kept] == [2, 3]


def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(
        FloatingPointError,
        match=r"at step 4; .* best validation: step 2, .* step 2 in .*checkpoint",
    ):
        fit(tmp_path, trainee(Broken(5), validate_every=2))
    assert checkpoint.read(next(checkpoint.newest(CellFolder(tmp_path))))["progress"]["step"] == 2


def test_validation_is_comparable_between_steps() -> None:
    subject = trainee()
    first = validation_loss(subject, DATA, [5, 6])
    torch.manual_seed(4)
    assert validation_loss(subject, DATA, [5, 6]) == first
    assert subject.net.training


def test_addresses_give_unrelated_generators() -> None:
    cpu = torch.device("cpu")
    draws = {
        tuple(torch.rand(2, generator=generator(cpu, 35, "step", i)).tolist()) for i in range(100)
    }
    assert len(draws) == 100
    assert derive(35, "step", 1) != derive(351, "step", "")


def test_weights_are_written_to_the_same_bytes_by_any_process(tmp_path: Path) -> None:
    """Safetensors lists the further names of a tensor in an order that each process draws anew."""
    code = (
        "import sys, torch; from pathlib import Path; from torch import nn\n"
        "from bench.engine.trainee import save_weights\n"
        "torch.manual_seed(1)\n"
        "net = nn.Module()\n"
        "net.one = nn.Linear(2, 2)\n"
        "for number in range(20): setattr(net, f'other{number}', net.one)\n"
        "save_weights(net, Path(sys.argv[1]))\n"
    )
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", "pt") as file:
        assert list(file.keys()) == ["one.bias", "one.weight"]
        assert len(file.metadata()) == 40


def test_a_restart_behind_damaged_checkpoints_keeps_its_own(tmp_path: Path) -> None:
    """The damaged ones are of later steps, and must not take the places of whole ones."""
    before = None
    for step in (100, 200):
        before = checkpoint.write(CellFolder(tmp_path), step, {"step": step}, before)
    for path in tmp_path.glob("checkpoint-*.pt"):
        path.write_bytes(b"")
    before = None
    for step in (50, 60):
        assert not list(checkpoint.newest(CellFolder(tmp_path))) or before
        before = checkpoint.write(CellFolder(tmp_path), step, {"step": step}, before)
        assert next(checkpoint.newest(CellFolder(tmp_path))) == before
    assert [checkpoint.step_of(path) for path in checkpoint.newest(CellFolder(tmp_path))] == [
        60,
        50,
    ]


def test_a_damaged_checkpoint_is_never_the_one_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.engine.train.CHECKPOINT_SECONDS", 0.0)
    stop = {"step": 4}

    def kill(note: Note) -> None:
        if note.step == stop["step"]:
            raise KilledError

    with pytest.raises(KilledError):
        fit(tmp_path, trainee(), kill)
    next(checkpoint.newest(CellFolder(tmp_path))).write_bytes(
        b""
    )  # of step 4; that of step 3 is continued
    stop["step"] = 4
    with pytest.raises(KilledError):
        fit(tmp_path, trainee(), kill)
    assert [checkpoint.step_of(path) for path in checkpoint.newest(CellFolder(tmp_path))] == [4, 3]


def test_who_is_told_to_stop_after_a_checkpoint_keeps_the_one_before_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second checkpoint of the same step would take the place of the earlier one."""
    monkeypatch.setattr("bench.engine.train.CHECKPOINT_SECONDS", 0.0)

    def stop(note: Note) -> None:
        if note.step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        fit(tmp_path, trainee(), stop)
    assert [checkpoint.step_of(path) for path in checkpoint.newest(CellFolder(tmp_path))] == [4, 3]


def test_seconds_include_the_step_and_the_validation_of_their_row(tmp_path: Path) -> None:
    """Also of a validation that an interrupted training still has to do."""
    subject = trainee(steps=1, validate_every=1)

    def fit_slowly(stop: bool) -> TrainingState:
        def validate(beat: Beat) -> float:
            if stop:
                raise Interrupted
            time.sleep(0.1)
            return 1.0

        return train(subject, Stream(DATA, range(5), 35, 2, PAPER), validate, CellFolder(tmp_path))

    with pytest.raises(Interrupted):
        fit_slowly(stop=True)
    resumed = fit_slowly(stop=False)
    assert resumed.seconds > 0.1
    assert float(resumed.rows[0][3]) > 0.09
