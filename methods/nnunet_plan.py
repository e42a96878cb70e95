"""nnU-Net's plans from nnunetv2's planner, and the network, loss and prediction by them."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec.errors import UsageError

DATASET = "Dataset001_cases"
LABELS = {
    # grey is z-scored; "CT" is for Hounsfield units, which prepared cases no longer have
    "channel_names": {"0": "grey"},
    "labels": {"background": 0, "vertebra": 1},
    "file_ending": ".png",
    "overwrite_image_reader_writer": "NaturalImage2DIO",
}
SPACING = (999, 1, 1)
"""What nnU-Net's reader says of a 2D image."""
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
    cases: int,
    features: int,
    max_features: int,
    min_edge: int,
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
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
        ExperimentPlanner,
    )

    for name in ("raw", "preprocessed", "results"):
        (root / name / DATASET).mkdir(parents=True, exist_ok=True)
    about = {
        **LABELS,
        "numTraining": cases,
        "dataset": {"case": {"images": ["case.png"], "label": "case.png"}},
    }
    (root / "raw" / DATASET / "dataset.json").write_text(json.dumps(about))
    (root / "preprocessed" / DATASET / "dataset_fingerprint.json").write_text(
        json.dumps(fingerprint)
    )
    with contextlib.redirect_stdout(io.StringIO()):
        planner = ExperimentPlanner(DATASET)
        planner.UNet_base_num_features, planner.UNet_max_features_2d = features, max_features
        planner.UNet_featuremap_min_edge_length = min_edge
        planner.plan_experiment()
    plans: Plans = json.loads((root / "preprocessed" / DATASET / "nnUNetPlans.json").read_text())
    return plans


def uncropped(sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return the fingerprint of cases of these sizes that nothing is cropped from.

    It has no intensities: only normalisation schemes that the plan here never chooses would read
    them.
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
                f"nnU-Net's plan for cases of {height}x{width} pixels has a single stage, which is"
                f" no U-Net; the nearest size with two is {near} for min_edge={min_edge}"
            )
        self.patch = (int(part.patch_size[0]), int(part.patch_size[1]))
        self.net: Any = get_network_from_plans(
            part.network_arch_class_name,
            part.network_arch_init_kwargs,
            part.network_arch_init_kwargs_req_import,
            input_channels=1,
            output_channels=2,
            deep_supervision=True,
        )
        dice = {"batch_dice": part.batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}
        loss = DC_and_CE_loss(
            dice, {}, weight_ce=1, weight_dice=1, dice_class=MemoryEfficientSoftDiceLoss
        )
        outputs = len(part.pool_op_kernel_sizes) - 1
        # halved with each output, none for the coarsest
        halves = [2.0**-i for i in range(max(1, outputs - 1))]
        shares = [half / sum(halves) for half in halves]
        self.criterion = DeepSupervisionWrapper(loss, [*shares, 0.0][:outputs])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits (B, 2, h, w) of images (B, 1, *patch), the finest output first."""
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
            with torch.autocast(
                image.device.type, dtype=HALF.get(image.device.type), enabled=False
            ):
                logits: Tensor = predictor.predict_sliding_window_return_logits(image[:, None])
        return logits[:, 0].float()  # kept in half precision, which bfloat16 autocast refuses


def patches(
    image: Tensor, mask: Tensor, size: tuple[int, int], rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return patches (B, 1, *size) of images and masks (B, 1, H, W).

    Smaller images are padded with zeros, and larger ones are cut at random.
    """
    missing = [max(0, size[axis] - image.shape[axis + 2]) for axis in (0, 1)]
    sides: list[int] = []
    for gap in reversed(missing):
        sides += [gap // 2, gap - gap // 2]
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
            corner = [
                min(max(int(spot[axis]) - size[axis] // 2, 0), spare[axis] - 1) for axis in (0, 1)
            ]
        cuts.append((slice(corner[0], corner[0] + size[0]), slice(corner[1], corner[1] + size[1])))
    return _cut(image, cuts), _cut(mask, cuts)


def _cut(images: Tensor, cuts: Sequence[tuple[slice, slice]]) -> Tensor:
    """Return one patch (1, h, w) of each of the images (B, 1, H, W)."""
    parts = [image[:, rows, columns] for image, (rows, columns) in zip(images, cuts, strict=True)]
    return torch.stack(parts)
