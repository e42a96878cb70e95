"""Weights of an encoder in a file of the user's, checked against a network before they are used."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.spec.errors import UsageError
from bench.spec.weights import find

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor of a state dict, by name."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of numbers that weights are read from; those of 8 bits need scales that a file may lack."""
SHOWN = 2
"""Names that an error lists of each kind."""


@dataclass(frozen=True)
class Content:
    """What is known of the tensors of a file without keeping them in memory."""

    shapes: Shapes
    precisions: tuple[str, ...]
    """Types of its floating-point tensors, such as `float16`."""
    fault: str = ""
    """Why its values cannot be used, in words; empty where they can."""


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
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); make it readable") from error
    except Exception as error:  # damaged bytes raise whatever they lead PyTorch to do
        raise UsageError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as safetensors or as tensors of"
            " torch.save: it is damaged, or another kind of file; save the encoder's state_dict()"
            " anew"
        ) from error
    state = content if isinstance(content, dict) else {}
    is_named = all(isinstance(name, str) for name in state)
    if not state or not is_named or not all(isinstance(one, Tensor) for one in state.values()):
        kind = f"keys such as '{next(iter(state))}'" if state else type(content).__name__
        raise UsageError(
            f"{path} holds no state dict of tensors but {kind}; save the encoder's state_dict()"
            " alone"
        )
    return state


def _load(path: Path) -> Any:
    """Return what a file holds; of one that PyTorch wrote, tensors and plain values alone."""
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PyTorch says of other kinds of files
        return torch.load(path, map_location="cpu", weights_only=True)


@lru_cache(maxsize=8)
def content(digest: str) -> Content:
    """Return what is known of an entered file; one that was read is not read again.

    Raises:
        UsageError: As of `read`.
    """
    state = read(digest)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    floats = [value for value in state.values() if value.is_floating_point()]
    precisions = sorted({str(value.dtype).removeprefix("torch.") for value in floats})
    return Content(shapes, tuple(precisions), _fault(state))


def _fault(state: Mapping[str, Tensor]) -> str:
    """Return why the values of tensors cannot be those of a trained encoder; empty if they can."""
    for name, value in state.items():
        if not _is_plain(value):
            return f"{name} has no plain numbers ({value.dtype}, {value.layout}, {value.device})"
        finite = value.float().isfinite()  # as training has them, in float32
        if not finite.all():
            lost = value.numel() - int(finite.sum())
            return f"{name} has numbers that are not finite ({lost} of {value.numel()})"
    kernels = {name: value for name, value in state.items() if value.ndim > 1} or state
    for name, value in kernels.items():
        if not value.is_floating_point():
            return f"{name} has numbers of the type {value.dtype}, and weights are floats"
    if not any(value.any() for value in kernels.values()):
        return "all weights are 0, which no training leaves"
    return ""


def _is_plain(value: Tensor) -> bool:
    """Return whether a tensor has a number in memory for each of its elements."""
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    is_known = value.dtype in FLOATS or not value.is_floating_point()
    has_all = value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    return is_known and has_all and not value.is_complex()


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
