"""What a method may do beyond the contract of `bench.spec.method`: small protocols.

A method has a capability if it has the members, whether or not it names the protocol. The harness
asks `isinstance(method, TrainsItself)` and nothing else. So a capability that depends on an option
(`nnunet:recipe=native`) belongs to a subclass, which the class's `__new__` returns for that option.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bench.spec.method import Answer, Cases, Method, Task
    from bench.spec.note import Tell


@runtime_checkable
class TrainsItself(Protocol):
    """Trains itself, on data of its own making: its rows are marked, and win no comparison."""

    def fit(
        self, cases: Cases, task: Task, work: Path, device: torch.device, seed: int, tell: Tell
    ) -> nn.Module:
        """Return the network trained by the method's own code.

        An interrupted training is repeated from the start.

        Args:
            cases: Training and validation cases.
            task: Their sizes, and the profile's batch and steps.
            work: An empty folder for the method's files.
            device: Where it trains.
            seed: Of all its random numbers.
            tell: Takes how far the training is. The last step that it takes becomes the number of
                steps in the record, so it must be called at least once.
        """


@runtime_checkable
class ToldBox(Protocol):
    """Is told the reference's bounding box: an oracle, which is marked and wins no comparison."""

    def told(
        self, net: nn.Module, image: Tensor, rng: torch.Generator, box: Tensor | None
    ) -> Answer:
        """Return the answer for one image (1, 1, H, W).

        Args:
            net: The network.
            image: In [0, 1].
            rng: Source of noise.
            box: The reference's left, top, right and bottom edge in pixels (4,); None where it is
                empty.
        """


@runtime_checkable
class AnswersWithMore(Protocol):
    """Gives further rows of the tables from the same weights, or a spread over samples."""

    extras: tuple[str, ...]
    """Names of the further rows."""

    def answer(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Answer:
        """Return the answer for one image (1, 1, H, W) in [0, 1].

        It has what `predict` gives, and the further rows or the spread. Noise may come from `rng`
        alone.
        """


@runtime_checkable
class ShowsStages(Protocol):
    """Shows how it comes to its answer."""

    def stages(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Mapping[str, Tensor]:
        """Return maps (1, 1, H, W) for one image, by title, in order."""


@runtime_checkable
class AveragesWeights(Protocol):
    """Does something after each optimiser step, such as averaging weights."""

    def stepped(self, net: nn.Module) -> None:
        """Do what follows a step, with the weights that the step has just changed."""


@runtime_checkable
class OwnOptimiser(Protocol):
    """Is trained by another optimiser than the profile's Adam."""

    @property
    def usual_lr(self) -> float:
        """The highest learning rate, unless the option `lr` says another."""

    def make_optimiser(self, net: nn.Module, task: Task) -> torch.optim.Optimizer:
        """Return the optimiser of a network."""


@runtime_checkable
class Switchable(Protocol):
    """Has modules that `bench ablate` switches on and off."""

    factors: tuple[str, ...]
    """The on/off options, which are switched unless the user names others."""


@runtime_checkable
class Described(Protocol):
    """Says how its network was built (nnU-Net's plans); it is kept with the results."""

    def about(self, net: nn.Module) -> dict[str, Any]:
        """Return how a network was built, as data that JSON can hold."""


def further_rows(method: Method) -> tuple[str, ...]:
    """Return the names of a method's further rows."""
    if isinstance(method, AnswersWithMore):
        return method.extras
    return ()


def compares(method: Method) -> bool:
    """Return whether a method's rows can win a comparison: it has the others' data and no more."""
    from bench.spec.program import Program

    return not isinstance(method, TrainsItself | ToldBox | Program)


def tunable(method: Method) -> bool:
    """Return whether `bench tune` has anything to do: a row that wins nothing is not tuned."""
    return bool(method.space) and compares(method)


def highest_lr(method: Method, profile_lr: float) -> float:
    """Return the highest learning rate that a method is trained with."""
    if method.lr:  # an option that the user gave; 0 if not
        return method.lr
    if isinstance(method, OwnOptimiser):
        return method.usual_lr
    return profile_lr
