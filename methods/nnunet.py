"""nnU-Net from nnunetv2: planned, built, trained and asked by its own code, on the shared stream or on its own data.

Taken from the library as it is: the planner with its rules for patch, stages, features and normalisation; the network;
Dice + cross entropy over all deep-supervision outputs; SGD with Nesterov momentum and polynomial decay; sliding-window
prediction with Gaussian weights, mirrored where training mirrored. Two heads with softmax, as nnU-Net has for labels;
its single head by regions is for labels that overlap. `recipe=native` is its whole trainer, in `methods.nnunet_native`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError
from bench.method import Advantages, Between, Cases, Inputs, Method, Report, Task
from bench.options import option

DATASET = "Dataset001_cases"
LABELS = {
    "channel_names": {"0": "grey"},  # z-score; "CT" is for Hounsfield units, which prepared cases no longer have
    "labels": {"background": 0, "vertebra": 1},
    "file_ending": ".png",
    "overwrite_image_reader_writer": "NaturalImage2DIO",
}
SPACING = (999, 1, 1)
"""What nnU-Net's reader says of a 2D image."""
RATE, DECAY, MOMENTUM, CLIP = 1e-2, 3e-5, 0.99, 12.0
"""Of nnUNetTrainer: learning rate, weight decay, momentum, largest norm of the gradient."""
HALF = {"cuda": torch.float16}
"""Precision that nnU-Net's own autocast takes, whatever the harness's is."""
OVERSAMPLED = 0.33
"""Share of patches that are centred on foreground, where images are larger than a patch."""
Plans = dict[str, Any]


@contextlib.contextmanager
def folders(root: Path, augmenters: int = 1) -> Iterator[None]:
    """Point nnU-Net's environment variables to folders under `root` for a while.

    Args:
        root: A folder.
        augmenters: Its processes for augmentation; 0 augments in this one, but the planner needs 1.
    """
    wanted = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
    wanted |= {"nnUNet_n_proc_DA": str(augmenters), "nnUNet_compile": "f", "nnUNet_wandb_enabled": "0"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def plan(
    root: Path, fingerprint: Mapping[str, Any], cases: int, features: int, max_features: int, min_edge: int
) -> Plans:
    """Return nnU-Net's plans for cases of a fingerprint; its folders are made under `root`.

    Args:
        root: A folder that `folders` points to.
        fingerprint: As nnU-Net extracts it.
        cases: Training cases: the planned batch holds 5 % of them at most.
        features: Channels of the first stage (32 with nnU-Net).
        max_features: Channels of a stage at most (512).
        min_edge: Shortest edge that a feature map may have (4): stages end there.
    """
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    for name in ("raw", "preprocessed", "results"):
        (root / name / DATASET).mkdir(parents=True, exist_ok=True)
    about = {**LABELS, "numTraining": cases, "dataset": {"case": {"images": ["case.png"], "label": "case.png"}}}
    (root / "raw" / DATASET / "dataset.json").write_text(json.dumps(about))
    (root / "preprocessed" / DATASET / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    with contextlib.redirect_stdout(io.StringIO()):
        planner = ExperimentPlanner(DATASET)
        planner.UNet_base_num_features, planner.UNet_max_features_2d = features, max_features
        planner.UNet_featuremap_min_edge_length = min_edge
        planner.plan_experiment()
    plans: Plans = json.loads((root / "preprocessed" / DATASET / "nnUNetPlans.json").read_text())
    return plans


def uncropped(sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return the fingerprint of cases of these sizes that nothing is cropped from.

    It has no intensities: only normalisation schemes that the plan here never chooses would read them.
    """
    return {
        "spacings": [SPACING] * len(sizes),
        "shapes_after_crop": [(1, *size) for size in sizes],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "median_relative_size_after_cropping": 1.0,
    }


class Planned(nn.Module):
    """A network that nnU-Net's plans describe, with two heads and deep supervision."""

    def __init__(self, plans: Plans, min_edge: int = 4) -> None:
        from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
        from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
        from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        super().__init__()
        self.plans = plans
        self.manager = PlansManager(plans)
        self.configuration = part = self.manager.get_configuration("2d")
        if len(part.pool_op_kernel_sizes) < 2:
            height, width = (int(side) for side in part.median_image_size_in_voxels)
            near = f"{max(height, 2 * min_edge)}x{max(width, 2 * min_edge)}"
            raise UsageError(
                f"nnU-Net's plan for cases of {height}x{width} pixels has a single stage, which is no U-Net; "
                f"the nearest size with two is {near} for min_edge={min_edge}"
            )
        self.patch = (int(part.patch_size[0]), int(part.patch_size[1]))
        self.net: Any = get_network_from_plans(
            part.network_arch_class_name, part.network_arch_init_kwargs, part.network_arch_init_kwargs_req_import,
            input_channels=1, output_channels=2, deep_supervision=True,
        )  # fmt: skip
        dice = {"batch_dice": part.batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}
        loss = DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, dice_class=MemoryEfficientSoftDiceLoss)
        outputs = len(part.pool_op_kernel_sizes) - 1
        weights = [2.0**-i for i in range(max(1, outputs - 1))]  # halved with each output, none for the coarsest
        self.criterion = DeepSupervisionWrapper(loss, [*(w / sum(weights) for w in weights), 0.0][:outputs])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits (B, 2, h, w) of images (B, 1, *patch), from the finest output to the coarsest."""
        self.net.decoder.deep_supervision = True
        out: list[Tensor] = self.net(x)
        return out

    def slide(self, image: Tensor, mirrored: bool) -> Tensor:
        """Return the logits (2, H, W) of a normalised image (1, H, W), by nnU-Net's predictor.

        It averages over mirrored views along the axes that training mirrored, and along no others.
        """
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        self.net.decoder.deep_supervision = False
        with contextlib.redirect_stdout(io.StringIO()):
            predictor = nnUNetPredictor(device=image.device, allow_tqdm=False)
            predictor.manual_initialization(
                self.net,
                self.manager,
                self.configuration,
                None,
                LABELS,
                "nnUNetTrainer",
                (0, 1) if mirrored else None,
            )
            with torch.autocast(image.device.type, dtype=HALF.get(image.device.type), enabled=False):
                logits: Tensor = predictor.predict_sliding_window_return_logits(image[:, None])
        return logits[:, 0].float()  # kept in half precision, which bfloat16 autocast refuses


def patches(image: Tensor, mask: Tensor, size: tuple[int, int], rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return patches (B, 1, *size) of images and masks (B, 1, H, W): zeros around, and a random cut where larger."""
    missing = [max(0, size[axis] - image.shape[axis + 2]) for axis in (0, 1)]
    sides = [half for gap in reversed(missing) for half in (gap // 2, gap - gap // 2)]
    image, mask = F.pad(image, sides), F.pad(mask, sides)
    if image.shape[-2:] == size:
        return image, mask
    cuts = []
    for one in mask[:, 0]:
        spare = [one.shape[axis] - size[axis] + 1 for axis in (0, 1)]
        where = torch.rand(3, generator=rng, device=image.device).tolist()
        corner = [int(where[axis] * spare[axis]) for axis in (0, 1)]
        spots = one.nonzero() if where[2] < OVERSAMPLED else one.new_zeros(0, 2)
        if len(spots):
            spot = spots[int(where[0] * len(spots))].tolist()
            corner = [min(max(int(spot[axis]) - size[axis] // 2, 0), spare[axis] - 1) for axis in (0, 1)]
        cuts.append((slice(corner[0], corner[0] + size[0]), slice(corner[1], corner[1] + size[1])))
    return tuple(torch.stack([each[:, cut[0], cut[1]] for each, cut in zip(x, cuts, strict=True)])
                 for x in (image, mask))  # type: ignore[return-value]  # fmt: skip


@dataclass(frozen=True)
class NNUNet(Method):
    """nnU-Net's 2D configuration, planned anew for each dataset's training cases."""

    recipe: str = option(
        "shared", "shared stream, or native: its own trainer and augmentation", choices=("shared", "native")
    )
    features: int = option(32, "channels of the first stage", low=1)
    max_features: int = option(512, "channels of a stage at most", low=1)
    min_edge: int = option(4, "shortest edge of a feature map; larger means fewer stages", low=2)

    space = {"lr": Between(1e-3, 1e-1, log=True)}  # noqa: RUF012
    title = "nnU-Net"
    source = "Isensee et al.: nnU-Net, Nature Methods 2021, 18:203-211; nnunetv2's plan, network, loss, prediction"
    inputs = Inputs(normalise="zscore")
    needs = ("nnunetv2.inference.predict_from_raw_data",)
    scales = {  # noqa: RUF012 - a mapping nobody writes to
        "small": {"features": 8, "max_features": 64, "min_edge": 4},
        "tiny": {"features": 4, "max_features": 8, "min_edge": 8},
    }

    @property
    def own_training(self) -> bool:
        """Whether nnU-Net's trainer does the training."""
        return self.recipe == "native"

    def advantages(self) -> Advantages:
        """Return what its own recipe trains on, and its mirrored views, which that recipe alone may average."""
        if not self.own_training:
            return Advantages()
        own = "nnU-Net's own: rotation, scaling, noise, blur, contrast, low resolution, gamma, mirroring"
        return Advantages(ensembling="4 mirrored views", augmentation=own)

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how it differs from nnU-Net's own training."""
        full = {"features": 32, "max_features": 512, "min_edge": 4}
        sizes = ", ".join(f"{name}={getattr(self, name)}" for name in full if getattr(self, name) != full[name])
        planned = (f"planned with {sizes} (nnU-Net: 32, 512, 4)",) if sizes else ()
        heads = "two heads with softmax; z-score always (nnU-Net: another scheme for CT in Hounsfield units)"
        if self.own_training:
            return (*planned, heads, "about the profile's steps, in epochs of 50 or so, validated on a fifth as many "
                    "patches (nnU-Net: 1000 epochs of 250, on 50); one fold, no ensemble of five",
                    "planned from the training cases (nnU-Net: from the validation cases too)",
                    "trained on cases as the profile sizes them, with nnU-Net's own augmentation and batch; not on the "
                    "shared stream; the last weights are tested; one process, so that it can be "
                    "repeated; on a GPU in its own half precision")  # fmt: skip
        return (
            *planned,
            heads,
            "the shared stream's augmentation (nnU-Net: its own), normalised after it",
            f"batch {batch} (nnU-Net: as planned); the profile's steps, over which the learning rate decays, and which "
            "may end early, before it has (nnU-Net: 250,000); one fold, no ensemble of five",
            "the weights of the lowest validation loss (nnU-Net: the last)",
            "no mirrored views at test time: nnU-Net mirrors along the axes that training mirrored, here none",
            "cases are not cropped to their non-zero part; 33 % of the patches on foreground by chance, not by count",
        )

    def plans(self, task: Task) -> Plans:
        """Return nnU-Net's plans for a task's training cases."""
        with tempfile.TemporaryDirectory() as name, folders(Path(name)):
            return self.planned(Path(name), uncropped(task.sizes), len(task.sizes))

    def planned(self, root: Path, fingerprint: Mapping[str, Any], cases: int) -> Plans:
        """Return the plans for cases of a fingerprint, with this method's sizes; see `plan`."""
        return plan(root, fingerprint, cases, self.features, self.max_features, self.min_edge)

    def build(self, task: Task) -> nn.Module:
        """Return the planned network."""
        return Planned(self.plans(task), self.min_edge)

    def about(self, net: nn.Module) -> dict[str, Any]:
        """Return the plans."""
        return cast(Planned, net).plans

    @property
    def usual_lr(self) -> float:
        """The highest learning rate, as published."""
        return RATE

    def optimiser(self, net: nn.Module, task: Task) -> torch.optim.Optimizer:
        """Return nnU-Net's SGD: gradients are clipped and the learning rate decays at every step."""
        from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

        rate = self.lr or self.usual_lr
        sgd = torch.optim.SGD(net.parameters(), rate, MOMENTUM, weight_decay=DECAY, nesterov=True)
        schedule = PolyLRScheduler(sgd, rate, task.steps)

        def before(*_: object) -> None:
            group = sgd.param_groups[0]  # what is in here is in checkpoints
            group["done"] = group.get("done", -1) + 1
            schedule.step(group["done"])
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)

        sgd.register_step_pre_hook(before)
        return sgd

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return nnU-Net's loss over all outputs, each against the mask at its size."""
        planned = cast(Planned, net)
        image, mask = patches(self.inputs.enter(image), mask, planned.patch, rng)
        outputs = planned(image)
        masks = [mask] + [F.interpolate(mask, each.shape[-2:], mode="nearest-exact") for each in outputs[1:]]
        loss: Tensor = planned.criterion(outputs, masks)
        return loss

    def predict(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Tensor:
        """Return the probability of foreground (B, 1, H, W)."""
        planned = cast(Planned, net)
        if self.own_training:
            from methods.nnunet_native import predict

            logits = [predict(planned, each) for each in image]
        else:
            logits = [planned.slide(each, mirrored=False) for each in self.inputs.enter(image)]
        return torch.stack(logits).softmax(1)[:, 1:]

    def fit(self, cases: Cases, task: Task, work: Path, device: torch.device, seed: int, report: Report) -> nn.Module:
        """Return the network that nnU-Net's own trainer trained."""
        from methods.nnunet_native import fit

        return fit(self, cases, task, work, device, seed, report)
