"""Networks of MONAI for 2D images, by name, with MONAI's own defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from bench.spec.errors import UsageError
from bench.spec.method import Inputs, Method, Task
from bench.spec.options import option

TOKEN = 16
"""Side in pixels of the square that becomes one of UNETR's tokens."""

Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class Wanted:
    """What a network is built for."""

    width: int
    """Channels of the first level."""
    size: Size
    """The largest height and width in training."""
    channels: int = 1
    """Maps of logits."""

    @property
    def shape(self) -> dict[str, int]:
        """Arguments that all networks of MONAI have: a grey image, and maps of logits."""
        return {"spatial_dims": 2, "in_channels": 1, "out_channels": self.channels}


def _nets() -> Any:
    """Return the module of MONAI that has the networks."""
    from monai.networks import nets

    return nets


def _attention_unet(wanted: Wanted) -> nn.Module:
    channels = [wanted.width * 2**level for level in range(5)]
    net: nn.Module = _nets().AttentionUnet(**wanted.shape, channels=channels, strides=(2, 2, 2, 2))
    return net


def _basic_features(width: int) -> tuple[int, ...]:
    """Return the channels of five levels and of the last layer, in MONAI's proportions."""
    return (width, width, 2 * width, 4 * width, 8 * width, width)


def _basic_unet(wanted: Wanted) -> nn.Module:
    net: nn.Module = _nets().BasicUNet(**wanted.shape, features=_basic_features(wanted.width))
    return net


def _basic_unet_plus_plus(wanted: Wanted) -> nn.Module:
    return OnlyOutput(
        _nets().BasicUNetPlusPlus(**wanted.shape, features=_basic_features(wanted.width))
    )


def _mednext(wanted: Wanted) -> nn.Module:
    """Return the network of `monai.networks.nets.MedNeXtS`, whose width is fixed, at any width."""
    net: nn.Module = _nets().MedNeXt(
        **wanted.shape, init_filters=wanted.width, kernel_size=3, use_residual_connection=True
    )
    return net


def _segresnet(wanted: Wanted) -> nn.Module:
    net: nn.Module = _nets().SegResNet(**wanted.shape, init_filters=wanted.width)
    return net


def _swin_unetr(wanted: Wanted) -> nn.Module:
    net: nn.Module = _nets().SwinUNETR(**wanted.shape, feature_size=wanted.width)
    return net


def _unetr(wanted: Wanted) -> nn.Module:
    padded = [side + -side % TOKEN for side in wanted.size]  # up to a multiple of a token's side
    return AnySize(
        _nets().UNETR(
            **wanted.shape,
            img_size=padded,
            feature_size=wanted.width,
            hidden_size=48 * wanted.width,
            mlp_dim=192 * wanted.width,
        )
    )


class OnlyOutput(nn.Module):
    """A network that returns a list of one map, whose map is the answer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to logits (B, channels, H, W)."""
        (logits,) = self.net(x)
        whole: Tensor = logits
        return whole


class AnySize(nn.Module):
    """MONAI's UNETR for images of any size; MONAI's own takes images of one size.

    For images of another size the position embeddings are interpolated. Sides must be multiples of
    a token's.
    """

    positions = "vit.patch_embedding.position_embeddings"

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to logits (B, channels, H, W)."""
        grid = [side // TOKEN for side in x.shape[2:]]
        self.net.proj_view_shape = [*grid, self.net.hidden_size]  # UNETR reshapes its tokens to it
        logits: Tensor = functional_call(self.net, {self.positions: self._embeddings(grid)}, (x,))
        return logits

    def _embeddings(self, grid: Sequence[int]) -> Tensor:
        """Return the position embeddings (1, h w, C) of a grid of h x w tokens."""
        own: Tensor = self.net.get_parameter(self.positions)
        if list(grid) == list(self.net.feat_size):
            return own
        maps = own.mT.reshape(1, -1, *self.net.feat_size)
        return F.interpolate(maps, list(grid), mode="bicubic", antialias=True).flatten(2).mT


@dataclass(frozen=True)
class Net:
    """What is known of a network of MONAI before MONAI is imported."""

    build: Callable[[Wanted], nn.Module]
    full: int
    """Channels of the first level by MONAI's defaults. `small` and `tiny` are ours."""
    small: int
    tiny: int
    step: int = 1
    """What the channels are a multiple of."""
    least: int = 1
    """The fewest channels of the first level."""
    multiple: int = 16
    """What the sides of an image are a multiple of, after padding."""
    notes: tuple[str, ...] = ()
    """How MONAI's network differs from its source."""
    width_note: str = ""
    """How MONAI's default width differs from the source's."""


NETS = {
    "AttentionUnet": Net(
        _attention_unet,
        full=64,
        small=12,
        tiny=4,
        least=2,  # its gates halve the channels
        width_note="five levels from 64 channels, as in U-Net (MONAI has no default)",
    ),
    "BasicUNet": Net(_basic_unet, full=32, small=18, tiny=4),
    "BasicUNetPlusPlus": Net(
        _basic_unet_plus_plus,
        full=32,
        small=10,
        tiny=4,
        notes=("without deep supervision, MONAI's default (2018: with it)",),
    ),
    "MedNeXt": Net(
        _mednext,
        full=32,
        small=14,
        tiny=4,
        notes=("the network S with kernels of 3, without deep supervision (2023: with it)",),
    ),
    "SegResNet": Net(
        _segresnet,
        full=8,
        small=8,
        tiny=8,
        step=8,
        multiple=8,
        notes=("without the variational branch, MONAI's default (2018: with it)",),
        width_note="8 filters, MONAI's default (2018: 32)",
    ),
    "SwinUNETR": Net(
        _swin_unetr,
        full=24,
        small=12,
        tiny=12,
        step=12,
        multiple=32,
        width_note="feature size 24, MONAI's default (2022: 48)",
    ),
    "UNETR": Net(
        _unetr,
        full=16,
        small=4,
        tiny=2,
        notes=(
            "position embeddings interpolated for images of another size than the largest in"
            " training (MONAI: images of one size)",
        ),
    ),
}
"""The networks that the option `net` can name, by their names in `monai.networks.nets`.

The widths `small` and `tiny` are ours: `small` has about as many multiply-adds as U-Net's.
"""


@dataclass(frozen=True)
class MonaiNet(Method):
    """A network of MONAI with MONAI's defaults, trained from scratch.

    For example `monai:net=SwinUNETR`, or `monai:net=SwinUNETR:width=48` as its paper has it.
    """

    net: str = option("AttentionUnet", "network, as MONAI names it", choices=tuple(NETS))
    size: str = option(
        "full",
        "of the network; full is MONAI's default, small and tiny are for trying out",
        choices=("full", "small", "tiny"),
    )
    width: int = option(
        0, "channels of the first level, in place of the size; 0 is that of the size", low=0
    )

    in_all = False
    multiclass = True
    title = "MONAI"
    source = (
        "MONAI, https://github.com/Project-MONAI/MONAI; Attention U-Net: Oktay et al. 2018,"
        " BasicUNet: Falk et al. 2019, U-Net++: Zhou et al. 2018, MedNeXt: Roy et al. 2023,"
        " SegResNet: Myronenko 2018, Swin UNETR and UNETR: Hatamizadeh et al. 2022"
    )
    scales = {
        "half": {"size": "small"},
        "small": {"size": "small"},
        "tiny": {"size": "tiny"},
    }
    needs = ("monai.networks.nets",)
    install = "verdiff-bench[monai]"

    def __post_init__(self) -> None:
        """Refuse a width that the network cannot have.

        Raises:
            UsageError: The width is no multiple of what the network's norms or heads need, or is
                too small.
        """
        step, least = NETS[self.net].step, NETS[self.net].least
        if 0 < self.width < least:
            raise UsageError(
                f"monai: width={self.width} is too small for {self.net}; expected {least} channels"
                f" of the first level at least: width={least}"
            )
        if self.width % step:
            near = self.width - self.width % step + step
            raise UsageError(
                f"monai: width={self.width} is no multiple of {step}, as {self.net} needs it;"
                f" such as width={near}"
            )

    @property
    def channels(self) -> int:
        """The channels of the network's first level."""
        chosen: int = self.width or getattr(NETS[self.net], self.size)
        return chosen

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the network's source."""
        net = NETS[self.net]
        width = net.width_note
        if self.channels != net.full:
            width = f"{self.channels} channels at the first level (MONAI: {net.full})"
        training = "from scratch, with binary cross entropy + Dice and the harness's Adam"
        return (*([width] if width else []), *net.notes, training)

    def build(self, task: Task) -> nn.Module:
        """Return MONAI's network with random weights."""
        return NETS[self.net].build(Wanted(self.channels, task.size, task.channels))

    def logits(self, net: nn.Module, image: Tensor) -> Tensor:
        """Return logits (B, task.channels, H, W) of images (B, 1, H, W) in [0, 1]."""
        inputs = Inputs(multiple=NETS[self.net].multiple)
        return inputs.leave(net(inputs.enter(image)), (image.shape[-2], image.shape[-1]))
