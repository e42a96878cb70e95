"""What Verdiff-Net and MedSegDiff share: how they sample, and how their samples become an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.method import Answer, Method
from bench.options import option

if TYPE_CHECKING:
    from verdiff.model import Sampled

TIMESTEPS = 1000
SHOWN = 4
"""States x_t in the picture of the diffusion."""


@dataclass(frozen=True)
class DiffusionMethod(Method):
    """A method whose answer is the mean of sampled masks; its network has the `sample` of `verdiff.VerdiffNet`."""

    scheduler: str = option("dpm", "dpm is DPM-Solver++ of second order", choices=("ddpm", "ddim", "dpm"))
    steps: int = option(20, "network evaluations a sample", low=1, high=TIMESTEPS)
    samples: int = option(5, "sampled masks, whose mean is the answer", low=1)
    width: int = option(128, "channels of the diffusion U-Net; a multiple of 4 up to 128, of 32 above", low=4)
    prior_width: int = option(32, "channels of the conditional U-Net", low=1)
    levels: int = option(6, "depth of both U-Nets", low=2, high=6)
    blocks: int = option(2, "residual blocks a level", low=1)
    patch: int = option(1, "side of the blocks of pixels that enter as channels; 2 costs a quarter", low=1, high=8)

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
                f"width={self.width} cannot be divided by the group norm; expected a multiple of 4 up to 128, of 32 "
                f"above, such as width={self.width - self.width % step}"
            )

    def how(self) -> dict[str, Any]:
        """Return how samples are drawn, as `verdiff.Diffusion.sample` takes it."""
        return {"scheduler": self.scheduler, "steps": self.steps}

    def sample(self, net: nn.Module, image: Tensor, rng: torch.Generator, **more: Any) -> Sampled:
        """Return the sampled answer for images (B, 1, H, W) in [0, 1]."""
        seen = self.inputs.enter(image)
        sampled: Sampled = net.sample(seen, [rng] * len(seen), samples=self.samples, **self.how(), **more)  # type: ignore[operator]
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
        states: list[tuple[int, Tensor]] = []
        sampled = self.sample(net, image, rng, watch=lambda t, x_t: states.append((t, x_t[:1].clone())))
        count = min(SHOWN, len(states))
        chosen = [states[round(i * (len(states) - 1) / max(count - 1, 1))] for i in range(count)]
        noisy = {f"x at t = {t + 1}": x_t for t, x_t in chosen}
        return {"prior": sampled.prior, **noisy, "mean": sampled.probability, "spread": sampled.spread}
