"""What happens where a device's memory is too small for a single case."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


class NoRoomError(RuntimeError):
    """A device's memory is too small for one case."""


def with_room(what: str, act: Callable[[], Result]) -> Result:
    """Return what an action returns; if memory is too small, free what nobody uses, and try again.

    Args:
        what: When it happens, for the error: `in validation`.
        act: Computes one case without gradients. It may be called twice.

    Raises:
        NoRoomError: The memory is too small with nothing else in it.
    """
    try:
        return act()
    except torch.cuda.OutOfMemoryError:
        pass  # outside of this block the failed attempt's tensors are gone
    gc.collect()
    torch.cuda.empty_cache()
    try:
        return act()
    except torch.cuda.OutOfMemoryError as error:
        raise NoRoomError(
            f"the device's memory is too small {what}, for one case at a time; "
            "give fewer --pixels, or a device with more memory"
        ) from error
