"""A trained network's answer for one case, at native resolution."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.case import Dataset
from bench.data.geometry import Geometry
from bench.train import Trainee, generator, to_tensor

THRESHOLD = 0.5


def predict(trainee: Trainee, dataset: Dataset, index: int, grid: tuple[int, int] | None) -> NDArray[np.float32]:
    """Return the probability of foreground (H, W) on the case's native pixels.

    Random numbers come from the case's id and the seed alone.

    Raises:
        ValueError: The method's answer has another shape, or is no probability.
    """
    case = dataset.cases[index]
    native = (case.height, case.width)
    geometry = Geometry(native, grid or native)
    image = to_tensor(geometry.image(dataset.image(index)), trainee.device)
    trainee.net.eval()
    rng = generator(trainee.device, trainee.seed, "predict", case.id)
    with torch.inference_mode(), trainee.autocast():
        answer = trainee.method.predict(trainee.net, image, rng).float()
    if answer.shape != image.shape or not bool(((answer >= 0) & (answer <= 1)).all()):
        raise ValueError(
            f"predict gave shape {tuple(answer.shape)} in [{answer.min():.3g}, {answer.max():.3g}] for {case.id}, "
            f"expected probabilities of shape {tuple(image.shape)}"
        )
    return geometry.back(answer[0, 0].cpu().numpy())
