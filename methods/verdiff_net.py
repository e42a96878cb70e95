"""Verdiff-Net, the paper's model; where the paper leaves a choice open, there is an option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.spec.errors import UsageError
from bench.spec.method import Task
from bench.spec.options import option
from verdiff_bench_methods.diffusion import HALF, TIMESTEPS, TINY, DiffusionMethod


@dataclass(frozen=True)
class VerdiffNet(DiffusionMethod):
    """MSFM, conditional U-Net and prior-shifted diffusion with NSA.

    The options `msfm` and `nsa` say what these two are. The model itself is `verdiff.VerdiffNet`.
    """

    msfm: bool = option(
        True, "multi-scale fusion module; off: the image enters both networks as it is"
    )
    nsa: bool = option(True, "noise semantic adapter; off: plain convolutions in the encoder")
    nsa_gate: str = option(
        "soft",
        "how the prior chooses NSA's first kernel",
        choices=("soft", "hard", "5x5"),
        needs="nsa=on",
    )
    bce: bool = option(True, "cross entropy of the mask that the output implies (eq 9)")
    dice: bool = option(True, "Dice of that mask in the diffusion's loss, as in the prior's")
    predicts: str = option(
        "mask",
        "what the diffusion U-Net puts out: a correction of the prior's logits, velocity or noise",
        choices=("mask", "velocity", "noise"),
    )
    detach: bool = option(
        False,
        "keep the loss of the corrected mask from training the prior",
        needs="predicts=mask",
    )
    scale: float = option(
        0.1, "largest value of the mask in the diffusion (paper: unstated)", low=0.001, high=10
    )
    scheduler: str = option(
        "dpm",
        "dpm is DPM-Solver++ of second order",
        choices=("ddpm", "ddim", "dpm"),
        needs="sampler=exact",
    )
    start: int = option(
        TIMESTEPS,
        "where sampling begins: the prior noised up to this timestep",
        low=1,
        high=TIMESTEPS,
        needs="sampler=exact",
    )
    sampler: str = option(
        "exact",
        "exact, or the paper's printed equations, which take no scheduler and no start",
        choices=("exact", "paper_eq6", "paper_alg2"),
    )

    title = "Verdiff-Net"
    source = (
        "Zhang et al.: Verdiff-Net, Bioengineering 2024, 11(10):1031; no public code, own code"
        " after the paper"
    )
    factors = ("msfm", "nsa")  # what `bench ablate` switches
    scales = {  # under the profiles lunch, cpu and smoke
        "half": HALF,
        "small": {
            "width": 8,
            "prior_width": 8,
            "levels": 4,
            "blocks": 1,
            "steps": 3,
            "samples": 3,
        },
        "tiny": TINY,
    }

    def __post_init__(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: There are more steps than timesteps to visit.
        """
        super().__post_init__()
        if self.steps > self.start:
            raise UsageError(
                f"steps={self.steps} is more than start={self.start}; add steps={self.start} or"
                " fewer, or raise start"
            )

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the paper, and what it chooses where that is open."""
        sampling = {
            "exact": (
                "sampled by the exact posterior of eq 2 (printed: eq 6 and algorithm 2, which are"
                " not)"
            ),
            "paper_eq6": "sampled by eq 6 as printed, which is not the posterior of eq 2",
            "paper_alg2": "sampled by algorithm 2 as printed, which forgets the prior",
        }
        solver = {"dpm": "DPM-Solver++", "ddim": "DDIM", "ddpm": "ancestral sampling"}[
            self.scheduler
        ]
        lines = [
            sampling[self.sampler],
            self.averaged_samples
            + (f", {solver}" if self.sampler == "exact" else "")
            + f", from t = {self.start} (paper: T = 1000 implied, numbers unstated)",
            f"{self.averaged} (the backbone's own training: 0.9999; paper: unstated)",
            (
                "the prior is trained by cross entropy + Dice, detached where it shifts the"
                " diffusion, and a second input channel beside x_t (paper: unstated)"
            ),
        ]
        if self.predicts != "noise":
            output = {"mask": "a correction of the prior's logits", "velocity": "a velocity"}
            lines.append(
                f"the network puts out {output[self.predicts]}, from which the noise of eq 8"
                " follows (paper: the noise)"
            )
        if self.predicts == "mask":
            trains = "does not train" if self.detach else "trains"
            lines.append(f"the loss of the corrected mask {trains} the prior (paper: unstated)")
            lines.append(
                "eq 8 weighted by min(1, 1 / SNR): in this range of masks it is at most"
                f" {4 * self.scale**2:.4g} times the squared error of the mask's probability"
                " (paper: not)"
            )
        if self.scale != 1:
            lines.append(f"masks in [-{self.scale:g}, {self.scale:g}] in the diffusion (unstated)")
        if self.bce:
            weight = ", weighted by A_t" if self.predicts == "noise" else ""
            lines.append(f"eq 9 on the mask that the output implies{weight} (printed on the noise)")
        else:
            lines.append("without eq 9")
        if self.dice:
            lines.append("Dice of the mask in the diffusion's loss (paper: not)")
        if self.msfm:
            lines.append(
                "MSFM on a 3x3 stem, its branches with batch norm and ReLU, layer norm in its"
                " squeeze (paper: the raw image; batch norm, which at batch 1 cannot train there);"
                " the prior's and the diffusion's loss train it"
            )
        if self.nsa:
            lines.append(
                "NSA is the second convolution of the encoder's residual blocks, depthwise, gate"
                f" {self.nsa_gate} by the prior (paper: place and choice left open)"
            )
        return (
            *self.size_notes({"width": 128, "prior_width": 32, "levels": 6, "blocks": 2}, "full"),
            *lines,
        )

    def build(self, task: Task) -> nn.Module:
        """Return the network and the moving average of its weights.

        Modules that two arms of an ablation have in common start with the same weights.
        """
        from verdiff.model import VerdiffNet as Network
        from verdiff_bench_methods.averaged import Averaged

        live = Network(
            width=self.width,
            prior_width=self.prior_width,
            levels=self.levels,
            blocks=self.blocks,
            patch=self.patch,
            msfm=self.msfm,
            nsa=self.nsa,
            nsa_gate=self.nsa_gate,
            predicts=self.predicts,
            scale=self.scale,
            detach=self.detach,
        )
        return Averaged(live, self.ema)

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return the paper's total loss plus the prior's.

        In evaluation mode it is the loss of the averaged weights.
        """
        loss: Tensor = cast(Any, net).network.loss(
            self.inputs.enter(image), mask, rng, self.bce, self.dice
        )
        return loss

    def how(self) -> dict[str, Any]:
        """Return the options of `verdiff.diffusion.Diffusion.sample`."""
        return {**super().how(), "start": self.start, "sampler": self.sampler}
