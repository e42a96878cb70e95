"""A network and the moving average of its weights, which is what diffusions answer with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Averaged(nn.Module):
    """A network that is trained, and the moving average of its weights that answers.

    Args:
        live: The network.
        rate: Highest share of itself that the average keeps at a step; after n steps it is (1 + n)
            / (10 + n) at most, so that a short training forgets where it began.
    """

    def __init__(self, live: nn.Module, rate: float) -> None:
        super().__init__()
        self.live = live

        def average(means: Sequence[Tensor], new: Sequence[Tensor], count: Tensor | int) -> None:
            kept = min(rate, (1 + int(count)) / (10 + int(count)))
            torch._foreach_lerp_(list(means), list(new), 1 - kept)

        self.average = AveragedModel(live, multi_avg_fn=average).requires_grad_(False)

    @property
    def network(self) -> Any:
        """Return the network in charge: the trained one in training, its average otherwise."""
        return self.live if self.training else self.average.module
