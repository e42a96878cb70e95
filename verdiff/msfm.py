"""The multi-scale fusion module (MSFM, section 2.3): a selective-kernel unit with three branches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verdiff.blocks import BatchNorm


class MSFM(nn.Module):
    """Three kernel sizes whose shares the image decides, channel by channel (SKNet, Li et al. 2019, with M = 3).

    The image is lifted to `channels` first, for attention over one channel has nothing to choose.
    In the squeeze, layer norm stands where the paper has batch norm, which cannot train on the
    single vector of one image.

    Args:
        inputs: Channels of the image.
        channels: Channels C of the branches and of the output.
        squeezed: Length d of the compressed feature z (eq 13); SKNet's max(C / 16, 32) where not
            given.
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
        """Return the branches' shares (B, 3, C), which sum to 1 over the branches, of branches (B, 3, C, H, W)."""
        pooled = branches.sum(1).mean((2, 3))  # eq 11 and 12
        z = self.squeeze(pooled)  # eq 13
        return torch.softmax(torch.stack([attend(z) for attend in self.attend], dim=1), dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, inputs, H, W) to the fused features X (B, C, H, W), eq 14."""
        lifted = F.relu(self.stem(image))
        branches = torch.stack([branch(lifted) for branch in self.branches], dim=1)
        return (self.weights(branches)[..., None, None] * branches).sum(1)
