"""What Verdiff-Net, MedSegDiff and HiDiff share: options, how they sample, and their answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from bench.spec.errors import UsageError
from bench.spec.method import Advantages, Answer, Method
from bench.spec.options import option

if TYPE_CHECKING:
    from verdiff.model import Sampled

TIMESTEPS = 1000
"""Timesteps of the diffusion, as in `verdiff.diffusion`, which is imported only when needed."""
SHOWN = 4
"""Number of states x_t in the picture of the diffusion."""
HALF = {
    "width": 40,
    "prior_width": 24,
    "levels": 5,
    "blocks": 1,
    "patch": 2,
    "steps": 5,
    "samples": 3,
}
"""The sizes of all three under the profile `lunch`."""
TINY = {
    "width": 8,
    "prior_width": 4,
    "levels": 3,
    "blocks": 1,
    "patch": 2,
    "steps": 2,
    "samples": 2,
}
"""The sizes of all three under the profile `smoke`, for tests."""


@dataclass(frozen=True)
class DiffusionMethod(Method):
    """A method that samples several masks and answers with their mean.

    `build` returns an `Averaged` (`averaged.py`): the network that is trained, and the one that
    samples, which has the moving average of the weights. Its method `sample` is like that of
    `verdiff.VerdiffNet`. The default sizes are those of MedSegDiff's code.
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

    extras: ClassVar[tuple[str, ...]] = ("prior",)
    needs = ("verdiff",)

    def __post_init__(self) -> None:
        """Refuse a width that the group norm cannot divide.

        Raises:
            UsageError: The width is no multiple of 4, or above 128 no multiple of 32.
        """
        multiple = 4 if self.width <= 128 else 32  # as `verdiff.blocks.groups_of` divides it
        if self.width % multiple:
            raise UsageError(
                f"width={self.width} cannot be divided by the group norm; expected a multiple of 4"
                f" up to 128, of 32 above, such as width={self.width - self.width % multiple}"
            )

    def size_notes(self, full: dict[str, float], of: str) -> tuple[str, ...]:
        """Return the deviations that concern sizes.

        Args:
            full: The size of each option in the full network.
            of: Where the full sizes come from, for the text.
        """
        own = {name: getattr(self, name) for name in full}
        changed = {name: size for name, size in own.items() if size != full[name]}
        notes = []
        if changed:
            notes.append(f"{_listed(changed)} ({of}: {_listed(full)})")
        if self.patch > 1:
            notes.append(f"blocks of {self.patch} x {self.patch} pixels enter as channels")
        return tuple(notes)

    @property
    def averaged(self) -> str:
        """The deviation that says how the weights are averaged."""
        return (
            f"a moving average of the weights answers, its rate after n steps min({self.ema:g}, (1"
            " + n) / (10 + n))"
        )

    @property
    def averaged_samples(self) -> str:
        """Of how many samples the answer is the mean, and of how many steps each is."""
        samples = f"{self.samples} sample{'s' * (self.samples > 1)}"
        return f"mean of {samples} of {self.steps} step{'s' * (self.steps > 1)}"

    def stepped(self, net: nn.Module) -> None:
        """Include the weights after a step in their moving average."""
        cast(Any, net).average.update_parameters(cast(Any, net).live)

    def advantages(self) -> Advantages:
        """Return that samples are averaged, if there are several; its prior's row has no mean."""
        if self.samples == 1:
            return Advantages()
        return Advantages(ensembling=f"mean of {self.samples} samples (not its prior)")

    def how(self) -> dict[str, Any]:
        """Return how the network's method `sample` is to draw a sample, by its arguments."""
        return {"scheduler": self.scheduler, "steps": self.steps}

    def sample(self, net: nn.Module, image: Tensor, rng: torch.Generator, **more: Any) -> Sampled:
        """Return the sampled answer for an image (1, 1, H, W) in [0, 1].

        Args:
            net: The network, in evaluation mode.
            image: The image.
            rng: Source of all samples' noise.
            more: Further arguments of the network's method `sample`, such as `on_step`.

        Raises:
            ValueError: There are several images, whose noise one generator cannot keep apart.
        """
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
        """Return the mean of the samples (1, 1, H, W)."""
        return self.sample(net, image, rng).probability

    def answer(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Answer:
        """Return the mean of the samples, their spread, and the prior, which has its own row."""
        sampled = self.sample(net, image, rng)
        return Answer(sampled.probability, sampled.spread, {"prior": sampled.prior})

    def stages(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Return the prior, the first sample's x_t at several t, the mean and the spread."""
        # Steps at equal distances, from the first to the last.
        count = min(SHOWN, self.steps)
        shown_steps = {round(i * (self.steps - 1) / max(count - 1, 1)) for i in range(count)}
        step_numbers = iter(range(self.steps))
        noisy = {}

        def keep_shown(t: int, x_t: Tensor) -> None:
            if next(step_numbers) in shown_steps:
                # Papers count timesteps from 1, the code from 0. The first sample is shown.
                noisy[f"x at t = {t + 1}"] = x_t[:1].cpu()

        sampled = self.sample(net, image, rng, on_step=keep_shown)
        return {
            "prior": sampled.prior,
            **noisy,
            "mean": sampled.probability,
            "spread": sampled.spread,
        }


def _listed(sizes: dict[str, float]) -> str:
    """Return sizes as options have them: `width=8, levels=4`."""
    return ", ".join(f"{name}={size:g}" for name, size in sizes.items())
