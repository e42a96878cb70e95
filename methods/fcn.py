"""FCN on a dilated ResNet-50, as torchvision builds it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bench.spec.method import Method, Task
from bench.spec.options import option
from methods.resnet import for_grey, size_notes


@dataclass(frozen=True)
class FCN(Method):
    """32.9 M parameters at width 64, output stride 8, no auxiliary head."""

    width: int = option(
        64, "channels of the stem; all other widths follow", choices=("8", "16", "32", "64", "128")
    )
    stride: int = option(
        8, "output stride; 4 leaves out the stem's pooling, for small images", choices=("4", "8")
    )
    blocks: int = option(
        6,
        "most blocks of a stage; 2 makes ResNet-50 a ResNet-26",
        choices=("1", "2", "3", "4", "6"),
    )

    title = "FCN"
    source = "Long, Shelhamer, Darrell: FCN, CVPR 2015, arXiv 1411.4038; torchvision's fcn_resnet50"
    scales = {
        "small": {"width": 8, "stride": 4, "blocks": 2},
        "tiny": {"width": 8},
    }
    needs = ("torchvision.models.segmentation",)

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how it differs from the paper of 2015."""
        return (
            *size_notes(self.width, self.stride, self.blocks),
            "dilated ResNet-50 with one head (2015: VGG-16 with skips from strides 16 and 8)",
            "from scratch (2015: pretrained on ImageNet)",
            "binary cross entropy + Dice and the harness's Adam (2015: cross entropy, SGD)",
        )

    def build(self, task: Task) -> nn.Module:
        """Return the network."""
        from torchvision.models.segmentation import fcn_resnet50

        return for_grey(
            fcn_resnet50(weights=None, weights_backbone=None, num_classes=1),
            self.width,
            self.stride,
            self.blocks,
        )
