"""The noise semantic adapter (NSA, section 2.4).

It is a large-selective-kernel unit whose first kernel depends on the prior.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verdiff.blocks import ZeroConv2d

GATES = ("soft", "hard", "5x5")
WINDOW = 5
"""Side of the window around a pixel in which the prior's foreground is counted."""
NEAR = 0.25
"""From this share of foreground in the window on, the hard gate treats a pixel as vertebra or
boundary."""


def gate_of(prior: Tensor, size: tuple[int, int], kind: str) -> Tensor | None:
    """Return the share of 3x3 (vertebra) against 5x5 (background) in each pixel's first kernel.

    It is in [0, 1]. The paper chooses by the mask pixels around the centre; the only mask known at
    test time is the prior.

    Args:
        prior: Probability of foreground (B, 1, H, W).
        size: Height and width of the features that the gate is for.
        kind: One of `GATES`: `soft` is the local mean itself, `hard` is 1 where it reaches a
            quarter, `5x5` is no choice.

    Raises:
        ValueError: The kind is unknown.
    """
    if kind not in GATES:
        raise ValueError(f"there is no gate '{kind}'; expected one of {', '.join(GATES)}")
    if kind == "5x5":
        return None
    scaled = F.adaptive_avg_pool2d(prior, size)
    near = F.avg_pool2d(scaled, WINDOW, 1, WINDOW // 2, count_include_pad=False)
    return near if kind == "soft" else (near >= NEAR).to(near)


class NSA(nn.Module):
    """A large-selective-kernel block (LSKNet, Li et al. 2023) with two first kernels, 3x3 and 5x5.

    With the gate `5x5` it is exactly LSKNet's block. Its last convolution starts at zero, so that
    the product of eq 16 is 0 and the residual block around it starts as the identity.

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
        T = torch.sigmoid(self.select(pooled))
        out: Tensor = x * self.expand(F_ * T[:, :1] + S * T[:, 1:])
        return out
