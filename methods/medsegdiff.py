"""MedSegDiff in its first published version: dynamic encoding with the FF-Parser.

Unlike the published code, this one accepts images of any height and width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.spec.method import Answer, Inputs, Task
from bench.spec.options import option
from bench.spec.space import Between
from verdiff_bench_methods.diffusion import HALF, TIMESTEPS, TINY, DiffusionMethod


@dataclass(frozen=True)
class MedSegDiff(DiffusionMethod):
    """Diffusion that no prior shifts, with the same backbone as Verdiff-Net.

    MedSegDiff's public code also has a later network, called `new`; this is not that one.
    """

    steps: int = option(50, "network evaluations a sample", low=1, high=TIMESTEPS)
    rule: str = option(
        "v1",
        "how samples become the answer: v1, as its first code joins each with the conditioner's"
        " mask, or samples alone",
        choices=("v1", "samples"),
    )
    detach: bool = option(
        False, "keep the diffusion's loss from training the conditioner, as its later code does"
    )
    predicts: str = option(
        "noise", "what the diffusion U-Net puts out", choices=("noise", "velocity")
    )
    dropout: float = option(
        0.5, "probability that a channel of the conditioner's encoder is dropped", low=0, high=0.9
    )

    space = {"lr": Between(1e-4, 1e-2, log=True), "dropout": Between(0.0, 0.7)}
    extras = ("prior", "samples")
    title = "MedSegDiff"
    source = (
        "Wu et al.: MedSegDiff, MIDL 2023, arXiv 2211.00611 (first version); own code after the"
        " paper and its code"
    )
    inputs = Inputs(normalise="unit")
    # `small` has U-Net's multiply-adds under the profile `cpu`; `tiny` is for tests.
    scales = {
        "half": HALF,
        "small": {
            "width": 8,
            "prior_width": 10,
            "levels": 4,
            "blocks": 1,
            "steps": 5,
            "samples": 3,
            "dropout": 0.1,
        },
        "tiny": TINY,
    }

    def __post_init__(self) -> None:
        """Leave out the row of the bare samples where they are the answer.

        Raises:
            UsageError: As in the base class.
        """
        super().__post_init__()
        if self.rule == "samples":
            object.__setattr__(self, "extras", ("prior",))

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the paper and its public code."""
        sizes = {"width": 128, "prior_width": 32, "levels": 6, "blocks": 2, "dropout": 0.5}
        solver = {"dpm": "DPM-Solver++", "ddim": "DDIM", "ddpm": "ancestral sampling"}[
            self.scheduler
        ]
        output: tuple[str, ...] = ()
        if self.predicts == "velocity":
            output = ("the network puts out a velocity (source: the noise)",)
        return (
            *self.size_notes(sizes, "source"),
            *output,
            (
                f"the profile's steps of batch {batch} (its own recipe: 60,000 to 100,000 steps of"
                " batch 8, no augmentation, 256 x 256)"
            ),
            (
                f"{self.averaged_samples}, {solver} "
                "(source: 1000 ancestral steps; its code's STAPLE is the squared mean)"
            ),
            (
                "conditional features from the image alone, computed once (first version: at every"
                " step); its last ones join the stem through a convolution, as in the later version"
            ),
            self._answer_note(),
            self._training_note(),
            "the mask in [0, 1] in sampling (first version: [-1, 1])",
            (
                "dynamic encoding by the paper's formula at every level below the first, with"
                " convolutions of its own"
            ),
            (
                "the FF-Parser's weights are interpolated for images of another size than the"
                " largest in training"
            ),
            "fixed variance, no variational bound (source: learned variance)",
            "PyTorch's initial weights in the conditioner (source: He et al. 2015)",
            f"{self.averaged} (source: 0.9999)",
            "the harness's Adam and augmentation (source: AdamW, without)",
        )

    def _training_note(self) -> str:
        """Return the deviation that says what the diffusion's loss trains."""
        if self.detach:
            return "the diffusion's loss does not train the conditioner, as in the later version"
        return "the diffusion's loss trains the conditioner too, as in the first version"

    def _answer_note(self) -> str:
        """Return the deviation that says how samples become an answer."""
        if self.rule == "samples":
            return (
                "answers with its samples alone (first version: joined with the conditioner's mask)"
            )
        return (
            "each sample joined with the conditioner's mask by the first version's rule; its row"
            " 'samples' is without the rule"
        )

    def how(self) -> dict[str, Any]:
        """Return how `Network.sample` is to draw a sample and join it with the prior."""
        return {**super().how(), "rule": self.rule}

    def answer(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Answer:
        """Return the answer, its spread over samples, and the rows of prior and bare samples."""
        # An `Answered` of `medsegdiff_network.py`, which is imported only when it is built.
        sampled = cast(Any, self.sample(net, image, rng))
        rows = {"prior": sampled.prior, "samples": sampled.bare}
        own = {name: rows[name] for name in self.extras}
        return Answer(sampled.probability, sampled.spread, own)

    def build(self, task: Task) -> nn.Module:
        """Return the network and the moving average of its weights.

        An FF-Parser has a weight for each channel and each frequency of the largest training image.
        """
        from verdiff_bench_methods.averaged import Averaged
        from verdiff_bench_methods.medsegdiff_network import Network

        live = Network(
            task.size,
            width=self.width,
            prior_width=self.prior_width,
            levels=self.levels,
            blocks=self.blocks,
            patch=self.patch,
            dropout=self.dropout,
            detach=self.detach,
            predicts=self.predicts,
        )
        return Averaged(live, self.ema)

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return the sum of the conditioner's and the diffusion's loss.

        In evaluation mode it is that of the averaged network (`Averaged.network`).
        """
        loss: Tensor = cast(Any, net).network.loss(self.inputs.enter(image), mask, rng)
        return loss
