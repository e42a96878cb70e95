"""A user's own folder: any format, grey or colour, patients by a table or a pattern."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from bench.data import cache
from bench.data.readers import metaimage
from bench.launch import matrix
from bench.spec import registry
from bench.spec.case import VOID, Dataset
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from tests.conftest import picture


def dicom(path: Path, values: np.ndarray, photometric: str = "MONOCHROME2") -> None:
    film = pydicom.Dataset()
    film.file_meta = pydicom.dataset.FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID = SecondaryCaptureImageStorage
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID = generate_uid()
    film.Rows, film.Columns = values.shape
    film.SamplesPerPixel, film.BitsAllocated, film.BitsStored, film.HighBit = 1, 16, 16, 15
    film.PixelRepresentation, film.PhotometricInterpretation = 0, photometric
    film.PixelSpacing = [0.7, 0.5]
    film.PixelData = values.astype(np.uint16).tobytes()
    film.save_as(path, enforce_file_format=True)


def nifti(path: Path, values: np.ndarray) -> None:
    nibabel.save(
        nibabel.Nifti1Image(values.T[:, :, None].astype(np.int16), np.diag([0.5, 0.7, 1, 1])), path
    )


def mha(path: Path, values: np.ndarray) -> None:
    image = SimpleITK.GetImageFromArray(values.astype(np.uint16))
    image.SetSpacing((0.5, 0.7))
    SimpleITK.WriteImage(image, str(path))


WRITERS: dict[str, Callable[[Path, np.ndarray], Any]] = {
    "png": lambda p, v: Image.fromarray(v).save(p),
    "jpg": lambda p, v: Image.fromarray(v).save(p, quality=100),
    "tif": lambda p, v: Image.fromarray(v.astype(np.float32)).save(p),
    "npy": lambda p, v: np.save(p, v),
    "dcm": dicom,
    "nii.gz": nifti,
    "mha": mha,
}


def folder(root: Path, patients: int = 5, kinds: tuple[str, ...] = ("png",)) -> Path:
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for number in range(patients):
        for each in range(2):
            image, labels = picture(2 * number + each)
            kind = kinds[(2 * number + each) % len(kinds)]
            WRITERS[kind](root / "images" / f"p{number}_{each}.{kind}", image)
            Image.fromarray((labels > 0).astype(np.uint8) * 255).save(
                root / "masks" / f"p{number}_{each}.png"
            )
    return root


def prepared(spec: str) -> Dataset:
    adapter = registry.dataset(Spec.parse(spec))
    return cache.load(cache.prepare(adapter, adapter.folder or Path()))


def test_every_format_gives_the_same_case(tmp_path: Path) -> None:
    plain = prepared(f"{folder(tmp_path / 'plain')}:pattern={{patient}}_*")
    assert plain.patients == ["p0", "p1", "p2", "p3", "p4"]
    assert [case.id for case in plain.cases] == [f"p{n}_{i}" for n in range(5) for i in range(2)]
    mixed = prepared(f"{folder(tmp_path / 'mixed', kinds=tuple(WRITERS))}:pattern={{patient}}_*")
    for index, case in enumerate(mixed.cases):
        np.testing.assert_array_equal(mixed.mask(index), plain.mask(index))
        np.testing.assert_allclose(
            mixed.image(index) / 65535, plain.image(index) / 65535, atol=0.03
        )
        kind = list(WRITERS)[index % len(WRITERS)]
        assert case.spacing == (
            pytest.approx((0.7, 0.5)) if kind in ("dcm", "nii.gz", "mha") else None
        )


def test_colour_becomes_luminance_and_inverted_films_are_turned(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    image, _ = picture(0)
    Image.fromarray(np.repeat(image[..., None], 3, 2)).save(root / "images" / "p0_0.png")
    (root / "images" / "p0_1.png").unlink()
    dicom(root / "images" / "p0_1.dcm", 255 - picture(1)[0], "MONOCHROME1")
    same = prepared(f"{folder(tmp_path / 'plain')}:pattern={{patient}}_*")
    dataset = prepared(f"{root}:pattern={{patient}}_*")
    for index in (0, 1):
        np.testing.assert_allclose(
            dataset.image(index) / 65535, same.image(index) / 65535, atol=0.02
        )


def test_patients_that_dicom_calls_one_are_told_without_their_number(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", kinds=("dcm",))
    for file, whose in (("p0_0", "S-17"), ("p1_0", "S-17"), ("p2_0", "S-18")):
        path = root / "images" / f"{file}.dcm"
        film = pydicom.dcmread(path)
        film.PatientID = whose
        film.save_as(path)
    told = " ".join(prepared(f"{root}:pattern={{patient}}_*").how)
    assert "p0 and p1 are different patients, though DICOM files of theirs have one" in told
    assert "S-17" not in told


def test_one_name_in_two_folders_is_told_as_one_patient(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", patients=2)
    for part in ("images", "masks"):
        for site in ("north", "south"):
            (root / part / site).mkdir()
        for path in (root / part).glob("*.png"):
            path.rename(root / part / ("north" if path.stem.endswith("0") else "south") / path.name)
    told = prepared(f"{root}:pattern={{patient}}_*").how
    (line,) = [line for line in told if "is one patient" in line]
    assert line.startswith("p0 (and 1 more) in north/ and south/ is one patient, for the pattern")
    assert "give a table of files and patients (north/p0_0.png, ...)" in line
    told = prepared(f"{root}:pattern={{patient}}/*").how
    assert not any("is one patient" in line for line in told)


def test_images_that_lie_in_two_ways_are_told(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", kinds=("nii.gz",))
    assert not any(
        "by their headers" in line for line in prepared(f"{root}:pattern={{patient}}_*").how
    )
    path = root / "images" / "p0_0.nii.gz"
    image = nibabel.load(path)
    turned = nibabel.Nifti1Image(np.asarray(image.dataobj), np.diag([-0.5, -0.7, 1, 1]))
    nibabel.save(turned, path)
    told = prepared(f"{root}:pattern={{patient}}_*").how
    assert any(line.startswith("images lie in 2 ways by their headers") for line in told)


def test_columns_of_a_table_of_patients_that_may_matter_are_told(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    rows = "".join(f"p{n}_{i}.png,p{n},train,7\n" for n in range(5) for i in range(2))
    (root / "patients.csv").write_text(f"file,patient,Split,age\n{rows}")
    line = "columns of patients.csv that are not read: Split; --split FILE keeps a split"
    assert any(told.startswith(line) for told in prepared(str(root)).how)


def test_an_index_that_is_not_read_is_told_whenever_it_comes(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    line = "index.csv was not read, for a folder with images/ and masks/ is paired by names"
    by_pattern = f"{root}:pattern={{patient}}_*"

    def told(spec: str) -> bool:
        return any(text.startswith(line) for text in prepared(spec).how)

    assert not told(by_pattern)  # it is in the cache now
    rows = "".join(f"p{n}_{i}.png,Smith{n}\n" for n in range(5) for i in range(2))
    (root / "index.csv").write_text(f"file,volume\n{rows}")
    assert told(by_pattern)
    with pytest.raises(UsageError, match=r"whose image is it\? .*own:patients=index.csv'"):
        prepared(str(root))
    with pytest.raises(UsageError, match=r"such as '.*own:patients=index.csv:patient=volume'"):
        prepared(f"{root}:patients=index.csv")
    by_index = f"{root}:patients=index.csv:patient=volume"
    assert not told(by_index)
    assert prepared(by_index).patients == [f"Smith{n}" for n in range(5)]
    (root / "patients.csv").write_text(f"file,patient\n{rows}")
    assert told(str(root))
    (root / "index.csv").unlink()
    assert not told(str(root))


def test_a_name_that_a_pattern_does_not_fit_is_told_no_pattern_again(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    for kind in ("images", "masks"):
        (root / kind / "p0_0.png").rename(root / kind / "p0.png")
    (line,) = prepared(f"{root}:pattern={{patient}}_*").left_out
    assert "p0.png: no patient is known for it; its name does not fit pattern={patient}_*" in line
    assert "give a pattern" not in line


def test_patients_come_from_a_table(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    rows = "".join(
        f"p{n}_{i}.png,Smith{n}\n" for n in range(5) for i in range(2) if (n, i) != (4, 1)
    )
    (root / "patients.csv").write_text(f"file,patient\n{rows}")
    dataset = prepared(str(root))
    assert dataset.patients == [f"Smith{n}" for n in range(5)]
    (line,) = dataset.left_out
    assert re.search(r"p4_1.png: no patient is known for it; add it to .*patients.csv", line)


def test_foreground_is_named_where_masks_hold_several_values(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    labels = np.zeros((60, 44), np.uint8)
    labels[:10], labels[20:30], labels[40:] = 1, 2, 3
    for path in (root / "masks").iterdir():
        Image.fromarray(labels).save(path)
    with pytest.raises(
        UsageError,
        match=r"values 1 \(16.7 %\), 2 \(16.7 %\), 3 \(33.3 %\) beside 0; say which are "
        r"foreground: "
        r"foreground=1\+2\+3, or some of them; or keep classes apart: labels=NAME=1/...$",
    ):
        prepared(f"{root}:pattern={{patient}}_*")
    assert prepared(f"{root}:pattern={{patient}}_*:foreground=1+3").mask(0).sum() == 30 * 44


def test_nobody_is_taken_for_a_patient_unasked(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    with pytest.raises(
        UsageError, match=r"whose image is it\? write .*patients.csv .*pattern=\{patient\}_\*"
    ):
        prepared(str(root))
    assert len(prepared(f"{root}:pattern={{patient}}").patients) == 10


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no mask": (
        lambda r: (r / "masks" / "p1_0.png").unlink(),
        r"p1_0.png: there is no mask of this name",
    ),
    "truncated": (
        lambda r: (r / "images" / "p1_0.png").write_bytes(b"\x89PNG"),
        r"p1_0.png cannot be decoded",
    ),
    "other size": (
        lambda r: Image.new("L", (9, 9)).save(r / "masks" / "p1_0.png"),
        r"is \(9, 9\), .*is \(60, 44\)",
    ),
    "pickle": (
        lambda r: _swap(r, "npy", lambda p: np.save(p, np.array([{}]), allow_pickle=True)),
        r"p1_0.npy holds Python objects, expected numbers",
    ),
    "no pixels": (
        lambda r: _swap(r, "npy", lambda p: np.save(p, np.zeros((0, 44)))),
        r"p1_0.npy has 0 x 44 pixels, expected one 2D image: export it again",
    ),
    "fractions": (
        lambda r: _swap(r, "npy", lambda p: np.save(p, np.full((60, 44), 0.3)), "masks"),
        r"not probabilities: cut them at a value such as 0.5 and save whole numbers",
    ),
    "web page": (
        lambda r: (r / "images" / "p1_0.png").write_text("\n<!DOCTYPE html><html></html>"),
        r"p1_0.png is a web page, as a failed download leaves it; download it again",
    ),
    "pipe": (  # looking at what it holds would wait for ever
        lambda r: _swap(r, "mha", os.mkfifo),
        r"p1_0.mha cannot be read",
    ),
    "PNG as MetaImage": (
        lambda r: _swap(r, "mha", lambda p: Image.new("L", (44, 60)).save(p, "PNG")),
        r"p1_0.mha holds PNG, which its name does not say; rename it to p1_0.png",
    ),
    "pointer of a volume": (
        lambda r: _swap(r, "nii.gz", lambda p: p.write_text("version https://git-lfs.github.com/")),
        r"p1_0.nii.gz is a pointer of Git LFS",
    ),
    "pointer": (
        lambda r: (r / "masks" / "p1_0.png").write_text("version https://git-lfs.github.com/"),
        r"p1_0.png is a pointer of Git LFS, .*: fetch it \(git lfs pull\)",
    ),
    "other suffix": (
        lambda r: _swap(r, "dcm", lambda p: Image.new("L", (44, 60)).save(p, "PNG")),
        r"p1_0.dcm holds PNG, which its name does not say; rename it to p1_0.png",
    ),
    "DICOM as PNG": (
        lambda r: (r / "images" / "p1_0.png").write_bytes(bytes(128) + b"DICM"),
        r"p1_0.png holds DICOM, .*rename it to p1_0.dcm",
    ),
    "JPEG of 12 bits": (
        lambda r: (r / "images" / "p1_0.png").write_bytes(_jpeg_of_12_bits()),
        r"p1_0.png cannot be decoded .* convert it \(a JPEG of 12 bits",
    ),
    "volume": (
        lambda r: _swap(r, "npy", lambda p: np.save(p, np.zeros((5, 6, 7)))),
        r"shape \(5, 6, 7\), expected one 2D",
    ),
    "no DICOM": (
        lambda r: _swap(r, "dcm", lambda p: p.write_bytes(b"abc")),
        r"p1_0.dcm cannot be read: it does not begin as a DICOM file does",
    ),
}


def _jpeg_of_12_bits() -> bytes:
    values = np.arange(60 * 44, dtype=np.uint16).reshape(60, 44)
    return bytes(imagecodecs.jpeg8_encode(values, bitspersample=12))


def _swap(root: Path, suffix: str, write: Callable[[Path], Any], kind: str = "images") -> None:
    (root / kind / "p1_0.png").unlink()
    write(root / kind / f"p1_0.{suffix}")


@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_left_out_and_the_others_go_on(what: str, tmp_path: Path) -> None:
    damage, message = BAD[what]
    root = folder(tmp_path / "own")
    damage(root)
    dataset = prepared(f"{root}:pattern={{patient}}_*")
    (line,) = dataset.left_out
    assert re.search(message, line), line
    assert "\n" not in line
    assert len(dataset.cases) == 9


def _save(mode: str, path: Path, alpha: int = 255) -> None:
    """Write a picture over again in another mode."""
    image = Image.open(path).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(alpha)
    image.save(path.with_suffix(".tif") if mode == "CMYK" else path)
    if mode == "CMYK":
        path.unlink()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "CMYK"])
def test_images_and_masks_may_have_an_empty_alpha_channel_or_print_colours(
    mode: str, tmp_path: Path
) -> None:
    plain = prepared(f"{folder(tmp_path / 'plain')}:pattern={{patient}}_*")
    root = folder(tmp_path / "own")
    _save(mode, root / "images" / "p1_0.png")
    if mode != "CMYK":
        _save(mode, root / "masks" / "p1_0.png")
    other = prepared(f"{root}:pattern={{patient}}_*")
    assert not other.left_out
    index = next(i for i, case in enumerate(other.cases) if case.id == "p1_0")
    np.testing.assert_allclose(other.image(index) / 65535, plain.image(index) / 65535, atol=0.02)
    np.testing.assert_array_equal(other.mask(index), plain.mask(index))


def test_masks_of_which_several_fit_are_named_together(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    mask = root / "masks" / "p1_0.png"
    (root / "masks" / "p1_0_seg.png").write_bytes(mask.read_bytes())
    mask.rename(root / "masks" / "p1_0_mask.png")
    dataset = prepared(f"{root}:pattern={{patient}}_*")
    assert len(dataset.cases) == 9
    assert len(dataset.left_out) == 3
    why = "p1_0_mask.png and p1_0_seg.png may be of p1_0.png; leave each image one mask of its name"
    assert all(line.endswith(why) for line in dataset.left_out), dataset.left_out


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_folder_of_files_that_none_reads_says_which_and_why(kind: str, tmp_path: Path) -> None:
    """It said that there were no files."""
    root = folder(tmp_path / "own")
    for path in (root / kind).iterdir():
        path.rename(path.with_suffix(".nrrd"))
    message = f"{kind}: none of its 10 files can be used; the first, p0_0.nrrd: no reader is known"
    with pytest.raises(UsageError, match=message):
        prepared(f"{root}:pattern={{patient}}_*")


def test_a_format_that_no_suffix_tells_is_told_by_what_the_file_holds(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    for path in (root / "images").iterdir():
        path.rename(path.with_name(f"{path.stem}.1.2.840"))
    message = "p0_0.1.2.840: no reader is known for it, but it holds PNG: rename it to "
    with pytest.raises(UsageError, match=rf"{message}p0_0[.]1[.]2[.]840[.]png"):
        prepared(f"{root}:pattern={{patient}}_*")


def test_masks_without_background_are_said_to_have_none(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    for path in (root / "masks").iterdir():
        mask = np.asarray(Image.open(path)) > 0
        Image.fromarray(mask.astype(np.uint8) + 1).save(path)
    with pytest.raises(
        UsageError, match=r"values 1 .*, 2 .* and no 0; say which .*: foreground=1 or foreground=2;"
    ):
        prepared(f"{root}:pattern={{patient}}_*")


def test_another_channel_and_a_second_mask_are_told(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    Image.fromarray(picture(0)[0]).save(root / "masks" / "p0_0_mask.png")
    image = root / "images" / "p1_0.png"
    for channel in ("0000", "0001"):
        Image.fromarray(picture(1)[0]).save(image.with_name(f"p1_0_{channel}.png"))
    image.unlink()
    told = prepared(f"{root}:pattern={{patient}}_*").left_out
    assert any("p1_0_0001.png: is a further channel beside p1_0_0000.png" in line for line in told)
    assert any("p0_0_mask.png: p0_0.png is the mask of p0_0.png by its name" in o for o in told)


EXTRA: dict[str, tuple[Callable[[Path], Any], str]] = {
    "two of one name": (
        lambda r: Image.fromarray(picture(0)[0]).save(r / "images" / "P1_0.tif"),
        r"P1_0.tif: p1_0.png has this name too",
    ),
    "mask alone": (
        lambda r: Image.new("L", (9, 9)).save(r / "masks" / "p9_0.png"),
        r"no image of this name in",
    ),
    "no reader": (
        lambda r: (r / "images" / "p1_0.webp").write_bytes(b"x"),
        r"p1_0.webp: no reader is known",
    ),
    "link": (
        lambda r: (r / "masks" / "p9_0.png").symlink_to(r / ".git" / "annex" / "p9_0.png"),
        r"p9_0.png: is a link to a file that is not there; fetch it \(git annex get, dvc pull\)",
    ),
}


@pytest.mark.parametrize("what", EXTRA)
def test_what_is_too_much_is_left_out_and_told(what: str, tmp_path: Path) -> None:
    damage, message = EXTRA[what]
    root = folder(tmp_path / "own")
    damage(root)
    dataset = prepared(f"{root}:pattern={{patient}}_*")
    twins = what == "two of one name"
    assert len(dataset.left_out) == 1 + twins
    assert re.search(message, dataset.left_out[0]), dataset.left_out
    assert len(dataset.cases) == 10 - twins


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_link_that_leads_out_is_left_out(kind: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    (root / kind / "p1_0.png").rename(tmp_path / "out.png")
    (root / kind / "p1_0.png").symlink_to(tmp_path / "out.png")
    (line,) = prepared(f"{root}:pattern={{patient}}_*").left_out
    assert "p1_0.png leads out of" in line


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("p0_0.png,a\np0_0.png,b\n", "line 3: p0_0.png is of a already, and of b here"),
        ("p0_0.png,\n", "line 2: expected a file and its patient"),
    ],
)
def test_a_table_of_patients_that_contradicts_itself_is_refused(
    rows: str, message: str, tmp_path: Path
) -> None:
    root = folder(tmp_path / "own")
    (root / "patients.csv").write_text("file,patient\n" + rows)
    with pytest.raises(UsageError, match=message):
        prepared(str(root))


def test_a_table_may_name_an_image_that_is_not_there(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    names = [path.name for path in sorted((root / "images").iterdir())]
    rows = "".join(f"{name},{name[:2]}\n" for name in [*names, "ghost.png"])
    (root / "patients.csv").write_text("file,patient\n" + rows)
    dataset = prepared(str(root))
    (line,) = dataset.left_out
    assert "patients.csv names ghost.png, which is not in images/" in line
    assert (
        "patients.csv"
        in json.loads(
            (
                cache.prepare(registry.dataset(Spec.parse(str(root))), root) / "manifest.json"
            ).read_text()
        )["files"]
    )


def test_a_value_that_may_mean_anything_is_asked_for(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    mask = np.asarray(Image.open(root / "masks" / "p1_0.png")) > 0
    Image.fromarray((2 * mask).astype(np.uint8)).save(root / "masks" / "p1_0.png")
    with pytest.raises(
        UsageError, match=r"masks hold the values 2 .*, 255 .* beside 0; say which are foreground"
    ):
        prepared(f"{root}:pattern={{patient}}_*")


def test_of_two_greys_no_choice_is_preferred(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    labels = np.zeros((60, 44), np.uint8)
    labels[:15], labels[30:45] = 128, 255
    for path in (root / "masks").iterdir():
        Image.fromarray(labels).save(path)
    with pytest.raises(UsageError) as refused:
        prepared(f"{root}:pattern={{patient}}_*")
    assert str(refused.value).partition(": masks hold the values ")[2] == (
        "128 (25 %), 255 (25 %) beside 0; say which are foreground: foreground=128, "
        "foreground=255 or foreground=128+255; or keep classes apart: labels=NAME=128/...; or "
        "leave pixels out that belong to no class: labels=NAME=128/void=255"
    )
    for option, share in (
        ("foreground=128", 0.25),
        ("foreground=255", 0.25),
        ("foreground=128+255", 0.5),
        ("labels=bone=128/void=255", 0.25),
    ):
        assert (prepared(f"{root}:pattern={{patient}}_*:{option}").mask(0) > 0).mean() == share


def test_a_path_is_a_dataset_of_a_run_and_its_name_is_the_folders(tmp_path: Path) -> None:
    root = folder(tmp_path / "my data (2)")
    spec = f"{root}:pattern={{patient}}_*"
    (found,) = matrix.find(registry.expand(registry.DATASETS, spec), None, load_profile("smoke"))
    assert (found.adapter.name, found.root) == ("my-data-2", root)
    with pytest.raises(
        UsageError, match=r"is not there; expected a folder with images/ and masks/"
    ):
        matrix.find([Spec(str(tmp_path / "none"))], None, load_profile("smoke"))


def test_ct_pri_may_lie_in_either_layout(tmp_path: Path, slices: Callable[..., Path]) -> None:
    folder(tmp_path / "own" / "ct-pri")
    adapter = registry.dataset(Spec.parse("ct-pri:pattern={patient}_*"))
    assert len(cache.load(cache.prepare(adapter, tmp_path / "own" / "ct-pri")).patients) == 5
    (slices() / "mr").rename(tmp_path / "ct-pri")
    for path in (tmp_path / "ct-pri" / "labels").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)
    assert (
        len(
            cache.load(
                cache.prepare(registry.dataset(Spec("ct-pri")), tmp_path / "ct-pri")
            ).patients
        )
        == 6
    )


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("ElementToIntensityFunctionSlope = 10", "Slope is 10, expected 1"),
        ("Offset = 7 0", "without ElementSpacing"),
        ("TransformMatrix = -1 0 0 1", "without ElementSpacing"),
        ("ElementSpacing = 0.5", "ElementSpacing is 0.5, expected 2 numbers"),
        ("DimSize = 4 3 1", "DimSize is 4 3, and DimSize is 4 3 1; expected one"),
        ("ElementSpacing = 1 1\nElementSpacing = 1.0 2", "is 1 1, and ElementSpacing is 1.0 2"),
        ("ElementSpacing = 1 1\nOffset = 7 0\nOrigin = 0 0", "Offset is 7 0, and Origin is 0 0"),
        ("BinaryData = False", "its pixels are text .BinaryData., expected bytes; write it again"),
        ("ElementSpacing = nan 1", "ElementSpacing is nan 1, expected numbers above 0"),
        ("ElementSpacing = 1 1\nOffset = nan 0", "Offset is nan 0, expected numbers; write it"),
        ("ElementSpacing = 1 1\nTransformMatrix = 1 0 inf 1", "is 1 0 inf 1, expected numbers"),
        ("HeaderSize = 60", "behind its HeaderSize, a.mha says 12"),
    ],
)
def test_a_metaimage_whose_header_is_not_applied_is_refused(
    field: str, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(
        b"NDims = 2\nDimSize = 4 3\nElementType = MET_UCHAR\n"
        + field.encode()
        + b"\nElementDataFile = LOCAL\n"
        + bytes(range(12))
    )
    with pytest.raises(UsageError, match=why):
        metaimage.read(path)


@pytest.mark.parametrize("skipped", [5, 7, 12])
def test_a_metaimage_that_skips_other_bytes_than_there_are_is_refused(
    skipped: int, tmp_path: Path
) -> None:
    """Each pixel would be read from the place of another."""
    header = tmp_path / "a.mhd"
    header.write_text(
        f"NDims = 2\nHeaderSize = {skipped}\nDimSize = 4 3\nElementType = MET_UCHAR\n"
        "ElementDataFile = a.raw\n"
    )
    values = np.arange(12, dtype=np.uint8)
    (tmp_path / "a.raw").write_bytes(bytes(7) + values.tobytes())
    if skipped == 7:
        np.testing.assert_array_equal(metaimage.read(header).values.ravel(), values)
        return
    with pytest.raises(UsageError, match=r"a\.raw has \d+ bytes behind its HeaderSize"):
        metaimage.read(header)


def test_slices_that_the_number_of_dimensions_leaves_out_are_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(
        b"NDims = 2\nDimSize = 4 3 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        + bytes(24)
    )
    with pytest.raises(UsageError, match="DimSize is 4 3 2, expected 2 numbers as NDims says"):
        metaimage.read(path)


def test_colours_that_are_read_as_grey_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(4):
        mask = np.zeros((24, 24), np.uint8)
        mask[6:18, 6:18] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"p{number}.png")
        pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        if number == 0:
            pixels[:] = pixels[..., :1]  # grey, though it has three channels
        Image.fromarray(pixels).save(tmp_path / "images" / f"p{number}.png")
    adapter = registry.dataset(Spec(str(tmp_path), ("pattern={patient}",)))
    dataset = cache.load(cache.prepare(adapter, tmp_path))
    told = [line for line in dataset.how if "colour" in line]
    assert told == [
        "colour images are read as grey (luminance): every network here sees one channel "
        "(3 of 4 cases)"
    ]


def test_a_file_of_classes_may_lie_in_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "organs"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    labels = np.zeros((20, 20), np.uint8)
    labels[2:8], labels[10:15], labels[0, :5] = 1, 7, 255
    grey = np.arange(400, dtype=np.uint8).reshape(20, 20) % 200
    for number in range(3):
        Image.fromarray(grey).save(root / "images" / f"p{number}.png")
        Image.fromarray(labels).save(root / "masks" / f"p{number}.png")
    about = {"labels": {"background": 0, "liver": 1, "spleen": 7, "ignore": 255}}
    (root / "dataset.json").write_text(json.dumps(about), "utf-8")
    spec = Spec(str(root), ("pattern={patient}", "labels=dataset.json"))
    adapter = registry.dataset(spec)
    dataset = cache.load(cache.prepare(adapter, root))
    assert dataset.classes == ("liver", "spleen")
    assert np.unique(dataset.target(0)).tolist() == [0, 1, 2, VOID]
    assert np.unique(dataset.mask(0)).tolist() == [0, 1]
    with pytest.raises(UsageError, match="both say what the labels are"):
        registry.dataset(Spec(str(root), ("labels=a=1/b=7", "foreground=1")))
