"""A trained network's prediction for one case, at native resolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.grid import OnGrid
from bench.engine import size, together
from bench.engine.trainee import Trainee, generator, to_tensor
from bench.spec.capabilities import AnswersWithMore, ShowsStages, ToldBox, further_rows
from bench.spec.method import Answer, probability_of

THRESHOLD = 0.5
"""Probability from which on a pixel is foreground."""
Mask = NDArray[np.bool_] | NDArray[np.uint8]
"""Foreground, or numbers of classes."""
SPREAD = "spread"
"""The name of the uncertainty map; no row may have it."""


@dataclass(frozen=True)
class Prediction:
    """A method's prediction for one case; each map is (H, W), of its native pixels.

    Of several classes the probabilities are (C, H, W), the background first.
    """

    probabilities: dict[str, NDArray[np.float32]]
    """The method's map has the name "". A further row from the same weights, such as `prior`, has
    its own name."""
    spread: NDArray[np.float32] | None
    """Standard deviation of the probability over samples; None if the method draws no samples."""
    on_grid: dict[str, NDArray[np.float32]]
    """The same maps as the network gives them; the spread has the name `spread`."""

    @cached_property
    def masks(self) -> dict[str, Mask]:
        """The maps as masks: foreground where the probability is at least one half.

        Of several classes: the number of the most probable class, the background's is 0.
        """
        return {name: _mask(value) for name, value in self.probabilities.items()}


def _mask(probability: NDArray[np.float32]) -> Mask:
    """Return the mask of probabilities (H, W), or the numbers of classes of (C, H, W)."""
    if probability.ndim == 2:
        return probability >= THRESHOLD
    return np.asarray(probability.argmax(0), np.uint8)


def foreground(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability (H, W) that a pixel is foreground, of whichever class.

    Args:
        probability: (H, W) of one foreground, or (C, H, W), the background first.
    """
    if probability.ndim == 2:
        return probability
    any_class: NDArray[np.float32] = np.clip(1 - probability[0], 0, 1)
    return any_class


def predict(trainee: Trainee, cases: OnGrid, index: int) -> Prediction:
    """Return the prediction for a case; see `predictions`."""
    return next(predictions(trainee, cases, [index]))


def predictions(trainee: Trainee, cases: OnGrid, indexes: Sequence[int]) -> Iterator[Prediction]:
    """Yield the prediction for each case, in order.

    The random numbers of a case depend only on its id and the seed. Cases that are computed at once
    may differ in the last bits from cases one by one.

    Raises:
        ValueError: The method's answer has other rows than declared, another shape than the image,
            or values outside [0, 1].
        NoRoomError: The device's memory is too small for a case.
    """
    at_once = together.at_once_in_prediction(trainee)
    answers_of = partial(_answers, trainee, cases)
    remaining = iter(indexes)
    for answers in together.in_groups("in prediction", cases, indexes, at_once, answers_of):
        for answer in answers:
            yield _prediction(trainee, cases, next(remaining), answer)


def _answers(trainee: Trainee, cases: OnGrid, group: Sequence[int]) -> list[Answer]:
    """Return the method's answer for each of some cases of equal size.

    There are several only if the answer follows from the logits (`at_once_in_prediction`).
    """
    with torch.inference_mode(), trainee.autocast():
        if len(group) == 1:
            (index,) = group
            image, rng = _image_and_rng(trainee, cases, index)
            return [ask(trainee, image, rng, cases.mask(index))]
        trainee.net.eval()
        images = together.images_of(trainee, cases, group)
        logits = trainee.method.logits(trainee.net, images)
    return [Answer(probability_of(of_case)) for of_case in torch.split(logits, 1)]


def _prediction(trainee: Trainee, cases: OnGrid, index: int, answer: Answer) -> Prediction:
    """Return a case's prediction from its answer; the errors are those of `predictions`."""
    declared = further_rows(trainee.method)
    if tuple(answer.extras) != declared or SPREAD in answer.extras:
        raise ValueError(
            f"predict gave the rows {list(answer.extras)}, declared are {list(declared)}; they must"
            " agree, and none may be called spread"
        )
    maps = {"": answer.probability, **answer.extras}
    if answer.spread is not None:
        maps[SPREAD] = answer.spread
    on_grid, native = {}, {}
    for name, tensor in maps.items():
        channels = 1 if name == SPREAD else trainee.task.channels
        on_grid[name] = _pixels(tensor, name, cases, index, channels)
        native[name] = cases.back(index, on_grid[name])
    spread = native.pop(SPREAD, None)
    return Prediction(probabilities=native, spread=spread, on_grid=on_grid)


def ask(
    trainee: Trainee, image: Tensor, rng: torch.Generator, reference: NDArray[np.uint8]
) -> Answer:
    """Return the method's answer for one image (1, 1, h, w).

    An oracle is told the bounding box of the reference (h, w); no other method is told anything of
    the reference.
    """
    method = trainee.method
    if isinstance(method, ToldBox):
        return method.told(trainee.net, image, rng, _box(reference, image.device))
    if isinstance(method, AnswersWithMore):
        return method.answer(trainee.net, image, rng)
    return Answer(method.predict(trainee.net, image, rng))


def _box(reference: NDArray[np.uint8], device: torch.device) -> Tensor | None:
    """Return the bounding box of a reference (h, w), as `ToldBox.told` takes it."""
    rows, columns = np.flatnonzero(reference.any(1)), np.flatnonzero(reference.any(0))
    if not len(rows):
        return None
    # The right and the bottom edge lie behind the last pixel.
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return torch.tensor(edges, dtype=torch.float32, device=device)


def multiply_adds(trainee: Trainee, cases: OnGrid, index: int) -> int:
    """Return the number of multiply-adds that the answer for one case needs.

    Those of matrix products, convolutions and attention are counted, as PyTorch's counter does.
    """
    image, rng = _image_and_rng(trainee, cases, index)
    with size.counting(trainee.net) as counter, trainee.autocast():
        ask(trainee, image, rng, cases.mask(index))
    return int(counter.get_total_flops()) // 2  # the counter counts two for a multiply-add


def stages(trainee: Trainee, cases: OnGrid, index: int) -> dict[str, NDArray[np.float32]]:
    """Return maps (h, w) on the network grid that show how a method comes to its answer.

    The image comes first and the reference mask last. The result is empty if the method has no
    such maps.
    """
    if not isinstance(trainee.method, ShowsStages):
        return {}
    image, rng = _image_and_rng(trainee, cases, index)
    with torch.inference_mode(), trainee.autocast():
        shown = trainee.method.stages(trainee.net, image, rng)
    maps = {"image": image, **shown}
    pixels = {title: value[0, 0].float().cpu().numpy() for title, value in maps.items()}
    return {**pixels, "reference": cases.mask(index).astype(np.float32)}


def _image_and_rng(trainee: Trainee, cases: OnGrid, index: int) -> tuple[Tensor, torch.Generator]:
    """Return a case's image (1, 1, h, w) and the generator of its random numbers.

    The network is put into evaluation mode.
    """
    trainee.net.eval()
    rng = generator(trainee.device, trainee.seed, "predict", cases.case(index).id)
    return to_tensor(cases.image(index), trainee.device), rng


def _pixels(
    tensor: Tensor, name: str, cases: OnGrid, index: int, channels: int
) -> NDArray[np.float32]:
    """Return a map (h, w) in [0, 1] on the network's grid; of several channels (C, h, w).

    Args:
        tensor: The map as the method gave it; expected is (1, channels, h, w).
        name: That of its row, or `spread`, for errors.
        cases: The dataset on the grid.
        index: The case.
        channels: How many the map must have.

    Raises:
        ValueError: The map has another shape than the image, or values outside [0, 1].
    """
    expected = (1, channels, *cases.size(index))
    in_range = (tensor >= 0) & (tensor <= 1)  # false where it is NaN
    if tensor.shape != expected or not bool(in_range.all()):
        of = f"{name} of " if name else ""
        raise ValueError(
            f"predict gave {of}shape {tuple(tensor.shape)} in [{tensor.min():.3g},"
            f" {tensor.max():.3g}] for {cases.case(index).id}, expected values in [0, 1] of shape"
            f" {expected}"
        )
    pixels: NDArray[np.float32] = tensor[0].float().cpu().numpy()
    return pixels[0] if channels == 1 else pixels
