"""Cases on the network grid; only this module maps native pixels to the grid and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.geometry import Geometry
from bench.spec.case import Case, Dataset

Grid = tuple[int, int] | None
"""(height, width) that all cases share; None keeps each case's native size."""
WHY_SHARED = (
    "the {} images of a batch must have one size, and these have several; "
    "batch = 1 in a profile of your own keeps them"
)
"""Why pixels = 0 does not keep native sizes, and what does, for a size of batches."""


@dataclass(frozen=True)
class OnGrid:
    """The cases of a dataset as networks see them, by their index in the dataset."""

    dataset: Dataset
    grid: Grid

    def case(self, index: int) -> Case:
        """Return the record of a case: its id, patient, native size and spacing."""
        return self.dataset.cases[index]

    def size(self, index: int) -> tuple[int, int]:
        """Return the (height, width) of a case on the grid."""
        return self.grid or self.native_size(index)

    def native_size(self, index: int) -> tuple[int, int]:
        """Return the (height, width) of a case as it was read."""
        case = self.case(index)
        return case.height, case.width

    def image(self, index: int) -> NDArray[np.uint16]:
        """Return the image (h, w) of a case on the grid, in 65535 steps."""
        return self._geometry(index).image(self.dataset.image(index))

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Return the target (h, w) of a case on the grid: 0 or 1, or numbers of classes."""
        target, geometry = self.dataset.target(index), self._geometry(index)
        if self.dataset.classes:
            return geometry.classes(target, len(self.dataset.classes))
        return geometry.mask(target)

    def back(self, index: int, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map values (h, w), or (C, h, w), on the grid back to the native pixels of a case."""
        geometry = self._geometry(index)
        if probability.ndim == 2:
            return geometry.back(probability)
        return np.stack([geometry.back(channel) for channel in probability])

    def _geometry(self, index: int) -> Geometry:
        return Geometry(self.native_size(index), self.size(index))
