"""Group norm in place of batch norm after a global pooling, for small batches.

After a global pooling a channel has one value for each image. With a batch of 1, batch norm cannot
train there at all; with a batch of 2 it maps every channel to plus or minus one.
"""

from __future__ import annotations

from torch import nn

GROUP = 16
"""Channels of a group: after a global pooling each is a single number. A group of two would keep
nothing of them but which is larger."""
SMALL = 8
"""Smallest batch with which batch norm stays."""


def note(batch: int) -> tuple[str, ...]:
    """Return the deviation that a batch size makes necessary."""
    values = "one value cannot train" if batch == 1 else f"{batch} values does not normalise"
    return (f"group norm after global pooling (batch norm over {values})",) if batch < SMALL else ()


def mend_pooled_norms(net: nn.Module, batch: int) -> int:
    """Replace each batch norm after a global pooling by group norm if the batch is small.

    Returns how many were replaced.
    """
    count = 0
    if batch >= SMALL:
        return count
    for sequence in (m for m in net.modules() if isinstance(m, nn.Sequential)):
        pooled = False
        for child in list(sequence):
            pooled |= isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1))
            if pooled:  # all that follows in the sequence has one value a channel
                count += _mend(sequence, child)
    return count


def _mend(parent: nn.Module, module: nn.Module) -> int:
    """Replace a module of `parent` that is a batch norm, or those in it; return how many."""
    if isinstance(module, nn.BatchNorm2d):
        name = next(name for name, child in parent.named_children() if child is module)
        setattr(parent, name, group_norm(module.num_features))
        return 1
    return sum(_mend(module, child) for child in list(module.children()))


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a group norm for channels that have one value each; one group where 16 do not fit."""
    groups = channels // GROUP if channels % GROUP == 0 else 1
    return nn.GroupNorm(max(1, groups), channels)
