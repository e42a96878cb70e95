"""nnU-Net by the code of nnunetv2, trained on the shared stream or by its own trainer.

These parts are the library's, unchanged: the planner with its rules for patch, stages, features and
normalisation; the network; Dice + cross entropy over all deep-supervision outputs; sliding-window
prediction with Gaussian weights, averaged over mirrored views if training mirrored. With
`plans=resenc-m` or `resenc-l` the planner is that of nnU-Net's presets with residual encoders. The
network has two heads with softmax, as nnU-Net has for labels; nnU-Net's sigmoid heads are for
regions that overlap. Adam trains it as all methods, or with `optimiser=sgd` nnU-Net's SGD with
Nesterov momentum and polynomial decay. With `recipe=native`, nnU-Net's own trainer does
(`methods.nnunet_native`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec.errors import UsageError
from bench.spec.method import Advantages, Cases, Inputs, Method, Task
from bench.spec.note import Tell
from bench.spec.options import option
from bench.spec.space import Between
from verdiff_bench_methods import nnunet_native
from verdiff_bench_methods.nnunet_plan import (
    LABELS,
    LEAST_EDGE,
    PRESETS,
    Planned,
    Plans,
    folders,
    labels_of,
    patches,
    plan,
    uncropped,
)

RATE, DECAY, MOMENTUM, CLIP = 1e-2, 3e-5, 0.99, 12.0
"""Learning rate, weight decay, momentum and largest norm of the gradient of `nnUNetTrainer`."""


@dataclass(frozen=True)
class NNUNet(Method):
    """nnU-Net's 2D configuration, planned anew for each dataset's training cases."""

    recipe: str = option(
        "shared",
        "shared stream, or native: its own trainer and augmentation",
        choices=("shared", "native"),
    )
    optimiser: str = option(
        "adam",
        "the profile's Adam as for all methods, or nnU-Net's sgd, made for 250,000 steps",
        choices=("adam", "sgd"),
        needs="recipe=shared",
    )
    plans: str = option(
        "default",
        "nnU-Net's planner, or its presets with residual encoders for GPUs of 8 or 24 GB",
        choices=PRESETS,
    )
    features: int = option(32, "channels of the first stage", low=1)
    max_features: int = option(512, "channels of a stage at most", low=1)
    min_edge: int = option(
        4, "shortest edge of a feature map; larger means fewer stages", low=LEAST_EDGE
    )

    title = "nnU-Net network, shared recipe"
    source = (
        "Isensee et al.: nnU-Net, Nature Methods 2021, 18:203-211 (presets: nnU-Net Revisited,"
        " MICCAI 2024); nnunetv2's plan, network, loss, prediction"
    )
    inputs = Inputs(normalise="zscore")
    needs = ("nnunetv2.inference.predict_from_raw_data",)
    multiclass = True
    of_one = {"two heads with softmax": "a head for the background and each class with softmax"}
    # `small` has U-Net's multiply-adds under the profile `cpu`; `tiny` is for tests.
    scales = {
        "half": {"features": 16, "max_features": 256},
        "small": {"features": 12, "max_features": 192, "min_edge": 4},
        "tiny": {"features": 4, "max_features": 8, "min_edge": 8},
    }

    def __new__(cls, *_: Any, recipe: str = "shared", optimiser: str = "adam", **__: Any) -> NNUNet:
        """Return a `NativeNNUNet` for `recipe=native`, and a `SgdNNUNet` for `optimiser=sgd`.

        The first alone has the method `fit`, by which the harness recognises a method that trains
        itself (`bench.spec.capabilities.TrainsItself`); the second alone an optimiser of its own.
        `_` and `__` take all other options, which the dataclass's `__init__` reads. A subclass that
        is called by its own name stays what it is, and `__post_init__` looks whether it fits.
        """
        kind = _kind(recipe, optimiser)
        return super().__new__(kind if issubclass(kind, cls) else cls)

    def __post_init__(self) -> None:
        """Refuse options that exclude each other, or that belong to another class.

        Raises:
            UsageError: `recipe=native` is given with a rate: it has its own. Or the first stage has
                more channels than any may have.
            ValueError: The class is not the one of its options: `dataclasses.replace` keeps the
                class, and `__new__` does not see an option that is given by position.
        """
        if self.recipe == "native" and self.lr:
            raise UsageError(f"recipe=native begins at nnU-Net's own rate, {RATE:g}; leave lr out")
        if self.features > self.max_features:
            raise UsageError(
                f"features={self.features} is more than max_features={self.max_features}, which"
                f" would cut it; give max_features={self.features} or more too, or fewer features"
            )
        if type(self) is not _kind(self.recipe, self.optimiser):
            raise ValueError(
                f"{type(self).__name__} cannot have recipe={self.recipe} and "
                f"optimiser={self.optimiser}; create it anew by NNUNet(...) with names"
            )

    def plan_notes(self) -> tuple[str, ...]:
        """Return the deviations that concern the plan; they are the same for both recipes."""
        full = {"features": 32, "max_features": 512, "min_edge": 4}
        changed = [name for name, size in full.items() if getattr(self, name) != size]
        sizes = ", ".join(f"{name}={getattr(self, name)}" for name in changed)
        heads = (
            "two heads with softmax; z-score always (nnU-Net: another scheme for CT in Hounsfield"
            " units)"
        )
        pixels = "pixels as they are (nnU-Net: resampled to the median spacing in mm)"
        if not sizes:
            return heads, pixels
        return f"planned with {sizes} (nnU-Net: 32, 512, 4)", heads, pixels

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from nnU-Net's own training."""
        return (
            *self.plan_notes(),
            "the shared stream's augmentation (nnU-Net: its own), normalised after it",
            self.trained_by(),
            (
                f"batch {batch} (nnU-Net: as planned); the profile's steps, which may end early"
                " (nnU-Net: 250,000); one fold, no ensemble of five"
            ),
            "the weights of the lowest validation loss (nnU-Net: the last)",
            (
                "no mirrored views at test time (nnU-Net: along the axes that training mirrored,"
                " which the profile's flips are here)"
            ),
            (
                "cases are not cropped to their non-zero part; 33 % of the patches on foreground by"
                " chance, not by count"
            ),
        )

    def trained_by(self) -> str:
        """Return the deviation that concerns the optimiser."""
        return (
            "the profile's Adam without decay, as all methods (nnU-Net: SGD with momentum 0.99 and"
            " a rate from 0.01 to 0)"
        )

    def planned(
        self, root: Path, fingerprint: Mapping[str, Any], labels: Mapping[str, Any] = LABELS
    ) -> Plans:
        """Return the plans for cases with a fingerprint, with this method's sizes; see `plan`."""
        sizes = (self.features, self.max_features, self.min_edge)
        return plan(root, fingerprint, labels, self.plans, *sizes)

    def build(self, task: Task) -> nn.Module:
        """Return the network that is planned for a task's training cases.

        nnU-Net's planner reads and writes files; they lie in a folder that is removed again.
        """
        labels = labels_of(task)
        with tempfile.TemporaryDirectory() as root, folders(Path(root)):
            plans = self.planned(Path(root), uncropped(task.sizes), labels)
        return Planned(plans, labels, self.min_edge)

    def about(self, net: nn.Module) -> dict[str, Any]:
        """Return the plans."""
        return cast(Planned, net).plans

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return nnU-Net's loss over all outputs; each is compared with a mask of its own size."""
        planned = cast(Planned, net)
        image, mask = patches(self.inputs.enter(image), mask, planned.patch, rng)
        outputs = planned(image)  # the finest first
        masks = [mask]
        for output in outputs[1:]:
            masks.append(F.interpolate(mask, output.shape[-2:], mode="nearest-exact"))
        loss: Tensor = planned.criterion(outputs, masks)
        return loss

    def predict(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Tensor:
        """Return the probability of foreground (B, 1, H, W), or of all classes (B, C, H, W)."""
        planned = cast(Planned, net)
        logits = [planned.slide(case, mirrored=False) for case in self.inputs.enter(image)]
        return probabilities(planned, torch.stack(logits))


@dataclass(frozen=True)
class SgdNNUNet(NNUNet):
    """nnU-Net's network on the shared stream, trained by nnU-Net's own optimiser."""

    space = {"lr": Between(RATE / 10, 10 * RATE, log=True)}

    def trained_by(self) -> str:
        """Return the deviation that concerns the optimiser."""
        return "the learning rate decays over the profile's steps, and may not reach 0"

    @property
    def usual_lr(self) -> float:
        """The highest learning rate, as published."""
        return RATE

    def make_optimiser(self, net: nn.Module, task: Task) -> torch.optim.Optimizer:
        """Return nnU-Net's SGD; at every step it clips gradients and lowers the learning rate."""
        from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

        rate = self.lr or self.usual_lr
        sgd = torch.optim.SGD(net.parameters(), rate, MOMENTUM, weight_decay=DECAY, nesterov=True)
        schedule = PolyLRScheduler(sgd, rate, task.steps)

        def clip_and_set_rate(*_: object) -> None:
            # The number of steps done: 0 at the first. A checkpoint holds the parameter groups, and
            # with them this number.
            group = sgd.param_groups[0]
            group["done"] = group.get("done", -1) + 1
            schedule.step(group["done"])
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)

        sgd.register_step_pre_hook(clip_and_set_rate)
        return sgd


@dataclass(frozen=True)
class NativeNNUNet(NNUNet):
    """nnU-Net trained by its own trainer, predicting with its own preprocessing and mirroring.

    `tests/perf/PARITY.md` shows that it equals nnU-Net's own command line.
    """

    title = "nnU-Net"

    def advantages(self) -> Advantages:
        """Return nnU-Net's own augmentation, and the mirrored views that it averages over."""
        own = (
            "nnU-Net's own: rotation, scaling, noise, blur, contrast, low resolution, gamma,"
            " mirroring"
        )
        return Advantages(ensembling="4 mirrored views", augmentation=own)

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how the method differs from nnU-Net's own training."""
        return (
            *self.plan_notes(),
            (
                "about the profile's steps, in epochs of 50 or so, validated on a fifth as many"
                " patches (nnU-Net: 1000 epochs of 250, on 50); one fold, no ensemble of five"
            ),
            (
                "trained on cases as the profile sizes them, with nnU-Net's own augmentation"
                " and batch; not on the shared stream; the last weights are tested; one"
                " process, so that it can be repeated; on a GPU in its own half precision"
            ),
        )

    def predict(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Tensor:
        """Return the probability of foreground (B, 1, H, W), or of all classes (B, C, H, W)."""
        planned = cast(Planned, net)
        logits = [nnunet_native.predict(planned, case) for case in image]
        return probabilities(planned, torch.stack(logits))

    def fit(
        self, cases: Cases, task: Task, work: Path, device: torch.device, seed: int, tell: Tell
    ) -> nn.Module:
        """Return the network that nnU-Net's own trainer trained."""
        plan, edge = self.planned, self.min_edge
        return nnunet_native.fit(plan, edge, cases, task, work, device, seed, tell)


def probabilities(planned: Planned, logits: Tensor) -> Tensor:
    """Return the probability of foreground (B, 1, H, W), or those of all heads (B, C, H, W).

    Of one foreground the network has two heads: background and foreground.
    """
    softmax = logits.softmax(1)
    return softmax if planned.several else softmax[:, 1:]


def _kind(recipe: str, optimiser: str) -> type[NNUNet]:
    """Return the class whose capabilities these two options need."""
    if recipe == "native":
        return NativeNNUNet
    return SgdNNUNet if optimiser == "sgd" else NNUNet
