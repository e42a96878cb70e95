"""Read volumes with label masks, and cut them into sagittal slices: head up, anterior left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data.readers import content, metaimage, nifti
from bench.data.readers.labels import NEAR_WHOLE, ROUNDED
from bench.data.readers.picture import SAME, check_mm
from bench.data.readers.walk import case_id, stem, walk
from bench.spec.case import BACKGROUND, Place, Sample
from bench.spec.dataset import PERCENTILES, VOLUME_GREYS, WINDOW_GREYS, Item, unit_image
from bench.spec.errors import UsageError

SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd")
LARGEST = 8192
"""Longest side in pixels that a slice may have."""
SEEN = 0.05
"""A CT shows at least this share of its window; values that show less are no HU."""
LARGEST_LABEL = 65535
"""The largest number of a label."""
SAGITTAL = "LIP"
"""Orientation of a volume after reading: slices go to the left, rows to the feet (inferior),
columns to the back (posterior)."""


@dataclass(frozen=True)
class Volume:
    """An image volume in sagittal order: voxels (slices, rows, columns) and their size in mm."""

    voxels: NDArray[Any]
    spacing: tuple[float, float, float]
    """Size of a voxel in mm along (slices, rows, columns)."""
    corners: NDArray[np.float64]
    """Positions in mm of the eight voxels at the corners (8, 3), to the right, front and head
    (RAS), to compare two volumes."""
    how: tuple[str, ...] = ()
    """What was decided when it was read, as `topic: words`."""


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


def is_volume(path: Path) -> bool:
    """Return whether a file is a volume by its name."""
    return path.name.lower().endswith(SUFFIXES)


def files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files below a folder with these suffixes in any case, sorted.

    Raises:
        UsageError: A link leads out of the folder or to nothing.
    """
    below = walk(root)
    for path, why in below.broken:
        raise UsageError(f"{path} {why}")
    return below.select(suffixes)


def read(path: Path) -> Volume:
    """Read a NIfTI or MetaImage volume and reorient it by its header.

    Raises:
        UsageError: The file cannot be read, is no volume, or has no orientation.
    """
    reader = _metaimage if path.suffix.lower() in (".mha", ".mhd") else _nifti
    try:
        return reader(path)
    except Exception as error:  # the libraries may raise anything
        content.refuse(path, error, "a whole volume")


def _nifti(path: Path) -> Volume:
    from nibabel.orientations import (
        apply_orientation,
        axcodes2ornt,
        inv_ornt_aff,
        io_orientation,
        ornt2axcodes,
        ornt_transform,
    )

    voxels, stored, unit = nifti.load(path)
    if voxels.ndim != 3:
        raise UsageError(f"{path}: shape {voxels.shape}, expected a volume of three dimensions")
    axes = io_orientation(stored)
    turn = ornt_transform(axes, axcodes2ornt(tuple(SAGITTAL)))
    affine = stored @ inv_ornt_aff(turn, voxels.shape)
    turned: NDArray[Any] = apply_orientation(voxels, turn)
    code = "".join(ornt2axcodes(axes))
    how = (
        f"orientation: NIfTI {code}, turned to {SAGITTAL}",
        nifti.spacing_from(unit),
    )
    return _volume(path, turned, np.linalg.norm(affine[:3, :3], axis=0), affine, how)


def _metaimage(path: Path) -> Volume:
    import SimpleITK

    known = metaimage.fields(path)
    missing = {"ElementSpacing", "TransformMatrix"} - known.keys()
    if missing:
        raise UsageError(
            f"{path}: its header lacks {' and '.join(sorted(missing))}, so how its voxels lie is "
            "unknown; write it again with its orientation"
        )
    loaded = metaimage.load(path, known)
    if loaded.GetDimension() != 3:
        raise UsageError(f"{path}: {loaded.GetDimension()} dimensions, expected a volume of three")
    if loaded.GetNumberOfComponentsPerPixel() != 1:
        raise UsageError(
            f"{path}: {loaded.GetNumberOfComponentsPerPixel()} values a voxel, expected one; "
            "export the channel that is meant"
        )
    turned = SimpleITK.DICOMOrient(loaded, SAGITTAL[::-1])  # SimpleITK names the fastest axis first
    voxels = SimpleITK.GetArrayFromImage(turned)
    affine = np.eye(4)
    direction = np.array(turned.GetDirection()).reshape(3, 3) * np.array(turned.GetSpacing())
    affine[:3, :3], affine[:3, 3] = direction[:, ::-1], turned.GetOrigin()
    affine[:3] = metaimage.TO_RAS @ affine[:3]  # as NIfTI says it
    code = SimpleITK.DICOMOrientImageFilter_GetOrientationFromDirectionCosines(
        loaded.GetDirection()
    )
    how = (f"orientation: MetaImage {code}, turned to {SAGITTAL}", "spacing: MetaImage header")
    return _volume(path, voxels, np.array(turned.GetSpacing())[::-1], affine, how)


def _volume(
    path: Path,
    voxels: NDArray[Any],
    spacing: NDArray[Any],
    affine: NDArray[Any],
    how: tuple[str, ...],
) -> Volume:
    """Return a volume; `affine` (4, 4) maps voxel numbers to positions in mm.

    Raises:
        UsageError: The header gives voxels that are too large for mm.
    """
    check_mm(spacing, path)
    ends = product(*((0, size - 1) for size in voxels.shape))
    corners = np.array([affine @ (*end, 1) for end in ends])[:, :3]
    slices, rows, columns = (float(side) for side in spacing)
    return Volume(voxels, (slices, rows, columns), corners, how)


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
    if distance > SAME * min(image.spacing):
        raise UsageError(
            f"{label_file} lies {distance:.3g} mm from {image_file} by its header; "
            "expected the same place: export the mask again"
        )
    whole = np.rint(labels.voxels)
    with np.errstate(invalid="ignore"):  # infinite values are refused below
        off = np.abs(labels.voxels - whole).max(initial=0)
    if not np.isfinite(labels.voxels).all() or off > NEAR_WHOLE:
        raise UsageError(
            f"{label_file}: labels are not whole numbers; expected a label map, not probabilities: "
            "cut them at a value such as 0.5 and save whole numbers"
        )
    largest = float(np.abs(whole).max(initial=0))
    if largest > LARGEST_LABEL:
        raise UsageError(
            f"{label_file}: holds labels up to {largest:.0f}, expected {LARGEST_LABEL} at most; "
            "export the mask again"
        )
    how = (*image.how, ROUNDED) if off else image.how
    image = replace(image, how=how)
    return image, replace(labels, voxels=whole.astype(np.int32))


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


@dataclass(frozen=True)
class Cutting:
    """How the volumes of a collection become cases."""

    dataset: str
    """The dataset's name in error messages."""
    collection: str
    """Whose labels they are: the beginning of their names."""
    labels: dict[int, int]
    """For every label that may occur its value in the binary mask."""
    at_least: int
    """Number of different vertebrae that a slice must show."""
    share: float
    """Share of a slice's pixels that must be vertebra."""
    window: tuple[float, float] | None = None
    """Intensities that become 0 and 1; by default the volume's 0.5 and 99.5 percentiles."""

    @property
    def foreground(self) -> frozenset[str]:
        """The names of the labels that are vertebra."""
        return frozenset(self.name(label) for label, one in self.labels.items() if one)

    def name(self, label: int) -> str:
        """Return the name of a label in the cache, since collections number otherwise."""
        return f"{self.collection}-{label}" if label else BACKGROUND


def samples(item: Item, cutting: Cutting) -> Iterator[Sample]:
    """Yield the cases of a volume and its mask.

    Raises:
        UsageError: The files cannot be read, do not fit, hold an unknown label, or no slice shows
            enough.
    """
    dataset, labels = cutting.dataset, cutting.labels
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
    low, high = cutting.window or tuple(float(v) for v in np.percentile(image.voxels, PERCENTILES))
    if low >= high:
        raise UsageError(
            f"{image_file}: 99 % of its voxels are {low:g}, expected an image; "
            "repair or remove the volume"
        )
    if cutting.window:
        _check_window(image.voxels, (low, high), dataset, image_file)
    _, row, column = image.spacing
    sides = (image.voxels.shape[1] * row, image.voxels.shape[2] * column)
    if max(sides) / min(row, column) > LARGEST:
        raise UsageError(
            f"{image_file}: its pixels are {row:.4g} x {column:.4g} mm, so a slice of square "
            f"pixels would have more than {LARGEST} a side; correct the spacing"
        )
    greys = WINDOW_GREYS.format(low, high) if cutting.window else VOLUME_GREYS
    how = (*image.how, greys)
    if cutting.window and image.voxels.min() >= 0:
        how = (*how, "assumed: CT values are in HU, though none is below 0, as air is")
    foreground = np.array([label for label, one in labels.items() if one], np.int32)
    count, name = 0, case_id(stem(image_file))
    for cut in cuts(image, mask, foreground, cutting.at_least, cutting.share):
        count += 1
        held, codes = np.unique(cut.labels, return_inverse=True)
        yield Sample(
            id=f"{name}_{cut.position:03d}",
            patient=item.patient,
            image=unit_image(cut.image, image_file, low, high),
            mask=codes.reshape(cut.labels.shape).astype(np.uint8),
            spacing=(cut.pixel, cut.pixel),
            labels=tuple(map(cutting.name, held.tolist())),
            how=how,
            place=Place(name, cut.position, image.spacing[0]),
        )
    if not count:
        raise UsageError(
            f"{label_file}: no sagittal slice shows {cutting.at_least} vertebrae on "
            f"{100 * cutting.share:g} % of its pixels; "
            f"lower {dataset}:vertebrae or {dataset}:share, or remove the volume"
        )


def _check_window(
    voxels: NDArray[Any], window: tuple[float, float], dataset: str, file: Path
) -> None:
    """Refuse a volume of which the window makes nearly one grey: its values are no HU.

    Raises:
        UsageError: All its values lie outside the window, or in less than `SEEN` of it.
    """
    low, high = window
    least, most = float(voxels.min()), float(voxels.max())
    if min(most, high) - max(least, low) < SEEN * (high - low):
        raise UsageError(
            f"{file}: its values lie between {least:.4g} and {most:.4g}, which the window from "
            f"{low:g} to {high:g} HU shows as nearly one grey; export it in HU, or give the window "
            f"of its values: {dataset}:low={least:.4g}:high={most:.4g}"
        )
