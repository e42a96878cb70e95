"""What FCN and DeepLabv3 share: torchvision's dilated ResNet-50 segmenters for one grey channel and one class."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

WIDTH = 64
"""Channels of torchvision's stem, which all other widths follow."""
BLOCKS = 6
"""Blocks of ResNet-50's longest stage."""


def size_notes(width: int, stride: int, blocks: int) -> tuple[str, ...]:
    """Return the deviations that a width, a stride and a depth other than torchvision's are."""
    notes = (
        (
            width != WIDTH,
            f"{width} channels in the stem, all widths in proportion (torchvision: {WIDTH})",
        ),
        (stride == 4, "output stride 4, the stem does not pool (torchvision: 8)"),
        (blocks < BLOCKS, f"at most {blocks} blocks a stage (ResNet-50: 3, 4, 6, 3)"),
    )
    return tuple(note for applies, note in notes if applies)


class Logits(nn.Module):
    """Takes the main output out of torchvision's dictionary."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to logits (B, 1, H, W)."""
        return cast(Tensor, self.net(x)["out"])


def for_grey(net: nn.Module, width: int, stride: int, blocks: int) -> nn.Module:
    """Return a torchvision segmenter with a stem of one channel, all widths scaled by `width` / 64.

    At 64, stride 8 and 6 blocks all but the stem is torchvision's own, weights included. At stride
    4 the stem does not pool. Of each stage, no more than the first `blocks` blocks are kept.
    """
    backbone = cast(nn.Module, net.backbone)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        setattr(backbone, stage, cast(nn.Sequential, getattr(backbone, stage))[:blocks])
    _resize(net, width)
    backbone.conv1 = nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False)
    if stride == 4:
        backbone.maxpool = nn.Identity()
    for layer in (
        backbone.modules()
    ):  # as torchvision initialises its ResNets; its heads keep PyTorch's defaults
        if isinstance(layer, nn.Conv2d) and (width != WIDTH or layer is backbone.conv1):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return Logits(net)


def _resize(module: nn.Module, width: int) -> None:
    """Replace the convolutions and norms below a module by narrower or wider ones; at 64 replace nothing."""
    if width == WIDTH:
        return

    def scaled(channels: int) -> int:
        return (
            channels * width // WIDTH if channels >= WIDTH else channels
        )  # the class's one channel stays

    for name, layer in module.named_children():
        if isinstance(layer, nn.Conv2d):
            shape: dict[str, Any] = {
                k: getattr(layer, k) for k in ("kernel_size", "stride", "padding", "dilation")
            }
            bias = layer.bias is not None
            new: nn.Module = nn.Conv2d(
                scaled(layer.in_channels), scaled(layer.out_channels), **shape, bias=bias
            )
        elif isinstance(layer, nn.BatchNorm2d):
            new = nn.BatchNorm2d(scaled(layer.num_features))
        elif isinstance(layer, nn.GroupNorm):
            new = nn.GroupNorm(layer.num_groups, scaled(layer.num_channels))
        else:
            _resize(layer, width)
            continue
        setattr(module, name, new)
