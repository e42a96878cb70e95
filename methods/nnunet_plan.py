"""nnU-Net's plans from nnunetv2's planner, and the planned network, loss and prediction."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec.errors import UsageError
from bench.spec.method import VOID, Task

DATASET = "Dataset001_cases"
"""The name under which nnU-Net knows the training cases; it is never shown."""
LABELS = {
    # nnU-Net z-scores a channel with this name. It would treat a channel "CT" as Hounsfield units,
    # which prepared cases no longer have.
    "channel_names": {"0": "grey"},
    "labels": {"background": 0, "vertebra": 1},
    "file_ending": ".png",
    "overwrite_image_reader_writer": "NaturalImage2DIO",
}
IGNORE = "ignore"
"""nnU-Net's name of the label of void pixels, whose number follows those of the classes."""
SPACING = (999, 1, 1)
"""Spacing that nnU-Net's reader gives a 2D image."""
HALF = {"cuda": torch.float16}
"""Precision of nnU-Net's own autocast by type of device, whatever the harness's precision is; other
devices keep their default."""
LEAST_EDGE = 2
"""Shortest edge of a feature map that can be asked for."""
TOO_LARGE = "Encountered inf"
"""How nnU-Net's predictor begins what it says of logits that half precision cannot hold."""
OVERSAMPLED = 0.33
"""Share of patches that are centred on a foreground pixel, if images are larger than a patch."""
Plans = dict[str, Any]
"""nnU-Net's plans, in the form of its file `nnUNetPlans.json`."""
PRESETS = ("default", "resenc-m", "resenc-l")
"""The library's planners: nnU-Net's, and those of Isensee et al., MICCAI 2024, for networks with
residual encoders on GPUs of 8 and 24 GB."""
REFUSALS = (AssertionError, ArithmeticError, LookupError, RuntimeError, ValueError)
"""What the library raises where it cannot plan."""


def labels_of(task: Task) -> dict[str, Any]:
    """Return nnU-Net's `dataset.json` of a task's classes."""
    if not task.classes:
        return LABELS
    labels = {"background": 0} | {name: number for number, name in enumerate(task.classes, 1)}
    if task.void:
        labels[IGNORE] = len(labels)
    return {**LABELS, "labels": labels}


@contextlib.contextmanager
def folders(root: Path, augmenters: int = 1) -> Iterator[None]:
    """Point nnU-Net's environment variables to folders under `root` for a while.

    Args:
        root: A folder.
        augmenters: Number of processes in which nnU-Net augments. With 0 it augments in this
            process; but its planner needs at least 1.
    """
    wanted = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
    wanted |= {
        "nnUNet_n_proc_DA": str(augmenters),
        "nnUNet_compile": "f",
        "nnUNet_wandb_enabled": "0",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def plan(
    root: Path,
    fingerprint: Mapping[str, Any],
    labels: Mapping[str, Any],
    preset: str,
    features: int,
    max_features: int,
    min_edge: int,
) -> Plans:
    """Return nnU-Net's plans for cases with a fingerprint; make its folders under `root`.

    Args:
        root: A folder that `folders` points to.
        fingerprint: Sizes and intensities of the cases, in the form of nnU-Net's own file. The
            planned batch has at most 5 % of their pixels, or all of them under a ResEnc preset.
        labels: The `dataset.json` of `labels_of`.
        preset: Which of the library's planners plans, one of `PRESETS`.
        features: Channels of the first stage (nnU-Net: 32).
        max_features: Channels of a stage at most (nnU-Net: 512).
        min_edge: Shortest edge that a feature map may have (nnU-Net: 4). A further stage would have
            a shorter one, so this limits the number of stages.

    Raises:
        UsageError: The library cannot plan for such cases.
    """
    for name in ("raw", "preprocessed", "results"):
        (root / name / DATASET).mkdir(parents=True, exist_ok=True)
    about = {
        **labels,
        "numTraining": len(fingerprint["shapes_after_crop"]),
        # The planner asks for a list of files but reads none of them.
        "dataset": {"case": {"images": ["case.png"], "label": "case.png"}},
    }
    (root / "raw" / DATASET / "dataset.json").write_text(json.dumps(about), "utf-8")
    (root / "preprocessed" / DATASET / "dataset_fingerprint.json").write_text(
        json.dumps(fingerprint), "utf-8"
    )
    planner = _planner(preset)(DATASET)
    planner.UNet_base_num_features, planner.UNet_max_features_2d = features, max_features
    planner.UNet_featuremap_min_edge_length = min_edge
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            planner.plan_experiment()
    except REFUSALS as error:
        _, height, width = np.median(fingerprint["shapes_after_crop"], axis=0).astype(int)
        raise UsageError(
            f"nnU-Net's planner ({preset}) cannot plan for cases of {height}x{width} pixels"
            f" ({type(error).__name__}: {error}); give larger cases, or another plans="
        ) from error
    planned = root / "preprocessed" / DATASET / f"{planner.plans_identifier}.json"
    plans: Plans = json.loads(planned.read_text(encoding="utf-8"))
    return plans


def _planner(preset: str) -> Any:
    """Return the class of the library's planner of a preset."""
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
        ExperimentPlanner,
    )
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import (
        residual_encoder_unet_planners as residual,
    )

    planners = {
        "default": ExperimentPlanner,
        "resenc-m": residual.nnUNetPlannerResEncM,
        "resenc-l": residual.nnUNetPlannerResEncL,
    }
    return planners[preset]


def uncropped(sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return the fingerprint of cases with these sizes (height, width), which are not cropped.

    The fingerprint has no intensities: no normalisation that is planned here reads them.
    """
    return {
        "spacings": [SPACING] * len(sizes),
        "shapes_after_crop": [(1, *size) for size in sizes],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "median_relative_size_after_cropping": 1.0,
    }


class Planned(nn.Module):
    """A network that nnU-Net's plans describe, with deep supervision.

    It has two heads, or one for the background and for each class.

    Args:
        plans: nnU-Net's plans.
        labels: The `dataset.json` of `labels_of`.
        min_edge: Shortest edge of a feature map, for the error message.

    Raises:
        UsageError: The planned network has a single stage.
    """

    def __init__(self, plans: Plans, labels: Mapping[str, Any] = LABELS, min_edge: int = 4) -> None:
        from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
        from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
        from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        super().__init__()
        self.plans, self.labels = plans, labels
        self.manager = PlansManager(plans)
        self.configuration = part = self.manager.get_configuration("2d")
        stages = len(part.pool_op_kernel_sizes)
        if stages < 2:
            height, width = (int(side) for side in part.median_image_size_in_voxels)
            near = f"{max(height, 2 * min_edge)}x{max(width, 2 * min_edge)}"
            lower = min(height, width) // 2  # halved once, no side is shorter than this
            remedy = "larger cases"
            if LEAST_EDGE <= lower < min_edge:
                remedy = f"min_edge={lower}, or larger cases"
            raise UsageError(
                f"nnU-Net's plan for cases of {height}x{width} pixels has a single stage, which is"
                f" no U-Net; give {remedy}: the nearest size with two is {near} for"
                f" min_edge={min_edge}"
            )
        self.patch = (int(part.patch_size[0]), int(part.patch_size[1]))
        self.net: Any = get_network_from_plans(
            part.network_arch_class_name,
            part.network_arch_init_kwargs,
            part.network_arch_init_kwargs_req_import,
            input_channels=1,
            output_channels=self.heads,
            deep_supervision=True,
        )
        dice = {"batch_dice": part.batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}
        loss = DC_and_CE_loss(
            dice,
            {},
            weight_ce=1,
            weight_dice=1,
            ignore_label=VOID if IGNORE in labels["labels"] else None,
            dice_class=MemoryEfficientSoftDiceLoss,
        )
        outputs = stages - 1
        # As in nnU-Net: each output has half the weight of the next finer one, the coarsest has 0.
        # A single output has weight 1.
        halved = [2.0**-i for i in range(max(1, outputs - 1))]
        weights = [weight / sum(halved) for weight in halved]
        self.criterion = DeepSupervisionWrapper(loss, [*weights, 0.0][:outputs])

    @property
    def several(self) -> bool:
        """Whether there are classes, and not one foreground."""
        return self.labels is not LABELS

    @property
    def heads(self) -> int:
        """The channels of the logits."""
        return len(self.labels["labels"].keys() - {IGNORE})

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits (B, heads, h, w) of images (B, 1, *patch), the finest output first."""
        self.net.decoder.deep_supervision = True
        out: list[Tensor] = self.net(x)
        return out

    def slide(self, image: Tensor, mirrored: bool) -> Tensor:
        """Return the logits (heads, H, W) of a normalised image (1, H, W), by nnU-Net's predictor.

        With `mirrored`, the logits are averaged over the views mirrored along both axes, for a
        network whose training mirrored along both.

        Raises:
            FloatingPointError: A logit is no finite number in the predictor's half precision.
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
                self.labels,
                "nnUNetTrainer",
                (0, 1) if mirrored else None,
            )
            predictor.network = self.net  # nnUNet_compile=t in the environment has it compiled
            # The predictor opens an autocast of its own. This one is off and only sets its dtype.
            with torch.autocast(
                image.device.type, dtype=HALF.get(image.device.type), enabled=False
            ):
                # It takes (1, z, H, W), here with z = 1.
                logits = _finite(predictor, image[:, None])
        # The predictor returns float16, which operations under a bfloat16 autocast refuse.
        return logits[:, 0].float()


def _finite(predictor: Any, image: Tensor) -> Tensor:
    """Return the logits (heads, 1, H, W) of a predictor for an image (1, 1, H, W).

    Raises:
        FloatingPointError: A logit is not finite; of infinite ones the predictor says so itself.
    """
    try:
        logits: Tensor = predictor.predict_sliding_window_return_logits(image)
        finite = bool(logits.isfinite().all())
    except RuntimeError as error:
        if TOO_LARGE not in str(error):
            raise
        finite = False
    if not finite:
        raise FloatingPointError(
            "a logit is no finite number in the half precision in which nnU-Net predicts, so the"
            " training diverged; give a lower learning rate by the method's option lr="
        )
    return logits


def patches(
    image: Tensor, mask: Tensor, size: tuple[int, int], rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return patches (B, 1, *size) of images and masks (B, 1, H, W).

    Sides that are shorter than the patch are padded with zeros. From a larger image a patch is cut
    at a random place; a third of the patches has a foreground pixel in its centre, of a random
    class of the image.
    """
    missing = [max(0, size[axis] - image.shape[axis + 2]) for axis in (0, 1)]
    padding: list[int] = []
    for gap in reversed(missing):  # F.pad expects the last axis first
        padding += [gap // 2, gap - gap // 2]
    image, mask = F.pad(image, padding), F.pad(mask, padding)
    if image.shape[-2:] == size:
        return image, mask
    cuts = []
    for one_mask in mask[:, 0]:
        # Along each axis, in how many places the patch's first pixel can lie.
        choices = [one_mask.shape[axis] - size[axis] + 1 for axis in (0, 1)]
        # Three numbers for each image, whatever they are used for: the draws of the next image then
        # do not depend on the mask of this one.
        first, second, third = torch.rand(3, generator=rng, device=image.device).tolist()
        corner = [int(first * choices[0]), int(second * choices[1])]
        foreground = one_mask.new_zeros(0, 2)
        if third < OVERSAMPLED:
            foreground = _places(one_mask, second)
        if len(foreground):
            centre = foreground[int(first * len(foreground))].tolist()
            for axis in (0, 1):
                wanted = int(centre[axis]) - size[axis] // 2
                corner[axis] = min(max(wanted, 0), choices[axis] - 1)
        cuts.append((slice(corner[0], corner[0] + size[0]), slice(corner[1], corner[1] + size[1])))
    return _cut(image, cuts), _cut(mask, cuts)


def _places(mask: Tensor, drawn: float) -> Tensor:
    """Return the places (N, 2) of the foreground of a mask (H, W), or of a class drawn from it.

    Args:
        mask: (H, W), 0 and 1, or numbers of classes and `VOID`.
        drawn: A random number in [0, 1), which chooses the class.
    """
    if mask.max() <= 1:
        return mask.nonzero()
    classes: Tensor = torch.unique(mask[(mask != 0) & (mask != VOID)])
    if not len(classes):  # void alone
        return mask.new_zeros(0, 2)
    chosen: Tensor = mask == classes[int(drawn * len(classes))]
    return chosen.nonzero()


def _cut(images: Tensor, cuts: Sequence[tuple[slice, slice]]) -> Tensor:
    """Return one patch (1, h, w) of each of the images (B, 1, H, W)."""
    parts = [image[:, rows, columns] for image, (rows, columns) in zip(images, cuts, strict=True)]
    return torch.stack(parts)
