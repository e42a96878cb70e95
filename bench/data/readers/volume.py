"""Read volumes with label masks, and cut them into sagittal slices: head up, anterior left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.spec.case import Sample
from bench.spec.dataset import Item, unit_image
from bench.spec.errors import UsageError

SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd")
SAGITTAL = "LIP"
"""Orientation of a volume after reading: slices go to the left, rows to the feet (inferior),
columns to the back (posterior)."""
SAME = 1e-2
"""Largest distance in mm between the corners of an image and those of its mask."""


@dataclass(frozen=True)
class Volume:
    """An image volume in sagittal order: voxels (slices, rows, columns) and their size in mm."""

    voxels: NDArray[Any]
    spacing: tuple[float, float, float]
    """Size of a voxel in mm along (slices, rows, columns)."""
    corners: NDArray[np.float64]
    """Positions in mm of the first and the last voxel (2, 3), to compare two volumes."""


@dataclass(frozen=True)
class Cut:
    """One sagittal slice with isotropic pixels."""

    position: int
    """Number of the slice in its volume, from 0."""
    image: NDArray[np.float32]
    """Intensities (H, W)."""
    labels: NDArray[np.int32]
    """Label values (H, W)."""
    pixel: float
    """Side of a pixel in mm."""


def stem(path: Path) -> str:
    """Return a file's name without `.nii.gz` or a similar ending."""
    return path.name.removesuffix(".gz").rpartition(".")[0]


def is_volume(path: Path) -> bool:
    """Return whether a file is a volume by its name."""
    return path.name.endswith(SUFFIXES)


def files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files below a folder with these suffixes, sorted.

    Raises:
        UsageError: A link in the folder leads to a folder elsewhere, whose files are not read.
    """
    paths = []
    inside = root.resolve()
    for path in sorted(root.rglob("*")):
        if path.is_symlink() and path.is_dir() and not path.resolve().is_relative_to(inside):
            raise UsageError(
                f"{path} leads out of {root}; expected folders inside: "
                "copy it there or remove the link"
            )
        if path.name.endswith(suffixes) and not path.name.startswith(".") and path.is_file():
            paths.append(path)
    return paths


def read(path: Path) -> Volume:
    """Read a NIfTI or MetaImage volume and reorient it by its header.

    Raises:
        UsageError: The file cannot be read, is no volume, or has no orientation.
    """
    reader = _metaimage if path.suffix in (".mha", ".mhd") else _nifti
    try:
        return reader(path)
    except UsageError:
        raise
    except Exception as error:  # the libraries may raise anything
        why = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UsageError(
            f"{path} cannot be read ({why}); expected a whole volume: copy it again"
        ) from error


def _nifti(path: Path) -> Volume:
    import nibabel
    from nibabel.orientations import (
        apply_orientation,
        axcodes2ornt,
        inv_ornt_aff,
        io_orientation,
        ornt_transform,
    )

    loaded: Any = nibabel.load(path)
    voxels = np.asanyarray(loaded.dataobj)
    if voxels.ndim == 4 and voxels.shape[3] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3:
        raise UsageError(f"{path}: shape {voxels.shape}, expected a volume of three dimensions")
    turn = ornt_transform(io_orientation(loaded.affine), axcodes2ornt(tuple(SAGITTAL)))
    affine = loaded.affine @ inv_ornt_aff(turn, voxels.shape)
    turned: NDArray[Any] = apply_orientation(voxels, turn)
    return _volume(turned, np.linalg.norm(affine[:3, :3], axis=0), affine)


def _metaimage(path: Path) -> Volume:
    import SimpleITK

    loaded = SimpleITK.ReadImage(str(path))
    if loaded.GetDimension() != 3:
        raise UsageError(f"{path}: {loaded.GetDimension()} dimensions, expected a volume of three")
    turned = SimpleITK.DICOMOrient(loaded, SAGITTAL[::-1])  # SimpleITK names the fastest axis first
    voxels = SimpleITK.GetArrayFromImage(turned)
    affine = np.eye(4)
    direction = np.array(turned.GetDirection()).reshape(3, 3) * np.array(turned.GetSpacing())
    affine[:3, :3], affine[:3, 3] = direction[:, ::-1], turned.GetOrigin()
    return _volume(voxels, np.array(turned.GetSpacing())[::-1], affine)


def _volume(voxels: NDArray[Any], spacing: NDArray[Any], affine: NDArray[Any]) -> Volume:
    """Return a volume; `affine` (4, 4) maps voxel numbers to positions in mm."""
    last = affine @ np.array([*(size - 1 for size in voxels.shape), 1.0])
    slices, rows, columns = (float(side) for side in spacing)
    return Volume(voxels, (slices, rows, columns), np.stack([affine[:3, 3], last[:3]]))


def pair(image_file: Path, label_file: Path) -> tuple[Volume, Volume]:
    """Read an image volume and its labels.

    Raises:
        UsageError: A file cannot be read, the two have different shapes or places, or the labels
            are no whole numbers.
    """
    image, labels = read(image_file), read(label_file)
    if image.voxels.shape != labels.voxels.shape:
        raise UsageError(
            f"{label_file} is {labels.voxels.shape}, {image_file} is {image.voxels.shape} "
            "(slices, rows, columns); expected one grid: export the mask again"
        )
    distance = float(np.abs(image.corners - labels.corners).max())
    if distance > SAME:
        raise UsageError(
            f"{label_file} lies {distance:.3g} mm from {image_file} by its header; "
            "expected the same place: export the mask again"
        )
    if not np.isfinite(labels.voxels).all() or (labels.voxels != np.rint(labels.voxels)).any():
        raise UsageError(
            f"{label_file}: labels are not whole numbers; expected a label map, not probabilities"
        )
    whole = labels.voxels.astype(np.int32)
    return image, Volume(whole, labels.spacing, labels.corners)


def cuts(
    image: Volume, labels: Volume, foreground: NDArray[np.int32], at_least: int, share: float
) -> Iterator[Cut]:
    """Yield the sagittal slices that show enough foreground.

    Slices are resampled to isotropic pixels, whose side is the smaller spacing in the plane.

    Args:
        image: Intensities.
        labels: Label values on the same grid.
        foreground: Label values that count as foreground.
        at_least: Number of different foreground labels that a slice must show.
        share: Share of a slice's pixels that must be foreground.
    """
    _, row, column = image.spacing
    pixel = min(row, column)
    _, rows, columns = image.voxels.shape
    size = (max(1, round(columns * column / pixel)), max(1, round(rows * row / pixel)))
    for position, (plane, mask) in enumerate(zip(image.voxels, labels.voxels, strict=True)):
        seen = mask[np.isin(mask, foreground)]
        if len(np.unique(seen)) < at_least or len(seen) < share * mask.size:
            continue
        grey = np.ascontiguousarray(plane, np.float32)
        values = np.ascontiguousarray(mask, np.float32)
        scaled = cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR)
        whole = cv2.resize(values, size, interpolation=cv2.INTER_NEAREST_EXACT)
        yield Cut(position, np.asarray(scaled, np.float32), whole.astype(np.int32), pixel)


def samples(
    item: Item,
    labels: dict[int, int],
    dataset: str,
    at_least: int,
    share: float,
    window: tuple[float, float] | None = None,
) -> Iterator[Sample]:
    """Yield the cases of a volume and its mask.

    Args:
        item: The item with the files of the volume and of its mask.
        labels: For every label that may occur its value in the binary mask.
        dataset: The dataset's name in error messages.
        at_least: Number of different vertebrae that a slice must show.
        share: Share of a slice's pixels that must be vertebra.
        window: Intensities that become 0 and 1; by default the volume's 0.5 and 99.5 percentiles.

    Raises:
        UsageError: The files cannot be read, do not fit, hold an unknown label, or no slice shows
            enough.
    """
    image_file, label_file = item.files
    image, mask = pair(image_file, label_file)
    unknown = sorted(set(np.unique(mask.voxels).tolist()) - labels.keys())
    if unknown:
        raise UsageError(
            f"{label_file}: label {unknown[0]} is none of {dataset}'s; expected one of "
            f"{', '.join(map(str, sorted(labels)))}: map it or remove the volume"
        )
    if not np.isfinite(image.voxels).all():
        raise UsageError(
            f"{image_file}: holds NaN or infinite voxels, expected numbers; "
            "repair or remove the volume"
        )
    low, high = window or tuple(float(v) for v in np.percentile(image.voxels, (0.5, 99.5)))
    foreground = np.array([label for label, one in labels.items() if one], np.int32)
    count = 0
    for cut in cuts(image, mask, foreground, at_least, share):
        count += 1
        yield Sample(
            id=f"{re.sub('[^A-Za-z0-9._-]', '_', stem(image_file))}_{cut.position:03d}",
            patient=item.patient,
            image=unit_image(cut.image, image_file, low, high),
            mask=np.isin(cut.labels, foreground).astype(np.uint8),
            spacing=(cut.pixel, cut.pixel),
        )
    if not count:
        raise UsageError(
            f"{label_file}: no sagittal slice shows {at_least} vertebrae on {100 * share:g} % "
            f"of its pixels; lower {dataset}:vertebrae or {dataset}:share, or remove the volume"
        )
