"""FCN on a dilated ResNet-50, as torchvision builds it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bench.spec.method import Task
from verdiff_bench_methods.resnet import Dilated


@dataclass(frozen=True)
class FCN(Dilated):
    """FCN with 32.9 M parameters at width 64; output stride 8, no auxiliary head."""

    title = "FCN"
    source = "Long, Shelhamer, Darrell: FCN, CVPR 2015, arXiv 1411.4038; torchvision's fcn_resnet50"

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the paper of 2015."""
        return (
            *self.size_notes(),
            "dilated ResNet-50 with one head (2015: VGG-16 with skips from strides 16 and 8)",
            "from scratch (2015: pretrained on ImageNet)",
            "binary cross entropy + Dice and the harness's Adam (2015: cross entropy, SGD)",
        )

    def segmenter(self, task: Task) -> nn.Module:
        """Return torchvision's network."""
        from torchvision.models.segmentation import fcn_resnet50

        net: nn.Module = fcn_resnet50(weights=None, weights_backbone=None, num_classes=1)
        return net
