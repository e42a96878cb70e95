"""The contract that a method fulfils: what it is, how it is built, its loss and its answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.spec.case import VOID as VOID
from bench.spec.options import option
from bench.spec.space import Between, Space


@dataclass(frozen=True)
class Task:
    """What a method may know of the data before it sees any: nothing of the test split."""

    dataset: str
    sizes: tuple[tuple[int, int], ...]
    """(height, width) of each training case on the network grid."""
    batch: int
    steps: int
    classes: tuple[str, ...] = ()
    """The names of the classes; none where there is one foreground."""
    void: bool = False
    """Whether masks may hold `VOID`."""

    @property
    def channels(self) -> int:
        """The channels of the logits: one of a single foreground, else background and classes."""
        return len(self.classes) + 1

    @property
    def size(self) -> tuple[int, int]:
        """The largest height and width of any training case."""
        return max(h for h, _ in self.sizes), max(w for _, w in self.sizes)


@dataclass(frozen=True)
class Example:
    """A case on the network grid, not augmented."""

    id: str
    image: NDArray[np.uint16]
    """(H, W) in 65535 steps."""
    mask: NDArray[np.uint8]
    """(H, W) in {0, 1}, or numbers of classes and `VOID`."""


@dataclass(frozen=True)
class Cases:
    """What a method that trains itself is given; nothing of the test split."""

    train: Callable[[], Iterator[Example]]
    validation: Callable[[], Iterator[Example]]


@dataclass(frozen=True)
class Inputs:
    """What the harness does to images before a network sees them, and undoes afterwards."""

    multiple: int = 1
    """Height and width are padded with the image's edge to a multiple of this, and cropped
    again."""
    normalise: str = "zscore"
    """`zscore`: each image to mean 0 and deviation 1; `unit`: left in [0, 1]."""

    def enter(self, image: Tensor) -> Tensor:
        """Normalise and pad images (B, 1, H, W) in [0, 1]."""
        if self.normalise == "zscore":
            deviation, mean = torch.std_mean(image, dim=(1, 2, 3), keepdim=True)
            image = (image - mean) / deviation.clamp_min(1e-6)
        bottom, right = -image.shape[-2] % self.multiple, -image.shape[-1] % self.multiple
        if not (bottom or right):
            return image
        return F.pad(image, (0, right, 0, bottom), mode="replicate")

    def leave(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """Crop the output (B, C, H', W') of padded images back to their size (H, W)."""
        return output[..., : size[0], : size[1]]


@dataclass(frozen=True)
class Answer:
    """A network's answer for images; each map is (B, 1, H, W), with classes as `probability`."""

    probability: Tensor
    """Probability of foreground; of several classes that of the background and of each class,
    (B, task.channels, H, W)."""
    spread: Tensor | None = None
    """Standard deviation of the probability over samples, in [0, 0.5], where the method draws
    samples."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Further probabilities from the same weights, by name; each is a row of the tables
    (`verdiff:prior`)."""


@dataclass(frozen=True)
class Advantages:
    """What a method has beyond the data that all are given, in words; every table prints it."""

    pretraining: str = "none"
    prompt: str = "none"
    ensembling: str = "none"
    """Answers of the same weights that are averaged at test time."""
    augmentation: str = "none"
    """What else than the shared stream it trains on."""


@dataclass(frozen=True)
class Method(ABC):
    """A segmentation method; its dataclass fields are the options of its name (`unet:width=32`).

    A new method is a frozen dataclass that derives from this one, in one file, named by an entry
    point in the group `verdiff_bench.methods`. Most need nothing but the class attributes and
    `build`. What else a method can do is in `bench.spec.capabilities`.
    """

    lr: float = option(
        0.0,
        "highest learning rate; 0 is the method's own, or the profile's",
        low=0,
        kw_only=True,
    )
    tuned: bool = option(
        False,
        "other options as bench tune found them best for each dataset",
        kw_only=True,
    )

    title: ClassVar[str]
    """The name in tables."""
    source: ClassVar[str]
    """Paper, and code where it is used."""
    revision: ClassVar[str] = ""
    """Of this project's methods: another text where code changed what the method alone computes,
    so that no old result of it passes for a new one."""
    inputs: ClassVar[Inputs] = Inputs()
    scales: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Defaults of options under a profile's scale (`half`, `small`, `tiny`) where they differ from
    the full size."""
    multiclass: ClassVar[bool] = False
    """Whether it can tell several classes apart: its logits have `task.channels` channels."""
    of_one: ClassVar[Mapping[str, str]] = {"binary cross entropy": "cross entropy"}
    """Words of its deviations that hold for one foreground, and those that replace them where there
    are several classes. A line that becomes empty is left out."""
    in_all: ClassVar[bool] = True
    """Whether `--methods all` includes it."""
    bf16: ClassVar[bool] = True
    """Whether a CUDA device may run it under bfloat16 autocast."""
    space: ClassVar[Space] = {"lr": Between(1e-4, 1e-2, log=True)}
    """What `bench tune` may choose; nothing that changes the loss, by which trials are stopped
    early."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules that are slow to import, loaded once for all cells."""
    install: ClassVar[str] = ""
    """What pip installs so that `needs` can be imported, where it is no dependency of the package
    that has the method: `verdiff-bench[monai]`."""

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how it differs from its source at this batch size; every report prints it."""
        return ()

    def advantages(self) -> Advantages:
        """Return what it has that the other methods of a table do not."""
        return Advantages()

    @abstractmethod
    def build(self, task: Task) -> nn.Module:
        """Return the network with fresh weights.

        The global generator is seeded; nothing is downloaded.
        """

    def logits(self, net: nn.Module, image: Tensor) -> Tensor:
        """Return logits (B, task.channels, H, W) of images (B, 1, H, W) in [0, 1]."""
        return self.inputs.leave(net(self.inputs.enter(image)), (image.shape[-2], image.shape[-1]))

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return the scalar loss of images (B, 1, H, W) in [0, 1] and masks (B, 1, H, W) in {0, 1}.

        Of several classes the masks hold the classes' numbers from 1, and `VOID`.
        The images are what the certificate vouches for: a method that changes them declares it.
        Random numbers come from `rng`, drawn on the images' device (`torch.randn(...,
        generator=rng, device=image.device)`).
        """
        return loss_of(self.logits(net, image), mask)

    def predict(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Tensor:
        """Return the probability of foreground (B, 1, H, W); noise may come from `rng` alone.

        Of several classes it is that of the background and of each class, (B, task.channels, H, W).
        """
        return probability_of(self.logits(net, image))


def probability_of(logits: Tensor) -> Tensor:
    """Return the probabilities (B, C, H, W) of logits: of several classes they sum to 1."""
    logits = logits.float()
    return torch.sigmoid(logits) if logits.shape[1] == 1 else logits.softmax(1)


def loss_of(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the loss of most methods: `bce_dice` of one channel, `ce_dice` of several.

    Args:
        logits: (B, C, H, W).
        mask: (B, 1, H, W), as `Method.loss` takes it.
    """
    return bce_dice(logits, mask) if logits.shape[1] == 1 else ce_dice(logits, mask)


def ce_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross entropy plus the mean soft Dice loss of the classes over the batch.

    Void pixels are in neither. The Dice loss of a class is that of `bce_dice`; the background has
    none, as in nnU-Net (Isensee et al. 2021).

    Args:
        logits: (B, C, H, W), the background first.
        target: (B, 1, H, W), numbers of classes, 0, and `VOID`.
    """
    logits, target = logits.float(), target.long()
    not_void = target != VOID
    entropy = F.cross_entropy(logits, target[:, 0], ignore_index=VOID, reduction="sum")
    numbers = torch.arange(1, logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    masks = target == numbers  # (B, C - 1, H, W): one for each class
    probability = logits.softmax(1)[:, 1:] * not_void
    overlap = (probability * masks).sum((0, 2, 3))
    areas = probability.sum((0, 2, 3)) + masks.sum((0, 2, 3))
    dice = (2 * overlap + 1) / (areas + 1)  # without + 1, 0 / 0 for a class that is nowhere
    return entropy / not_void.sum().clamp_min(1) + 1 - dice.mean()


def bce_dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Return binary cross entropy plus soft Dice loss over the batch.

    The Dice loss is after Milletari et al. (2016), without squares below, as in nnU-Net.

    Args:
        logits: (B, 1, H, W).
        mask: (B, 1, H, W) in {0, 1}.
    """
    logits = logits.float()
    probability = torch.sigmoid(logits)
    overlap = 2 * (probability * mask).sum() + 1  # without + 1, 0 / 0 for empty masks
    dice = overlap / (probability.sum() + mask.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, mask) + 1 - dice
