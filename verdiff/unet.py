"""The two U-Nets: one that denoises at a timestep, and the conditional one that answers from the image alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

from verdiff.blocks import Attention, BatchNorm, Plain, ResBlock, Upsample, ZeroConv2d, groups_of

MULTIPLIERS = (1, 1, 2, 2, 4, 4)
"""Widths of the levels, as guided diffusion has them for 256 x 256."""
ATTENTION_LEVEL = 4
"""Level with self-attention: downsampling 16, as in MedSegDiff's recipe. The middle has it at any
depth."""


class DiffusionUNet(nn.Module):
    """A time-conditioned U-Net with the residual blocks of guided diffusion, which is MedSegDiff's backbone.

    Any height and width: levels halve with rounding up, and upsampling meets the skip connection's
    size.

    Args:
        inputs, outputs: Channels of the noisy input and of the predicted noise.
        width: Channels of the first level.
        levels: Depth; 6 is the whole network.
        blocks: Residual blocks a level in the encoder; the decoder has one more.
        second: Makes what closes a residual block of the encoder, of the given channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        levels: int,
        blocks: int,
        second: Callable[[int], nn.Module] = Plain,
    ) -> None:
        super().__init__()
        groups, self.width, time = groups_of(width), width, 4 * width
        widths = [width * multiplier for multiplier in MULTIPLIERS[:levels]]
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.stem = nn.Conv2d(inputs, width, 3, padding=1)
        self.encoder, self.encoder_attention, self.shrink = (
            nn.ModuleList(),
            nn.ModuleList(),
            nn.ModuleList(),
        )
        skips, channels = [width], width
        for level, out in enumerate(widths):
            ins = [channels] + [out] * (blocks - 1)
            self.encoder.append(
                nn.ModuleList(ResBlock(i, out, time, groups, second(out)) for i in ins)
            )
            self.encoder_attention.append(_attention(level, blocks, out, groups))
            skips += [out] * blocks
            channels = out
            if level < levels - 1:
                self.shrink.append(nn.Conv2d(out, out, 3, stride=2, padding=1))
                skips.append(out)
        self.middle = nn.ModuleList(
            ResBlock(channels, channels, time, groups, Plain(channels)) for _ in range(2)
        )
        self.middle_attention = Attention(channels, groups)
        self.decoder, self.decoder_attention, self.grow = (
            nn.ModuleList(),
            nn.ModuleList(),
            nn.ModuleList(),
        )
        for level, out in reversed(list(enumerate(widths))):
            ins = [channels + skips.pop(), *(out + skips.pop() for _ in range(blocks))]
            self.decoder.append(
                nn.ModuleList(ResBlock(i, out, time, groups, Plain(out)) for i in ins)
            )
            self.decoder_attention.append(_attention(level, blocks + 1, out, groups))
            channels = out
            if level:
                self.grow.append(Upsample(out))
        self.norm, self.head = nn.GroupNorm(groups, width), ZeroConv2d(width, outputs, 3, padding=1)
        self.channels = widths

    def embed(self, t: Tensor) -> Tensor:
        """Return the embedding (B, 4 width) of timesteps (B,)."""
        out: Tensor = self.time(
            get_timestep_embedding(t, self.width, flip_sin_to_cos=True, downscale_freq_shift=0)
        )
        return out

    def encode(
        self,
        x: Tensor,
        time: Tensor,
        added: Tensor | None = None,
        gates: Sequence[Tensor | None] = (),
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return all skip connections, and each level's last features.

        Args:
            x: Noisy input (B, inputs, H, W).
            time: Its embedding (B, 4 width).
            added: What joins the stem's output (B, width, H, W).
            gates: What each level's adapters get.
        """
        h = self.stem(x) if added is None else self.stem(x) + added
        skips, ends = [h], []
        for level, (rows, attentions) in enumerate(
            zip(self.encoder, self.encoder_attention, strict=True)
        ):
            if level:
                h = self.shrink[level - 1](h)
                skips.append(h)
            for block, attend in zip(rows, attentions, strict=True):  # type: ignore[call-overload]
                h = attend(block(h, time, gates[level] if gates else None))
                skips.append(h)
            ends.append(h)
        return skips, ends

    def decode(self, h: Tensor, skips: list[Tensor], time: Tensor) -> Tensor:
        """Return the predicted noise (B, outputs, H, W) from the encoder's end (B, C, h, w) and its skips."""
        h = self.middle[1](self.middle_attention(self.middle[0](h, time)), time)
        left = list(skips)
        for level, (rows, attentions) in enumerate(
            zip(self.decoder, self.decoder_attention, strict=True)
        ):
            if level:
                h = self.grow[level - 1](h, left[-1].shape[-2:])
            for block, attend in zip(rows, attentions, strict=True):  # type: ignore[call-overload]
                h = attend(block(torch.cat([h, left.pop()], dim=1), time))
        out: Tensor = self.head(F.silu(self.norm(h)))
        return out

    def forward(
        self, x: Tensor, t: Tensor, added: Tensor | None = None, gates: Sequence[Tensor | None] = ()
    ) -> Tensor:
        """Return the predicted noise (B, outputs, H, W) of inputs (B, inputs, H, W) at timesteps (B,)."""
        time = self.embed(t)
        skips, ends = self.encode(x, time, added, gates)
        return self.decode(ends[-1], skips, time)


def _attention(level: int, count: int, channels: int, groups: int) -> nn.ModuleList:
    attends = level == ATTENTION_LEVEL
    return nn.ModuleList(
        Attention(channels, groups) if attends else nn.Identity() for _ in range(count)
    )


class ConditionalUNet(nn.Module):
    """A plain U-Net in the manner of nnU-Net's first version, which is MedSegDiff's conditioner.

    Two convolutions a level with batch norm and leaky ReLU, max pooling, bilinear upsampling. In a
    batch of one, batch norm is over the pixels of that image.

    Args:
        inputs, outputs: Channels of the input and of the logits.
        width: Channels of the first level; each further level doubles them, up to 15 times as many.
        levels: Depth, the bottleneck included.
        dropout: Probability that a channel of the encoder is dropped, after each convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, levels: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.channels = [width * min(2**level, 15) for level in range(levels)]
        self.down = nn.ModuleList(
            _stack(i, o, dropout) for i, o in pairwise([inputs, *self.channels])
        )
        deep = list(reversed(self.channels))
        self.up = nn.ModuleList(_stack(i + o, o, 0.0) for i, o in pairwise(deep))
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return logits (B, outputs, H, W) of inputs, and the encoder's and the decoder's features, finest first."""
        encoded: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool2d(x, 2, ceil_mode=True) if encoded else x)
            encoded.append(x)
        decoded: list[Tensor] = []
        for block, skip in zip(self.up, reversed(encoded[:-1]), strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
            decoded.insert(0, x)
        return self.head(x), encoded, decoded


def _stack(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
        if dropout:
            layers.append(nn.Dropout2d(dropout))
        layers += [BatchNorm(outputs), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)
