"""A network together with the moving average of its weights, with which diffusions answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Averaged(nn.Module):
    """A network that is trained, and a copy with the moving average of its weights that answers.

    Args:
        live: The network that is trained.
        rate: Highest share of its value that the average keeps at a step. After n steps this share
            is at most (1 + n) / (10 + n), so that even in a short training the initial weights have
            almost no part in the average.
    """

    def __init__(self, live: nn.Module, rate: float) -> None:
        super().__init__()
        self.live = live

        def include(means: Sequence[Tensor], new: Sequence[Tensor], count: Tensor | int) -> None:
            steps = int(count)  # those that the means hold already
            kept = min(rate, (1 + steps) / (10 + steps))
            # mean += (1 - kept) * (new - mean), in one call for all tensors of a network
            torch._foreach_lerp_(list(means), list(new), 1 - kept)

        self.average = AveragedModel(live, multi_avg_fn=include).requires_grad_(False)

    @property
    def network(self) -> Any:
        """Return the trained network in training mode, and the averaged one in evaluation mode."""
        return self.live if self.training else self.average.module
