"""nnU-Net's own training, on cases that the harness gives.

Preprocessing, augmentation, batches and trainer are the library's.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.spec.method import Cases, Example, Task
from bench.spec.note import Note, Tell
from methods.nnunet_plan import DATASET, LABELS, SPACING, Planned, Plans, folders

Plan = Callable[[Path, Mapping[str, Any], int], Plans]
"""Makes plans under a folder from a fingerprint and the number of training cases."""


def fingerprint(cases: Iterator[Example]) -> dict[str, Any]:
    """Return the fingerprint of cases by the library's own rules, without its pool of processes."""
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero

    shapes, kept = [], []
    for case in cases:
        pixels = case.image[None, None].astype(np.float32)
        cropped, _, _ = crop_to_nonzero(pixels, case.mask[None, None].astype(np.int8))
        shapes.append([int(side) for side in cropped.shape[1:]])
        kept.append(float(np.prod(cropped.shape) / pixels.size))
    return {
        "spacings": [SPACING] * len(shapes),
        "shapes_after_crop": shapes,
        "foreground_intensity_properties_per_channel": {"0": {}},  # z-score reads none
        "median_relative_size_after_cropping": float(np.median(kept)),
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
    """Plan, preprocess and train as nnU-Net does; see `bench.spec.capabilities.TrainsItself`."""
    silent = contextlib.redirect_stdout(io.StringIO())
    with silent, folders(work):
        plans = plan(work, fingerprint(cases.train()), len(task.sizes))
        planned = Planned(plans, min_edge)
        names = {
            "train": _preprocess(planned, cases.train(), work),
            "val": _preprocess(planned, cases.validation(), work),
        }
        (work / "preprocessed" / DATASET / "splits_final.json").write_text(json.dumps([names]))
    # without augmenters its loader draws from the global generators of this process
    with silent, folders(work, augmenters=0):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        trainer = _trainer(planned, task, device, tell)
        trainer.run_training()
    planned.net = trainer.network
    return planned.to(device)


def _preprocess(planned: Planned, cases: Iterator[Example], work: Path) -> list[str]:
    """Write cases as the library's preprocessor makes them, and return their names."""
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    names = []
    folder = work / "preprocessed" / DATASET / planned.configuration.data_identifier
    folder.mkdir(exist_ok=True)
    for case in cases:
        data, mask, properties = _preprocessed(planned, case.image, case.mask)
        blocks, chunks = comp_blosc2_params(data.shape, planned.patch, data.itemsize)
        how = {"blocks": blocks, "chunks": chunks, "blocks_seg": blocks, "chunks_seg": chunks}
        nnUNetDatasetBlosc2.save_case(
            data, mask.astype(np.int16), properties, str(folder / case.id), **how
        )
        names.append(case.id)
    return names


def _preprocessed(planned: Planned, image: Any, mask: Any) -> tuple[Any, Any, dict[str, Any]]:
    preprocessor = planned.configuration.preprocessor_class(verbose=False)
    prepared: tuple[Any, Any, dict[str, Any]] = preprocessor.run_case_npy(
        image[None, None].astype(np.float32),
        None if mask is None else mask[None, None].astype(np.int8),
        {"spacing": list(SPACING)},
        planned.manager,
        planned.configuration,
        LABELS,
    )
    return prepared


def _trainer(planned: Planned, task: Task, device: torch.device, tell: Tell) -> Any:
    """Return nnU-Net's trainer with the budget of the profile; it says how far it is."""
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
            """Leave it out: it needs a package that no longer works."""

    trainer = Trainer({**planned.plans, "continue_training": False}, "2d", 0, dict(LABELS), device)
    trainer.num_epochs = max(1, min(1000, task.steps // 50))
    trainer.num_iterations_per_epoch = max(1, task.steps // trainer.num_epochs)
    trainer.num_val_iterations_per_epoch = max(
        1, trainer.num_iterations_per_epoch // 5
    )  # nnU-Net: 50 to 250
    trainer.disable_checkpointing = True
    trainer.device = device  # its constructor takes the first GPU, whichever was asked for
    return trainer


def predict(planned: Planned, image: Tensor) -> Tensor:
    """Return the logits (2, H, W) of an image (1, H, W) in [0, 1].

    The image is cropped as in training, and what is cropped is background.
    """
    steps = np.round(image[0].cpu().numpy() * 65535)
    data, _, properties = _preprocessed(planned, steps, None)
    logits = planned.slide(torch.from_numpy(data[:, 0]).to(image.device), mirrored=True)
    full = torch.zeros(2, *image.shape[1:], device=image.device)
    full[1] = -torch.inf
    (top, bottom), (left, right) = properties["bbox_used_for_cropping"][1:]
    full[:, top:bottom, left:right] = logits
    return full
