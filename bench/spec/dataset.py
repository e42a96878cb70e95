"""The contract of a dataset's reader, and the checks that every sample passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.spec.case import Sample
from bench.spec.errors import UsageError
from bench.spec.names import Source


@dataclass(frozen=True)
class Item:
    """What is read at once: one slice's files, or one volume's, or one simulated patient."""

    patient: str
    files: tuple[Path, ...] = ()
    spacing: tuple[float, float] | None = None
    """mm per pixel (row, column), where a table beside the files says it."""
    left_out: str = ""
    """Why it is not read, where that is known from its name: it is counted, and the others go
    on."""
    official: bool = False
    """Whether whoever published the dataset put it on the test side."""


@dataclass(frozen=True)
class Adapter(ABC):
    """Reads one dataset; its dataclass fields are the options of its name (`mr:good_central=on`).

    A new dataset is a frozen dataclass that derives from this one, named by an entry point in the
    group `verdiff_bench.datasets`.
    """

    source: ClassVar[Source] = "real"
    in_all: ClassVar[bool] = False
    """Whether `--datasets all` includes it; it then needs a phantom for those without its files."""

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
        """Return what decides the pixels beside the files: options, versions, windows."""

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
    raw: NDArray[Any], file: Path, low: float | None = None, high: float | None = None
) -> NDArray[np.uint16]:
    """Map intensities to [0, 1] in 65535 steps.

    The window is fixed, or the image's own 0.5 and 99.5 percentiles.

    Raises:
        UsageError: The image is not (H, W), holds NaN or infinity, or one value only.
    """
    if raw.ndim != 2:
        raise UsageError(
            f"{file}: shape {raw.shape}, expected one grey channel (height, width); convert it"
        )
    if not np.isfinite(raw).all():
        raise UsageError(
            f"{file}: holds NaN or infinite pixels, expected numbers; repair or remove the case"
        )
    if raw.min() == raw.max():
        raise UsageError(
            f"{file}: every pixel is {raw.min()}, expected an image; repair or remove the case"
        )
    image = raw.astype(np.float64)
    if low is None or high is None:
        low, high = (float(v) for v in np.percentile(image, (0.5, 99.5)))
        if high <= low:
            low, high = float(image.min()), float(image.max())
    scaled = np.clip((image - low) / (high - low), 0, 1)
    image_u16: NDArray[np.uint16] = np.rint(scaled * 65535).astype(np.uint16)
    return image_u16


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
    unknown = [v for v in values.tolist() if v not in labels]
    if unknown:
        raise UsageError(
            f"{file}: label {unknown[0]} is not known to the mapping '{mapping}' (it knows "
            f"{', '.join(map(str, sorted(labels)))}); choose another mapping by the option "
            "labels=NAME"
        )
    mask: NDArray[np.uint8] = np.isin(raw, [v for v, one in labels.items() if one]).astype(np.uint8)
    return mask
