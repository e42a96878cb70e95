"""How fast a device trains, beside a published figure: `bench doctor --gpu`."""

from __future__ import annotations

import time

import torch

from bench.engine.trainee import Trainee, build
from bench.spec import registry
from bench.spec.config import SEED
from bench.spec.method import Task
from bench.spec.names import Spec
from bench.spec.profile import load_profile

SIZE = (192, 160)
"""Height and width of the images of the published figure."""
BATCH = 64
"""Images of a step of the published figure."""
PUBLISHED = (674, 927)
"""Images a second in training nnU-Net in 2D on one A100 by mixed precision: NVIDIA, nnU-Net for
PyTorch, its README. Their images have 4 channels, which only the first layer sees; batch 64, 128.
"""
WARM = 3
"""Steps before time counts: the first ones choose kernels."""


def images_a_second(
    device: torch.device, seconds: float, batch: int = BATCH, scale: str = "full"
) -> float:
    """Return how many images (192, 160) a second a device trains nnU-Net's 2D network on.

    Args:
        device: A PyTorch device.
        seconds: That the steps take, after some that do not count.
        batch: Images of a step.
        scale: Which size of the network is built.

    Raises:
        torch.cuda.OutOfMemoryError: The device has no room for it.
    """
    trainee = _trainee(device, batch, scale)
    optimiser = trainee.optimiser()
    rng = torch.Generator(device).manual_seed(SEED)
    image = torch.rand((batch, 1, *SIZE), generator=rng, device=device)
    mask = (image > 0.5).float()
    began, steps = 0.0, 0
    while not began or _now(device) - began < seconds:
        if steps == WARM:
            began = _now(device)
        optimiser.zero_grad(set_to_none=True)
        loss = trainee.loss(image, mask, steps)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        steps += 1
    return batch * (steps - WARM) / (_now(device) - began)


def _trainee(device: torch.device, batch: int, scale: str) -> Trainee:
    """Return nnU-Net's network for images of `SIZE`, to be trained in half precision on a GPU."""
    method = registry.method(Spec("nnunet"), scale)
    task = Task("mr", (SIZE,) * 20, batch, 1000)
    precision = "bfloat16" if device.type == "cuda" else "float32"
    return build(method, task, load_profile("paper"), SEED, device, precision)


def _now(device: torch.device) -> float:
    """Return the time, when the device has computed everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
