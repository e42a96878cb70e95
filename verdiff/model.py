"""Verdiff-Net: a conditional U-Net predicts a prior mask, and a diffusion refines it.

Source: Zhang et al., Bioengineering 2024, 11(10):1031. Image b -> MSFM -> conditional U-Net ->
prior f; x_t, f and the MSFM's output -> diffusion U-Net with NSA in its encoder -> the noise in
x_t. Train and sample:

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
    sampled = net.eval().sample(image, rngs, samples=5, steps=20)
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
    """The prior mask 2 sigmoid(logits) - 1 (B, 1, H, W).

    It is detached, so the diffusion's loss trains no weight through it. The MSFM, which feeds both
    networks, is trained by both losses.
    """
    added: Tensor
    """The image features that are added to the diffusion U-Net's stem.

    (B, width, H / patch, W / patch).
    """
    gates: tuple[Tensor | None, ...]
    """The NSA's gate at each level."""

    def repeat(self, samples: int) -> Condition:
        """Return the condition of every image `samples` times, for one batch of all samples."""
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
    """The conditional U-Net's own probability, in [0, 1]."""


class VerdiffNet(nn.Module):
    """Verdiff-Net for grey images of any size and a binary mask.

    Args:
        width: Channels of the diffusion U-Net's first level: a multiple of 4, above 128 of 32.
        prior_width: Channels of the conditional U-Net's first level and of the MSFM.
        levels: Depth of both U-Nets, at most 6.
        blocks: Residual blocks at each level of the diffusion U-Net.
        patch: Side of the blocks of pixels that enter both networks as channels. The paper's is 1;
            2 needs a quarter of the time.
        msfm: Whether the image goes through the MSFM; if not, it enters both networks as it is.
        nsa: Whether the NSA closes the encoder's residual blocks; if not, a plain convolution does.
        nsa_gate: `soft`, `hard` or `5x5`, see `verdiff.nsa.gate_of`.
        predicts: The output of the diffusion U-Net: `noise`, or `velocity` (Salimans and Ho 2022),
            from which the noise follows. When x_t is nearly pure noise, a predicted noise does not
            determine the mask, while a velocity of 0 gives the prior.

    Two networks built from the same global seed have the same weights in all modules that both
    have.
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
        seen = prior_width if msfm else pixels
        self.conditional = ConditionalUNet(seen, pixels, prior_width, levels)
        self.fuse = nn.Conv2d(seen, width, 3, padding=1)
        second = (lambda channels: NSA(channels, nsa_gate)) if nsa else Plain
        self.denoiser = DiffusionUNet(2 * pixels, pixels, width, levels, blocks, second)
        self.gate = nsa_gate if nsa else "5x5"
        self.diffusion = Diffusion()
        self.predicts = predicts
        initialise(self, seed)

    def condition(self, image: Tensor) -> Condition:
        """Return all that the diffusion needs of images (B, 1, H, W)."""
        folded = fold(image, self.patch)
        X = folded if self.msfm is None else self.msfm(folded)
        logits = unfold(self.conditional(X)[0].float(), self.patch, image.shape[-2:])
        probability = torch.sigmoid(logits).detach()
        gates = []
        size = (folded.shape[-2], folded.shape[-1])
        for _ in self.denoiser.channels:
            gates.append(gate_of(probability, size, self.gate))
            size = (-(-size[0] // 2), -(-size[1] // 2))
        return Condition(logits, 2 * probability - 1, self.fuse(X), tuple(gates))

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the predicted noise (B, 1, H, W) in x_t (B, 1, H, W) at timesteps (B,), from 0."""
        seen = fold(torch.cat([x_t, condition.f], dim=1), self.patch)
        out = self.denoiser(seen, t, condition.added, condition.gates).float()
        out = unfold(out, self.patch, x_t.shape[-2:])
        if self.predicts == "noise":
            return out
        return self.diffusion.noise_of(out, x_t, condition.f, t)

    def loss(self, image: Tensor, mask: Tensor, rng: torch.Generator, bce: bool = True) -> Tensor:
        """Return the scalar loss (eq 8 to 10, and the loss of the prior).

        It is the sum of the mean squared error of the noise, the cross entropy and Dice loss of the
        prior, and with `bce` the cross entropy of the mask that the predicted noise implies, cut to
        [0.01, 0.99] (eq 9 is printed on the noise itself, which is no probability). If the network
        predicts the noise, the last one is weighted by A_t, because its gradient would otherwise
        grow without bound in t; with a velocity it does not.

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
            weight = diffusion.at(t, mask) if self.predicts == "noise" else torch.ones_like(mask)
            # Of logits, because the cross entropy of probabilities refuses NaN with an error.
            logits = torch.logit(implied, eps=0.01)
            loss = loss + F.binary_cross_entropy_with_logits(logits, mask, weight.expand_as(mask))
        return loss

    @torch.no_grad()
    def sample(
        self, image: Tensor, rngs: Sequence[torch.Generator], samples: int = 5, **how: Any
    ) -> Sampled:
        """Return the mean of several sampled masks, their spread, and the prior.

        Args:
            image: (B, 1, H, W).
            rngs: A generator for each image, so that its samples depend on no other image.
            samples: Sampled masks of each image, computed as one batch.
            how: `scheduler`, `steps`, `start`, `sampler`, `on_step` of
                `verdiff.diffusion.Diffusion.sample`.
        """
        condition = self.condition(image)
        many = condition.repeat(samples)
        repeated: list[torch.Generator] = []
        for rng in rngs:
            repeated += [rng] * samples

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.denoise(x_t, t, many)

        x0 = self.diffusion.sample(denoise, many.f, repeated, **how)
        return summary((x0 + 1) / 2, condition.logits)


def summary(masks: Tensor, logits: Tensor) -> Sampled:
    """Summarise sampled masks (B samples, 1, H, W) and the prior's logits (B, 1, H, W)."""
    by_image = masks.reshape(len(logits), -1, *masks.shape[1:])
    return Sampled(by_image.mean(1), by_image.std(1, correction=0), torch.sigmoid(logits))


def prior_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return cross entropy plus soft Dice loss of logits and masks in {0, 1}, both (B, 1, H, W)."""
    probability = torch.sigmoid(logits)
    dice = (2 * (probability * mask).sum() + 1) / (probability.sum() + mask.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, mask) + 1 - dice
