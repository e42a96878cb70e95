"""The contract of a dataset's reader, and the checks that every sample passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.spec.case import Census, Decision, Place, Sample
from bench.spec.errors import UsageError
from bench.spec.names import Source
from bench.spec.options import option

PERCENTILES = (0.5, 99.5)
"""Percentiles of an image's intensities that become 0 and 1: a few extreme pixels, such as metal,
then do not take the contrast of all others."""
OWN_GREYS = "grey values: each {0}'s own {1:g} and {2:g} percentiles become 0 and 1"
"""What is told where one intensity may be another grey in each image."""
IMAGE_GREYS = OWN_GREYS.format("image", *PERCENTILES)
VOLUME_GREYS = OWN_GREYS.format("volume", *PERCENTILES)
WINDOW_GREYS = "grey values: {0:g} HU becomes 0, {1:g} HU becomes 1"


@dataclass(frozen=True)
class Item:
    """What is read at once: one slice's files, or one volume's, or one simulated patient."""

    patient: str
    files: tuple[Path, ...] = ()
    spacing: tuple[float, float] | None = None
    """mm per pixel (row, column), where a table beside the files says it."""
    left_out: str = ""
    """Why it is not read, where that is known without reading it; it is counted, and the other
    items are read."""
    official: bool = False
    """Whether whoever published the dataset put it on the test side."""
    beside: tuple[Path, ...] = ()
    """Files that `files` need beside them, such as the pixels of a header: their digests count
    too."""
    key: str = ""
    """The name of its case, where the reader knows it from the names of files."""
    how: tuple[str, ...] = ()
    """What was decided from names alone, as `topic: words`."""
    place: Place | None = None
    """Where it lies in a volume, where a table beside the files says it."""


@dataclass(frozen=True)
class Adapter(ABC):
    """Reads one dataset; its dataclass fields are the options of its name (`mr:good_central=on`).

    A new dataset is a frozen dataclass that derives from this one, named by an entry point in the
    group `verdiff_bench.datasets`.
    """

    instances: bool = option(
        False, "score what each label names, such as vertebrae, as an instance", kw_only=True
    )

    source: ClassVar[Source] = "real"
    in_all: ClassVar[bool] = False
    """Whether `--datasets all` includes it; it then needs a phantom for users without its files."""

    @property
    def folder(self) -> Path | None:
        """Its folder, where it is known without `--data`."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """The registered name."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The name in tables."""

    @abstractmethod
    def rules(self) -> dict[str, Any]:
        """Return what decides the pixels beside the files: options, versions, windows.

        What only decides which labels are foreground belongs to `choice`: another choice then
        reads no file again.
        """

    def choice(self) -> dict[str, Any]:
        """Return the options that `decide` depends on."""
        return {}

    def decide(self, census: Census) -> Decision:
        """Return which labels of the masks are foreground, when all masks were read.

        The default fits readers whose masks hold 0 and 1.

        Raises:
            UsageError: A wanted label occurs in no mask, or the user must choose.
        """
        return Decision(frozenset({"1"}))

    def tables(self, root: Path) -> list[Path]:
        """Return the tables beside the images that say what they are, such as whose.

        The prepared dataset is made anew when one changes, and its manifest has their digests.
        """
        return []

    @abstractmethod
    def items(self, root: Path) -> list[Item]:
        """List what `root` holds without reading pixels.

        Raises:
            UsageError: The folder is not laid out as expected; names the file and the remedy.
        """

    @abstractmethod
    def read(self, item: Item) -> Iterator[Sample]:
        """Read an item's cases.

        Raises:
            UsageError: A file cannot be read, or is not what the layout says.
        """


def unit_image(
    raw: NDArray[Any],
    file: Path,
    low: float | None = None,
    high: float | None = None,
    padding: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint16]:
    """Map intensities to [0, 1] in 65535 steps.

    Args:
        raw: The intensities (H, W).
        file: Named in errors.
        low: The intensity that becomes 0.
        high: The intensity that becomes 1. Unless both are given, both are the image's percentiles.
        padding: Pixels (H, W) that are no part of the image: they count for no percentile, and
            become 0.

    Raises:
        UsageError: The image is not (H, W), holds NaN or infinity, or one value only.
    """
    if raw.ndim != 2:
        raise UsageError(
            f"{file}: shape {raw.shape}, expected one grey channel (height, width); convert it"
        )
    if raw.dtype in (np.uint8, np.uint16) and padding is None:
        return _by_table(raw, file, low, high)  # the same values, faster
    if not np.isfinite(raw).all():
        raise UsageError(
            f"{file}: holds NaN or infinite pixels, expected numbers; repair or remove the case"
        )
    image = raw.astype(np.float64)
    seen = image if padding is None else image[~padding]
    _check_flat(seen.min(), seen.max(), file)
    if low is None or high is None:
        low, high = (float(value) for value in np.percentile(seen, PERCENTILES))
        if high <= low:  # nearly all pixels are equal
            low, high = float(seen.min()), float(seen.max())
    unit = _scaled(image, low, high)
    return unit if padding is None else np.where(padding, np.uint16(0), unit)


def _by_table(
    raw: NDArray[Any], file: Path, low: float | None, high: float | None
) -> NDArray[np.uint16]:
    """Do what `unit_image` does with whole numbers of 8 or 16 bits, by a table of all values."""
    counts = _histogram(raw)
    used = np.flatnonzero(counts)  # the values that occur, the lowest first
    _check_flat(used[0], used[-1], file)
    if low is None or high is None:
        low, high = _percentiles(counts)
        if high <= low:
            low, high = float(used[0]), float(used[-1])
    table = _scaled(np.arange(len(counts), dtype=np.float64), low, high)
    if raw.dtype == np.uint8:
        import cv2

        return np.asarray(cv2.LUT(np.ascontiguousarray(raw), table))
    unit: NDArray[np.uint16] = table.take(raw)
    return unit


def _histogram(raw: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many pixels have each value of 8 or 16 bits."""
    if raw.dtype == np.uint8:
        from PIL import Image

        return np.array(Image.fromarray(raw).histogram(), np.int64)
    return np.bincount(raw.ravel(), minlength=1 << 16)


def _percentiles(counts: NDArray[np.int64]) -> list[float]:
    """Return `PERCENTILES` as `numpy.percentile` gives them, to the last bit.

    Args:
        counts: How many pixels have each value from 0 on.
    """
    up_to = np.cumsum(counts)  # how many pixels have each value or a lower one
    total = int(up_to[-1])
    percentiles = []
    for percentile in PERCENTILES:
        place = (total - 1) * (percentile / 100)  # in the sorted pixels, between two of them
        below = int(np.floor(place))
        pair = np.searchsorted(up_to, [below, min(below + 1, total - 1)], side="right")
        lower, upper = (float(value) for value in pair)  # the values of these two pixels
        part = place - below
        # As NumPy does it, the nearer of the two values is the one to begin at.
        value = lower + (upper - lower) * part
        if part >= 0.5:
            value = upper - (upper - lower) * (1 - part)
        percentiles.append(value)
    return percentiles


def _check_flat(low: Any, high: Any, file: Path) -> None:
    """Refuse an image whose lowest and highest value are the same."""
    if low == high:
        raise UsageError(
            f"{file}: every pixel is {low}, expected an image; repair or remove the case"
        )


def _scaled(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint16]:
    """Return values in 65535 steps: 0 up to `low`, 65535 from `high` on."""
    scaled = np.clip((values - low) / (high - low), 0, 1)
    unit: NDArray[np.uint16] = np.rint(scaled * 65535).astype(np.uint16)
    return unit


def binary_mask(
    raw: NDArray[Any], labels: dict[int, int], file: Path, mapping: str
) -> NDArray[np.uint8]:
    """Map label values to 0 and 1.

    Args:
        raw: (H, W) label image.
        labels: Every label that may occur, with its value in the binary mask.
        file: Named in errors.
        mapping: The mapping's name, for errors.

    Raises:
        UsageError: The labels are not (H, W), not integers, or hold a value that the mapping does
            not know.
    """
    if raw.ndim != 2:
        raise UsageError(
            f"{file}: shape {raw.shape}, expected one channel of labels (height, width)"
        )
    values = np.unique(raw)
    unknown = [value for value in values.tolist() if value not in labels]
    if unknown:
        raise UsageError(
            f"{file}: label {unknown[0]} is not known to the mapping '{mapping}' (it knows "
            f"{', '.join(map(str, sorted(labels)))}); choose another mapping by the option "
            "labels=NAME"
        )
    foreground = [label for label, value in labels.items() if value]
    mask: NDArray[np.uint8] = np.isin(raw, foreground).astype(np.uint8)
    return mask
