"""Verdiff-Net: a conditional U-Net predicts a prior mask, and a diffusion refines it.

Source: Zhang et al., Bioengineering 2024, 11(10):1031. The image passes through the MSFM
(`verdiff.msfm`). From the result, the conditional U-Net predicts the prior f. The diffusion U-Net,
with the NSA (`verdiff.nsa`) in its encoder, predicts the noise in x_t from x_t, f and the MSFM's
output. Train and sample:

    import torch
    from verdiff import VerdiffNet

    net = VerdiffNet(width=16, prior_width=8, levels=4, blocks=1)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    image = torch.rand(2, 1, 96, 64)
    mask = (torch.rand(2, 1, 96, 64) > 0.5).float()
    for step in range(100):
        loss = net.loss(image, mask, torch.Generator().manual_seed(step))
        adam.zero_grad()
        loss.backward()
        adam.step()
    rngs = [torch.Generator().manual_seed(i) for i in range(2)]
    net.eval()
    sampled = net.sample(image, rngs, samples=5, steps=20)
    print(sampled.probability.shape, sampled.spread.mean(), (sampled.prior > 0.5).sum())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verdiff.blocks import Plain, fold, initialise, unfold
from verdiff.diffusion import Diffusion
from verdiff.msfm import MSFM
from verdiff.nsa import NSA, gate_of
from verdiff.unet import ConditionalUNet, DiffusionUNet


@dataclass(frozen=True)
class Condition:
    """Everything that depends only on the image; it is computed once for all steps and samples."""

    logits: Tensor
    """The conditional U-Net's output (B, 1, H, W)."""
    f: Tensor
    """The prior mask 2 sigmoid(logits) - 1 (B, 1, H, W), in [-1, 1] like x0.

    No gradient passes through f, so the diffusion's loss does not train the conditional U-Net. Both
    losses train the MSFM, whose output both networks receive.
    """
    added: Tensor
    """Image features (B, width, H / patch, W / patch), with both sides rounded up.

    The diffusion U-Net adds them to the output of its first convolution.
    """
    gates: tuple[Tensor | None, ...]
    """The NSA's gate at each level."""

    def repeat(self, samples: int) -> Condition:
        """Return a condition for B * samples items: each image's own is repeated in a row."""
        if samples == 1:
            return self

        def again(value: Tensor) -> Tensor:
            return value.repeat_interleave(samples, 0)

        gates = tuple(None if gate is None else again(gate) for gate in self.gates)
        return Condition(again(self.logits), again(self.f), again(self.added), gates)


@dataclass(frozen=True)
class Sampled:
    """The prediction for a batch of images; each map is (B, 1, H, W)."""

    probability: Tensor
    """Mean of the samples, in [0, 1]."""
    spread: Tensor
    """Standard deviation over the samples, in [0, 0.5]: the uncertainty map."""
    prior: Tensor
    """The conditional U-Net's probability sigmoid(logits), in [0, 1]; unlike f, not rescaled."""


class VerdiffNet(nn.Module):
    """Verdiff-Net for grey images of any size and a binary mask.

    Args:
        width: Channels of the diffusion U-Net's first level: up to 128 a multiple of 4, above 128 a
            multiple of 32.
        prior_width: Channels of the conditional U-Net's first level and of the MSFM.
        levels: Depth of both U-Nets, at most 6.
        blocks: Residual blocks at each level of the diffusion U-Net.
        patch: Both networks receive each block of patch x patch pixels as the channels of one
            position. The paper has 1; with 2 the networks need about a quarter of the time.
        msfm: Whether the image passes through the MSFM; if not, both networks receive the image.
        nsa: Whether the last layer of each residual block of the encoder is an NSA; if not, it is a
            plain convolution.
        nsa_gate: `soft`, `hard` or `5x5`, see `verdiff.nsa.gate_of`.
        predicts: The output of the diffusion U-Net: `noise`, or `velocity` (Salimans and Ho 2022),
            from which the noise follows. When x_t is nearly pure noise, a predicted noise does not
            determine the mask, while a velocity of 0 gives the prior.

    The weights depend on one integer that is drawn from PyTorch's global generator. So two networks
    that are built after the same `torch.manual_seed` start with the same weights in all modules
    that both have.
    """

    def __init__(
        self,
        width: int = 128,
        prior_width: int = 32,
        levels: int = 6,
        blocks: int = 2,
        patch: int = 1,
        msfm: bool = True,
        nsa: bool = True,
        nsa_gate: str = "soft",
        predicts: str = "velocity",
    ) -> None:
        super().__init__()
        if predicts not in ("velocity", "noise"):
            raise ValueError(
                f"there is nothing like '{predicts}' to predict; expected velocity or noise"
            )
        seed = int(torch.randint(2**62, ()))
        pixels = patch**2
        self.patch = patch
        self.msfm = MSFM(pixels, prior_width) if msfm else None
        feature_channels = prior_width if msfm else pixels
        self.conditional = ConditionalUNet(feature_channels, pixels, prior_width, levels)
        self.fuse = nn.Conv2d(feature_channels, width, 3, padding=1)

        def last_layer(channels: int) -> nn.Module:
            return NSA(channels, nsa_gate) if nsa else Plain(channels)

        self.denoiser = DiffusionUNet(
            inputs=2 * pixels,  # x_t and f
            outputs=pixels,
            width=width,
            levels=levels,
            blocks=blocks,
            second=last_layer,
        )
        # Without the NSA nothing reads a gate; for "5x5", `gate_of` computes none.
        self.gate = nsa_gate if nsa else "5x5"
        self.diffusion = Diffusion()
        self.predicts = predicts
        initialise(self, seed)

    def condition(self, image: Tensor) -> Condition:
        """Return all that the diffusion needs of images (B, 1, H, W)."""
        folded = fold(image, self.patch)
        features = folded if self.msfm is None else self.msfm(folded)
        folded_logits, _, _ = self.conditional(features)
        logits = unfold(folded_logits.float(), self.patch, image.shape[-2:])
        probability = torch.sigmoid(logits).detach()
        gates = []
        height, width = folded.shape[-2:]
        for _ in range(len(self.denoiser.channels)):  # one gate for each level
            gates.append(gate_of(probability, (height, width), self.gate))
            height, width = (height + 1) // 2, (width + 1) // 2
        return Condition(logits, 2 * probability - 1, self.fuse(features), tuple(gates))

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the predicted noise (B, 1, H, W) in x_t (B, 1, H, W) at timesteps (B,), from 0."""
        folded = fold(torch.cat([x_t, condition.f], dim=1), self.patch)
        folded_output = self.denoiser(folded, t, condition.added, condition.gates).float()
        output = unfold(folded_output, self.patch, x_t.shape[-2:])
        if self.predicts == "noise":
            return output
        return self.diffusion.noise_of(output, x_t, condition.f, t)

    def loss(self, image: Tensor, mask: Tensor, rng: torch.Generator, bce: bool = True) -> Tensor:
        """Return the scalar loss (eq 8 to 10, and the loss of the prior).

        The loss is the sum of three parts: the mean squared error of the noise; the cross entropy
        and Dice loss of the prior; and with `bce` the cross entropy of the implied mask. The
        implied mask is the x0 that follows from x_t and the predicted noise, scaled to a
        probability and clipped to [0.01, 0.99]. The paper prints eq 9 with the noise in place of
        the mask, but noise is no probability.

        If the network predicts the noise, the third part is weighted by A_t, the product of a_1 to
        a_t with a = 1 - beta (`verdiff.diffusion`): without this weight, its gradient would be very
        large at large t. If the network predicts a velocity, no weight is needed.

        Args:
            image: (B, 1, H, W).
            mask: (B, 1, H, W) in {0, 1}.
            rng: Source of timesteps and noise, on the image's device.
            bce: Whether eq 9 is included.
        """
        condition = self.condition(image)
        diffusion = self.diffusion
        x0 = 2 * mask - 1
        t = torch.randint(len(diffusion.betas), (len(mask),), generator=rng, device=mask.device)
        noise = torch.randn(mask.shape, generator=rng, device=mask.device)
        x_t = diffusion.add_noise(x0, condition.f, noise, t)
        predicted = self.denoise(x_t, t, condition).float()
        loss = F.mse_loss(predicted, noise) + prior_loss(condition.logits, mask)
        if bce:
            implied = (diffusion.implied_mask(x_t, condition.f, predicted, t) + 1) / 2
            weight = torch.ones_like(mask)
            if self.predicts == "noise":
                weight = diffusion.cumulative_at(t, mask).expand_as(mask)
            # The training loop reports a loss that is NaN. `F.binary_cross_entropy` would raise an
            # error for a NaN before the loop sees it; the function of logits returns NaN.
            logits = torch.logit(implied, eps=0.01)
            loss = loss + F.binary_cross_entropy_with_logits(logits, mask, weight)
        return loss

    @torch.no_grad()
    def sample(
        self, image: Tensor, rngs: Sequence[torch.Generator], samples: int = 5, **options: Any
    ) -> Sampled:
        """Return the mean of several sampled masks, their spread, and the prior.

        Args:
            image: (B, 1, H, W).
            rngs: One generator for each image, so that its samples depend on no other image. All
                samples of an image draw from its generator, one after the other.
            samples: Number of sampled masks of each image; all are computed as one batch.
            options: Passed on to `verdiff.diffusion.Diffusion.sample`, which has the defaults:
                `scheduler` (`dpm`, `ddim` or `ddpm`), `steps` (number of timesteps that are
                visited), `start` (1000 begins at noise, less at the noised prior), `sampler`
                (`exact`, `paper_eq6` or `paper_alg2`) and `on_step` (a function that receives every
                timestep and state).
        """
        condition = self.condition(image)
        repeated = condition.repeat(samples)
        repeated_rngs: list[torch.Generator] = []
        for rng in rngs:
            repeated_rngs += [rng] * samples

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.denoise(x_t, t, repeated)

        x0 = self.diffusion.sample(denoise, repeated.f, repeated_rngs, **options)
        return summary((x0 + 1) / 2, condition.logits)


def summary(masks: Tensor, logits: Tensor) -> Sampled:
    """Summarise sampled masks (B * samples, 1, H, W) and the prior's logits (B, 1, H, W)."""
    by_image = masks.reshape(len(logits), -1, *masks.shape[1:])
    return Sampled(by_image.mean(1), by_image.std(1, correction=0), torch.sigmoid(logits))


def prior_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return cross entropy plus soft Dice loss of logits and masks in {0, 1}, both (B, 1, H, W).

    The Dice loss sums over all pixels of the batch, as if the batch were a single image.
    """
    probability = torch.sigmoid(logits)
    dice = (2 * (probability * mask).sum() + 1) / (probability.sum() + mask.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, mask) + 1 - dice
