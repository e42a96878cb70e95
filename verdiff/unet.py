"""The two U-Nets: the diffusion U-Net denoises, the conditional U-Net predicts from the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

from verdiff.blocks import Attention, BatchNorm, Plain, ResBlock, Upsample, ZeroConv2d, groups_of

MULTIPLIERS = (1, 1, 2, 2, 4, 4)
"""Width of each level relative to the first, as in guided diffusion for 256 x 256 pixels."""
ATTENTION_LEVEL = 4
"""The level with self-attention, counted from 0: its maps are 16 times smaller than the input's, as
in MedSegDiff's recipe. The middle of the network has self-attention whatever the depth."""


class DiffusionUNet(nn.Module):
    """A time-conditioned U-Net with guided diffusion's residual blocks, MedSegDiff's backbone.

    Inputs may have any height and width: each level halves both, rounded up, and the decoder scales
    its maps back to the size of the skip connection.

    Args:
        inputs, outputs: Channels of the noisy input, and of what is predicted: the noise, a
            velocity or a mask, as the model trains it.
        width: Channels of the first level.
        levels: Number of levels; the published network has 6.
        blocks: Residual blocks of each level of the encoder; a level of the decoder has one more.
        last_layer: Takes a block's channels and builds the last layer of a residual block of the
            encoder: a plain convolution, or an NSA (Verdiff-Net). Other blocks have the plain one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        levels: int,
        blocks: int,
        last_layer: Callable[[int], nn.Module] = Plain,
    ) -> None:
        super().__init__()
        groups = groups_of(width)
        time_channels = 4 * width
        widths = [width * multiplier for multiplier in MULTIPLIERS[:levels]]
        self.width = width
        self.time = nn.Sequential(
            nn.Linear(width, time_channels), nn.SiLU(), nn.Linear(time_channels, time_channels)
        )
        self.stem = nn.Conv2d(inputs, width, 3, padding=1)
        self.encoder = nn.ModuleList()
        self.encoder_attention = nn.ModuleList()
        self.shrink = nn.ModuleList()
        skips = [width]  # channels of the skip connections; the decoder takes the last one first
        channels = width
        for level, out in enumerate(widths):
            block_inputs = [channels] + [out] * (blocks - 1)
            self.encoder.append(
                nn.ModuleList(
                    ResBlock(entering, out, time_channels, groups, last_layer(out))
                    for entering in block_inputs
                )
            )
            self.encoder_attention.append(_attention(level, blocks, out, groups))
            skips += [out] * blocks
            channels = out
            if level < levels - 1:  # the way to the next level is a skip connection too
                self.shrink.append(nn.Conv2d(out, out, 3, stride=2, padding=1))
                skips.append(out)
        self.middle = nn.ModuleList(
            ResBlock(channels, channels, time_channels, groups, Plain(channels)) for _ in range(2)
        )
        self.middle_attention = Attention(channels, groups)
        self.decoder = nn.ModuleList()
        self.decoder_attention = nn.ModuleList()
        self.grow = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            # Each block is given a skip connection beside the features of the block before it.
            block_inputs = [channels + skips.pop(), *(out + skips.pop() for _ in range(blocks))]
            self.decoder.append(
                nn.ModuleList(
                    ResBlock(entering, out, time_channels, groups, Plain(out))
                    for entering in block_inputs
                )
            )
            self.decoder_attention.append(_attention(level, blocks + 1, out, groups))
            channels = out
            if level:
                self.grow.append(Upsample(out))
        self.norm = nn.GroupNorm(groups, width)
        self.head = ZeroConv2d(width, outputs, 3, padding=1)
        # Of each level, the finest first: for models that add features or gates there.
        self.channels = widths

    def embed(self, t: Tensor) -> Tensor:
        """Return the embedding (B, 4 width) of timesteps (B,)."""
        # Cosines first and no shift, as in guided diffusion.
        sines = get_timestep_embedding(t, self.width, flip_sin_to_cos=True, downscale_freq_shift=0)
        out: Tensor = self.time(sines)
        return out

    def encode(
        self,
        x: Tensor,
        time: Tensor,
        added: Tensor | None = None,
        gates: Sequence[Tensor | None] = (),
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return all skip connections, and each level's last features.

        Both are listed from the finest level to the coarsest.

        Args:
            x: Noisy input (B, inputs, H, W).
            time: Embedding of the timesteps (B, 4 width).
            added: Features (B, width, H, W) that are added to the output of the stem.
            gates: For each level what the last layers of its blocks are given beside their
                features (an NSA's gate); empty if they take nothing.
        """
        h = self.stem(x)
        if added is not None:
            h = h + added
        skips, level_ends = [h], []
        stages = zip(self.encoder, self.encoder_attention, strict=True)
        for level, (level_blocks, attentions) in enumerate(stages):
            if level:
                h = self.shrink[level - 1](h)
                skips.append(h)
            for block, attend in zip(level_blocks, attentions, strict=True):  # type: ignore[call-overload]
                h = attend(block(h, time, gates[level] if gates else None))
                skips.append(h)
            level_ends.append(h)
        return skips, level_ends

    def decode(self, h: Tensor, skips: list[Tensor], time: Tensor) -> Tensor:
        """Return the prediction (B, outputs, H, W) from the last features and the skips."""
        h = self.middle[1](self.middle_attention(self.middle[0](h, time)), time)
        remaining = list(skips)  # a copy: the caller's list stays whole
        stages = zip(self.decoder, self.decoder_attention, strict=True)
        for place, (level_blocks, attentions) in enumerate(stages):  # from the coarsest level on
            if place:  # a finer level: its skip connections have the size to grow to
                h = self.grow[place - 1](h, remaining[-1].shape[-2:])
            for block, attend in zip(level_blocks, attentions, strict=True):  # type: ignore[call-overload]
                h = attend(block(torch.cat([h, remaining.pop()], dim=1), time))
        out: Tensor = self.head(F.silu(self.norm(h)))
        return out

    def forward(
        self, x: Tensor, t: Tensor, added: Tensor | None = None, gates: Sequence[Tensor | None] = ()
    ) -> Tensor:
        """Return the prediction (B, outputs, H, W) of (B, inputs, H, W) at timesteps (B,)."""
        time = self.embed(t)
        skips, level_ends = self.encode(x, time, added, gates)
        return self.decode(level_ends[-1], skips, time)


def _attention(level: int, count: int, channels: int, groups: int) -> nn.ModuleList:
    """Return what follows each of a level's `count` blocks: self-attention, or nothing."""
    attends = level == ATTENTION_LEVEL
    return nn.ModuleList(
        Attention(channels, groups) if attends else nn.Identity() for _ in range(count)
    )


class ConditionalUNet(nn.Module):
    """A plain U-Net like the first version of nnU-Net; MedSegDiff uses one as its conditioner.

    Each level has two convolutions with batch norm and leaky ReLU. The encoder has max pooling
    between levels, the decoder bilinear upsampling.

    Args:
        inputs, outputs: Channels of the input and of the logits.
        width: Channels of the first level; each further level has twice as many, but at most 15
            times those of the first level (nnU-Net: 480 of 32).
        levels: Number of levels, the bottleneck included.
        dropout: Probability that a channel of the encoder is dropped, after each convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, levels: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.channels = [width * min(2**level, 15) for level in range(levels)]
        self.down = nn.ModuleList(
            _stack(entering, leaving, dropout)
            for entering, leaving in pairwise([inputs, *self.channels])
        )
        upwards = list(reversed(self.channels))
        # A level of the decoder is given the coarser level's features and the skip connection.
        self.up = nn.ModuleList(
            _stack(coarser + own, own, 0.0) for coarser, own in pairwise(upwards)
        )
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return logits (B, outputs, H, W), and the features of encoder and decoder.

        The features are listed from the finest level to the coarsest.
        """
        encoded: list[Tensor] = []
        for block in self.down:
            if encoded:  # not before the first level
                x = F.max_pool2d(x, 2, ceil_mode=True)  # sides are rounded up
            x = block(x)
            encoded.append(x)
        decoded: list[Tensor] = []
        # The coarsest level is where x is now; the others are the skip connections.
        for block, skip in zip(self.up, reversed(encoded[:-1]), strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
            decoded.insert(0, x)  # the finest comes last, and first in the list
        return self.head(x), encoded, decoded


def _stack(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Return the two convolutions of a level, each with batch norm and leaky ReLU, as nnU-Net's."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
        if dropout:
            layers.append(nn.Dropout2d(dropout))
        # PyTorch's own batch norm refuses maps of a single value a channel.
        layers += [BatchNorm(outputs), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)
