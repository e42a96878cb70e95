"""DeepLabv3 on a dilated ResNet-50, as torchvision builds it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bench.spec.method import Method, Task
from bench.spec.options import option
from methods.pooled_norm import mend_pooled_norms, note
from methods.resnet import for_grey, size_notes


@dataclass(frozen=True)
class DeepLabv3(Method):
    """39.6 M parameters at width 64: atrous spatial pyramid with rates 12, 24, 36 at output stride 8."""

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

    title = "DeepLabv3"
    source = (
        "Chen et al.: Rethinking atrous convolution, arXiv 1706.05587; torchvision's"
        " deeplabv3_resnet50"
    )
    scales = {
        "small": {"width": 8, "stride": 4, "blocks": 2},
        "tiny": {"width": 8},
    }
    needs = ("torchvision.models.segmentation",)

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how it differs from the paper of 2017."""
        return (
            *note(batch),
            *size_notes(self.width, self.stride, self.blocks),
            f"ResNet-50 at output stride {self.stride} (2017: ResNet-101 at 16)",
            "from scratch (2017: pretrained on ImageNet)",
            (
                "binary cross entropy + Dice and the harness's Adam (2017: cross entropy, SGD with"
                " poly decay, batch 16)"
            ),
        )

    def build(self, task: Task) -> nn.Module:
        """Return the network; in small batches the pooled branch's batch norm is group norm."""
        from torchvision.models.segmentation import deeplabv3_resnet50

        net = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=1)
        mend_pooled_norms(net, task.batch)
        return for_grey(net, self.width, self.stride, self.blocks)
