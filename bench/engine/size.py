"""The size of a network under training, with U-Net's at the same grid as the unit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.data.grid import OnGrid
from bench.engine.room import with_room
from bench.engine.trainee import Trainee, to_tensor
from bench.spec import registry
from bench.spec.capabilities import TrainsItself
from bench.spec.names import Spec

UNIT = Spec("unet")
"""The method whose size is 1."""


@contextmanager
def counting(net: nn.Module) -> Iterator[FlopCounterMode]:
    """Count the floating-point operations of a network's forward passes, two a multiply-add.

    With weights that require a gradient, PyTorch's counter fails in some modules: it also tries to
    count their backward pass.
    """
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    try:
        for weight in trained:
            weight.requires_grad_(False)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        for weight in trained:
            weight.requires_grad_(True)


def relative(trainee: Trainee, cases: OnGrid, index: int) -> float:
    """Return the multiply-adds of a training case, divided by U-Net's under the same profile.

    NaN for a method that trains itself, whose batches are its own.
    """
    if isinstance(trainee.method, TrainsItself):
        return math.nan
    image = to_tensor(cases.image(index), trainee.device)
    mask = torch.from_numpy(np.array(cases.mask(index), np.float32))[None, None].to(trainee.device)
    trainee.net.eval()  # batch norm keeps its averages

    def flops() -> int:
        with counting(trainee.net) as counter:
            trainee.loss(image, mask, "size")
        return int(counter.get_total_flops())

    of_method = with_room("in measuring the network", flops)
    unit = registry.method(UNIT, trainee.profile.scale)
    # Tensors on this device have shapes and no values, so U-Net is counted without computing it.
    with torch.device("meta"):
        net = unit.build(trainee.task).eval()  # a batch norm may have one value at this size
        with counting(net) as of_unit:
            unit.logits(net, torch.empty(image.shape))
    return of_method / of_unit.get_total_flops()
