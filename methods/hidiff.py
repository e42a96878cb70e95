"""HiDiff: a diffusion of binary masks refines the mask of a segmentor.

Only the paper's abstract was at hand. Its equations are written from memory (BerDiff's, with noise
that leads to the prior), and the rest is ours; the deviations say which. No code of the authors was
read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.spec.method import Task
from bench.spec.options import option
from verdiff_bench_methods.diffusion import HALF, TIMESTEPS, TINY, DiffusionMethod


@dataclass(frozen=True)
class HiDiff(DiffusionMethod):
    """A segmentor and a Bernoulli diffusion that refines its mask, on Verdiff-Net's two U-Nets."""

    scheduler: str = option(
        "ddim",
        "ddim keeps a pixel or takes the predicted one, ddpm draws from the posterior",
        choices=("ddim", "ddpm"),
    )
    steps: int = option(10, "network evaluations a sample", low=1, high=TIMESTEPS)

    in_all = False
    title = "HiDiff, own code"
    source = (
        "Chen et al.: HiDiff, IEEE TMI 2024, arXiv 2407.03548; noise after Chen et al.: BerDiff,"
        " arXiv 2304.04429; own code after the abstract, equations from memory"
    )
    scales = {
        "half": HALF,
        "small": {
            "width": 8,
            "prior_width": 10,
            "levels": 4,
            "blocks": 1,
            "steps": 5,
            "samples": 3,
        },
        "tiny": TINY,
    }

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the paper, as far as that is known to us."""
        sampler = {"ddim": "DDIM", "ddpm": "ancestral sampling"}[self.scheduler]
        sizes: dict[str, float] = {"width": 128, "prior_width": 32, "levels": 6, "blocks": 2}
        return (
            *self.size_notes(sizes, "full size, ours"),
            (
                "written from the paper's abstract and the equations as remembered (noise that"
                " flips pixels towards the prior), not from its text or code"
            ),
            (
                "both networks are Verdiff-Net's U-Nets (paper: any segmentor, already trained, and"
                " a refiner of its own)"
            ),
            "a refiner of full precision (paper: binarised)",
            (
                "features are exchanged by cross-attention in both directions at the coarsest level"
                " alone; the form of the paper's cross transformer is not known to us"
            ),
            (
                "segmentor and refiner are trained together on the sum of their losses; the prior"
                " is detached, the exchanged features are not (paper: trained in turn, each helped"
                " by the other)"
            ),
            (
                "the refiner's loss is the divergence of the posterior + cross entropy of the"
                " noise, both of weight 1 (BerDiff's, as remembered); the segmentor's is cross"
                " entropy + Dice"
            ),
            (
                f"cosine schedule of {TIMESTEPS} steps; {self.averaged_samples}, {sampler}, the"
                " last one not drawn; whether the paper's numbers are these is not known to us"
            ),
            (
                "the refiner corrects the noise that the prior alone implies, so that it starts as"
                " the prior (ours)"
            ),
            "the refiner also sees the image; the prior is kept 0.001 from 0 and 1 (ours)",
            f"{self.averaged} (ours)",
            "the harness's Adam and augmentation",
        )

    def build(self, task: Task) -> nn.Module:
        """Return the network and the moving average of its weights."""
        from verdiff_bench_methods.averaged import Averaged
        from verdiff_bench_methods.hidiff_network import Network

        live = Network(
            width=self.width,
            prior_width=self.prior_width,
            levels=self.levels,
            blocks=self.blocks,
            patch=self.patch,
        )
        return Averaged(live, self.ema)

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return the sum of all losses; in evaluation mode, of the averaged network."""
        loss: Tensor = cast(Any, net).network.loss(self.inputs.enter(image), mask, rng)
        return loss
