"""The words for data: a sample as read, a prepared case, a dataset of cases, a split."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from bench.spec.errors import UsageError
from bench.spec.names import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixel = TypeVar("Pixel", bound=np.generic)

Side = Literal["train", "validation", "test", "unused"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")
"""The sides whose patients are used."""
UNUSED: Side = "unused"
"""The side of a patient that nothing sees: of a training set that is made smaller, or left out by
the user's split."""

SPACING = (1e-6, 1e3)
"""The smallest and the largest side of a pixel in mm: 1 nm of an electron microscope, and 1 m of a
satellite. What is outside is a wrong unit."""
BACKGROUND = "0"
"""The label of what is no object, in every mask."""
UNION = "union"
"""The name of all classes together, in scores."""
RESERVED = frozenset({UNION, "background", "void", "ignore", "others", "mean", "all"})
"""Names that no class may have: options, scores and tables use them for something else."""
VOID = 255
"""In label maps: pixels that belong to no class, and are left out of training and scores."""


@dataclass(frozen=True)
class Place:
    """Where a slice lies in the volume that it was cut from."""

    volume: str
    """The volume's id."""
    position: int
    """Number of the slice in its volume, from 0."""
    thickness: float | None = None
    """mm from a slice to the next, None where unknown."""


@dataclass(frozen=True)
class Sample:
    """One image with its mask, as a reader hands it to the cache."""

    id: str
    patient: str
    image: NDArray[np.uint16]
    """(H, W), [0, 1] in 65535 steps."""
    mask: NDArray[np.uint8]
    """(H, W), numbers of `labels`; a mask with no foreground is data, not an error."""
    spacing: tuple[float, float] | None
    """mm per pixel (row, column), None where unknown."""
    labels: tuple[str, ...] = (BACKGROUND, "1")
    """What the mask's values stand for, as the file says it."""
    how: tuple[str, ...] = ()
    """What the reader decided, as `topic: words`; the topic `assumed` is told to the user."""
    place: Place | None = None
    """Where it lies in a volume; None where it was cut from none."""
    whose: str = ""
    """The patient by the header of the image's file. It is compared between files and never shown,
    for it may be a person's name."""

    def __post_init__(self) -> None:
        """Refuse a spacing that no image has.

        Raises:
            UsageError: A side of a pixel is 0, below it, not finite, or absurd.
        """
        low, high = SPACING
        if self.spacing and not all(low <= side <= high for side in self.spacing):
            sides = " x ".join(f"{side:g}" for side in self.spacing)
            raise UsageError(
                f"case {self.id}: its pixels are {sides} mm, expected {low:g} to {high:g} mm; "
                "correct the spacing, or its unit, in the file's header or in the table"
            )


LOSSY = "assumed: JPEG did not change the masks; it can blur their outlines"
"""What a reader tells of a mask that JPEG, or a compression like it, has changed."""


@dataclass(frozen=True)
class Census:
    """The labels that occur in the masks of a dataset."""

    counts: dict[str, int]
    """Pixels of each label."""
    masks: dict[tuple[str, ...], str]
    """For each set of labels that a mask holds, the file of the first such mask."""
    lossy: bool = False
    """Whether a mask was compressed as JPEG is: then labels blur into values that mean nothing."""


@dataclass(frozen=True)
class Decision:
    """Which labels of a dataset are foreground."""

    foreground: frozenset[str]
    how: tuple[str, ...] = ()
    """What was decided, as `topic: words`."""
    classes: tuple[tuple[str, frozenset[str]], ...] = ()
    """The labels of each class by its name; none where there is one foreground."""
    void: frozenset[str] = frozenset()
    """Labels that are left out of training and scores."""


@dataclass(frozen=True)
class Case:
    """One 2D image with its mask in a prepared dataset."""

    id: str
    patient: str
    height: int
    width: int
    spacing: tuple[float, float] | None
    place: Place | None = None
    """Where it lies in a volume; None where it was cut from none."""


@dataclass(frozen=True)
class Packed:
    """The images of a dataset that have at most 256 grey values each: a byte a pixel."""

    codes: NDArray[np.uint8]
    """The number of each pixel's grey value, all cases one after the other."""
    greys: NDArray[np.uint16]
    """(n, 256) the grey values of each of the n packed cases, by their numbers."""
    rows: Mapping[int, int]
    """The row of `greys` of a case, by its index in the dataset; others are not packed."""


@dataclass(frozen=True)
class Dataset:
    """Prepared cases; pixels are views into memory-mapped files."""

    name: str
    source: Source
    digest: str
    """SHA-256 over every case's id, patient, spacing and pixels."""
    cases: tuple[Case, ...]
    images: NDArray[np.uint16]
    masks: NDArray[np.uint8]
    """Label maps as they were read, in the dataset's own numbers of labels."""
    starts: tuple[int, ...]
    """Where each case's pixels begin in `masks`, and in `images` if `image_starts` is empty."""
    foreground: tuple[int, ...] = (1,)
    """The numbers in `masks` that are foreground."""
    left_out: tuple[str, ...] = ()
    """What could not be prepared: a line each with the file, why, and the remedy."""
    official: frozenset[str] = frozenset()
    """Patients that whoever published the dataset put on the test side."""
    set_aside: frozenset[int] = frozenset()
    """Indexes of cases of those patients that the publisher put on another side: where the
    publisher's test side is used, nothing sees them."""
    how: tuple[str, ...] = ()
    """What was assumed when it was read, a line each."""
    twins: tuple[tuple[str, str], ...] = ()
    """Ids of cases of two patients whose images are the same, a pair each."""
    packed: Packed | None = None
    """The cases whose images are not in `images`."""
    image_starts: tuple[int, ...] = ()
    """Where each case's image begins in `images`, or in `packed.codes` if it is packed."""
    sealed: frozenset[int] = frozenset()
    """Indexes of cases whose pixels may not be read, such as the test side's in tuning."""
    levels: tuple[int, ...] = ()
    """For each number in `masks` the number of the instance that it names, 0 for none; empty where
    instances are not asked for."""
    classes: tuple[str, ...] = ()
    """The names of the classes; none where there is one foreground."""
    numbers: tuple[tuple[int, ...], ...] = ()
    """The numbers in `masks` of the labels of each class."""
    void: tuple[int, ...] = ()
    """The numbers in `masks` that are left out of training and scores."""

    def without(self, indexes: Collection[int]) -> Dataset:
        """Return the dataset with some cases sealed: reading them raises PermissionError."""
        return replace(self, sealed=self.sealed | frozenset(indexes))

    def image(self, index: int) -> NDArray[np.uint16]:
        """Return the image (H, W) of a case."""
        import cv2
        import numpy as np

        starts = self.image_starts or self.starts
        if self.packed is None or index not in self.packed.rows:
            return self._view(self.images, index, starts[index])
        codes = self._view(self.packed.codes, index, starts[index])
        greys = self.packed.greys[self.packed.rows[index]]
        return np.asarray(cv2.LUT(codes, greys))

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Return the mask (H, W) of a case, 1 where it is foreground, of whichever class."""
        import numpy as np

        table = np.zeros(256, np.uint8)
        table[list(self.foreground)] = 1
        return self._translated(index, table)

    @property
    def has_foreground(self) -> bool:
        """Whether any mask has foreground; masks are read until one has."""
        return any(self.mask(index).any() for index in range(len(self.cases)))

    def target(self, index: int) -> NDArray[np.uint8]:
        """Return what is to be predicted (H, W): the mask, or numbers of classes from 1.

        Where there are classes, `VOID` is in the place of void pixels.
        """
        import numpy as np

        if not self.classes:
            return self.mask(index)
        table = np.zeros(256, np.uint8)
        for class_number, label_numbers in enumerate(self.numbers, 1):
            table[list(label_numbers)] = class_number
        table[list(self.void)] = VOID
        return self._translated(index, table)

    def _translated(self, index: int, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a case's mask (H, W), each number replaced by what the table has in its place."""
        import cv2
        import numpy as np

        # OpenCV's look-up is faster than NumPy's for 8 bits.
        return np.asarray(cv2.LUT(self._view(self.masks, index, self.starts[index]), table))

    def instances(self, index: int) -> NDArray[np.uint16] | None:
        """Return the instances (H, W) of a case by their numbers, None where none are asked for."""
        import numpy as np

        if not self.levels:
            return None
        table = np.array(self.levels, np.uint16)
        return table.take(self._view(self.masks, index, self.starts[index]))

    @property
    def class_levels(self) -> tuple[int, ...]:
        """For each class the number of the instance that its only label names.

        0 for a class of several labels. It is known only where instances are asked for.
        """
        return tuple(self.levels[labels[0]] if len(labels) == 1 else 0 for labels in self.numbers)

    def _view(self, pixels: NDArray[Pixel], index: int, start: int) -> NDArray[Pixel]:
        """Return a case's pixels (H, W), which begin at `start`, without copying them.

        Raises:
            PermissionError: The case is sealed.
        """
        case = self.cases[index]
        if index in self.sealed:
            raise PermissionError(f"case {case.id} is sealed: nothing may read it here")
        return pixels[start : start + case.height * case.width].reshape(case.height, case.width)

    @property
    def patients(self) -> list[str]:
        """Patients in the order of their first case."""
        return list(dict.fromkeys(case.patient for case in self.cases))


@dataclass(frozen=True)
class Split:
    """Which side each patient is on; a patient is on one side only."""

    sides: dict[str, Side]

    def indexes(self, dataset: Dataset, side: Side) -> list[int]:
        """Return the indexes of a side's cases, in the dataset's order, without those set aside."""
        aside = self.set_aside(dataset)
        return [
            index
            for index, case in enumerate(dataset.cases)
            if self.sides[case.patient] == side and index not in aside
        ]

    def set_aside(self, dataset: Dataset) -> frozenset[int]:
        """Return the indexes of the cases that nothing sees, though their patients are tested.

        There are some only where the test side is the publisher's: of patients whom the publisher
        has on two sides, the cases that are on the other one.
        """
        tested = {patient for patient, side in self.sides.items() if side == "test"}
        return dataset.set_aside if tested == dataset.official else frozenset()
