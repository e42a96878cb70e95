"""U-Net in the topology of 2015, with padded convolutions and batch norm."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec.method import Inputs, Method, Task
from bench.spec.options import option


class Network(nn.Module):
    """An encoder and a decoder of five levels, whose features are concatenated at each level.

    Args:
        width: Channels of the first level; each further level doubles them.
        channels: Channels of the logits.
    """

    def __init__(self, width: int, channels: int = 1) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(_convolutions(i, o) for i, o in pairwise([1, *widths]))
        deep = list(reversed(widths))
        self.expand = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairwise(deep)
        )
        self.up = nn.ModuleList(_convolutions(i, o) for i, o in pairwise(deep))
        self.head = nn.Conv2d(width, channels, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, H, W), H and W multiples of 16, to logits (B, channels, H, W)."""
        skips: list[Tensor] = []
        for level in self.down:
            x = level(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for expand, up, skip in zip(self.expand, self.up, reversed(skips[:-1]), strict=True):
            x = up(torch.cat([skip, expand(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Return two convolutions of 3 x 3, each with batch norm and ReLU; the size stays."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(True),
        ]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class UNet(Method):
    """U-Net with 31.0 M parameters at width 64, initialised as its paper says (He et al. 2015)."""

    width: int = option(64, "channels of the first level", low=1)

    title = "U-Net"
    source = "Ronneberger, Fischer, Brox: U-Net, MICCAI 2015, arXiv 1505.04597; own code"
    inputs = Inputs(multiple=16)
    multiclass = True
    scales = {
        "half": {"width": 32},
        "small": {"width": 12},
        "tiny": {"width": 4},
    }

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the paper of 2015."""
        width = f"{self.width} channels at the first level (2015: 64)"
        return (
            *([width] if self.width != 64 else []),
            "padded convolutions with batch norm, no dropout (2015: unpadded, without)",
            "binary cross entropy + Dice (2015: cross entropy with weights at touching borders)",
            "the harness's Adam (2015: SGD, momentum 0.99)",
        )

    def build(self, task: Task) -> nn.Module:
        """Return the network."""
        return Network(self.width, task.channels)
