"""Phantoms: simulated spine anatomy, used when the folder of a dataset is absent.

The masks follow the real datasets. CT and MR: bodies and posterior elements, without discs, canal,
ribs and the sacrum. A vertebra whose body is cut by the upper edge is unlabelled in ct-verse (as in
VerSe) and labelled in ct-pri and mr (as in SPIDER). X-ray: the quadrilaterals of the seventeen
bodies T1 to L5.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

VERSION = 1  # raise whenever any pixel may change

# A module is imported when its first slice is rendered.
_MODULES = {"ct-verse": "ct", "ct-pri": "ct", "mr": "mr", "xray": "xray"}
NAMES = tuple(_MODULES)


@dataclass(frozen=True)
class Slice:
    """One simulated image with its mask."""

    image: NDArray[np.uint16]  # (H, W), quantised from [0, 1]
    mask: NDArray[np.uint8]  # (H, W), 0 or 1: vertebra; or labels by level
    spacing: tuple[float, float] | None  # mm per pixel (row, column)


def render(
    name: str, patient: int, position: int, positions: int, seed: int = 0, *, levels: bool = False
) -> Slice:
    """Render one slice of a phantom patient; a pure function of its arguments.

    Args:
        name: ct-verse, ct-pri, mr or xray.
        patient: the patient's number; each number is a different patient.
        position: the number of the slice, 0 to positions - 1. Sagittal slices run from left to
            right and the middle one is mid-sagittal; X-ray positions are films of slightly
            different pose and exposure.
        positions: how many slices the patient has.
        seed: another seed is another population.
        levels: whether the mask has a number for each vertebra and disc (`levels`), and not 1;
            nothing else changes.

    Raises:
        ValueError: on an unknown name, a position outside the patient's slices or a negative
            number.
    """
    if name not in _MODULES:
        raise ValueError(f"unknown phantom {name!r}: choose one of {', '.join(NAMES)}")
    if positions < 1:
        raise ValueError(f"positions is {positions}: a patient has at least 1 slice")
    if not 0 <= position < positions:
        raise ValueError(
            f"position {position} of {positions} does not exist: choose 0 to {positions - 1}"
        )
    if patient < 0 or seed < 0:
        raise ValueError(f"patient {patient} and seed {seed} must be 0 or greater")
    module = import_module(f"{__name__}.{_MODULES[name]}")
    image, mask, spacing = module.render(name, seed, patient, (position, positions), levels)
    return Slice(np.round(image * np.float32(65535)).astype(np.uint16), mask, spacing)


def distance(name: str, patient: int, positions: int, seed: int = 0) -> float | None:
    """Return the mm from a slice of a phantom patient to the next; None where there is one slice.

    Args:
        name: ct-verse, ct-pri or mr; films lie in no volume.
        patient: the patient's number.
        positions: how many slices the patient has.
        seed: as in `render`.
    """
    module = import_module(f"{__name__}.{_MODULES[name]}")
    apart: float | None = module.distance(name, seed, patient, positions)
    return apart
