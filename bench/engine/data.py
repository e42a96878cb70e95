"""A cell's data: its cases on the network's grid, and the sides of its split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.data.geometry import shared_grid
from bench.data.grid import Grid, OnGrid
from bench.spec.case import Dataset, Split
from bench.spec.config import Cell
from bench.spec.method import Cases, Example, Task
from bench.spec.profile import Profile


@dataclass(frozen=True)
class Data:
    """A cell's data: the cases on the grid that all methods share, and the sides of its split.

    Each side lists the indexes of its cases in the dataset.
    """

    cases: OnGrid
    train: list[int]
    validation: list[int]
    test: list[int]
    set_aside: int = 0
    """Number of cases that nothing sees, though their patients are tested."""

    @classmethod
    def of(cls, cell: Cell, dataset: Dataset, split: Split) -> Data:
        """Arrange a dataset by a split; the grid depends only on training cases.

        If the profile limits the validation cases, they are taken at equal distances from the list.
        """
        training = split.indexes(dataset, "train")
        grid = grid_of(dataset, training, cell.profile)
        validation = split.indexes(dataset, "validation")
        limit = cell.profile.validation_cases
        if limit and len(validation) > limit:
            chosen = np.linspace(0, len(validation) - 1, limit).round().astype(int)
            validation = [validation[place] for place in chosen]
        test = split.indexes(dataset, "test")
        aside = len(split.set_aside(dataset))
        return cls(OnGrid(dataset, grid), training, validation, test, aside)

    @property
    def dataset(self) -> Dataset:
        """The dataset at native resolution."""
        return self.cases.dataset

    def task(self, cell: Cell) -> Task:
        """Return what a method may know before it is built."""
        sizes = tuple(self.cases.size(index) for index in self.train)
        profile, dataset = cell.profile, self.dataset
        return Task(
            dataset.name,
            sizes,
            profile.batch,
            profile.steps,
            dataset.classes,
            bool(dataset.void),
        )

    def given(self) -> Cases:
        """Return the cases that a method which trains itself is given."""
        return Cases(lambda: self._examples(self.train), lambda: self._examples(self.validation))

    def _examples(self, indexes: Sequence[int]) -> Iterator[Example]:
        for index in indexes:
            image = np.asarray(self.cases.image(index))
            mask = np.asarray(self.cases.mask(index))
            yield Example(self.cases.case(index).id, image, mask)


def grid_of(dataset: Dataset, training: Sequence[int], profile: Profile) -> Grid:
    """Return the grid that a profile asks for; None keeps native sizes.

    With `pixels` = 0 the profile asks for native sizes. If a batch would then hold images of
    several sizes, all cases share a grid with the median number of pixels.
    """
    native = OnGrid(dataset, None)
    sizes = [native.native_size(index) for index in training]
    pixels = profile.pixels
    if pixels == 0:
        if profile.batch == 1 or len(set(sizes)) == 1:
            return None
        pixels = int(np.median([height * width for height, width in sizes]))
    return shared_grid(sizes, pixels)
