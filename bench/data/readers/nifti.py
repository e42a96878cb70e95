"""NIfTI headers, read once for volumes and slices: units, forms and what they contradict."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.readers import limits
from bench.data.readers.picture import (
    SAME_SPACING,
    SLICES,
    TRANSPARENT,
    Picture,
    check_axes,
    check_mm,
    check_numbers,
    corners,
)
from bench.data.readers.walk import sides
from bench.spec.errors import UsageError

MM = {"mm": 1.0, "micron": 1e-3, "meter": 1e3, "unknown": 1.0}
"""mm in each unit of length that a header may name."""
PAIR = (".hdr", ".img")
"""Suffixes of a header and its voxels in two files."""
GZIP = b"\x1f\x8b"
NIFTI_2 = 540
"""Bytes of the header of its second version, which begins with their number."""


def load(path: Path, largest: int | None = None) -> tuple[NDArray[Any], NDArray[np.float64], str]:
    """Read a NIfTI file: its voxels, the affine (4, 4) from voxel numbers to mm, and its unit.

    Colours are a last axis of three. A side longer than `largest` is refused before it is read.

    Raises:
        UsageError: The header does not say where the voxels lie, or says it twice and otherwise,
            the file has another length than it says, or its name says that it is compressed and it
            is not.
    """
    with _unpacking(path) as stream:
        try:
            loaded = _open(path, stream)
        except ValueError as error:
            if not str(error).startswith("w2 "):  # nibabel's name of a part of the quaternion
                raise
            raise UsageError(
                f"{path}: its qform is no rotation (its quaternion is longer than 1); "
                "write it again with its orientation"
            ) from error
        header = loaded.header
        if "sform_code" not in header:
            raise UsageError(
                f"{path} is no NIfTI file, expected one with its orientation: convert it"
            )
        unit = _unit(path, header)
        affine = np.asarray(loaded.affine, np.float64).copy()
        affine[:3] *= MM[unit]
        _check_sides(path, stream, header)
        _check_forms(path, header)
        if not np.isfinite(affine).all():
            raise UsageError(
                f"{path}: its header gives no number as its place "
                f"({_sizes(affine[:3, 3])} mm); write it again with its place"
            )
        begins = int(loaded.dataobj.offset)
        _check_begin(path, header, begins)
        if largest:
            limits.check_sides(path, [int(side) for side in header.get_data_shape()], largest)
        size = _size(path, header)
        if stream is None:
            _check_length(path, begins + size)
        voxels = _voxels(path, loaded, begins + size)
        if stream and stream.read(1):  # at the end, gzip compares its checksum
            raise UsageError(
                f"{path} holds more than the {begins + size} bytes that its header says; "
                "write it again"
            )
    channels = set(voxels.dtype.names or ())
    if channels >= {"R", "G", "B"}:
        if "A" in channels and (voxels["A"] != 255).any():
            raise UsageError(f"{path} {TRANSPARENT}")
        return np.stack([voxels[name] for name in "RGB"], -1), affine, unit
    check_numbers(voxels, path)
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim > 3:
        raise UsageError(
            f"{path}: shape {voxels.shape}, expected one image or volume of three dimensions; "
            "export each point in time or each channel as a file"
        )
    return voxels, affine, unit


def _unit(path: Path, header: Any) -> str:
    """Return the unit of length that a header names.

    Raises:
        UsageError: Its number is none of a unit.
    """
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:
        raise UsageError(
            f"{path}: its header names the unit {int(header['xyzt_units'])}, which there is not; "
            "write it again in mm"
        ) from None


@contextmanager
def _unpacking(path: Path) -> Iterator[gzip.GzipFile | None]:
    """Open a compressed file; None is for a file that is not.

    Raises:
        UsageError: It is compressed and its name does not say so, or the reverse.
    """
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    named = path.name.lower().endswith(".gz")
    if named and not packed:
        raise UsageError(f"{path} is not compressed; rename it to {path.name[:-3]}")
    if packed and not named:
        raise UsageError(f"{path} is compressed; rename it to {path.name}.gz")
    if not packed:
        yield None
        return
    with gzip.open(path) as stream:
        yield stream


def _open(path: Path, stream: gzip.GzipFile | None) -> Any:
    """Return nibabel's image.

    It finds no file whose suffix is in mixed case, such as `.Nii`, and reads what is compressed
    without comparing its checksum; so such files are opened here.
    """
    import nibabel
    from nibabel.fileholders import FileHolder

    suffix = "".join(path.suffixes)
    if stream is None and suffix in (suffix.lower(), suffix.upper()):
        return nibabel.load(path)
    kind = nibabel.Nifti1Image
    if stream:
        begin = stream.read(4)
        stream.seek(0)
        if NIFTI_2 in (int.from_bytes(begin, "little"), int.from_bytes(begin, "big")):
            kind = nibabel.Nifti2Image
        return kind.from_file_map({"image": FileHolder(fileobj=stream)})
    return kind.from_file_map({"image": FileHolder(str(path))})


def _voxels(path: Path, loaded: Any, expected: int) -> NDArray[Any]:
    """Return the voxels of nibabel's image.

    Raises:
        UsageError: The file ends before them.
    """
    try:
        return np.asanyarray(loaded.dataobj)
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise UsageError(
            f"{path} holds fewer than the {expected} bytes that its header says; copy it again"
        ) from error


def _check_begin(path: Path, header: Any, begins: int) -> None:
    """Refuse voxels that begin inside the header of their own file.

    Raises:
        UsageError: They do.
    """
    ends = int(header["sizeof_hdr"]) + 4
    if path.suffix.lower() not in PAIR and begins < ends:
        raise UsageError(
            f"{path}: its header says that voxels begin at byte {begins}, inside the header of "
            f"{ends} bytes; write it again"
        )


def _size(path: Path, header: Any) -> int:
    """Return the bytes of the voxels as the header says.

    Raises:
        UsageError: A side is not above 0, or they are more than one file may have.
    """
    shape = [int(side) for side in header.get_data_shape()]
    if min(shape, default=0) < 1:
        raise UsageError(f"{path}: its header says the shape {shape}; write it again")
    size = math.prod(shape) * int(header["bitpix"]) // 8
    limits.check(path, size)
    return size


def _check_length(path: Path, expected: int) -> None:
    """Refuse a file that has another length than its header says: another slice may be meant.

    Raises:
        UsageError: It has.
    """
    beside = sides(path)
    if path.suffix.lower() == ".hdr" and not beside:
        raise UsageError(f"{path} has no {path.stem}.img beside it, which holds its voxels; add it")
    data = next(iter(beside), path)
    size = data.stat().st_size
    if size != expected:
        raise UsageError(f"{data} has {size} bytes, its header says {expected}; write it again")


def _check_sides(path: Path, stream: gzip.GzipFile | None, header: Any) -> None:
    """Refuse a header that gives voxels no size, where its qform is used: nibabel takes 1 then.

    Raises:
        UsageError: A side of pixdim is 0 along which there are several voxels.
    """
    if int(header["sform_code"]):
        return
    kind = type(header)
    if stream:
        stream.seek(0)
        stored = kind.from_fileobj(stream, check=False)
    else:
        with path.open("rb") as file:
            stored = kind.from_fileobj(file, check=False)
    shape = header.get_data_shape()[:3]
    sides = stored["pixdim"][1 : 1 + len(shape)]
    if any(count > 1 and side == 0 for count, side in zip(shape, sides, strict=True)):
        raise UsageError(
            f"{path}: its header gives voxels no size (pixdim {_sizes(sides)}); "
            "write it again with its spacing"
        )


def _check_forms(path: Path, header: Any) -> None:
    """Refuse a header that does not say how voxels lie, or whose parts contradict each other."""
    import nibabel

    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not sform and not qform:
        raise UsageError(
            f"{path}: its header does not say how the voxels lie (sform and qform codes are 0); "
            "write it again with its orientation"
        )
    by_sform, by_qform = header.get_sform(), header.get_qform()
    if sform and qform:
        ways = ["".join(map(str, nibabel.aff2axcodes(form))) for form in (by_sform, by_qform)]
        if ways[0] != ways[1]:
            raise UsageError(
                f"{path}: its header says two orientations (sform {ways[0]}, qform {ways[1]}); "
                "write it again with one"
            )
    zooms = np.array(header.get_zooms()[:3], np.float64)
    form = by_sform if sform else by_qform
    sides = np.linalg.norm(form[:3, : len(zooms)], axis=0)
    if not (sides > 0).all() or not np.isfinite(sides).all():
        raise UsageError(
            f"{path}: its header gives voxels no size ({_sizes(sides)}); "
            "write it again with its spacing"
        )
    check_axes(form, path)
    unset = not qform  # pixdim then says nothing, and many programs leave it at 1
    if not np.allclose(sides, zooms, rtol=SAME_SPACING) and not (unset and (zooms == 1).all()):
        raise UsageError(
            f"{path}: its header says two voxel sizes ({_sizes(sides)} by its orientation, "
            f"{_sizes(zooms)} by pixdim); write it again with one"
        )


def spacing_from(unit: str) -> str:
    """Return in words where the spacing is from."""
    if unit == "unknown":
        return "assumed: NIfTI headers without a unit are in mm"
    return f"spacing: NIfTI header, in {unit}"


def _sizes(sides: NDArray[np.float64]) -> str:
    return " x ".join(f"{side:.4g}" for side in sides)


def read(path: Path, largest: int = limits.LARGEST) -> Picture:
    """Read a volume of one slice, whichever axis is thin: rows are its later axis.

    Raises:
        UsageError: It is no single slice, larger than `largest`, or `load` refuses it.
    """
    voxels, affine, unit = load(path, largest)
    channels = voxels.shape[3:]
    shape = voxels.shape[:3]
    if len(shape) == 2:
        shape = (*shape, 1)
    wide = [axis for axis, size in enumerate(shape) if size > 1]
    if len(shape) != 3 or len(wide) != 2:
        raise UsageError(
            f"{path}: shape {voxels.shape}, expected one 2D image (one of three sides is 1): "
            f"{SLICES}"
        )
    column, row = wide
    values = voxels.reshape((shape[column], shape[row], *channels)).swapaxes(0, 1)
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    check_mm(sides[[row, column]], path)
    plane = affine[:, [column, row, 3 - column - row, 3]]
    return Picture(
        values,
        spacing=(float(sides[row]), float(sides[column])),
        corners=corners(plane, shape[row], shape[column]),
        how=("format: NIfTI", spacing_from(unit)),
    )
