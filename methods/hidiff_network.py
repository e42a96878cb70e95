"""HiDiff's network: a segmentor, a refiner of its mask, and their exchange of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verdiff.blocks import ZeroConv2d, fold, groups_of, initialise, unfold
from verdiff.model import Sampled, prior_loss, summary
from verdiff.unet import ConditionalUNet, DiffusionUNet
from verdiff_bench_methods.bernoulli_diffusion import TIMESTEPS, BernoulliDiffusion, divergence

HEADS = 4
"""Attention heads of the exchange; they divide every width that a refiner can have."""
EDGE = 1e-3
"""The prior is at least this far from 0 and 1: a pixel that it is sure of can still be flipped."""


class CrossAttention(nn.Module):
    """A transformer block in which the positions of one map attend to those of another.

    It starts as the identity.

    Args:
        channels: Channels C of both maps, a multiple of the heads.
        groups: Groups of the group norms.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm_own = nn.GroupNorm(groups, channels)
        self.norm_other = nn.GroupNorm(groups, channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = ZeroConv2d(channels, channels, 1)
        self.feed = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.Conv2d(channels, 4 * channels, 1),
            nn.GELU(),
            ZeroConv2d(4 * channels, channels, 1),
        )

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Map features (B, C, H, W) to features of the same shape, with what the other tells."""
        seen = self.norm_other(other)
        parts = (self.query(self.norm_own(own)), self.key(seen), self.value(seen))
        q, k, v = (_tokens(part) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v).mT.reshape(own.shape)
        own = own + self.out(mixed)
        fed: Tensor = own + self.feed(own)
        return fed


def _tokens(x: Tensor) -> Tensor:
    """Return a map (B, C, H, W) as positions (B, heads, H W, C / heads)."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, HEADS, channels // HEADS, height * width).mT


class Exchange(nn.Module):
    """Both networks' coarsest features attend to each other; the refiner receives both results.

    Args:
        theirs: Channels of the segmentor's features.
        ours: Channels of the refiner's features.
        groups: Groups of the group norms.
    """

    def __init__(self, theirs: int, ours: int, groups: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(theirs, ours, 1)
        self.to_refiner = CrossAttention(ours, groups)
        self.to_segmentor = CrossAttention(ours, groups)
        self.join = nn.Conv2d(2 * ours, ours, 1)

    def forward(self, generative: Tensor, discriminative: Tensor) -> Tensor:
        """Return the refiner's features (B, ours, H, W) of its own and (B, theirs, H, W)."""
        entered = self.enter(discriminative)
        told = self.to_refiner(generative, entered)
        asked = self.to_segmentor(entered, generative)
        joined: Tensor = generative + self.join(torch.cat([told, asked], dim=1))
        return joined


@dataclass(frozen=True)
class Condition:
    """Everything that depends only on the image; computed once for all steps and samples."""

    logits: Tensor
    """The segmentor's output (B, 1, H, W)."""
    f: Tensor
    """The prior (B, 1, H, W), a probability; no gradient passes through it."""
    image: Tensor
    """The normalised image (B, 1, H, W)."""
    coarse: Tensor
    """The segmentor's coarsest features."""

    def repeat(self, samples: int) -> Condition:
        """Return the condition of every image `samples` times."""

        def again(x: Tensor) -> Tensor:
            return x.repeat_interleave(samples, 0)

        return Condition(again(self.logits), again(self.f), again(self.image), again(self.coarse))


class Network(nn.Module):
    """A segmentor, and a refiner that predicts which pixels of a noisy mask are flipped.

    Args:
        width: Channels of the refiner's first level: up to 128 a multiple of 4, above 128 a
            multiple of 32.
        prior_width: Channels of the segmentor's first level.
        levels: Depth of both U-Nets, at most 6.
        blocks: Residual blocks at each level of the refiner.
        patch: Both networks receive each block of patch x patch pixels as the channels of one
            position.
    """

    def __init__(self, width: int, prior_width: int, levels: int, blocks: int, patch: int) -> None:
        super().__init__()
        seed = int(torch.randint(2**62, ()))
        pixels, self.patch = patch**2, patch
        self.segmentor = ConditionalUNet(pixels, pixels, prior_width, levels)
        self.refiner = DiffusionUNet(3 * pixels, pixels, width, levels, blocks)
        self.exchange = Exchange(
            self.segmentor.channels[-1], self.refiner.channels[-1], groups_of(width)
        )
        self.diffusion = BernoulliDiffusion()
        initialise(self, seed)

    def condition(self, image: Tensor) -> Condition:
        """Return all that depends on images (B, 1, H, W) alone."""
        folded_logits, encoded, _ = self.segmentor(fold(image, self.patch))
        logits = unfold(folded_logits.float(), self.patch, image.shape[-2:])
        f = torch.sigmoid(logits).detach().clamp(EDGE, 1 - EDGE)
        return Condition(logits, f, image, encoded[-1])

    def denoise(self, y_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return logits (B, 1, H, W) of the pixels of y_t that are flipped, at timesteps (B,).

        The refiner puts out a correction of what the prior alone says, so that an output of 0
        samples the prior.
        """
        refiner = self.refiner
        time = refiner.embed(t)
        seen = torch.cat([2 * y_t - 1, 2 * condition.f - 1, condition.image], dim=1)
        skips, ends = refiner.encode(fold(seen, self.patch), time)
        joined = self.exchange(ends[-1], condition.coarse)
        folded = refiner.decode(joined, skips, time)
        correction = unfold(folded.float(), self.patch, y_t.shape[-2:])
        return self.diffusion.flips_by_prior(y_t, condition.f, t) + correction

    def loss(self, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return the segmentor's loss plus both losses of the refiner.

        These are the divergence of the predicted from the true posterior of the timestep before,
        and the cross entropy of the flipped pixels.

        Args:
            image: (B, 1, H, W).
            mask: (B, 1, H, W) in {0, 1}.
            rng: Source of timesteps and noise, on the image's device.
        """
        condition, diffusion = self.condition(image), self.diffusion
        t = torch.randint(TIMESTEPS, (len(mask),), generator=rng, device=mask.device)
        chance = torch.rand(mask.shape, generator=rng, device=mask.device)
        flipped = (chance < diffusion.flips(mask, condition.f, t)).float()
        y_t = (mask - flipped).abs()
        logits = self.denoise(y_t, t, condition)
        y0 = (y_t - torch.sigmoid(logits)).abs()
        true = diffusion.posterior(y_t, mask, condition.f, t, t - 1)
        predicted = diffusion.posterior(y_t, y0, condition.f, t, t - 1)
        return (
            prior_loss(condition.logits, mask)
            + divergence(true, predicted)
            + F.binary_cross_entropy_with_logits(logits, flipped)
        )

    @torch.no_grad()
    def sample(
        self, image: Tensor, rngs: Sequence[torch.Generator], samples: int, **how: Any
    ) -> Sampled:
        """Return the mean of several sampled masks, their spread, and the prior.

        Args:
            image: (B, 1, H, W).
            rngs: One generator for each image.
            samples: Sampled masks of each image.
            how: Passed on to `methods.bernoulli_diffusion.BernoulliDiffusion.sample`.
        """
        condition = self.condition(image)
        repeated = condition.repeat(samples)
        repeated_rngs: list[torch.Generator] = []
        for rng in rngs:
            repeated_rngs += [rng] * samples

        def denoise(y_t: Tensor, t: Tensor) -> Tensor:
            return torch.sigmoid(self.denoise(y_t, t, repeated))

        masks = self.diffusion.sample(denoise, repeated.f, repeated_rngs, **how)
        return summary(masks, condition.logits)
