"""Masks of any format, 2D or 3D, to compare two of one case: predictions beside references."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.pool import watched
from bench.data.readers import content, folder, labels, limits, metaimage, pairing, volume, walk
from bench.data.readers.pairing import Side
from bench.data.readers.picture import AS_STORED, SAME, Picture, check_turn, onto
from bench.data.readers.picture import told as told_of_pair
from bench.spec.case import BACKGROUND, Census
from bench.spec.errors import UsageError, short_list

Kind = Literal["grid", "probabilities", "unreadable"]
"""What is wrong with a prediction: its size or place, its values, or its file."""
LARGEST = 1 << 16
"""Longest side in pixels of a picture."""
ASIDE = (".json", ".pkl", ".csv", ".txt", ".md", ".npz", ".log", ".toml", ".yaml", ".yml", ".xml")
"""Endings of files that other programs leave beside their predictions."""
LAID = "assumed: predictions lie on their references as the pixels are stored"


class UnfitError(Exception):
    """A prediction that cannot be compared with its reference."""

    def __init__(self, kind: Kind, why: str) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True)
class Drawn:
    """A mask as its file holds it, on the grid of the file."""

    picture: Picture
    """(H, W); of a volume its slices one below the other, (D * H, W)."""
    shape: tuple[int, ...]
    """(H, W), or (D, H, W) in the order of `volume.SAGITTAL` where the file says how it lies."""
    spacing: tuple[float, ...] | None
    corners: NDArray[np.float64] | None = None
    """Positions (8, 3) of a volume's corners in mm, where the file says how it lies."""

    @property
    def grid(self) -> Drawn:
        """The same without its pixels, to lay another mask on."""
        nothing = np.broadcast_to(np.uint8(0), self.picture.values.shape)
        return replace(self, picture=replace(self.picture, values=nothing))


@dataclass(frozen=True)
class Labels:
    """A mask's labels, packed until it is known which of them are foreground."""

    packed: bytes
    """Eight pixels a byte where there are two labels, else compressed."""
    shape: tuple[int, ...]
    names: tuple[str, ...]
    """What the codes stand for."""
    counts: tuple[int, ...]
    """Pixels of each code."""
    spacing: tuple[float, ...] | None
    """Sides of a pixel or voxel in mm, None where unknown."""
    remarks: tuple[str, ...] = ()
    """What was assumed when it was read."""

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes (H, W) or (D, H, W)."""
        size = math.prod(self.shape)
        if self.is_binary:
            flat = np.unpackbits(np.frombuffer(self.packed, np.uint8), count=size)
        else:
            flat = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return flat.reshape(self.shape)

    @property
    def is_binary(self) -> bool:
        """Whether there are two labels at most, of the codes 0 and 1."""
        return len(self.names) <= 2

    def mask(self, foreground: Iterable[str]) -> NDArray[np.bool_]:
        """Return where a label is one of `foreground`."""
        wanted = frozenset(foreground)
        codes = [code for code, name in enumerate(self.names) if name in wanted]
        if self.is_binary and codes == [1]:
            return self.codes.view(np.bool_)
        table = np.zeros(256, np.uint8)
        table[codes] = 1
        mask: NDArray[np.bool_] = table.take(self.codes).view(np.bool_)
        return mask

    def numbered(self, levels: Mapping[str, int]) -> NDArray[np.uint16]:
        """Return the numbers of the instances that labels name, 0 for labels without one."""
        table = np.zeros(256, np.uint16)
        for code, name in enumerate(self.names):
            table[code] = levels.get(name, 0)
        return table.take(self.codes)


def side(place: Path, option: str) -> Side:
    """Return the masks of a folder by name, without what other programs leave beside them.

    Raises:
        UsageError: The folder is not there or holds no mask, a file cannot be used, or two files
            have one name.
    """
    if not place.is_dir():
        raise UsageError(f"{option} {place} is not there; expected a folder of masks")
    below = walk.walk(place)
    kept = [path for path in below.files if not path.name.lower().endswith(ASIDE)]
    listed = pairing.side(
        place, walk.Walk(tuple(kept), below.broken), folder.SUFFIXES, folder.beside(below)
    )
    if listed.twice:
        raise UsageError(
            f"{option} {place}: {short_list(sorted(listed.twice))} have two files each; "
            "expected one: remove the others"
        )
    if listed.unusable:
        names = [path.name for path, _ in listed.unusable]
        raise UsageError(
            f"{option} {place}: {short_list(names, what='file')} cannot be used; "
            f"the first: {listed.unusable[0][1]}"
        )
    if not listed.by_key:
        raise UsageError(
            f"{option} {place} holds no mask; expected files of {', '.join(folder.SUFFIXES)}"
        )
    return listed


def read(path: Path) -> Drawn:
    """Read a mask of any format.

    Raises:
        UsageError: It cannot be read.
    """
    if not path.is_file():  # opening a pipe would wait for ever
        raise UsageError(f"{path} is no file; expected a mask: replace it")
    with watched(str(path), limits.seconds()):
        return _read(path)


def _read(path: Path) -> Drawn:
    name = path.name.lower()
    if name.endswith(".npy"):
        stack = _stack(path)
        if stack is not None:
            return stack
    if volume.is_volume(path) and _is_thick(path):
        whole = volume.read(path)
        return _of_volume(whole.voxels, whole.spacing, whole.corners, whole.how)
    picture = folder.picture(path, LARGEST, True)
    size = picture.values.shape[:2]
    return Drawn(picture, (int(size[0]), int(size[1])), picture.spacing)


def _stack(path: Path) -> Drawn | None:
    """Return an array of three dimensions as a stack of unknown spacing; None of another."""
    try:
        values = np.squeeze(np.load(path, allow_pickle=False, mmap_mode="r"))
    except Exception as error:  # the library may raise anything
        content.refuse(path, error, "an array of labels")
    if values.ndim != 3 or values.shape[2] in (3, 4):
        return None
    return _of_volume(np.asarray(values), None, None, ("spacing: unknown",))


def _of_volume(
    voxels: NDArray[Any],
    spacing: tuple[float, ...] | None,
    corners: NDArray[np.float64] | None,
    how: tuple[str, ...],
) -> Drawn:
    depth, height, width = voxels.shape
    flat = np.ascontiguousarray(voxels).reshape(depth * height, width)
    return Drawn(Picture(flat, how=how), (depth, height, width), spacing, corners)


def _is_thick(path: Path) -> bool:
    """Return whether a file of volumes holds more than one slice, as its header says."""
    try:
        if path.suffix.lower() in (".mha", ".mhd"):
            sides = [int(count) for count in metaimage.fields(path)["DimSize"].split()]
        else:
            import nibabel

            sides = list(nibabel.load(path).shape[:3])
    except Exception as error:  # the libraries may raise anything
        content.refuse(path, error, "a whole mask")
    return sum(count > 1 for count in sides) == 3


def fitted(reference: Drawn, prediction: Drawn, its_file: Path, file: Path) -> Drawn:
    """Return a prediction on its reference's pixels.

    Raises:
        UnfitError: The two have different sizes, spacings or places.
    """
    if len(reference.shape) == 2 and len(prediction.shape) == 2:
        try:
            check_turn(reference.picture, prediction.picture, its_file, file)
            laid, place = onto(reference.picture, prediction.picture, its_file, file)
        except UsageError as error:
            raise UnfitError("grid", str(error)) from error
        how = [*prediction.picture.how, *told_of_pair(reference.picture, prediction.picture)]
        if place.startswith(AS_STORED):
            how.append(place.replace(AS_STORED, LAID))
        return Drawn(replace(laid, how=tuple(how)), reference.shape, reference.spacing)
    if reference.shape != prediction.shape:
        order = " (slices, rows, columns)" if len(reference.shape) == 3 else ""
        raise UnfitError(
            "grid",
            f"{file} is {prediction.shape}, {its_file} is {reference.shape}{order}; expected one "
            "grid: export the prediction on the grid of its reference",
        )
    known = [drawn.corners is not None for drawn in (reference, prediction)]
    if any(known) and not all(known):
        raise UnfitError(
            "grid",
            f"one of {file} and {its_file} says how it lies and the other does not; expected it "
            "of both: export the prediction again in the space of its reference",
        )
    if reference.corners is not None and prediction.corners is not None:
        distance = float(np.abs(reference.corners - prediction.corners).max())
        if distance > SAME * min(reference.spacing or (1.0,)):
            raise UnfitError(
                "grid",
                f"{file} lies {distance:.3g} mm from {its_file} by its header; expected the same "
                "place: export it again in the space of its reference",
            )
    return prediction


def decoded(drawn: Drawn, file: Path, threshold: float | None = None) -> Labels:
    """Return a mask's labels; of probabilities, where they reach a threshold.

    Raises:
        UnfitError: The values are probabilities, and no threshold is given, or are none.
    """
    picture, told = drawn.picture, ""
    names: tuple[str, ...]
    values = picture.values
    if values.dtype.kind == "f" and not labels.is_near_whole(values):
        if threshold is None:
            raise UnfitError("probabilities", f"{file} holds fractions")
        if values.min() < 0 or values.max() > 1:
            low, high = float(values.min()), float(values.max())
            raise UnfitError(
                "probabilities",
                f"{file} holds values from {low:.3g} to {high:.3g}; expected 0 to 1",
            )
        codes, names = (values >= threshold).view(np.uint8), (BACKGROUND, "1")
    else:
        try:
            codes, names, told = labels.decode(picture, file)
        except UsageError as error:
            raise UnfitError("unreadable", str(error)) from error
    remarks = [line.removeprefix("assumed: ") for line in (*picture.how, told) if "assumed" in line]
    counts = _counts(codes, len(names))
    if len(names) <= 2:
        packed = np.packbits(codes).tobytes()
    else:
        packed = zlib.compress(np.ascontiguousarray(codes).data, 1)
    return Labels(packed, drawn.shape, names, counts, drawn.spacing, tuple(remarks))


def _counts(codes: NDArray[np.uint8], names: int) -> tuple[int, ...]:
    """Return how many pixels have each code."""
    if names <= 2:
        ones = int(np.count_nonzero(codes))
        return (codes.size - ones, ones)[:names]
    return tuple(np.bincount(codes.ravel(), minlength=names).tolist())


def census(masks: Iterable[tuple[Labels, Path]]) -> Census:
    """Return which labels occur in masks."""
    counts: Counter[str] = Counter({BACKGROUND: 0})
    first: dict[tuple[str, ...], str] = {}
    for mask, file in masks:
        here = dict(zip(mask.names, mask.counts, strict=True))
        held = [name for name, count in here.items() if count]
        counts.update(here)
        first.setdefault(tuple(held), str(file))
    present = {label: count for label, count in counts.items() if count or label == BACKGROUND}
    return Census(present, first)
