"""Predictions of a finished cell for images that it never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_model

from bench.data.grid import OnGrid
from bench.engine import trainee as trainees
from bench.engine.predict import Mask, predict
from bench.engine.trainee import Trainee
from bench.spec import files, machine, registry
from bench.spec.capabilities import ToldBox
from bench.spec.case import Case, Dataset
from bench.spec.errors import UsageError
from bench.spec.method import Task
from bench.spec.profile import load_profile
from bench.store import record
from bench.store.layout import CellFolder


def load(path: Path, device: str) -> tuple[Trainee, tuple[int, int]]:
    """Return the trained network of a finished cell, and the grid (height, width) that it sees.

    Raises:
        UsageError: It is no finished cell, its weights are not there or were changed, its method
            here is another one, or it needs more than an image.
    """
    folder = CellFolder(path.resolve())
    if not folder.finished:
        raise UsageError(
            f"{path} is no finished cell; expected a folder such as "
            "results/cpu/mr@real-1a2b3c4d/unet/f0-s35"
        )
    cell_record = record.read(folder)
    if cell_record.outside:
        raise UsageError(f"{path} was not trained here, so there is no network that predicts")
    if cell_record.grid == "native":
        raise UsageError(
            f"{path}: under its profile images keep their native sizes, and its network was built "
            "for those of its dataset; run it with --pixels N, which gives all one grid"
        )
    height, width = map(int, cell_record.grid)
    _check_weights(folder, cell_record)
    spec = cell_record.spec
    profile = load_profile(folder.profile)
    if registry.source(cell_record.method) != spec.source:
        raise UsageError(f"the source of {cell_record.method} was edited since {path} was trained")
    method = replace(registry.method(cell_record.method, profile.scale), **spec.options)
    if isinstance(method, ToldBox):
        raise UsageError(
            f"{cell_record.title} is told the box of the reference, which no image has"
        )
    machine.limit_threads(profile.threads)
    sizes = ((height, width),) * cell_record.cases["train"]
    task = Task(
        spec.dataset.name,
        sizes,
        profile.batch,
        profile.steps,
        cell_record.classes,
        cell_record.void,
    )
    trainee = trainees.build(method, task, profile, spec.seed, torch.device(device), spec.precision)
    try:
        load_model(trainee.net, str(folder.weights), strict=True)
    except RuntimeError as error:
        raise UsageError(
            f"{folder.weights} does not fit {cell_record.method} under the profile "
            f"'{folder.profile}' here ({str(error).strip().splitlines()[0]})"
        ) from error
    return trainee, (height, width)


def _check_weights(folder: CellFolder, cell_record: record.Record) -> None:
    """Refuse weights that are missing, or are not those that the cell left."""
    if not folder.weights.is_file():
        raise UsageError(f"{folder.weights} is not there; an archive has weights with --weights")
    wanted = cell_record.digests.get(folder.weights.name)
    if wanted and files.digest(folder.weights) != wanted:
        raise UsageError(f"{folder.weights} is not as the cell left it; see: bench verify")


def mask_of(trainee: Trainee, grid: tuple[int, int], name: str, image: NDArray[np.uint16]) -> Mask:
    """Return the predicted mask (H, W) of an image (H, W) in 65535 steps, at its native size.

    Of several classes it holds their numbers.

    Args:
        trainee: The trained network.
        grid: (height, width) that it sees.
        name: The image's name, which a diffusion's noise depends on.
        image: The image.
    """
    height, width = image.shape
    alone = Dataset(
        name=trainee.task.dataset,
        source="real",
        digest="",
        cases=(Case(name, "", height, width, None),),
        images=image.ravel(),
        masks=np.zeros(image.size, np.uint8),
        starts=(0,),
    )
    only_case, own_row = 0, ""  # the method's own row, not one such as `prior`
    return predict(trainee, OnGrid(alone, grid), only_case).masks[own_row]
