"""Image and mask are laid on each other as their headers say, in any orientation and unit."""

from __future__ import annotations

import gzip
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from bench.data.readers import metaimage, nifti, volume
from bench.data.readers.picture import Picture, onto
from bench.spec.errors import UsageError

HEIGHT, WIDTH = 7, 5
CODES = [
    "".join(way)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for way in itertools.product(*axes)
]
"""The names of all 48 orientations of a volume."""
MM = st.floats(0.05, 5)
IMAGE, MASK = Path("image"), Path("mask")


def slice_of(
    values: np.ndarray, thin: int, mm: tuple[float, float], across: float
) -> nibabel.Nifti1Image:
    """Return values (rows, columns) as a slice whose axis `thin` has one voxel."""
    zooms = np.insert(np.array(mm[::-1]), thin, across)
    return nibabel.Nifti1Image(np.expand_dims(values.T, thin), np.diag([*zooms, 1.0]))


def turned(image: nibabel.Nifti1Image, code: str) -> nibabel.Nifti1Image:
    """Return the same voxels in the same places, stored in another orientation."""
    way = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(code)))
    return image.as_reoriented(way)


def read(image: nibabel.Nifti1Image, name: str = "a.nii.gz") -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        nibabel.save(image, path)
        return nifti.read(path)


@settings(max_examples=60, deadline=None)
@given(
    thin=st.integers(0, 2),
    mm=st.tuples(MM, MM),
    across=MM,
    code=st.sampled_from(CODES),
    angle=st.floats(-0.3, 0.3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_a_mask_stored_in_another_orientation_is_laid_on_its_image(
    thin: int,
    mm: tuple[float, float],
    across: float,
    code: str,
    angle: float,
    origin: tuple[float, float, float],
) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 200, (HEIGHT, WIDTH)).astype(np.int16)
    oblique = np.eye(4)
    oblique[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique[:3, 3] = origin
    flat = slice_of(values, thin, mm, across)
    image = nibabel.Nifti1Image(flat.dataobj, oblique @ flat.affine)
    picture = read(image)
    assert picture.spacing == pytest.approx(mm, rel=1e-4)
    np.testing.assert_array_equal(picture.values, values)
    laid, _ = onto(picture, read(turned(image, code)), IMAGE, MASK)
    np.testing.assert_array_equal(laid.values, values)


@settings(max_examples=30, deadline=None)
@given(shift=st.floats(0.5, 50), axis=st.integers(0, 2), unit=st.sampled_from(["mm", "micron"]))
def test_a_shifted_mask_is_refused(shift: float, axis: int, unit: str) -> None:
    values = np.eye(HEIGHT, WIDTH, dtype=np.int16)
    image = slice_of(values, 2, (0.4, 0.3), 3.0)
    affine = image.affine.copy()
    affine[axis, 3] += shift
    other = nibabel.Nifti1Image(values.T[:, :, None], affine)
    if unit == "micron":
        affine[:3] *= 1000
        other = nibabel.Nifti1Image(values.T[:, :, None], affine)
        other.header.set_xyzt_units("micron")
    with pytest.raises(UsageError, match=r"mask lies .* mm from image by its header"):
        onto(read(image), read(other), IMAGE, MASK)


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1e3), ("meter", 1e-3), ("mm", 1.0)])
def test_units_become_mm(unit: str, factor: float) -> None:
    image = slice_of(np.eye(HEIGHT, WIDTH, dtype=np.int16), 0, (0.5, 0.8), 5.0)
    scaled = nibabel.Nifti1Image(image.dataobj, np.diag([factor] * 3 + [1]) @ image.affine)
    scaled.header.set_xyzt_units(unit)
    assert read(scaled).spacing == pytest.approx((0.5, 0.8), rel=1e-5)


def test_pixels_that_are_too_large_for_mm_are_refused(tmp_path: Path) -> None:
    """Where mm stand under the unit metre, or micrometres under mm."""
    values = np.eye(HEIGHT, WIDTH, dtype=np.int16)
    image = slice_of(values, 2, (0.5, 0.7), 3.0)
    image.header.set_xyzt_units("meter")
    large = r"its header gives pixels of 500 x 700 mm, expected less than 100: correct the spacing"
    with pytest.raises(UsageError, match=large):
        read(image)
    thick = slice_of(values, 2, (0.5, 0.7), 300.0)  # the slice is one alone
    assert read(thick).spacing == pytest.approx((0.5, 0.7))
    itk = SimpleITK.GetImageFromArray(np.stack([values, values]))
    itk.SetSpacing((700, 500, 3000))
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(itk[:, :, 0], str(path))
    with pytest.raises(UsageError, match=large):
        metaimage.read(path)
    SimpleITK.WriteImage(itk, str(path))
    with pytest.raises(UsageError, match=r"gives pixels of .* 3000 .* mm, expected less"):
        volume.read(path)


@pytest.mark.parametrize(
    ("flips", "mm", "turned"),
    [
        ((-1, -1), (0.5, 0.7), False),  # as viewers show it
        ((-1, 1), (0.5, 0.7), True),  # as dcm2niix stores it, with the back above
        ((1, 1), (0.5, 0.7), True),
        ((1, 1), (1, 1), False),  # an affine of ones, which says nothing
    ],
)
def test_beside_a_mask_without_a_place_it_is_told_that_viewers_turn_the_image(
    flips: tuple[int, int], mm: tuple[float, float], turned: bool
) -> None:
    values = np.eye(HEIGHT, WIDTH, dtype=np.int16)
    flat = slice_of(values, 2, mm, 3.0)
    image = read(nibabel.Nifti1Image(flat.dataobj, np.diag([*flips, 1, 1]) @ flat.affine))
    silent = Picture(values)
    for pair in ((image, silent), (silent, image)):
        _, how = onto(*pair, IMAGE, MASK)
        assert how.startswith("assumed: masks lie on their images as the pixels are stored")
        assert how.endswith("not as viewers turn one of them upright") == turned


def test_a_size_that_exif_made_is_named_so() -> None:
    image = Picture(np.zeros((7, 5)), how=("orientation: turned as EXIF says",))
    with pytest.raises(UsageError, match=r"image is \(7, 5\) \(EXIF turns image alone\); expected"):
        onto(image, Picture(np.zeros((5, 7))), IMAGE, MASK)


def test_nifti_and_metaimage_are_compared_in_one_space() -> None:
    """ITK's axes lead to the left and back, NIfTI's to the right and front."""
    values = np.arange(HEIGHT * WIDTH, dtype=np.int16).reshape(HEIGHT, WIDTH)
    affine = np.diag([-0.5, -0.8, 3, 1])  # ITK's own orientation
    affine[:3, 3] = 10, 20, 30
    image = read(nibabel.Nifti1Image(values.T[:, :, None], affine))
    itk = SimpleITK.GetImageFromArray(values[None])
    itk.SetSpacing((0.5, 0.8, 3))
    itk.SetOrigin((-10, -20, 30))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mha"
        SimpleITK.WriteImage(itk, str(path))
        mask = metaimage.read(path)
    laid, how = onto(image, mask, IMAGE, MASK)
    np.testing.assert_array_equal(laid.values, values)
    assert how == "place of masks: on their images' pixels"


def _without_forms(image: nibabel.Nifti1Image) -> None:
    image.set_sform(None, 0)
    image.set_qform(None, 0)


def _two_orientations(image: nibabel.Nifti1Image) -> None:
    image.set_sform(image.affine, 1)
    image.set_qform(np.diag([-1, 1, 1, 1]) @ image.affine, 1)


def _two_sizes(image: nibabel.Nifti1Image) -> None:
    image.set_sform(image.affine, 1)
    image.header["pixdim"][1:4] = 2


def _no_unit(image: nibabel.Nifti1Image) -> None:
    image.header["xyzt_units"] = 5


BAD_HEADERS = {
    "no unit": (_no_unit, "names the unit 5, which there is not; write it again in mm"),
    "no form": (_without_forms, "does not say how the voxels lie"),
    "two orientations": (_two_orientations, "says two orientations"),
    "two sizes": (_two_sizes, "says two voxel sizes"),
}


@pytest.mark.parametrize("what", BAD_HEADERS)
def test_a_header_that_says_nothing_or_two_things_is_refused(what: str, tmp_path: Path) -> None:
    damage, message = BAD_HEADERS[what]
    image = slice_of(np.eye(HEIGHT, WIDTH, dtype=np.int16), 2, (0.5, 0.8), 5.0)
    damage(image)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(UsageError, match=message):
        nifti.read(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_qform_without_sizes_is_refused_where_there_are_several_voxels(
    axis: int, name: str, tmp_path: Path
) -> None:
    """The size of the one voxel across a slice is no part of the picture."""
    image = slice_of(np.eye(HEIGHT, WIDTH, dtype=np.int16), 2, (0.5, 0.8), 5.0)
    image.set_qform(image.affine, 1)
    image.set_sform(None, 0)
    stored = bytearray(image.to_bytes())
    stored[80 + 4 * axis : 84 + 4 * axis] = bytes(4)  # a side of pixdim
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path / name, "wb") as file:
        file.write(stored)
    if axis == 2:
        assert nifti.read(tmp_path / name).spacing == pytest.approx((0.5, 0.8))
        return
    with pytest.raises(UsageError, match=r"gives voxels no size \(pixdim .*write it again"):
        nifti.read(tmp_path / name)


def test_a_quaternion_that_is_no_rotation_is_refused(tmp_path: Path) -> None:
    image = slice_of(np.eye(HEIGHT, WIDTH, dtype=np.int16), 2, (0.5, 0.8), 5.0)
    image.set_qform(image.affine, 1)
    image.set_sform(None, 0)
    stored = bytearray(image.to_bytes())
    stored[256:268] = np.full(3, 0.9, "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(stored)
    with pytest.raises(UsageError, match="its qform is no rotation"):
        nifti.read(tmp_path / "a.nii")


@pytest.mark.parametrize("read_file", [nifti.read, volume.read])
def test_a_place_that_is_no_number_is_refused(
    read_file: Callable[[Path], object], tmp_path: Path
) -> None:
    """Places were then not compared: a mirrored mask was laid down as it was stored."""
    image = slice_of(np.eye(HEIGHT, WIDTH, dtype=np.int16), 2, (0.5, 0.8), 5.0)
    affine = image.affine.copy()
    affine[0, 3] = np.nan
    image.set_sform(affine, 1)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(UsageError, match=r"gives no number as its place \(nan x 0 x 0 mm\)"):
        read_file(tmp_path / "a.nii")


def test_three_slices_are_a_volume_and_no_colours(tmp_path: Path) -> None:
    stack = nibabel.Nifti1Image(np.ones((WIDTH, HEIGHT, 3), np.uint8), np.eye(4))
    nibabel.save(stack, tmp_path / "a.nii")
    with pytest.raises(UsageError, match="expected one 2D image"):
        nifti.read(tmp_path / "a.nii")


def test_a_name_that_lies_about_compression_is_told(tmp_path: Path) -> None:
    image = slice_of(np.eye(HEIGHT, WIDTH, dtype=np.int16), 2, (0.5, 0.8), 5.0)
    nibabel.save(image, tmp_path / "a.nii")
    (tmp_path / "a.nii").rename(tmp_path / "b.nii.gz")
    with pytest.raises(UsageError, match=r"is not compressed; rename it to b\.nii"):
        nifti.read(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("opacity", [0, 255])
def test_a_nifti_of_colours_has_no_transparent_pixels(opacity: int, tmp_path: Path) -> None:
    kinds = [(name, "u1") for name in "RGBA"]
    voxels = np.zeros((WIDTH, HEIGHT, 1), kinds)
    voxels["R"], voxels["A"] = 7, 255
    voxels["A"][0, 0] = opacity
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    if opacity:
        assert nifti.read(tmp_path / "a.nii").values.shape == (HEIGHT, WIDTH, 3)
        return
    with pytest.raises(UsageError, match=r"transparent pixels.*flatten it.*save the alpha channel"):
        nifti.read(tmp_path / "a.nii")


def test_a_header_without_its_voxels_says_so(tmp_path: Path) -> None:
    image = slice_of(np.eye(HEIGHT, WIDTH, dtype=np.int16), 2, (0.5, 0.8), 5.0)
    nibabel.save(nibabel.Nifti1Pair(image.dataobj, image.affine), tmp_path / "a.img")
    (tmp_path / "a.img").rename(tmp_path / "a.img.gz")
    with pytest.raises(UsageError, match=r"a.hdr has no a.img beside it"):
        nifti.read(tmp_path / "a.hdr")
