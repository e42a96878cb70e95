"""What FCN and DeepLabv3 share: torchvision's dilated ResNet-50 for grey images and one class."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from bench.spec.method import Method, Task
from bench.spec.options import option
from verdiff_bench_methods.pooled_norm import group_norm

WIDTH = 64
"""Channels of torchvision's stem, which all other widths follow."""
BLOCKS = 6
"""Blocks of ResNet-50's longest stage."""
SHAPE = ("kernel_size", "stride", "padding", "dilation")
"""What a convolution keeps when its width changes."""


@dataclass(frozen=True)
class Dilated(Method):
    """A head on a dilated ResNet-50, for one grey channel and one class."""

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

    scales = {
        "half": {"width": 32},
        "small": {"width": 8, "stride": 4, "blocks": 2},
        "tiny": {"width": 8},
    }
    needs = ("torchvision.models.segmentation",)
    multiclass = True

    def size_notes(self) -> tuple[str, ...]:
        """Return the deviations that concern width, stride and depth."""
        notes = (
            (
                self.width != WIDTH,
                f"{self.width} channels in the stem, all widths in proportion (torchvision:"
                f" {WIDTH})",
            ),
            (self.stride == 4, "output stride 4, the stem does not pool (torchvision: 8)"),
            (self.blocks < BLOCKS, f"at most {self.blocks} blocks a stage (ResNet-50: 3, 4, 6, 3)"),
        )
        return tuple(note for applies, note in notes if applies)

    @abstractmethod
    def segmenter(self, task: Task) -> nn.Module:
        """Return torchvision's network for three colours and one class."""

    def build(self, task: Task) -> nn.Module:
        """Return the network."""
        net = self.segmenter(task)
        return for_grey(net, self.width, self.stride, self.blocks, task.channels)


class Logits(nn.Module):
    """A torchvision segmenter that returns only the main output of its dictionary."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to logits (B, channels, H, W)."""
        return cast(Tensor, self.net(x)["out"])


def for_grey(net: nn.Module, width: int, stride: int, blocks: int, channels: int = 1) -> nn.Module:
    """Return a torchvision segmenter for grey images, with all widths multiplied by `width` / 64.

    At width 64, stride 8 and 6 blocks, everything but the first convolution is torchvision's own,
    initial weights included.

    Args:
        net: torchvision's segmenter.
        width: Channels of the stem.
        stride: Output stride, 8 or 4; at 4 the stem does not pool.
        blocks: Of each stage, at most this many first blocks are kept.
        channels: Channels of the logits.
    """
    backbone = cast(nn.Module, net.backbone)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        setattr(backbone, stage, cast(nn.Sequential, getattr(backbone, stage))[:blocks])
    _resize(net, width)
    backbone.conv1 = nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False)
    if stride == 4:
        backbone.maxpool = nn.Identity()
    # as torchvision initialises its ResNets; its heads keep PyTorch's defaults
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d) and (width != WIDTH or layer is backbone.conv1):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if channels > 1:
        head = cast(nn.Sequential, net.classifier)
        head[-1] = nn.Conv2d(cast(nn.Conv2d, head[-1]).in_channels, channels, 1)
    return Logits(net)


def _resize(module: nn.Module, width: int) -> None:
    """Replace all convolutions and norms in a module by ones of another width.

    At width 64, torchvision's own, nothing is replaced.
    """
    if width == WIDTH:
        return

    def scaled(channels: int) -> int:
        if channels < WIDTH:  # the output's single channel stays
            return channels
        return channels * width // WIDTH

    for name, layer in module.named_children():
        if isinstance(layer, nn.Conv2d):
            new: nn.Module = nn.Conv2d(
                scaled(layer.in_channels),
                scaled(layer.out_channels),
                bias=layer.bias is not None,
                **{key: getattr(layer, key) for key in SHAPE},
            )
        elif isinstance(layer, nn.BatchNorm2d):
            new = nn.BatchNorm2d(scaled(layer.num_features))
        elif isinstance(layer, nn.GroupNorm):
            new = group_norm(scaled(layer.num_channels))
        else:
            _resize(layer, width)
            continue
        setattr(module, name, new)
