"""The multi-scale fusion module (MSFM, section 2.3): a selective-kernel unit of three branches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verdiff.blocks import BatchNorm


class MSFM(nn.Module):
    """Convolutions of three kernel sizes, weighted by channel (SKNet, Li et al. 2019, M = 3).

    The weights depend on the image. First, a convolution maps the image to `channels` channels:
    with a single channel there would be nothing to weight. The squeeze uses layer norm instead of
    the paper's batch norm, because in a batch of one image batch norm has one value a channel and
    cannot train.

    Args:
        inputs: Channels of the image.
        channels: Channels C of the branches and of the output.
        squeezed: Length d of the compressed feature z (eq 13); by default SKNet's max(C / 16, 32).
    """

    def __init__(self, inputs: int, channels: int, squeezed: int | None = None) -> None:
        super().__init__()
        squeezed = squeezed or max(channels // 16, 32)
        self.stem = nn.Conv2d(inputs, channels, 3, padding=1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, size, padding="same", bias=False),
                BatchNorm(channels),
                nn.ReLU(),
            )
            for size in (3, 5, 7)
        )
        self.squeeze = nn.Sequential(
            nn.Linear(channels, squeezed), nn.LayerNorm(squeezed), nn.ELU()
        )
        self.attend = nn.ModuleList(
            nn.Linear(squeezed, channels, bias=False) for _ in self.branches
        )

    def weights(self, branches: Tensor) -> Tensor:
        """Return the weights (B, 3, C) of branches (B, 3, C, H, W); they sum to 1 over branches."""
        pooled = branches.sum(1).mean((2, 3))  # eq 11 and 12
        z = self.squeeze(pooled)  # eq 13
        return torch.softmax(torch.stack([attend(z) for attend in self.attend], dim=1), dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, inputs, H, W) to the fused features X (B, C, H, W), eq 14."""
        lifted = F.relu(self.stem(image))
        branches = torch.stack([branch(lifted) for branch in self.branches], dim=1)
        return (self.weights(branches)[..., None, None] * branches).sum(1)
