"""Swin-Unet: a U-Net of shifted-window attention, for images of any height and width.

The blocks are timm's, the code around them is our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec.errors import UsageError
from bench.spec.method import VOID, Inputs, Method, Task
from bench.spec.options import option
from bench.spec.space import Between

LEVELS = 4
"""Resolutions; from each to the next height and width are halved."""
HEAD = 32
"""Channels of an attention head, as in every published Swin."""
DEPTH = 2
"""Blocks of each level of the encoder, and of each level of the decoder."""
DROP_PATH = 0.2
"""Probability that the branches of the deepest block are skipped in training. From the first block
(0) to the deepest it grows by equal steps."""
LR = 0.05
"""Learning rate of the public code, for a batch of 24."""
SMOOTH = 1e-5
"""Added to both sides of the Dice fraction, as in the public code."""


class Merge(nn.Module):
    """Joins 2 x 2 tokens into one with twice as many channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C), H and W even, to (B, H / 2, W / 2, 2 C)."""
        b, h, w, c = x.shape
        # The four tokens are joined column by column, as published.
        joined = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        reduced: Tensor = self.reduction(self.norm(joined))
        return reduced


class Expand(nn.Module):
    """Splits a token into `factor` x `factor` tokens."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(inputs, factor**2 * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, inputs) to (B, H factor, W factor, outputs)."""
        b, h, w, _ = x.shape
        x = self.expand(x).view(b, h, w, self.factor, self.factor, -1).transpose(2, 3)
        split: Tensor = self.norm(x.reshape(b, h * self.factor, w * self.factor, -1))
        return split


class Level(nn.Module):
    """Swin blocks, and then a change of scale.

    Args:
        width: Channels of the tokens.
        heads: Attention heads.
        window: Side of the attention's windows, in tokens.
        rates: For each block the probability that its branches are skipped in training.
        scale: Maps the tokens to another number of tokens and channels.

    Every second block has shifted windows.
    """

    def __init__(
        self, width: int, heads: int, window: int, rates: list[float], scale: nn.Module
    ) -> None:
        from timm.models.swin_transformer import SwinTransformerBlock

        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                width,
                input_resolution=(0, 0),
                num_heads=heads,
                window_size=window,
                shift_size=window // 2 if i % 2 else 0,
                drop_path=rate,
                always_partition=True,
                dynamic_mask=True,
            )
            for i, rate in enumerate(rates)
        )
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C), H and W multiples of the window, and change their scale."""
        # As published: windows are not shifted if a single one spans the height or the width.
        unshifted = min(x.shape[1:3]) <= self.window
        blocks: Any = self.blocks
        for block in blocks:
            block.shift_size = (0, 0) if unshifted else block.target_shift_size
            x = block(x)
        scaled: Tensor = self.scale(x)
        return scaled


class Network(nn.Module):
    """The published network, whose parameters are created in the published order.

    Args:
        width: Channels of the first level; each further level doubles them and the heads.
        window: Side of the attention's windows, in tokens.
        patch: Side of a token, in pixels.
        channels: Channels of the logits.
    """

    def __init__(self, width: int, window: int, patch: int, channels: int = 1) -> None:
        super().__init__()
        heads = heads_of(width)
        rates = torch.linspace(0, DROP_PATH, DEPTH * LEVELS).tolist()

        def level(i: int, scale: nn.Module) -> Level:
            return Level(
                width * 2**i, heads * 2**i, window, rates[DEPTH * i : DEPTH * (i + 1)], scale
            )

        widths = [width * 2**i for i in range(LEVELS)]
        last = LEVELS - 1
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.embed_norm = nn.LayerNorm(width)
        self.down = nn.ModuleList(
            level(i, Merge(w) if i < last else nn.Identity()) for i, w in enumerate(widths)
        )
        self.up = nn.ModuleList([Expand(widths[last], widths[last] // 2, 2)])
        for i in reversed(range(last)):
            self.up.append(level(i, Expand(widths[i], widths[i] // 2, 2) if i else nn.Identity()))
        self.join = nn.ModuleList(nn.Linear(2 * w, w) for w in reversed(widths[:last]))
        self.norm = nn.LayerNorm(widths[last])
        self.norm_up = nn.LayerNorm(width)
        self.expand = Expand(width, width, patch)
        self.head = nn.Conv2d(width, channels, 1, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, H, W), padded to the grid, to logits (B, channels, H, W)."""
        x = self.embed_norm(self.embed(x.expand(-1, 3, -1, -1)).permute(0, 2, 3, 1))
        skips: list[Tensor] = []
        for level in self.down:
            skips.append(x)
            x = level(x)
        x = self.up[0](self.norm(x))
        for join, up, skip in zip(self.join, self.up[1:], reversed(skips[:-1]), strict=True):
            x = up(join(torch.cat([x, skip], dim=-1)))
        logits: Tensor = self.head(self.expand(self.norm_up(x)).permute(0, 3, 1, 2))
        return logits


def heads_of(width: int) -> int:
    """Return the attention heads of a first level of this width."""
    return max(1, width // HEAD)


def dice_loss(probability: Tensor, mask: Tensor) -> Tensor:
    """Return the published soft Dice loss (squared denominator) over a batch (B, 1, H, W)."""
    overlap = 2 * (probability * mask).sum() + SMOOTH
    return 1 - overlap / (probability.square().sum() + mask.square().sum() + SMOOTH)


def published_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 0.4 cross entropy + 0.6 Dice loss over the background and all classes, as published.

    Args:
        logits: (B, C, H, W).
        target: (B, 1, H, W), numbers of classes and `VOID`.
    """
    known = target != VOID
    probability = logits.softmax(1) * known
    dice = [
        dice_loss(probability[:, number : number + 1], (target == number).float())
        for number in range(logits.shape[1])
    ]
    entropy = F.cross_entropy(logits, target[:, 0], ignore_index=VOID, reduction="sum")
    return 0.4 * entropy / known.sum().clamp_min(1) + 0.6 * torch.stack(dice).mean()


@dataclass(frozen=True)
class SwinUNet(Method):
    """27.2 M parameters at width 96, the published size."""

    width: int = option(
        96, f"channels of the first level; a head for every {HEAD}, which must divide it", low=2
    )
    window: int = option(7, "side of the attention's windows, in patches", low=2)
    patch: int = option(4, "side of a patch, in pixels", choices=("2", "4"))

    space = {"lr": Between(5e-3, 2e-1, log=True)}
    title = "Swin-Unet"
    source = (
        "Cao et al.: Swin-Unet, ECCV Workshops 2022, arXiv 2105.05537; own code around timm's Swin"
        " blocks"
    )
    scales = {
        "half": {"width": 48, "window": 4},
        "small": {"width": 40, "window": 2, "patch": 4},
        "tiny": {"width": 8, "window": 2, "patch": 2},
    }
    needs = ("timm",)
    multiclass = True
    of_one = {
        "one sigmoid class (source: softmax over classes); its losses are those of a softmax over"
        " two": ""
    }

    def __post_init__(self) -> None:
        """Refuse a width that its attention heads cannot divide.

        Raises:
            UsageError: The width is no multiple of the number of heads.
        """
        heads = heads_of(self.width)
        if self.width % heads:
            raise UsageError(
                f"width={self.width} cannot be divided into {heads} attention heads, one for every"
                f" {HEAD} channels; expected a multiple of {heads}, such as"
                f" width={self.width - self.width % heads}"
            )

    @property
    def multiple(self) -> int:
        """The number of pixels to a multiple of which both sides of an image are padded.

        At the deepest level the sides are then whole windows.
        """
        return self.window * self.patch << LEVELS - 1

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the paper and its public code."""
        full = {"width": 96, "window": 7, "patch": 4}
        own = {name: getattr(self, name) for name in full if getattr(self, name) != full[name]}
        published = {name: full[name] for name in own}
        sizes = f"{_listed(own)} (source: {_listed(published)})"
        rate = "at its learning rate"
        if self.lr:
            rate = f"at a learning rate of {self.lr:g} (source: {LR:g})"
        return (
            *([sizes] if own else []),
            "from scratch (source: encoder and decoder start from a Swin-T trained on ImageNet)",
            (
                f"any rectangle, its edge repeated up to multiples of {self.multiple} (source:"
                " resized to 224 x 224)"
            ),
            (
                "one sigmoid class (source: softmax over classes); its losses are those of a"
                " softmax over two"
            ),
            (
                f"the source's SGD {rate}, not the profile's Adam; the rate falls over the"
                " profile's steps, which may end early (source: over 150 epochs)"
            ),
            (
                f"batch {batch} (source: 24, for which the rate was chosen); the harness's"
                " augmentation (source: random turns and flips)"
            ),
            "each image to mean 0 and deviation 1 (source: intensities as they are)",
        )

    def build(self, task: Task) -> nn.Module:
        """Return the network."""
        return Network(self.width, self.window, self.patch, task.channels)

    def logits(self, net: nn.Module, image: Tensor) -> Tensor:
        """Return logits (B, task.channels, H, W) of images (B, 1, H, W) in [0, 1]."""
        inputs = Inputs(self.multiple)
        return inputs.leave(net(inputs.enter(image)), (image.shape[-2], image.shape[-1]))

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return 0.4 cross entropy + 0.6 Dice loss, as published.

        Both losses are means over the classes and the background. Void pixels are in neither.
        """
        logits = self.logits(net, image).float()
        if logits.shape[1] > 1:
            return published_loss(logits, mask.long())
        probability = torch.sigmoid(logits)
        dice = (dice_loss(probability, mask) + dice_loss(1 - probability, 1 - mask)) / 2
        return 0.4 * F.binary_cross_entropy_with_logits(logits, mask) + 0.6 * dice

    @property
    def usual_lr(self) -> float:
        """The highest learning rate, as published."""
        return LR

    def make_optimiser(self, net: nn.Module, task: Task) -> torch.optim.Optimizer:
        """Return the published SGD; its learning rate falls to 0 with the power 0.9."""
        rate = self.lr or self.usual_lr
        sgd = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
        # A checkpoint holds the parameter groups, so it also holds this count of steps.
        sgd.param_groups[0]["steps_done"] = 0

        def decay(sgd: torch.optim.Optimizer, *_: Any) -> None:
            """Set the learning rate of the step that is about to be taken."""
            group = sgd.param_groups[0]
            group["lr"] = rate * max(0.0, 1 - group["steps_done"] / task.steps) ** 0.9
            group["steps_done"] += 1

        sgd.register_step_pre_hook(decay)
        return sgd


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())
