"""Any architecture and encoder of segmentation-models-pytorch, by name.

The encoder starts from scratch, or from a file of weights (`weights=PATH`).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.spec.errors import UsageError, did_you_mean
from bench.spec.method import Advantages, Inputs, Method, Task
from bench.spec.options import option
from bench.spec.weights import find
from verdiff_bench_methods import encoder_weights
from verdiff_bench_methods.pooled_norm import mend_pooled_norms, note

PLAIN = ("resnet34", "resnet18", "resnet50")
"""Encoders that every architecture but `TIMM_ALONE` can have."""
TIMM_ALONE = "DPT"
"""The architecture whose encoders are those of timm alone."""


def _libraries() -> tuple[Any, Any]:
    """Return the library and timm, imported without warnings about future versions of PyTorch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import segmentation_models_pytorch
        import timm
    return segmentation_models_pytorch, timm


@dataclass(frozen=True)
class SMP(Method):
    """A network of the library with the library's defaults, trained from scratch.

    For example `smp:arch=UnetPlusPlus:encoder=resnet34`.
    """

    arch: str = option("Unet", "architecture, as segmentation-models-pytorch names it")
    encoder: str = option("resnet34", "encoder, as segmentation-models-pytorch names it")
    weights: str = option(
        "", "file with the state dict of a pretrained encoder; none trains from scratch", file=True
    )

    in_all = False
    multiclass = True
    title = "SMP"
    revision = "groups of 16 channels"
    source = (
        "Iakubovskii: segmentation_models.pytorch,"
        " https://github.com/qubvel-org/segmentation_models.pytorch"
    )
    inputs = Inputs(multiple=32)
    scales = {
        "half": {"encoder": "resnet18"},
        "small": {"encoder": "resnet18"},
        "tiny": {"encoder": "resnet18"},
    }

    def __new__(cls, *_: Any, weights: str = "", **__: Any) -> SMP:
        """Return a `PretrainedSMP` for `weights=PATH`, whose rows are called pretrained.

        `_` and `__` take all other options, which the dataclass's `__init__` reads.
        """
        return super().__new__(PretrainedSMP if weights else cls)

    def __post_init__(self) -> None:
        """Refuse names that the library does not have, and those that do not fit each other.

        Raises:
            UsageError: There is no such architecture or encoder, or the architecture cannot have
                the encoder.
            ValueError: Weights are given to the class without them, or none to that with them:
                `dataclasses.replace` keeps the class, and `__new__` does not see an option that is
                given by position.
        """
        if bool(self.weights) != isinstance(self, PretrainedSMP):
            raise ValueError(
                f"{type(self).__name__} cannot have weights={self.weights!r}; create it anew by"
                f" SMP(weights={self.weights!r})"
            )
        smp, timm = _libraries()
        architectures = {cls.__name__ for cls in smp.MODEL_ARCHITECTURES_MAPPING.values()}
        if self.arch not in architectures:
            raise UsageError(
                f"smp has no architecture '{self.arch}'; {did_you_mean(self.arch, architectures)}"
            )
        encoders = [
            *smp.encoders.get_encoder_names(),
            *(f"tu-{name}" for name in timm.list_models()),
        ]
        if self.encoder not in encoders:
            near = did_you_mean(self.encoder, encoders).split("Valid:")[0]
            raise UsageError(
                f"smp has no encoder '{self.encoder}'; {near}Valid:"
                " smp.encoders.get_encoder_names(), and tu- before any name of timm.list_models()"
            )
        why = _misfit(self.arch, self.encoder)
        if why:
            raise UsageError(
                f"smp: {self.arch} cannot be built with the encoder {self.encoder} (the library:"
                f" {why}); such as {' or '.join(_fitting(self.arch, self.encoder))}"
            )

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the library's defaults."""
        own = ("from scratch (the library's default is ImageNet)", "binary cross entropy + Dice")
        return (*self.pooled_notes(batch), *own)

    def pooled_notes(self, batch: int) -> tuple[str, ...]:
        """Return the deviation that concerns norms after a global pooling, if there are such."""
        return note(batch) if _pools_globally(self.arch, self.encoder) else ()

    def build(self, task: Task) -> nn.Module:
        """Return the library's network with random weights."""
        net: nn.Module = self._network(channels=1, classes=task.channels)
        mend_pooled_norms(net, task.batch)
        return net

    def _network(self, channels: int, classes: int = 1) -> Any:
        """Return the library's network for images of some channels, with some maps of logits."""
        smp, _ = _libraries()
        return smp.create_model(
            self.arch, self.encoder, encoder_weights=None, in_channels=channels, classes=classes
        )


@dataclass(frozen=True)
class PretrainedSMP(SMP):
    """A network of the library whose encoder starts from a file of weights."""

    title = "SMP, pretrained encoder"

    def __post_init__(self) -> None:
        """Refuse names that the library does not have, and weights that do not fit.

        Raises:
            UsageError: There is no such architecture or encoder, the file is missing or cannot be
                read, or its weights are those of another encoder, not finite, or all 0.
        """
        super().__post_init__()
        given = encoder_weights.content(self.weights)
        differs = encoder_weights.difference(given.shapes, _expected(self.arch, self.encoder))
        if differs:
            raise UsageError(
                f"smp: {find(self.weights)} has not the weights of the encoder {self.encoder} in"
                f" {self.arch}: {differs}; give a file that was saved from this encoder, or the"
                " encoder= that it was saved from"
            )
        if given.fault:
            raise UsageError(
                f"smp: {find(self.weights)} cannot be trained from: {given.fault}; save the"
                " encoder's state_dict() anew, from a training that went well"
            )

    def advantages(self) -> Advantages:
        """Return that the encoder is pretrained; on what, a file of weights does not say."""
        return Advantages(pretraining=f"encoder from a file (SHA-256 {self.weights}...)")

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the library's defaults."""
        given = encoder_weights.content(self.weights)
        others = [name for name in given.precisions if name != "float32"]
        converted = (f"the file's {' and '.join(others)} converted to float32",) if others else ()
        return (
            *self.pooled_notes(batch),
            (
                "the encoder's weights from a file, its first convolution summed over the three"
                " colours, as the library does for grey images; all weights are trained"
            ),
            *converted,
            "images normalised one by one (the library: by mean and deviation of the pretraining)",
            "binary cross entropy + Dice",
        )

    def build(self, task: Task) -> nn.Module:
        """Return the library's network, with the encoder's weights from the file."""
        net: nn.Module = self._network(channels=1, classes=task.channels)
        encoder = net.get_submodule("encoder")
        state = encoder_weights.read(self.weights)
        encoder.load_state_dict(_grey(state, encoder.state_dict()))
        mend_pooled_norms(net, task.batch)
        return net


@lru_cache(maxsize=64)
def _misfit(arch: str, encoder: str) -> str:
    """Return why an architecture cannot be built with an encoder; empty if it can.

    The global generator is left as it was.
    """
    if encoder in PLAIN and arch != TIMM_ALONE:
        return ""
    smp, _ = _libraries()
    build = partial(smp.create_model, arch, encoder, encoder_weights=None, in_channels=1)
    why = ""
    with torch.random.fork_rng(devices=[]):
        # Weights without values are quick, but some encoders read values while they are built.
        for device in ("meta", "cpu"):
            try:
                with torch.device(device):
                    build()
            except Exception as error:  # each encoder has its own
                why = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
            else:
                return ""
    return why


def _fitting(arch: str, encoder: str) -> list[str]:
    """Return the nearest options that can be built in the place of two that cannot."""
    _, timm = _libraries()
    encoders = [PLAIN[0]]
    if arch == TIMM_ALONE:
        encoders = [name for name in (encoder, PLAIN[0]) if name in timm.list_models()]
        encoders = [f"tu-{name}" for name in encoders]
    options = [f"encoder={name}" for name in encoders if not _misfit(arch, name)][:1]
    if not _misfit("Unet", encoder):
        options.append("arch=Unet")
    return options


@lru_cache(maxsize=8)
def _pools_globally(arch: str, encoder: str) -> bool:
    """Return whether a network has batch norms after a global pooling.

    The global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        net = SMP(arch=arch, encoder=encoder)._network(channels=1)
    return mend_pooled_norms(net, batch=1) > 0


@lru_cache(maxsize=8)
def _expected(arch: str, encoder: str) -> encoder_weights.Shapes:
    """Return the shapes of an encoder's weights for images of three colours, as in an architecture.

    The global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        net = SMP(arch=arch, encoder=encoder)._network(channels=3)
    return {name: tuple(value.shape) for name, value in net.encoder.state_dict().items()}


def _grey(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights for images of three colours as those for grey images.

    A kernel is summed over the colours, which answers a grey image as the whole does its three
    equal colours.

    Args:
        state: The weights for three colours.
        own: Weights for one, for their shapes.
    """
    grey = {}
    for name, value in state.items():
        fits = value.shape == own[name].shape
        grey[name] = value if fits else value.sum(1, keepdim=True)
    return grey
