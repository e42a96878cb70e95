"""A trained network's answer for one case, at native resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from bench.data.geometry import Geometry
from bench.engine.train import Trainee, generator, to_tensor
from bench.spec.case import Dataset
from bench.spec.method import Answer

THRESHOLD = 0.5
Grid = tuple[int, int] | None


@dataclass(frozen=True)
class Prediction:
    """A method's answer for one case on its native pixels; each map is (H, W)."""

    masks: dict[str, NDArray[np.bool_]]
    """The answer's mask under the name "", and those of further rows from the same weights under
    theirs."""
    spread: NDArray[np.float32] | None
    """Standard deviation of the probability over samples, where the method draws samples."""


def predict(trainee: Trainee, dataset: Dataset, index: int, grid: Grid) -> Prediction:
    """Return the answer for a case: foreground where the probability is at least one half.

    Random numbers come from the case's id and the seed alone.

    Raises:
        ValueError: The method's answer has another shape, or is no probability.
    """
    geometry, image, rng = _question(trainee, dataset, index, grid)
    with torch.inference_mode(), trainee.autocast():
        answer = _answer(trainee, image, rng, geometry.mask(dataset.mask(index)))
    if tuple(answer.extras) != trainee.method.extras or "spread" in answer.extras:
        raise ValueError(
            f"predict gave the rows {list(answer.extras)}, declared are"
            f" {list(trainee.method.extras)}; they must agree, and none may be called spread"
        )
    spread = None if answer.spread is None else {"spread": answer.spread}
    maps = {
        name: _native(value, name, image, geometry, dataset.cases[index].id)
        for name, value in {"": answer.probability, **answer.extras, **(spread or {})}.items()
    }
    uncertainty = maps.pop("spread") if spread else None
    return Prediction({name: value >= THRESHOLD for name, value in maps.items()}, uncertainty)


def _answer(
    trainee: Trainee, image: torch.Tensor, rng: torch.Generator, reference: NDArray[np.uint8]
) -> Answer:
    """Return the method's answer; an oracle alone is told the reference's bounding box."""
    if not trainee.method.oracle:
        return trainee.method.answer(trainee.net, image, rng)
    rows, columns = (np.flatnonzero(reference.any(axis)) for axis in (1, 0))
    box = None
    if len(rows):
        edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        box = torch.tensor(edges, dtype=torch.float32, device=image.device)
    return trainee.method.told(trainee.net, image, rng, box)


def multiply_adds(trainee: Trainee, dataset: Dataset, index: int, grid: Grid) -> int:
    """Return the multiply-adds of all matrix products, convolutions and attentions that a case's answer takes."""
    geometry, image, rng = _question(trainee, dataset, index, grid)
    trained = [weight for weight in trainee.net.parameters() if weight.requires_grad]
    try:
        for weight in (
            trained
        ):  # the counter follows gradients into modules that are given a weight, which fails
            weight.requires_grad_(False)
        with torch.no_grad(), trainee.autocast(), FlopCounterMode(display=False) as counter:
            _answer(trainee, image, rng, geometry.mask(dataset.mask(index)))
    finally:
        for weight in trained:
            weight.requires_grad_(True)
    return int(counter.get_total_flops()) // 2


def stages(
    trainee: Trainee, dataset: Dataset, index: int, grid: Grid
) -> dict[str, NDArray[np.float32]]:
    """Return maps (h, w) on the network grid that show how a method comes to its answer for a case, if it has any.

    The image comes first and the reference mask last.
    """
    geometry, image, rng = _question(trainee, dataset, index, grid)
    with torch.inference_mode(), trainee.autocast():
        found = trainee.method.stages(trainee.net, image, rng)
    if not found:
        return {}
    maps = {"image": image, **found}
    reference = geometry.mask(dataset.mask(index)).astype(np.float32)
    return {name: value[0, 0].float().cpu().numpy() for name, value in maps.items()} | {
        "reference": reference
    }


def _question(
    trainee: Trainee, dataset: Dataset, index: int, grid: Grid
) -> tuple[Geometry, torch.Tensor, torch.Generator]:
    """Return a case's geometry, its image (1, 1, h, w) and the generator of its random numbers."""
    case = dataset.cases[index]
    native = (case.height, case.width)
    geometry = Geometry(native, grid or native)
    trainee.net.eval()
    rng = generator(trainee.device, trainee.seed, "predict", case.id)
    return geometry, to_tensor(geometry.image(dataset.image(index)), trainee.device), rng


def _native(
    value: torch.Tensor, name: str, image: torch.Tensor, geometry: Geometry, case: str
) -> NDArray[np.float32]:
    """Return a map in [0, 1] on native pixels; refuse one that is none."""
    if value.shape != image.shape or not bool(((value >= 0) & (value <= 1)).all()):
        raise ValueError(
            f"predict gave {f'{name} of ' if name else ''}shape {tuple(value.shape)} in"
            f" [{value.min():.3g}, {value.max():.3g}] for {case}, expected values in [0, 1] of"
            f" shape {tuple(image.shape)}"
        )
    return geometry.back(value[0, 0].float().cpu().numpy())
