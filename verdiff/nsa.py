"""The noise semantic adapter (NSA, section 2.4).

The NSA is a large-selective-kernel unit whose first kernel depends on the prior mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verdiff.blocks import ZeroConv2d

GATES = ("soft", "hard", "5x5")
"""How the prior chooses the first kernel, see `gate_of`."""
WINDOW = 5
"""Side in pixels of the window around a pixel over which the prior is averaged: what the 5x5 kernel
sees."""
NEAR = 0.25
"""Share of foreground in the window from which on the hard gate is 1: the pixel then lies on a
vertebra or its boundary."""


def check_gate(kind: str) -> None:
    """Refuse a kind of gate that there is not.

    Raises:
        ValueError: The kind is unknown.
    """
    if kind not in GATES:
        raise ValueError(f"there is no gate '{kind}'; expected one of {', '.join(GATES)}")


def gate_of(prior: Tensor, size: tuple[int, int], kind: str) -> Tensor | None:
    """Return the weight of the 3x3 kernel in the first convolution at each pixel, or None.

    The weight (B, 1, *size) is in [0, 1]: 1 is the 3x3 kernel alone (vertebra), 0 the 5x5 kernel
    alone (background). The paper chooses by the mask around the pixel. At test time the only known
    mask is the prior.

    Args:
        prior: Probability of foreground (B, 1, H, W).
        size: Height and width of the features that the gate is for.
        kind: One of `GATES`. For `soft` the weight is the mean of the prior in the window; for
            `hard` it is 1 where this mean is at least a quarter, and 0 elsewhere; for `5x5` there
            is no gate, and the result is None.

    Raises:
        ValueError: The kind is unknown.
    """
    check_gate(kind)
    if kind == "5x5":
        return None
    scaled = F.adaptive_avg_pool2d(prior, size)
    # At the border the mean is over the part of the window that lies inside.
    local_mean = F.avg_pool2d(scaled, WINDOW, 1, WINDOW // 2, count_include_pad=False)
    return local_mean if kind == "soft" else (local_mean >= NEAR).to(local_mean)


class NSA(nn.Module):
    """A large-selective-kernel block (LSKNet, Li et al. 2023) with two first kernels, 3x3 and 5x5.

    With the gate `5x5` the block is exactly LSKNet's. The last convolution starts at zero, so the
    product of eq 16 starts as 0, and the residual block around the NSA starts as its skip
    connection alone.

    Args:
        channels: Channels C of the input and the output.
        gate: One of `GATES`.
    """

    def __init__(self, channels: int, gate: str = "soft") -> None:
        super().__init__()
        half = channels // 2
        self.small: nn.Conv2d | None = None
        if gate != "5x5":
            self.small = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.large = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.spatial = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.halve_fine = nn.Conv2d(channels, half, 1)
        self.halve_spatial = nn.Conv2d(channels, half, 1)
        self.select = nn.Conv2d(2, 2, 7, padding=3)
        self.expand = ZeroConv2d(half, channels, 1)

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Map features X (B, C, H, W) to V (B, C, H, W), eq 15 and 16; the gate is (B, 1, H, W)."""
        fine = self.large(x)
        if self.small is not None and gate is not None:
            fine = gate * self.small(x) + (1 - gate) * fine
        F_, S = self.halve_fine(fine), self.halve_spatial(self.spatial(fine))
        both = torch.cat([F_, S], dim=1)
        pooled = torch.cat([both.mean(1, keepdim=True), both.amax(1, keepdim=True)], dim=1)
        T = torch.sigmoid(self.select(pooled))  # (B, 2, H, W): the weights of F_ and of S
        out: Tensor = x * self.expand(F_ * T[:, :1] + S * T[:, 1:])
        return out
