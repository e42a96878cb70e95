"""Any architecture and encoder of segmentation-models-pytorch, by name."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn

from bench.spec.errors import UsageError, did_you_mean
from bench.spec.method import Inputs, Method, Task
from bench.spec.options import option
from methods.pooled_norm import mend_pooled_norms, note


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

    in_all = False
    title = "SMP"
    source = (
        "Iakubovskii: segmentation_models.pytorch,"
        " https://github.com/qubvel-org/segmentation_models.pytorch"
    )
    inputs = Inputs(multiple=32)
    scales = {"small": {"encoder": "resnet18"}, "tiny": {"encoder": "resnet18"}}

    def __post_init__(self) -> None:
        """Refuse names that the library does not have.

        Raises:
            UsageError: There is no such architecture or encoder.
        """
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

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from the library's defaults."""
        own = ("from scratch (the library's default is ImageNet)", "binary cross entropy + Dice")
        return (*note(batch), *own)

    def build(self, task: Task) -> nn.Module:
        """Return the library's network with random weights."""
        smp, _ = _libraries()
        net: nn.Module = smp.create_model(
            self.arch, self.encoder, encoder_weights=None, in_channels=1, classes=1
        )
        mend_pooled_norms(net, task.batch)
        return net
