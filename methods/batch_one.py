"""What batch 1 breaks: batch norm over a pooled 1 x 1 map has one value a channel and cannot train."""

from __future__ import annotations

from math import gcd

from torch import nn

GROUPS = 16
NOTE = "group norm after global pooling (batch norm over one value cannot train at batch 1)"


def mend_pooled_norms(net: nn.Module) -> int:
    """Replace each batch norm that follows a global pooling by group norm, in place; return how many."""
    count = 0
    for sequence in (m for m in net.modules() if isinstance(m, nn.Sequential)):
        pooled = False
        for child in list(sequence):
            pooled |= isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1))
            if pooled:
                count += _mend(sequence, child)
    return count


def _mend(parent: nn.Module, module: nn.Module) -> int:
    if isinstance(module, nn.BatchNorm2d):
        name = next(name for name, child in parent.named_children() if child is module)
        setattr(parent, name, nn.GroupNorm(gcd(GROUPS, module.num_features), module.num_features))
        return 1
    return sum(_mend(module, child) for child in list(module.children()))
