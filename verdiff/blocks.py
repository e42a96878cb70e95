"""The building blocks of both networks, and initial weights that depend on a module's name."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def initialise(net: nn.Module, seed: int) -> None:
    """Draw the weights of every module again, from the seed and the module's own name.

    So two networks that differ in one module start from the same weights in all other modules. An
    ablation needs this: otherwise its arms would also differ in their initial weights. A module
    draws its own weights in `reset_parameters`, here on the CPU.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        for name, module in net.named_modules():
            if hasattr(module, "reset_parameters"):
                digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
                # >> 1 leaves 63 bits, which fit a signed integer.
                torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
                module.reset_parameters()


def groups_of(width: int) -> int:
    """Return the number of groups of the group norms: one for every four channels, at most 32.

    From 128 channels on there are 32 groups, as in guided diffusion.

    Raises:
        ValueError: The width is not a multiple of 4, or above 128 not a multiple of 32.
    """
    groups = min(32, width // 4)
    if width < 4 or width % 4 or width % groups:
        raise ValueError(
            f"a width of {width} cannot be divided by the group norm; "
            "expected a multiple of 4 up to 128, of 32 above"
        )
    return groups


def fold(x: Tensor, patch: int) -> Tensor:
    """Turn each block of patch x patch pixels of (B, C, H, W) into the channels of one position.

    The result is (B, C patch^2, H', W'), where H' is H / patch rounded up, and W' likewise. If a
    side is no multiple of the patch, the last row or column of pixels is repeated. PyTorch's own
    functions `fold` and `unfold` do something else.
    """
    if patch == 1:
        return x
    bottom, right = -x.shape[-2] % patch, -x.shape[-1] % patch  # what is missing to a multiple
    return F.pixel_unshuffle(F.pad(x, (0, right, 0, bottom), mode="replicate"), patch)


def unfold(x: Tensor, patch: int, size: torch.Size) -> Tensor:
    """Undo `fold`: return maps (B, C, *size) of the size before `fold`."""
    if patch == 1:
        return x
    return F.pixel_shuffle(x, patch)[..., : size[0], : size[1]]


class ZeroConv2d(nn.Conv2d):
    """A convolution whose weights start at zero.

    A residual block whose last convolution is one starts as its skip connection alone.
    """

    def reset_parameters(self) -> None:
        """Set weights and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that can also train if each channel has a single value.

    PyTorch's batch norm raises an error there, because one value has no variance; this one uses its
    running statistics.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, C, H, W) to features of the same shape."""
        if self.training and x.numel() == x.shape[1]:  # as many values as channels
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


class Plain(ZeroConv2d):
    """The 3x3 convolution that is the last layer of a residual block without an NSA."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Map features (B, C, H, W) to features of the same shape; ignore the gate."""
        return super().forward(x)


class ResBlock(nn.Module):
    """The residual block of guided diffusion (Dhariwal and Nichol 2021), as in MedSegDiff.

    Args:
        inputs, outputs: Channels of the input and of the output.
        time: Length of the time embedding.
        groups: Groups of the group norms.
        second: The last layer: `Plain`, or another module that is given features and a gate.
    """

    def __init__(
        self, inputs: int, outputs: int, time: int, groups: int, second: nn.Module
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.second = second
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, gate: Tensor | None = None) -> Tensor:
        """Map features (B, C, H, W) with the time embedding (B, time) to features (B, C', H, W)."""
        h = self.first(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        out: Tensor = self.skip(x) + self.second(F.silu(self.norm2(h)), gate)
        return out


class Attention(nn.Module):
    """Self-attention over all positions with one head; the result is added to the input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = ZeroConv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, C, H, W) to features of the same shape."""
        # Queries, keys and values: (B, 1 head, H W positions, C) each.
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2)
        out: Tensor = x + self.out(mixed.reshape(x.shape))
        return out


class Upsample(nn.Module):
    """Nearest-neighbour scaling to the size of the skip connection, then a convolution.

    Because the size is given, images of any size work without padding.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """Map features (B, C, h, w) to (B, C, *size)."""
        out: Tensor = self.conv(F.interpolate(x, size=size, mode="nearest"))
        return out
