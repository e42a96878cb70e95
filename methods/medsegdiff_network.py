"""MedSegDiff's network: a conditioner, a diffusion U-Net, and the dynamic encoding between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verdiff.blocks import fold, initialise, unfold
from verdiff.diffusion import Diffusion
from verdiff.model import Sampled, summary
from verdiff.unet import ConditionalUNet, DiffusionUNet


class FFParser(nn.Module):
    """A learned complex weight for each channel and spatial frequency (MedSegDiff, eq 4).

    A spectrum of another size than the one it was built for meets the weight of the nearest
    frequencies, interpolated.

    Args:
        channels: Channels of the features.
        size: Height and width of the features that it has one weight a frequency for.
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
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.fft.rfft2(x.float(), norm="ortho") * torch.view_as_complex(
                weight.contiguous()
            )
            parsed: Tensor = torch.fft.irfft2(spectrum, s=size, norm="ortho")
        return parsed

    def _resampled(self, size: tuple[int, int]) -> Tensor:
        """Return the weight (C, H, W // 2 + 1, 2) at the frequencies of another size."""
        centred = torch.fft.fftshift(self.weight, dim=1).permute(3, 0, 1, 2)
        rows, columns = torch.fft.fftshift(torch.fft.fftfreq(size[0])), torch.fft.rfftfreq(size[1])
        own_rows, own_columns = (
            torch.fft.fftshift(torch.fft.fftfreq(self.size[0])),
            torch.fft.rfftfreq(self.size[1]),
        )
        at = torch.stack(
            torch.meshgrid(_place(rows, own_rows), _place(columns, own_columns), indexing="ij"),
            dim=-1,
        )
        grid = at.flip(-1).to(self.weight).expand(2, -1, -1, -1)
        shifted = F.grid_sample(
            centred, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        resampled: Tensor = torch.fft.ifftshift(shifted, dim=2).permute(1, 2, 3, 0)
        return resampled


def _place(wanted: Tensor, own: Tensor) -> Tensor:
    """Return where frequencies lie among others, from -1 (the first) to 1 (the last)."""
    return 2 * (wanted - own[0]) / (own[-1] - own[0]).clamp_min(1e-9) - 1


@dataclass(frozen=True)
class Condition:
    """What depends on the image alone.

    All but the logits is detached, so that the diffusion does not train it.
    """

    logits: Tensor
    seen: Tensor
    """The image as channels (B, patch^2, H / patch, W / patch)."""
    finest: Tensor
    """The conditioner's last features, for the stem."""
    encoded: tuple[Tensor, ...]
    """The conditioner's features at each level below the first."""

    def repeat(self, samples: int) -> Condition:
        """Return the condition of every image `samples` times."""

        def repeated(x: Tensor) -> Tensor:
            return x.repeat_interleave(samples, 0)

        encoded = tuple(repeated(level) for level in self.encoded)
        return Condition(repeated(self.logits), repeated(self.seen), repeated(self.finest), encoded)


class Network(nn.Module):
    """A conditioner that segments by itself, and a diffusion U-Net that its features steer.

    At each level below the first, the image's features m_I and the FF-Parser's view of the noisy
    mask's features m_x give LN(m_I) * LN(m_x) * m_I (eq 2 and 3 of the paper), which goes down with
    the image's path; its end joins the diffusion U-Net's.
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
    ) -> None:
        super().__init__()
        seed = int(torch.randint(2**62, ()))
        pixels, self.patch = patch**2, patch
        self.conditional = ConditionalUNet(pixels, pixels, prior_width, levels, dropout)
        self.denoiser = DiffusionUNet(2 * pixels, pixels, width, levels, blocks)
        self.finest = nn.Conv2d(prior_width, width, 1)
        self.enter, self.parsers, self.descend = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        height, across = (-(-side // patch) for side in size)
        for ours, theirs in zip(
            self.conditional.channels[1:], self.denoiser.channels[1:], strict=True
        ):
            height, across = -(-height // 2), -(-across // 2)
            self.enter.append(nn.Conv2d(ours, theirs, 1))
            self.parsers.append(FFParser(theirs, (height, across)))
        for above, below in zip(
            self.denoiser.channels[1:], self.denoiser.channels[2:], strict=False
        ):
            self.descend.append(nn.Conv2d(above, below, 3, stride=2, padding=1))
        self.diffusion = Diffusion(0.0, 1.0)  # masks are 0 and 1, as in its code
        initialise(self, seed)

    def condition(self, image: Tensor) -> Condition:
        """Return all that depends on images (B, 1, H, W) alone."""
        seen = fold(image, self.patch)
        logits, encoded, decoded = self.conditional(seen)
        logits = unfold(logits.float(), self.patch, image.shape[-2:])
        levels = tuple(level.detach() for level in encoded[1:])
        return Condition(logits, seen, decoded[0].detach(), levels)

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the predicted noise (B, 1, H, W) in x_t (B, 1, H, W) at timesteps (B,), from 0."""
        time = self.denoiser.embed(t)
        seen = torch.cat([fold(x_t, self.patch), condition.seen], dim=1)
        skips, ends = self.denoiser.encode(seen, time, self.finest(condition.finest))
        path = torch.zeros(())
        for level, (enter, parser, m_x) in enumerate(
            zip(self.enter, self.parsers, ends[1:], strict=True)
        ):
            m_I = enter(condition.encoded[level])
            if level:
                m_I = m_I + self.descend[level - 1](path)
            path = _normalised(m_I) * _normalised(parser(m_x)) * m_I
        noise = self.denoiser.decode(ends[-1] + path, skips, time)
        return unfold(noise.float(), self.patch, x_t.shape[-2:])

    def loss(self, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return the noise's mean squared error plus ten times the conditioner's."""
        condition, diffusion = self.condition(image), self.diffusion
        t = torch.randint(len(diffusion.betas), (len(mask),), generator=rng, device=mask.device)
        noise = torch.randn(mask.shape, generator=rng, device=mask.device)
        x_t = diffusion.add_noise(mask, torch.zeros_like(mask), noise, t)
        predicted = self.denoise(x_t, t, condition)
        return F.mse_loss(predicted, noise) + 10 * F.mse_loss(torch.sigmoid(condition.logits), mask)

    @torch.no_grad()
    def sample(
        self, image: Tensor, rngs: Sequence[torch.Generator], samples: int, **how: Any
    ) -> Sampled:
        """Return the mean of several sampled masks, their spread, and the prior's probability.

        The prior is the conditioner's own answer.
        """
        condition = self.condition(image)
        many, f = condition.repeat(samples), torch.zeros_like(image).repeat_interleave(samples, 0)
        repeated: list[torch.Generator] = []
        for rng in rngs:
            repeated += [rng] * samples
        x0 = self.diffusion.sample(lambda x_t, t: self.denoise(x_t, t, many), f, repeated, **how)
        return summary(x0, condition.logits)


def _normalised(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[1:])
