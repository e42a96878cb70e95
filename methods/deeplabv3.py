"""DeepLabv3 on a dilated ResNet-50, as torchvision builds it."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from torch import nn

from bench.spec.method import Task
from bench.spec.options import option
from verdiff_bench_methods.pooled_norm import mend_pooled_norms, note
from verdiff_bench_methods.resnet import Dilated

RATE, SIDE = 12, 65
"""First rate of the paper's atrous convolutions at output stride 8, and the side of the maps that
it was chosen for (images of 513 x 513, section 4)."""


def rate_for(height: float, width: float) -> int:
    """Return the first atrous rate that suits a map of this size: at most the paper's.

    On a smaller map the paper's rates reach past its border, where a kernel of 3 x 3 is left with
    its centre (section 3.3 of the paper).
    """
    return max(1, min(RATE, round(RATE * sqrt(height * width) / SIDE)))


@dataclass(frozen=True)
class DeepLabv3(Dilated):
    """DeepLabv3 with 39.6 M parameters at width 64.

    Its atrous spatial pyramid has the rates r, 2r and 3r; at output stride 8 the paper's r is 12.
    """

    rate: int = option(
        0, "first of three atrous rates; 0 follows the map's size, torchvision's is 12", low=0
    )

    title = "DeepLabv3"
    revision = "groups of 16 channels"
    source = (
        "Chen et al.: Rethinking atrous convolution, arXiv 1706.05587; torchvision's"
        " deeplabv3_resnet50"
    )

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the paper of 2017."""
        return (
            *note(batch),
            *self.size_notes(),
            f"atrous rates {self._rates} (2017: 12, 24 and 36 at output stride 8)",
            f"ResNet-50 at output stride {self.stride} (2017: ResNet-101 at 16)",
            "from scratch (2017: pretrained on ImageNet)",
            (
                "binary cross entropy + Dice and the harness's Adam (2017: cross entropy, SGD with"
                " poly decay, batch 16)"
            ),
        )

    @property
    def _rates(self) -> str:
        """The rates in words."""
        if not self.rate:
            return f"in proportion to the map's side, 12, 24 and 36 at {SIDE} pixels or more"
        return f"{self.rate}, {2 * self.rate} and {3 * self.rate}"

    def segmenter(self, task: Task) -> nn.Module:
        """Return torchvision's network; in small batches the pooled branch has group norm."""
        from torchvision.models.segmentation import deeplabv3_resnet50
        from torchvision.models.segmentation.deeplabv3 import ASPPConv

        net: nn.Module = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=1)
        mend_pooled_norms(net, task.batch)
        height, width = task.size
        rate = self.rate or rate_for(height / self.stride, width / self.stride)
        for layer in net.modules():
            if isinstance(layer, ASPPConv):
                _set_rate(layer[0], rate)
        return net


def _set_rate(convolution: nn.Module, rate: int) -> None:
    """Replace a rate of 12, 24 or 36 by one, two or three times another."""
    assert isinstance(convolution, nn.Conv2d)
    times = convolution.dilation[0] // RATE
    convolution.dilation = convolution.padding = (rate * times, rate * times)
