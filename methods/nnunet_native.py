"""nnU-Net's own training, on cases that the harness gives.

Preprocessing, augmentation, batches and trainer are the library's.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.spec.method import VOID, Cases, Example, Task
from bench.spec.note import Note, Tell
from verdiff_bench_methods.nnunet_plan import (
    DATASET,
    IGNORE,
    SPACING,
    Planned,
    Plans,
    folders,
    labels_of,
)

Plan = Callable[[Path, Mapping[str, Any], Mapping[str, Any]], Plans]
"""Makes plans under a folder from a fingerprint and a `dataset.json`."""


def fingerprint(cases: Iterator[Example]) -> dict[str, Any]:
    """Return the fingerprint of cases, computed as the library does, but in this process."""
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    shapes, kept_shares = [], []
    for case in cases:
        pixels = case.image[None, None].astype(np.float32)
        cropped, _, _ = crop_to_nonzero(pixels, case.mask[None, None].astype(np.int8))
        shapes.append([int(side) for side in cropped.shape[1:]])
        kept_shares.append(float(np.prod(cropped.shape) / pixels.size))
    return {
        "spacings": [SPACING] * len(shapes),
        "shapes_after_crop": shapes,
        "foreground_intensity_properties_per_channel": {"0": {}},  # z-scoring needs none of them
        "median_relative_size_after_cropping": float(np.median(kept_shares)),
    }


def fit(
    plan: Plan,
    min_edge: int,
    cases: Cases,
    task: Task,
    work: Path,
    device: torch.device,
    seed: int,
    tell: Tell,
) -> nn.Module:
    """Plan, preprocess and train as nnU-Net does, and return the network.

    Args:
        plan: Makes the plans.
        min_edge: Shortest edge of a feature map, for error messages.
        cases: Training and validation cases; this and all that follows is as in
            `bench.spec.capabilities.TrainsItself.fit`.
        task: What the method may know of the dataset and the profile.
        work: An empty folder.
        device: A PyTorch device.
        seed: Seed of all random numbers.
        tell: Is told of each step.
    """
    silent = contextlib.redirect_stdout(io.StringIO())
    with silent, folders(work):
        # nnU-Net plans from all cases of its training folder, the validation cases included.
        labels = labels_of(task)
        plans = plan(work, fingerprint(chain(cases.train(), cases.validation())), labels)
        planned = Planned(plans, labels, min_edge)
        names = {
            "train": _preprocess(planned, cases.train(), work),
            "val": _preprocess(planned, cases.validation(), work),
        }
        splits = work / "preprocessed" / DATASET / "splits_final.json"
        splits.write_text(json.dumps([names]), encoding="utf-8")
    # With augmenters=0 the library's loader draws from the global generators of this process,
    # which are seeded here. Processes of its own would make the training impossible to repeat.
    with silent, folders(work, augmenters=0):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        trainer = _trainer(planned, task, device, tell)
        trainer.run_training()
    planned.net = trainer.network
    return planned.to(device)


def _preprocess(planned: Planned, cases: Iterator[Example], work: Path) -> list[str]:
    """Preprocess cases by the library, write them, and return their names."""
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    names = []
    folder = work / "preprocessed" / DATASET / planned.configuration.data_identifier
    folder.mkdir(exist_ok=True)
    for case in cases:
        data, mask, properties = _preprocessed(planned, case.image, case.mask)
        blocks, chunks = comp_blosc2_params(data.shape, planned.patch, data.itemsize)
        layout = {"blocks": blocks, "chunks": chunks, "blocks_seg": blocks, "chunks_seg": chunks}
        nnUNetDatasetBlosc2.save_case(
            data, mask.astype(np.int16), properties, str(folder / case.id), **layout
        )
        names.append(case.id)
    return names


def _preprocessed(planned: Planned, image: Any, mask: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Return what the library's preprocessor makes of an image and a mask (H, W).

    That is the image (1, 1, h, w), the mask (1, 1, h, w) or None, and the library's record of the
    crop.
    """
    ignored = planned.labels["labels"].get(IGNORE)
    if ignored and mask is not None:
        mask = np.where(mask == VOID, ignored, mask)
    preprocessor = planned.configuration.preprocessor_class(verbose=False)
    prepared: tuple[Any, Any, dict[str, Any]] = preprocessor.run_case_npy(
        image[None, None].astype(np.float32),
        None if mask is None else mask[None, None].astype(np.int8),
        {"spacing": list(SPACING)},
        planned.manager,
        planned.configuration,
        planned.labels,
    )
    return prepared


def _trainer(planned: Planned, task: Task, device: torch.device, tell: Tell) -> Any:
    """Return nnU-Net's trainer with the number of steps of the profile.

    The trainer tells `tell` of each step, and raises a FloatingPointError at a loss that is not
    finite.
    """
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Trainer(nnUNetTrainer):  # type: ignore[misc]
        done = 0

        def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
            out: dict[str, Any] = super().train_step(batch)
            self.done += 1
            if not np.isfinite(out["loss"]):
                rate = self.optimizer.param_groups[0]["lr"]
                raise FloatingPointError(
                    f"nnU-Net's loss is {out['loss']} at step {self.done}, learning rate {rate:g}"
                )
            steps = self.num_epochs * self.num_iterations_per_epoch
            tell(Note(phase="train", step=self.done, steps=steps))
            return out

        def plot_network_architecture(self) -> None:
            """Do nothing: the library's method needs a package that no longer works."""

    only_fold = 0  # `fit` writes a single split
    plans = {**planned.plans, "continue_training": False}
    trainer = Trainer(plans, "2d", only_fold, dict(planned.labels), device)
    epochs, iterations, validations = schedule(task.steps)
    trainer.num_epochs, trainer.num_iterations_per_epoch = epochs, iterations
    trainer.num_val_iterations_per_epoch = validations
    trainer.disable_checkpointing = True
    trainer.device = device  # The constructor always takes the first GPU.
    return trainer


def schedule(steps: int) -> tuple[int, int, int]:
    """Return epochs, and iterations of training and of validation in each, for about `steps` steps.

    As in nnU-Net, which has 50 iterations of validation for 250 of training, a fifth is validation.
    """
    epochs = max(1, min(1000, steps // 50))
    iterations = max(1, steps // epochs)
    return epochs, iterations, max(1, iterations // 5)


def predict(planned: Planned, image: Tensor) -> Tensor:
    """Return the logits (heads, H, W) of an image (1, H, W) in [0, 1].

    As in training, the image is cropped to its part that is not zero. All pixels outside this part
    are background.
    """
    grey_levels = np.round(image[0].cpu().numpy() * 65535)  # 16 bits, as in the training cases
    data, _, properties = _preprocessed(planned, grey_levels, None)
    logits = planned.slide(torch.from_numpy(data[:, 0]).to(image.device), mirrored=True)
    full = torch.zeros(planned.heads, *image.shape[1:], device=image.device)
    full[1:] = -torch.inf  # softmax then gives the background, head 0, the probability 1
    (top, bottom), (left, right) = properties["bbox_used_for_cropping"][1:]
    full[:, top:bottom, left:right] = logits
    return full
