"""Weights of an encoder in a file of the user's, checked against a network before they are used."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.spec.errors import UsageError
from bench.spec.weights import find

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor of a state dict, by name."""
SHOWN = 2
"""Names that an error lists of each kind."""


def read(digest: str) -> dict[str, Tensor]:
    """Return the state dict in an entered file, of safetensors or of `torch.save`.

    Nothing but tensors is unpickled.

    Raises:
        UsageError: The file cannot be read, or holds something else.
    """
    path = find(digest)
    try:
        content = _load(path)
    except pickle.UnpicklingError as error:
        # PyTorch's own words advise to unpickle whatever the file holds.
        raise UsageError(
            f"{path} cannot be read: it holds more than tensors, or is no file of torch.save; save"
            " the encoder's state_dict() alone"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"{path} cannot be read as safetensors or as tensors of torch.save ({reason}); save the"
            " encoder's state_dict() anew"
        ) from error
    state = content if isinstance(content, dict) else {}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        kind = f"keys such as '{next(iter(state))}'" if state else type(content).__name__
        raise UsageError(
            f"{path} holds no state dict of tensors but {kind}; save the encoder's state_dict()"
            " alone"
        )
    return state


def _load(path: Path) -> Any:
    """Return what a file holds; of one that PyTorch wrote, tensors and plain values alone."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    return torch.load(path, map_location="cpu", weights_only=True)


@lru_cache(maxsize=8)
def shapes(digest: str) -> Shapes:
    """Return the shapes in an entered file; one that was read is not read again.

    Raises:
        UsageError: As of `read`.
    """
    return {name: tuple(value.shape) for name, value in read(digest).items()}


def difference(given: Shapes, expected: Shapes) -> str:
    """Return in words how the tensors of a file differ from those of an encoder; empty if not."""
    lacking = [name for name in expected if name not in given]
    strange = [name for name in given if name not in expected]
    parts = []
    if lacking:
        parts.append(f"it lacks {_listed(lacking)}")
    if strange:
        parts.append(f"it has {_listed(strange)}, which the encoder has not")
    for name, shape in expected.items():
        if given.get(name, shape) != shape:
            parts.append(f"{name} is {_size(given[name])}, not {_size(shape)}")
            break  # one example is enough
    return "; ".join(parts)


def _listed(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    text = ", ".join(names[:SHOWN])
    more = len(names) - SHOWN
    return f"{text} and {more} more" if more > 0 else text


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
