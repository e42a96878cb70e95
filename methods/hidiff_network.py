"""HiDiff's network: a segmentor, a refiner of its mask, and their exchange of features.

The segmentor predicts the mask from the image (the paper calls it discriminative). Its probability
is the prior. The refiner is the denoiser of a diffusion that starts from the prior (the paper calls
it generative). y_t, t and the prior f are as in `methods.bernoulli_diffusion`.
"""

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
"""The prior is at least this far from 0 and 1: so even a pixel of which the segmentor is sure can
still be flipped."""


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
        """Return the map `own` (B, C, H, W), changed by its attention to the map `other`.

        Both maps and the result have the same shape.
        """
        normed_other = self.norm_other(other)
        q = _tokens(self.query(self.norm_own(own)))
        k = _tokens(self.key(normed_other))
        v = _tokens(self.value(normed_other))
        mixed = F.scaled_dot_product_attention(q, k, v).mT.reshape(own.shape)
        attended = own + self.out(mixed)
        changed: Tensor = attended + self.feed(attended)
        return changed


def _tokens(x: Tensor) -> Tensor:
    """Return a map (B, C, H, W) as positions (B, heads, H W, C / heads)."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, HEADS, channels // HEADS, height * width).mT


class Exchange(nn.Module):
    """Both networks' coarsest features attend to each other; the refiner receives both results.

    The segmentor receives nothing: it has already answered.

    Args:
        segmentor_channels: Channels of the segmentor's features.
        refiner_channels: Channels of the refiner's features.
        groups: Groups of the group norms.
    """

    def __init__(self, segmentor_channels: int, refiner_channels: int, groups: int) -> None:
        super().__init__()
        # The names of modules stay as they are: weights are drawn and saved by them.
        self.enter = nn.Conv2d(segmentor_channels, refiner_channels, 1)
        self.to_refiner = CrossAttention(refiner_channels, groups)
        self.to_segmentor = CrossAttention(refiner_channels, groups)
        self.join = nn.Conv2d(2 * refiner_channels, refiner_channels, 1)

    def forward(self, of_refiner: Tensor, of_segmentor: Tensor) -> Tensor:
        """Return the refiner's features, to which what both attentions find is added.

        Args:
            of_refiner: The refiner's features (B, refiner_channels, H, W), as the result.
            of_segmentor: The segmentor's features (B, segmentor_channels, H, W).
        """
        of_segmentor = self.enter(of_segmentor)  # to as many channels as the refiner's
        refiner_informed = self.to_refiner(of_refiner, of_segmentor)
        segmentor_informed = self.to_segmentor(of_segmentor, of_refiner)
        both = torch.cat([refiner_informed, segmentor_informed], dim=1)
        exchanged: Tensor = of_refiner + self.join(both)
        return exchanged


@dataclass(frozen=True)
class Condition:
    """Everything that depends only on the image; computed once for all steps and samples."""

    logits: Tensor
    """The segmentor's output (B, 1, H, W)."""
    f: Tensor
    """The prior (B, 1, H, W): the segmentor's probability, through which no gradient passes."""
    image: Tensor
    """The normalised image (B, 1, H, W)."""
    coarse: Tensor
    """The segmentor's coarsest features (B, C, h, w)."""

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
        # Drawn first, so that it does not depend on how much the constructors below draw.
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
        # The refiner sees none of the features of the segmentor's decoder.
        folded_logits, encoder_features, _ = self.segmentor(fold(image, self.patch))
        logits = unfold(folded_logits.float(), self.patch, image.shape[-2:])
        f = torch.sigmoid(logits).detach().clamp(EDGE, 1 - EDGE)
        return Condition(logits, f, image, coarse=encoder_features[-1])

    def denoise(self, y_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return logits (B, 1, H, W) of the pixels of y_t that are flipped, at timesteps (B,).

        The refiner puts out a correction of what the prior alone says, so that an output of 0
        samples the prior.
        """
        refiner = self.refiner
        time = refiner.embed(t)
        # Masks enter in [-1, 1], centred as the normalised image is.
        shown = torch.cat([2 * y_t - 1, 2 * condition.f - 1, condition.image], dim=1)
        skips, level_ends = refiner.encode(fold(shown, self.patch), time)
        exchanged = self.exchange(level_ends[-1], condition.coarse)
        folded_correction = refiner.decode(exchanged, skips, time)
        correction = unfold(folded_correction.float(), self.patch, y_t.shape[-2:])
        return self.diffusion.flip_logits_by_prior(y_t, condition.f, t) + correction

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
        before = t - 1  # -1 is the timestep of the clean mask
        chance = torch.rand(mask.shape, generator=rng, device=mask.device)
        flipped = (chance < diffusion.flip_probability(mask, condition.f, t)).float()
        y_t = (mask - flipped).abs()  # 1 - mask where flipped is 1
        flip_logits = self.denoise(y_t, t, condition)
        p_flipped = torch.sigmoid(flip_logits)
        p_mask = (y_t - p_flipped).abs()  # 1 - p_flipped where y_t is 1, p_flipped where it is 0
        true = diffusion.posterior(y_t, mask, condition.f, t, before)
        predicted = diffusion.posterior(y_t, p_mask, condition.f, t, before)
        return (
            prior_loss(condition.logits, mask)
            + divergence(true, predicted)
            + F.binary_cross_entropy_with_logits(flip_logits, flipped)
        )

    @torch.no_grad()
    def sample(
        self, image: Tensor, rngs: Sequence[torch.Generator], samples: int, **how: Any
    ) -> Sampled:
        """Return the mean of several sampled masks, their spread, and the prior.

        Args:
            image: (B, 1, H, W).
            rngs: One generator for each image; all samples of an image draw from it, one after the
                other.
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
