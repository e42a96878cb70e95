"""Volumes in the publishers' layouts are paired, oriented by their headers and cut into slices."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from bench.data import cache
from bench.data.readers import volume
from bench.spec import registry
from bench.spec.case import Dataset
from bench.spec.errors import UsageError
from bench.spec.names import Spec

SHAPE = (6, 40, 30)
SPACING = (3.0, 1.0, 1.5)
VERSE14 = Path(__file__).resolve().parents[3] / "shared" / "data" / "verse014"


def spine(seed: int, values: tuple[int, ...] = (22, 21, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Return (slices, rows, columns): to the left, the feet and the back.

    The front has a bright column, the back is dark.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int16)
    for number, value in enumerate(reversed(values)):
        labels[1:5, 4 + 11 * number : 12 + 11 * number, 5:14] = value
    image = rng.normal(0, 20, SHAPE) + 300 * (labels > 0)
    image[:, :3] += 800  # the head's end is marked
    return image.astype(np.float32), labels


def nifti(path: Path, voxels: np.ndarray, axes: str = "LIP", shift: float = 0.0) -> None:
    """Write a volume that lies on disk with the axes that `axes` names; its header says so."""
    affine = np.diag([-SPACING[0], -SPACING[1], -SPACING[2], 1.0])[
        [0, 2, 1, 3]
    ]  # columns: slices, rows, columns
    affine[:3, 3] = (40 + shift, 30, 20)
    turn = ornt_transform(axcodes2ornt("LIP"), axcodes2ornt(tuple(axes)))
    path.parent.mkdir(parents=True, exist_ok=True)
    turned = apply_orientation(voxels, turn)
    nibabel.save(nibabel.Nifti1Image(turned, affine @ inv_ornt_aff(turn, voxels.shape)), path)


def mha(path: Path, voxels: np.ndarray) -> None:
    image = SimpleITK.GetImageFromArray(
        voxels
    )  # fastest axis last: columns to the back, rows to the feet
    image.SetSpacing(SPACING[::-1])
    image.SetDirection([0, 0, 1, 1, 0, 0, 0, -1, 0])  # of columns, rows and slices, in LPS
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))


def prepared(data: Path, spec: str) -> Dataset:
    adapter = registry.dataset(Spec.parse(spec))
    return cache.load(cache.prepare(adapter, data / adapter.name))


def verse(root: Path) -> None:
    for number, axes in ((4, "LIP"), (500, "RAS"), (400, "PIR")):
        image, labels = spine(number)
        extra = {4: "", 500: "_dir-ax", 400: "_split-verse090"}[number]
        subject = f"sub-verse{number:03d}"
        nifti(root / "rawdata" / subject / f"{subject}{extra}_ct.nii.gz", image, axes)
        nifti(
            root / "derivatives" / subject / f"{subject}{extra}_seg-vert_msk.nii.gz",
            labels.astype(np.float64),
            axes,
        )


def flat(root: Path) -> None:
    for number in (0, 1, 2):
        image, labels = spine(number)
        name = f"verse{number:03d}" + "_CT-orient" * (number == 1)
        nifti(root / f"{name}.nii.gz", image, "ASR")
        nifti(root / f"{name}_seg.nii.gz", labels, "ASR")


def ctspine1k(root: Path) -> None:
    names = {
        "COVID-19": "volume-covid19-A-0003_ct",
        "liver": "liver_0",
        "colon": "1.3.6.1.4.1.9328.50.4.0001",
    }
    for number, (source, name) in enumerate(names.items()):
        image, labels = spine(number)
        nifti(root / "data" / source / f"{name}.nii.gz", image)
        nifti(
            root / "label" / {"colon": "conlon"}.get(source, source) / f"{name}_seg.nii.gz", labels
        )
    image, labels = spine(9)  # a volume of VerSe, with a label of CTSpine1K beside VerSe's own
    nifti(root / "rawdata" / "sub-verse074" / "sub-verse074_ct.nii.gz", image)
    nifti(
        root / "derivatives" / "sub-verse074" / "sub-verse074_seg-vert_msk.nii.gz",
        np.zeros(SHAPE, np.int16),
    )
    nifti(root / "label" / "completed_annotation_verse" / "verse074_seg.nii.gz", labels)


CT = {
    "verse": (verse, ["verse004", "verse400", "verse500"]),
    "flat": (flat, ["verse000", "verse001", "verse002"]),
    "ctspine1k": (
        ctspine1k,
        ["1.3.6.1.4.1.9328.50.4.0001", "liver_0", "verse074", "volume-covid19-A-0003"],
    ),
}


@pytest.mark.parametrize("layout", CT)
def test_ct_layouts_are_read_head_up_and_front_left(layout: str, tmp_path: Path) -> None:
    make, patients = CT[layout]
    make(tmp_path / "ct-verse")
    dataset = prepared(tmp_path, "ct-verse")
    assert sorted(dataset.patients) == patients
    assert dataset.left_out == ()
    assert len(dataset.cases) == 4 * len(patients)  # slices 1 to 4 show three vertebrae
    for index, case in enumerate(dataset.cases):
        assert (case.height, case.width, case.spacing) == (40, 45, (1.0, 1.0))
        image, mask = dataset.image(index), dataset.mask(index)
        assert image[:3].mean() > 2 * image[-4:].mean()  # the marked end is up
        assert mask[:, : case.width // 2].sum() > 0.9 * mask.sum()  # the column is on the left
        assert image[mask > 0].mean() > image[mask == 0][200:].mean()
        assert mask.sum() == pytest.approx(3 * 8 * 9 * 1.5, rel=0.05)


def spider(root: Path) -> None:
    for number in (1, 2, 30):
        image, labels = spine(number, (1, 2, 103))
        labels[1:5, 1, 20:25] = 100
        labels[1:5, 2, 20:25] = 201
        mha(root / "images" / f"{number}_t2.mha", image)
        mha(root / "masks" / f"{number}_t2.mha", labels)
    mha(root / "images" / "1_t1.mha", spine(5)[0])


def mrspineseg(images: str, masks: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for number in (1, 8, 12):
            image, labels = spine(number, (2, 3, 10))
            labels[1:5, 1, 20:25] = 1
            labels[1:5, 2, 20:25] = 11
            nifti(root / "train" / images / f"Case{number}.nii.gz", image, "RAS"[::-1])
            nifti(root / "train" / masks / f"mask_case{number}.nii.gz", labels, "RAS"[::-1])

    return make


MR = {
    "spider": (spider, ["1", "2", "30"]),
    "mrspineseg": (mrspineseg("MR", "Mask"), ["train-case1", "train-case12", "train-case8"]),
    "mrspineseg, other folders": (
        mrspineseg("source", "label"),
        ["train-case1", "train-case12", "train-case8"],
    ),
}


@pytest.mark.parametrize("layout", MR)
def test_mr_layouts_are_read_and_discs_canal_and_sacrum_are_no_vertebra(
    layout: str, tmp_path: Path
) -> None:
    make, patients = MR[layout]
    make(tmp_path / "mr")
    dataset = prepared(tmp_path, "mr")
    assert sorted(dataset.patients) == patients
    assert len(dataset.cases) == 12
    for index in range(12):
        mask = dataset.mask(index)
        assert mask[:3].sum() == 0
        assert mask[:, :22].sum() == mask.sum() == pytest.approx(3 * 8 * 9 * 1.5, rel=0.05)
        assert dataset.image(index)[:3].mean() > dataset.image(index)[-4:].mean()


def _other_shape(root: Path) -> None:
    nifti(_mask(root), spine(4)[1][:, 1:])


def _other_place(root: Path) -> None:
    nifti(_mask(root), spine(4)[1], shift=2.0)


def _truncated(root: Path) -> None:
    path = _volume(root)
    path.write_bytes(path.read_bytes()[:900])


def _mask(root: Path) -> Path:
    return root / "derivatives" / "sub-verse004" / "sub-verse004_seg-vert_msk.nii.gz"


def _volume(root: Path) -> Path:
    return root / "rawdata" / "sub-verse004" / "sub-verse004_ct.nii.gz"


def _nan(root: Path) -> None:
    image = spine(4)[0]
    image[2, 3, 4] = np.nan
    nifti(_volume(root), image)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "other shape": (
        _other_shape,
        r"msk.nii.gz is \(6, 39, 30\), .*expected one grid: export the mask again",
    ),
    "other place": (_other_place, r"msk.nii.gz lies 2 mm from .*ct.nii.gz by its header"),
    "truncated": (_truncated, r"ct.nii.gz cannot be read .*expected a whole volume: copy it again"),
    "unknown label": (
        lambda r: nifti(_mask(r), spine(4)[1] + 70),
        r"label 70 is none of ct-verse's",
    ),
    "absurd label": (
        lambda r: nifti(_mask(r), spine(4)[1].astype(np.float64) * 2**32),
        r"msk.nii.gz: holds labels up to \d{11,}, expected 65535 at most",
    ),
    "floats": (lambda r: nifti(_mask(r), spine(4)[1] * 0.5), r"labels are not whole numbers"),
    "NaN": (_nan, r"holds NaN or infinite voxels"),
    "no vertebra": (
        lambda r: nifti(_mask(r), spine(4)[1] * 0),
        r"no sagittal slice shows 3 vertebrae",
    ),
    "no mask": (lambda r: _mask(r).unlink(), r"ct.nii.gz: there is no mask for this volume"),
    "no volume": (lambda r: _volume(r).unlink(), r"msk.nii.gz: there is no volume for this mask"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_volumes_are_left_out_and_the_others_go_on(what: str, tmp_path: Path) -> None:
    damage, message = BAD[what]
    verse(tmp_path / "ct-verse")
    for number in (5, 6):
        image, labels = spine(number)
        nifti(tmp_path / "ct-verse" / f"verse{number:03d}.nii.gz", image)
        nifti(tmp_path / "ct-verse" / f"verse{number:03d}_seg.nii.gz", labels)
    damage(tmp_path / "ct-verse")
    dataset = prepared(tmp_path, "ct-verse")
    (line,) = dataset.left_out
    assert pytest.importorskip("re").search(message, line), line
    assert "\n" not in line
    assert len(dataset.patients) == 4


@pytest.mark.parametrize("code", ["LPI", "RAS", "IPR"])
def test_nifti_and_metaimage_volumes_are_compared_in_one_space(code: str, tmp_path: Path) -> None:
    """ITK's axes lead to the left and back, NIfTI's to the right and front."""
    _, labels = spine(4)
    mha(tmp_path / "a.mha", labels)
    by_itk = volume.read(tmp_path / "a.mha")
    stored = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tmp_path / "a.mha")), code)
    SimpleITK.WriteImage(stored, str(tmp_path / "a.nii"))
    by_nifti = volume.read(tmp_path / "a.nii")
    np.testing.assert_array_equal(by_nifti.voxels, by_itk.voxels)
    np.testing.assert_allclose(by_nifti.corners, by_itk.corners, atol=1e-4)


def test_volumes_of_other_names_or_of_two_masks_are_named(tmp_path: Path) -> None:
    """Nothing is passed over in silence, and no mask is chosen by chance."""
    spider(tmp_path / "mr")
    image, labels = spine(4, (1, 2, 103))
    images, masks = (tmp_path / "mr" / part for part in ("images", "masks"))
    for name in ("7_T2", "8"):
        mha(images / f"{name}.mha", image)
        mha(masks / f"{name}.mha", labels)
    nifti(images / "9_t2.nii.gz", image)
    dataset = prepared(tmp_path, "mr")
    assert "7" in dataset.patients
    assert [line.partition(":")[0] for line in dataset.left_out] == [
        str(images / name) for name in ("8.mha", "9_t2.nii.gz")
    ]
    assert all("none of this collection's; expected" in line for line in dataset.left_out)


def test_two_masks_of_one_number_are_named(tmp_path: Path) -> None:
    mrspineseg("MR", "Mask")(tmp_path / "mr")
    folder = tmp_path / "mr" / "train" / "Mask"
    nifti(folder / "old_mask_case8.nii.gz", spine(4, (2, 3, 4))[1], "RAS"[::-1])
    dataset = prepared(tmp_path, "mr")
    (line,) = dataset.left_out
    assert "mask_case8.nii.gz and old_mask_case8.nii.gz are both its mask; remove one" in line


def test_a_mask_of_several_values_a_voxel_is_refused(tmp_path: Path) -> None:
    spider(tmp_path / "mr")
    path = tmp_path / "mr" / "masks" / "2_t2.mha"
    one = SimpleITK.ReadImage(str(path))
    SimpleITK.WriteImage(SimpleITK.Compose(one, one), str(path))
    (line,) = prepared(tmp_path, "mr").left_out
    assert "2_t2.mha: 2 values a voxel, expected one" in line


def test_ct_values_that_may_be_none_of_hounsfield_are_told(tmp_path: Path) -> None:
    image, labels = spine(4)
    for number, shift in ((4, 0), (5, 0), (6, 900)):
        nifti(tmp_path / "ct-verse" / f"verse{number:03d}.nii.gz", image + shift)
        nifti(tmp_path / "ct-verse" / f"verse{number:03d}_seg.nii.gz", labels)
    (line,) = (line for line in prepared(tmp_path, "ct-verse").how if "HU" in line)
    assert "CT values are in HU, though none is below 0, as air is" in line


@pytest.mark.parametrize("shown", ["between -1 and 1", "between 2000 and 4000"])
def test_ct_that_its_window_shows_as_one_grey_is_refused(tmp_path: Path, shown: str) -> None:
    """Programs write CT scaled to -1 to 1, or with an offset."""
    image, labels = spine(4)
    spread = np.interp(image, (image.min(), image.max()), (-1, 1))
    values = spread if "-1" in shown else 3000 + 1000 * spread
    for number, voxels in ((4, image), (5, image), (6, image), (7, values)):
        nifti(tmp_path / "ct-verse" / f"verse{number:03d}.nii.gz", voxels.astype(np.float32))
        nifti(tmp_path / "ct-verse" / f"verse{number:03d}_seg.nii.gz", labels)
    (line,) = prepared(tmp_path, "ct-verse").left_out
    assert f"verse007.nii.gz: its values lie {shown}, which the window from -250 to 1000 HU" in line
    low, high = shown.split()[1::2]
    assert line.endswith(f"give the window of its values: ct-verse:low={low}:high={high}")
    window = f"ct-verse:low={low}:high={high}"
    assert "verse007_" in " ".join(case.id for case in prepared(tmp_path, window).cases)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    verse(tmp_path / "ct-verse")
    (tmp_path / "elsewhere.nii.gz").write_bytes(_volume(tmp_path / "ct-verse").read_bytes())
    _volume(tmp_path / "ct-verse").unlink()
    _volume(tmp_path / "ct-verse").symlink_to(tmp_path / "elsewhere.nii.gz")
    others(tmp_path)
    (line,) = prepared(tmp_path, "ct-verse").left_out
    assert re.search(r"leads out of .*copy it there or remove the link", line)


def test_a_linked_folder_that_leads_out_is_named(tmp_path: Path) -> None:
    verse(tmp_path / "ct-verse")
    (tmp_path / "ct-verse" / "rawdata").rename(tmp_path / "elsewhere")
    (tmp_path / "ct-verse" / "rawdata").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        UsageError, match=r"rawdata leads out of .*copy it there or remove the link"
    ):
        prepared(tmp_path, "ct-verse")


def others(tmp_path: Path) -> None:
    for number in (5, 6):
        image, labels = spine(number)
        nifti(tmp_path / "ct-verse" / f"verse{number:03d}.nii.gz", image)
        nifti(tmp_path / "ct-verse" / f"verse{number:03d}_seg.nii.gz", labels)


def test_volumes_of_one_name_are_paired_by_their_folders(tmp_path: Path) -> None:
    root = tmp_path / "ct-verse"
    for number, (folder, labels) in enumerate((("colon", "conlon"), ("liver", "Liver"))):
        image, mask = spine(number + 5)
        for path in (root / "data" / folder, root / "label" / labels):
            path.mkdir(parents=True)
        nifti(root / "data" / folder / "case_1.nii.gz", image)
        nifti(root / "label" / labels / "case_1_seg.nii.gz", mask)
    pairs = {
        item.files[0].parent.name: item.files[1].parent.name
        for item in registry.dataset(Spec("ct-verse")).items(root)
    }
    assert pairs == {"colon": "conlon", "liver": "Liver"}
    (root / "label" / "Liver").rename(root / "label" / "other")
    why = [
        item.left_out for item in registry.dataset(Spec("ct-verse")).items(root) if item.left_out
    ]
    assert any("2 volumes have its name" in each for each in why)


def test_a_label_of_verse_by_number_finds_the_part_of_a_split_volume(tmp_path: Path) -> None:
    root = tmp_path / "ct-verse"
    for part in (root / "rawdata", root / "completed_annotation_verse"):
        part.mkdir(parents=True)
    image, mask = spine(4)
    for number in ("090", "091"):
        nifti(root / "rawdata" / f"sub-verse400_split-verse{number}_ct.nii.gz", image)
    nifti(root / "completed_annotation_verse" / "verse090_seg.nii.gz", mask)
    paired = [item for item in registry.dataset(Spec("ct-verse")).items(root) if not item.left_out]
    assert [(item.patient, item.files[0].name) for item in paired] == [
        ("verse400", "sub-verse400_split-verse090_ct.nii.gz")
    ]


def test_which_slices_and_what_window_are_options(tmp_path: Path) -> None:
    verse(tmp_path / "ct-verse")
    assert len(prepared(tmp_path, "ct-verse:vertebrae=1:share=0").cases) == 12
    with pytest.raises(
        UsageError, match=r"no sagittal slice shows 4 vertebrae on 1 %.*lower ct-verse:vertebrae"
    ):
        prepared(tmp_path, "ct-verse:vertebrae=4")
    wide, narrow = (
        prepared(tmp_path, f"ct-verse{how}").image(0) for how in ("", ":low=0:high=100")
    )
    assert (narrow == 65535).mean() > (wide == 65535).mean()
    with pytest.raises(UsageError, match=r"low=9 is not below high=9"):
        registry.dataset(Spec.parse("ct-verse:low=9:high=9"))


@pytest.mark.skipif(
    not VERSE14.is_dir(), reason="the real CT is not beside this checkout (../shared/data/verse014)"
)
def test_a_real_ct_of_verse() -> None:
    adapter = registry.dataset(Spec("ct-verse"))
    (item,) = adapter.items(VERSE14)
    assert item.patient == "verse014"
    cases = list(adapter.read(item))
    assert len(cases) > 20
    assert {case.image.shape for case in cases} == {(186, 186)}
    middle = cases[len(cases) // 2]
    assert middle.image[middle.mask > 0].mean() > 1.5 * middle.image[middle.mask == 0].mean()
    image, labels = volume.pair(*item.files)
    rows = [np.argwhere(labels.voxels == label)[:, 1].mean() for label in (20, 21, 22, 23, 24)]
    assert rows == sorted(rows)  # L1 above L5
    assert image.spacing == pytest.approx((2, 1, 1))
