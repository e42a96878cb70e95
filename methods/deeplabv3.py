"""DeepLabv3 on a dilated ResNet-50, as torchvision builds it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bench.spec.method import Task
from methods.pooled_norm import mend_pooled_norms, note
from methods.resnet import Dilated


@dataclass(frozen=True)
class DeepLabv3(Dilated):
    """DeepLabv3 with 39.6 M parameters at width 64.

    Its atrous spatial pyramid has the rates 12, 24 and 36, at output stride 8.
    """

    title = "DeepLabv3"
    source = (
        "Chen et al.: Rethinking atrous convolution, arXiv 1706.05587; torchvision's"
        " deeplabv3_resnet50"
    )

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the paper of 2017."""
        return (
            *note(batch),
            *self.size_notes(),
            f"ResNet-50 at output stride {self.stride} (2017: ResNet-101 at 16)",
            "from scratch (2017: pretrained on ImageNet)",
            (
                "binary cross entropy + Dice and the harness's Adam (2017: cross entropy, SGD with"
                " poly decay, batch 16)"
            ),
        )

    def segmenter(self, task: Task) -> nn.Module:
        """Return torchvision's network; in small batches the pooled branch has group norm."""
        from torchvision.models.segmentation import deeplabv3_resnet50

        net: nn.Module = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=1)
        mend_pooled_norms(net, task.batch)
        return net
