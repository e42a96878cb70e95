"""What Verdiff-Net and MedSegDiff share: how they sample, and how samples become an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from bench.spec.errors import UsageError
from bench.spec.method import Advantages, Answer, Method
from bench.spec.options import option

if TYPE_CHECKING:
    from verdiff.model import Sampled

TIMESTEPS = 1000
SHOWN = 4
"""States x_t in the picture of the diffusion."""


@dataclass(frozen=True)
class DiffusionMethod(Method):
    """A method whose answer is the mean of masks that its averaged network samples.

    The network samples as `verdiff.VerdiffNet` does.
    """

    scheduler: str = option(
        "dpm", "dpm is DPM-Solver++ of second order", choices=("ddpm", "ddim", "dpm")
    )
    steps: int = option(20, "network evaluations a sample", low=1, high=TIMESTEPS)
    samples: int = option(5, "sampled masks, whose mean is the answer", low=1)
    width: int = option(
        128, "channels of the diffusion U-Net; a multiple of 4 up to 128, of 32 above", low=4
    )
    prior_width: int = option(32, "channels of the conditional U-Net", low=1)
    levels: int = option(6, "depth of both U-Nets", low=2, high=6)
    blocks: int = option(2, "residual blocks a level", low=1)
    patch: int = option(
        1, "side of the blocks of pixels that enter as channels; 2 costs a quarter", low=1, high=8
    )
    ema: float = option(
        0.9999, "highest rate of the moving average of weights, which answers", low=0, high=0.99999
    )

    extras = ("prior",)
    needs = ("verdiff",)

    def __post_init__(self) -> None:
        """Refuse a width that the group norm cannot divide.

        Raises:
            UsageError: The width is none that can be built.
        """
        step = 4 if self.width <= 128 else 32
        if self.width % step:
            raise UsageError(
                f"width={self.width} cannot be divided by the group norm; expected a multiple of 4"
                f" up to 128, of 32 above, such as width={self.width - self.width % step}"
            )

    def size_notes(self, full: dict[str, float], of: str) -> tuple[str, ...]:
        """Return the deviations that other sizes than the full ones are."""
        own = {
            name: getattr(self, name) for name, size in full.items() if getattr(self, name) != size
        }
        notes = (
            (own, f"{_listed(own)} ({of}: {_listed(full)})"),
            (self.patch > 1, f"blocks of {self.patch} x {self.patch} pixels enter as channels"),
        )
        return tuple(note for applies, note in notes if applies)

    @property
    def averaged(self) -> str:
        """How the weights are averaged, as a deviation."""
        return (
            f"a moving average of the weights answers, its rate after n steps min({self.ema:g}, (1"
            " + n) / (10 + n))"
        )

    def stepped(self, net: nn.Module) -> None:
        """Average the weights."""
        cast(Any, net).average.update_parameters(cast(Any, net).live)

    def advantages(self) -> Advantages:
        """Return that samples are averaged; the prior's row has one answer."""
        several = f"mean of {self.samples} samples (not its prior)" if self.samples > 1 else "none"
        return Advantages(ensembling=several)

    def how(self) -> dict[str, Any]:
        """Return how samples are drawn, as `verdiff.Diffusion.sample` takes it."""
        return {"scheduler": self.scheduler, "steps": self.steps}

    def sample(self, net: nn.Module, image: Tensor, rng: torch.Generator, **more: Any) -> Sampled:
        """Return the sampled answer for an image (1, 1, H, W) in [0, 1]."""
        if len(image) != 1:
            raise ValueError(
                f"{len(image)} images and one generator: noise would depend on the batch; give one"
                " image"
            )
        sampled: Sampled = cast(Any, net).network.sample(
            self.inputs.enter(image), [rng], samples=self.samples, **self.how(), **more
        )
        return sampled

    def predict(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Tensor:
        """Return the mean of the samples (B, 1, H, W)."""
        return self.sample(net, image, rng).probability

    def answer(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Answer:
        """Return the mean of the samples, their spread, and the prior alone as a row of its own."""
        sampled = self.sample(net, image, rng)
        return Answer(sampled.probability, sampled.spread, {"prior": sampled.prior})

    def stages(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the prior, the first sample's x_t at several t, the mean and the spread."""
        count = min(SHOWN, self.steps)
        wanted = {round(i * (self.steps - 1) / max(count - 1, 1)) for i in range(count)}
        calls, noisy = iter(range(self.steps)), {}

        def keep(t: int, x_t: Tensor) -> None:
            if next(calls) in wanted:
                noisy[f"x at t = {t + 1}"] = x_t[:1].cpu()

        sampled = self.sample(net, image, rng, on_step=keep)
        return {
            "prior": sampled.prior,
            **noisy,
            "mean": sampled.probability,
            "spread": sampled.spread,
        }


def _listed(sizes: dict[str, float]) -> str:
    return ", ".join(f"{name}={size:g}" for name, size in sizes.items())
