"""MedSegDiff's network: a conditioner, a diffusion U-Net, and the dynamic encoding between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verdiff.blocks import fold, initialise, unfold
from verdiff.diffusion import Diffusion
from verdiff.model import Sampled, summary
from verdiff.unet import ConditionalUNet, DiffusionUNet

ALIKE, SHARE = 0.65, 0.25
"""From which Dice with the conditioner's mask on a sample counts as much as that mask, and how much
another sample adds to it; both as in MedSegDiff's first code."""


class FFParser(nn.Module):
    """A learned complex weight for each channel and spatial frequency (MedSegDiff, eq 4).

    For features of another size than `size`, the weights are interpolated between the nearest
    frequencies.

    Args:
        channels: Channels of the features.
        size: Height and width of the features for whose frequencies there is one weight each.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, size[0], size[1] // 2 + 1, 2))
        self.size = size
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight as the public code does."""
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, C, H, W) to features of the same shape."""
        size = (x.shape[-2], x.shape[-1])
        weight = self.weight if size == self.size else self._resampled(size)
        with torch.autocast(x.device.type, enabled=False):  # the transform needs float32
            spectrum = torch.fft.rfft2(x.float(), norm="ortho")
            weighted = spectrum * torch.view_as_complex(weight.contiguous())
            parsed: Tensor = torch.fft.irfft2(weighted, s=size, norm="ortho")
        return parsed

    def _resampled(self, size: tuple[int, int]) -> Tensor:
        """Return the weight (C, H, W // 2 + 1, 2) at the frequencies of another size."""
        # `grid_sample` needs frequencies in rising order: the shift puts the negative ones first.
        # (2, C, H, W // 2 + 1): real and imaginary part take the place of the batch.
        centred = torch.fft.fftshift(self.weight, dim=1).permute(3, 0, 1, 2)
        rows = torch.fft.fftshift(torch.fft.fftfreq(size[0]))
        columns = torch.fft.rfftfreq(size[1])
        own_rows = torch.fft.fftshift(torch.fft.fftfreq(self.size[0]))
        own_columns = torch.fft.rfftfreq(self.size[1])
        row_column = torch.stack(
            torch.meshgrid(_place(rows, own_rows), _place(columns, own_columns), indexing="ij"),
            dim=-1,
        )
        # `grid_sample` expects (column, row).
        grid = row_column.flip(-1).to(self.weight).expand(2, -1, -1, -1)
        shifted = F.grid_sample(
            centred, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        resampled: Tensor = torch.fft.ifftshift(shifted, dim=2).permute(1, 2, 3, 0)
        return resampled


def _place(wanted: Tensor, own: Tensor) -> Tensor:
    """Return the places of frequencies in a list of others: -1 is its first, 1 its last."""
    return 2 * (wanted - own[0]) / (own[-1] - own[0]).clamp_min(1e-9) - 1


@dataclass(frozen=True)
class Answered(Sampled):
    """The prediction for a batch of images; each map is (B, 1, H, W)."""

    bare: Tensor
    """Mean of the samples alone, in [0, 1]."""


@dataclass(frozen=True)
class Condition:
    """Everything that depends only on the image; computed once for all steps and samples."""

    logits: Tensor
    """The conditioner's output (B, 1, H, W)."""
    seen: Tensor
    """The image with its blocks of pixels as channels (B, patch^2, H / patch, W / patch)."""
    finest: Tensor
    """The last features of the conditioner's decoder, which are added to the stem's output."""
    encoded: tuple[Tensor, ...]
    """The features of the conditioner's encoder at each level below the first."""

    def repeat(self, samples: int) -> Condition:
        """Return the condition of every image `samples` times."""

        def repeated(x: Tensor) -> Tensor:
            return x.repeat_interleave(samples, 0)

        encoded = tuple(repeated(level) for level in self.encoded)
        return Condition(repeated(self.logits), repeated(self.seen), repeated(self.finest), encoded)


class Network(nn.Module):
    """A conditioner that segments by itself, and a diffusion U-Net that receives its features.

    At each level below the first, the product LN(m_I) * LN(m_x) * m_I is computed (eq 2 and 3 of
    the paper). m_I are the image's features, and m_x the noisy mask's features after the FF-Parser.
    The product is added to the image's features of the next level. That of the last level is added
    to the last features of the diffusion U-Net's encoder.
    """

    def __init__(
        self,
        size: tuple[int, int],
        width: int,
        prior_width: int,
        levels: int,
        blocks: int,
        patch: int,
        dropout: float,
        detach: bool = False,
        predicts: str = "noise",
    ) -> None:
        super().__init__()
        # Drawn first, so that it does not depend on how much the constructors below draw.
        seed = int(torch.randint(2**62, ()))
        pixels, self.patch = patch**2, patch
        self.detach, self.predicts = detach, predicts
        self.conditional = ConditionalUNet(pixels, pixels, prior_width, levels, dropout)
        self.denoiser = DiffusionUNet(2 * pixels, pixels, width, levels, blocks)
        self.finest = nn.Conv2d(prior_width, width, 1)
        self.enter, self.parsers, self.descend = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        # size of the features at each level: both sides are rounded up
        rows, columns = (size[0] + patch - 1) // patch, (size[1] + patch - 1) // patch
        for of_conditioner, of_denoiser in zip(
            self.conditional.channels[1:], self.denoiser.channels[1:], strict=True
        ):
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
            self.enter.append(nn.Conv2d(of_conditioner, of_denoiser, 1))
            self.parsers.append(FFParser(of_denoiser, (rows, columns)))
        for finer, coarser in pairwise(self.denoiser.channels[1:]):
            self.descend.append(nn.Conv2d(finer, coarser, 3, stride=2, padding=1))
        self.diffusion = Diffusion(0.0, 1.0)  # x0 is 0 and 1, as in MedSegDiff's code
        initialise(self, seed)

    def condition(self, image: Tensor) -> Condition:
        """Return all that depends on images (B, 1, H, W) alone."""
        seen = fold(image, self.patch)
        logits, encoded, decoded = self.conditional(seen)
        logits = unfold(logits.float(), self.patch, image.shape[-2:])
        features = (decoded[0], *encoded[1:])
        if self.detach:
            features = tuple(feature.detach() for feature in features)
        return Condition(logits, seen, features[0], features[1:])

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the predicted noise (B, 1, H, W) in x_t (B, 1, H, W) at timesteps (B,), from 0."""
        time = self.denoiser.embed(t)
        seen = torch.cat([fold(x_t, self.patch), condition.seen], dim=1)
        skips, level_ends = self.denoiser.encode(seen, time, self.finest(condition.finest))
        product = torch.zeros(())
        for level, (enter, parser, m_x) in enumerate(
            zip(self.enter, self.parsers, level_ends[1:], strict=True)
        ):
            m_I = enter(condition.encoded[level])
            if level:
                m_I = m_I + self.descend[level - 1](product)
            product = _normalised(m_I) * _normalised(parser(m_x)) * m_I
        folded = self.denoiser.decode(level_ends[-1] + product, skips, time)
        output = unfold(folded.float(), self.patch, x_t.shape[-2:])
        if self.predicts == "noise":
            return output
        no_prior = torch.zeros_like(x_t)
        return self.diffusion.noise_of_velocity(output, x_t, no_prior, t)

    def loss(self, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return the mean squared error of the noise plus ten times that of the conditioner."""
        condition, diffusion = self.condition(image), self.diffusion
        t = torch.randint(len(diffusion.betas), (len(mask),), generator=rng, device=mask.device)
        noise = torch.randn(mask.shape, generator=rng, device=mask.device)
        no_prior = torch.zeros_like(mask)
        x_t = diffusion.add_noise(mask, no_prior, noise, t)
        predicted = self.denoise(x_t, t, condition)
        return F.mse_loss(predicted, noise) + 10 * F.mse_loss(torch.sigmoid(condition.logits), mask)

    @torch.no_grad()
    def sample(
        self,
        image: Tensor,
        rngs: Sequence[torch.Generator],
        samples: int,
        rule: str = "v1",
        **how: Any,
    ) -> Answered:
        """Return the mean of several answers, their spread, and the conditioner's mask.

        Args:
            image: (B, 1, H, W).
            rngs: One generator for each image; all samples of an image draw from it, one after the
                other.
            samples: Sampled masks of each image.
            rule: How a sample becomes an answer: `v1`, see `joined`, or `samples`, as it is.
            how: As of `verdiff.VerdiffNet.sample`. The conditioner's mask is the field `prior`,
                although it does not shift the diffusion.
        """
        condition = self.condition(image)
        repeated = condition.repeat(samples)
        no_prior = torch.zeros_like(image).repeat_interleave(samples, 0)
        repeated_rngs: list[torch.Generator] = []
        for rng in rngs:
            repeated_rngs += [rng] * samples

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return self.denoise(x_t, t, repeated)

        x0 = self.diffusion.sample(denoise, no_prior, repeated_rngs, **how)
        answers = joined(x0, torch.sigmoid(repeated.logits)) if rule == "v1" else x0
        answered = summary(answers, condition.logits)
        bare = summary(x0, condition.logits).probability
        return Answered(answered.probability, answered.spread, answered.prior, bare)


def joined(samples: Tensor, mask: Tensor) -> Tensor:
    """Return what MedSegDiff's first code answers with samples and the conditioner's masks.

    A sample that is like the mask is averaged with it; of another one, a quarter is added.

    Args:
        samples: (B, 1, H, W) in [0, 1].
        mask: (B, 1, H, W) in [0, 1].
    """
    positive = (samples > 0).float()
    total = (positive + mask).sum((1, 2, 3), keepdim=True)
    dice = 2 * (positive * mask).sum((1, 2, 3), keepdim=True) / total.clamp_min(1e-6)
    added = (mask + SHARE * samples).clamp(0, 1)
    return torch.where(dice < ALIKE, added, (mask + samples) / 2)


def _normalised(x: Tensor) -> Tensor:
    """Return features (B, C, H, W) after layer norm over C, H and W, without weights."""
    return F.layer_norm(x, x.shape[1:])
