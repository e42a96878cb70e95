"""Whole sets of files as strangers have them: read rightly, or refused by name."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from bench.data import cache, manifest
from bench.data.splits import Splitting
from bench.spec import registry
from bench.spec.case import SIDES, Dataset
from bench.spec.errors import UsageError
from bench.spec.names import Spec

HEIGHT, WIDTH = 40, 56
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def pair(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image that is bright where its mask of 0 and 1 is, which lies off the centre."""
    rng = np.random.default_rng(number)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4 + number % 3 :, 6:20][:13] = 1
    image = 60 + 20 * np.linspace(0, 1, WIDTH)[None] + 100 * mask + rng.normal(0, 3, mask.shape)
    return image.clip(0, 255).astype(np.uint8), mask


def png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.T[:, :, None], affine), path)


def fill(root: Path, names: tuple[str, ...] = ("p0_1", "p1_1", "p2_1"), ending: str = "") -> Path:
    for number, name in enumerate(names):
        image, mask = pair(number)
        png(root / "images" / f"{name}.png", image)
        png(root / "masks" / f"{name}{ending}.png", mask * 255)
    return root


def prepared(root: Path, options: str = ":pattern={patient}_*") -> Dataset:
    adapter = registry.dataset(Spec.parse(f"{root}{options}"))
    return cache.load(cache.prepare(adapter, root))


def fits(dataset: Dataset) -> bool:
    """Return whether every image is bright where its mask is."""
    for index in range(len(dataset.cases)):
        image, mask = dataset.image(index), dataset.mask(index) > 0
        if image[mask].mean() < 2 * image[~mask].mean():
            return False
    return True


def test_a_mirrored_mask_is_turned_by_its_header_and_a_shifted_one_is_refused(
    tmp_path: Path,
) -> None:
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[0, 3] = WIDTH - 1
    shifted = np.eye(4)
    shifted[0, 3] = 20
    for number in range(3):
        image, mask = pair(number)
        for root in ("mirrored", "shifted"):
            nifti(tmp_path / root / "images" / f"p{number}_1.nii.gz", image, np.eye(4))
        nifti(tmp_path / "mirrored" / "masks" / f"p{number}_1.nii.gz", mask[:, ::-1], mirrored)
        nifti(tmp_path / "shifted" / "masks" / f"p{number}_1.nii.gz", mask, shifted)
    dataset = prepared(tmp_path / "mirrored")
    assert fits(dataset)
    with pytest.raises(UsageError, match=r"lies 20 mm from .*\(the first of 3 refusals\)"):
        prepared(tmp_path / "shifted")


@pytest.mark.parametrize("name", ["p0_1.NII.GZ", "p0_1.Nii", "p0_1.HDR"])
def test_a_suffix_may_be_in_any_case(name: str, tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    (root / "images" / "p0_1.png").unlink()
    written = tmp_path / name.lower()
    kind = nibabel.Nifti1Pair if name.endswith("HDR") else nibabel.Nifti1Image
    nibabel.save(kind(pair(0)[0].T[:, :, None], np.diag([0.5, 0.25, 1, 1])), written)
    written.rename(root / "images" / name)
    if name.endswith("HDR"):
        (tmp_path / "p0_1.img").rename(root / "images" / "p0_1.IMG")
    dataset = prepared(root)
    assert fits(dataset)
    assert dataset.left_out == ()
    assert dataset.cases[0].spacing == (0.25, 0.5)


def test_an_official_split_of_folders_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "own"
    sides = {"train": ("p0_1", "p1_1", "p2_1", "p3_1"), "test": ("p4_1", "p5_1")}
    for side, names in sides.items():
        for number, name in enumerate(names):
            image, mask = pair(number)
            png(root / "images" / side / f"{name}.png", image)
            png(root / "masks" / side / f"{name}.png", mask * 255)
    dataset = prepared(root)
    (split,) = Splitting().split(dataset.patients, dataset.official)
    tested = [dataset.cases[index].id for index in split.indexes(dataset, "test")]
    assert tested == ["test_p4_1", "test_p5_1"]
    assert sum(len(split.indexes(dataset, side)) for side in SIDES) == len(dataset.cases)


def test_a_usual_ending_is_paired_and_told(tmp_path: Path) -> None:
    dataset = prepared(fill(tmp_path / "own", ending="_mask"))
    assert fits(dataset)
    assert dataset.how == ("paired by name, though masks end in _mask (3 of 3 cases)",)


def test_an_unknown_ending_is_one_line_with_the_option_that_pairs(tmp_path: Path) -> None:
    root = fill(tmp_path / "own", ending="_manual1")
    with pytest.raises(UsageError, match=r"all 3 pairs fit without their endings.*ending=") as said:
        prepared(root)
    option = str(said.value).rpartition("ending=")[2].rstrip("'")
    assert fits(prepared(root, f":pattern={{patient}}_*:ending={option}"))


def test_a_part_of_a_header_is_content_too(tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    image, _ = pair(0)
    (root / "images" / "p0_1.png").unlink()
    header = (
        "ObjectType = Image\nNDims = 2\nDimSize = 56 40\nElementType = MET_UCHAR\n"
        "ElementSpacing = 0.5 0.25\nElementDataFile = p0_1.raw\n"
    )
    (root / "images" / "p0_1.MHD").write_text(header)
    (root / "images" / "p0_1.raw").write_bytes(image.tobytes())
    first = prepared(root)
    assert fits(first)
    assert not first.left_out
    assert first.cases[0].spacing == (0.25, 0.5)
    (root / "images" / "p0_1.raw").write_bytes((255 - image).tobytes())
    assert prepared(root).digest != first.digest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (":pattern={patient}_{patient}", "holds {patient} 2 times; expected it once"),
        (":pattern=p*", "holds {patient} 0 times; expected it once"),
    ],
)
def test_a_pattern_names_the_patient_once(tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepared(fill(tmp_path / "own"), options)


def test_how_files_were_read_is_in_the_manifest(tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    adapter = registry.dataset(Spec.parse(f"{root}:pattern={{patient}}_*"))
    known = manifest.read(cache.prepare(adapter, root))
    assert known.lines == (
        "format: PNG (3 of 3 cases)",
        "grey values: each image's own 0.5 and 99.5 percentiles become 0 and 1 (3 of 3 cases)",
        "orientation: as stored (3 of 3 cases)",
        "place of masks: as the pixels are stored (3 of 3 cases)",
        "polarity: as stored (3 of 3 cases)",
        "spacing: unknown (3 of 3 cases)",
        "labels of masks: 0 (91.9 %), 255 (8.12 %)",
        "foreground: 255",
    )


GOLDEN = {
    "mr": "273bbf516fcddc29df75c409b199dadab85d230419d63d4ed9309b6790e7df9a",
    "mr:good_central=on": "c88d471d72265ee3603f8a47f4f24e2afc8e382f63128da8bc4743ceada88633",
    "ct-verse": "f847bc988df88214ac4c275ff7bd11b48ecb273f9ac2c5a4c52ac6d26266768a",
}
"""Digests of real data as they were prepared before labels were kept: results carry them."""


@pytest.mark.parametrize("spec", GOLDEN)
def test_real_data_are_prepared_to_the_same_bytes(spec: str) -> None:
    adapter = registry.dataset(Spec.parse(spec))
    root = SHARED / ("spider-t2" if adapter.name == "mr" else "verse014")
    if not root.is_dir():
        pytest.skip("the real data are not beside this checkout (../shared/data)")
    assert cache.load(cache.prepare(adapter, root)).digest == GOLDEN[spec]


def pipe(root: Path) -> None:
    os.mkfifo(root / "images" / "p9_1.png")
    png(root / "masks" / "p9_1.png", pair(0)[1])


def swap(root: Path, kind: str, suffix: str, write: Callable[[Path], object]) -> None:
    """Write the first image or mask over again in another format."""
    (root / kind / "p0_1.png").unlink()
    write(root / kind / f"p0_1{suffix}")


def time_series(root: Path) -> None:
    image, _ = pair(0)
    volume = np.stack([image.T, 255 - image.T, image.T], -1)[:, :, None, :]
    swap(root, "images", ".nii", lambda p: nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), p))


def colours_of_16_bits(root: Path) -> None:
    image, _ = pair(0)
    colours = np.repeat(image.astype(np.uint16)[..., None] * 16, 3, 2)
    cv2.imwrite(str(root / "images" / "p0_1.png"), colours)


def stored_flipped(path: Path, values: np.ndarray, mirrored: bool, away: float = 0) -> None:
    film = SimpleITK.GetImageFromArray(values[:, ::-1] if mirrored else values)
    film.SetSpacing((0.25, 0.5))
    if mirrored:
        film.SetDirection((-1, 0, 0, 1))
        film.SetOrigin((0.25 * (WIDTH - 1), 0))
    film.SetOrigin((film.GetOrigin()[0] + away, 0))
    SimpleITK.WriteImage(film, str(path))


def planar(root: Path, away: float) -> None:
    image, mask = pair(0)
    swap(root, "images", ".mha", lambda path: stored_flipped(path, image, False))
    swap(root, "masks", ".mha", lambda path: stored_flipped(path, mask * 255, True, away))


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (pipe, "p9_1.png is no file"),
    "complex": (
        lambda r: swap(r, "masks", ".npy", lambda p: np.save(p, pair(0)[1].astype(complex))),
        "holds values of type complex128",
    ),
    "texts": (
        lambda r: swap(r, "images", ".npy", lambda p: np.save(p, pair(0)[0].astype(str))),
        "holds values of type <U3",
    ),
    "a palette without colours": (
        lambda r: Image.fromarray(pair(0)[1], "P").save(r / "masks" / "p0_1.png"),
        "uses colour 1 of a palette of 1",
    ),
    "a palette of one colour": (
        lambda r: _black_palette(r / "masks" / "p0_1.png"),
        r"its palette shows 0 and 1 in one colour \(#000000\)",
    ),
    "points in time": (time_series, "expected one image or volume of three dimensions"),
    "16 bits of colour": (colours_of_16_bits, "has colours of 16 bits"),
    "far away": (lambda r: planar(r, 30), "lies 30 mm from"),
    "other spacing": (
        lambda r: [
            swap(r, "images", ".mha", lambda p: stored_flipped(p, pair(0)[0], False)),
            swap(r, "masks", ".nii", lambda p: nifti(p, pair(0)[1], np.eye(4))),
        ],
        r"has pixels of 1 x 1 mm, .* of 0.5 x 0.25 mm",
    ),
    "not UTF-8": (
        lambda r: shutil.copy(r / "images" / "p0_1.png", os.fsencode(r / "images") + b"/\xfc.png"),
        r"xfc.png: has a name that is not UTF-8; rename it",
    ),
}


def _black_palette(path: Path) -> None:
    image = Image.fromarray(pair(0)[1])
    image.putpalette([0, 0, 0] * 2)
    image.save(path)


@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_file_is_left_out_by_name_and_the_others_go_on(what: str, tmp_path: Path) -> None:
    damage, message = STRANGE[what]
    root = fill(tmp_path / "own")
    damage(root)
    dataset = prepared(root)
    assert any(re.search(message, line) for line in dataset.left_out), dataset.left_out
    assert len(dataset.cases) >= 2
    assert fits(dataset)


def test_a_slice_of_two_dimensions_is_laid_by_its_header(tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    planar(root, 0)
    dataset = prepared(root)
    assert dataset.left_out == ()
    assert fits(dataset)


def test_numbers_of_a_tiff_keep_their_sign(tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    (root / "images" / "p0_1.png").unlink()
    stored = (pair(0)[0].astype(int) - 128).astype(np.int8)
    tifffile.imwrite(root / "images" / "p0_1.tif", stored)
    dataset = prepared(root)
    assert dataset.left_out == ()
    assert fits(dataset)


def test_names_that_end_in_the_masks_ending_are_no_pair_by_chance(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for number, name in enumerate(("p0", "p0_x")):
        image, mask = pair(number)
        png(root / "images" / f"{name}.png", image)
        png(root / "masks" / f"{name}_x.png", mask * 255)
    with pytest.raises(UsageError, match=r"all 2 pairs fit without their endings.*ending=_x"):
        prepared(root, ":pattern={patient}")


def test_an_official_split_without_training_patients_is_refused(tmp_path: Path) -> None:
    """Numbers that begin anew on each side would be the same patients."""
    root = tmp_path / "own"
    for side in ("train", "test"):
        for number in range(3):
            image, mask = pair(number)
            png(root / "images" / side / f"{number}.png", image)
            png(root / "masks" / side / f"{number}.png", mask * 255)
    dataset = prepared(root, ":pattern={patient}")
    with pytest.raises(UsageError, match="3 of 3 patients are on the publisher's test side"):
        Splitting().split(dataset.patients, dataset.official)


def test_void_is_refused_beside_any_classes(tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    for number in range(3):
        _, mask = pair(number)
        labels = np.where(np.roll(mask, 15, 1) & (1 - mask), 255, mask * (80 + number))
        png(root / "masks" / f"p{number}_1.png", labels.astype(np.uint8))
    with pytest.raises(UsageError, match="255 beside 80, 81 and 82 is, by custom, the void label"):
        prepared(root, ":pattern={patient}_*:foreground=80")


RASTERS = "3d66dfc2e846bce4389b9fc10e4105379e1c8127d56cb831d92e21d4b7418fb1"


def rasters(root: Path) -> Path:
    """Write twelve kinds of raster files, and masks of three kinds of values."""
    ramp = np.add.outer(3 * np.arange(HEIGHT), 2 * np.arange(WIDTH)).astype(np.uint8)
    colours = np.stack([ramp, ramp[::-1], 255 - ramp], -1)
    grey, colour = Image.fromarray(ramp), Image.fromarray(colours)
    deep = ramp.astype(np.uint16) * 17
    images = {
        "a_1.png": grey,
        "b_1.png": Image.fromarray(deep),
        "c_1.tif": grey,
        "d_1.tif": Image.fromarray(deep),
        "e_1.tiff": Image.fromarray(ramp.astype(np.float32) / 7),
        "f_1.bmp": grey,
        "g_1.png": colour,
        "h_1.png": colour.convert("RGBA"),
        "i_1.png": grey.convert("LA"),
        "j_1.tif": colour.convert("CMYK"),
        "k_1.png": Image.fromarray(ramp > 120),
        "l_1.tif": Image.fromarray(ramp.astype(np.int32) * 1000),
    }
    _, mask = pair(0)
    for number, (name, image) in enumerate(images.items()):
        (root / "images").mkdir(parents=True, exist_ok=True)
        image.save(root / "images" / name)
        value = (1, 255, 65535)[number % 3]
        png(root / "masks" / f"{name[0]}_1.png", mask * np.uint16(value))
    return root


def test_twelve_kinds_of_raster_are_prepared_to_the_same_bytes(tmp_path: Path) -> None:
    """The digest is that of the revision before labels were kept."""
    dataset = prepared(rasters(tmp_path / "own"))
    assert len(dataset.cases) == 12
    assert dataset.digest == RASTERS


@pytest.mark.parametrize("name", ["imagesTs", "Test Set", "01_test", "holdout"])
def test_a_test_side_is_known_by_its_usual_names(name: str, tmp_path: Path) -> None:
    root = tmp_path / "own"
    for side, patients in (("train", "abc"), (name, "de")):
        for patient in patients:
            image, mask = pair(ord(patient))
            png(root / "images" / side / f"{patient}_1.png", image)
            png(root / "masks" / side / f"{patient}_1.png", mask * 255)
    assert prepared(root).official == {"d", "e"}
    shutil.rmtree(root / "masks" / name)
    with pytest.raises(UsageError, match="has a test side, but none of its images has a mask"):
        prepared(root)


@pytest.mark.parametrize("name", ["TS01", "latest", "testis", "stress_test", "contest", "tr2"])
def test_a_folder_of_another_name_is_no_side(name: str, tmp_path: Path) -> None:
    root = tmp_path / "own"
    for folder in ("a", "b", name):
        image, mask = pair(ord(folder[0]))
        png(root / "images" / folder / "1.png", image)
        png(root / "masks" / folder / "1.png", mask * 255)
    assert not prepared(root, ":pattern={patient}/*").official


def test_a_test_side_among_folders_that_are_no_sides_is_told(tmp_path: Path) -> None:
    """A patient may be called Test."""
    root = tmp_path / "own"
    for folder in ("anna", "bob", "eve", "test1_2"):
        image, mask = pair(ord(folder[0]))
        png(root / "images" / folder / "1.png", image)
        png(root / "masks" / folder / "1.png", mask * 255)
    dataset = prepared(root, ":pattern={patient}/*")
    assert dataset.official == {"test1_2"}
    line = "test1_2/ is the publisher's test side, though anna/ beside it is none"
    assert any(line in told for told in dataset.how)


def test_sides_below_patients_are_no_doubt(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for number, name in enumerate(("a_1/train", "b_1/train", "c_1/test", "d_1/test")):
        image, mask = pair(number)
        png(root / "images" / name / "x.png", image)
        png(root / "masks" / name / "x.png", mask * 255)
    dataset = prepared(root, ":pattern={patient}_*/*/*")
    assert dataset.official == {"c", "d"}
    assert not any("test side" in told for told in dataset.how)


def test_an_image_that_is_its_own_mask_is_left_out(tmp_path: Path) -> None:
    """A network would be shown the answer."""
    root = fill(tmp_path / "own", tuple(f"p{number}_1" for number in range(4)))
    for number, link in ((1, False), (2, True)):
        image, mask = root / "images" / f"p{number}_1.png", root / "masks" / f"p{number}_1.png"
        image.unlink()
        image.symlink_to(mask) if link else image.write_bytes(mask.read_bytes())
    dataset = prepared(root)
    assert [case.id for case in dataset.cases] == ["p0_1", "p3_1"]
    assert all(
        "hold the same; put image and mask in their places" in line for line in dataset.left_out
    )


def test_names_that_differ_by_their_folders_alone_are_shown_with_them(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for number in range(3):
        image, mask = pair(number)
        png(root / "images" / f"p{number}" / f"scan{number}.png", image)
        png(root / "masks" / f"scan{number}.png", mask * 255)
    with pytest.raises(UsageError, match=r"holds p0/scan0.png .* put each mask into a folder"):
        prepared(root, ":pattern={patient}/*")


def test_masks_that_may_be_inverted_are_refused_until_the_user_says_which(tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    for file in (root / "masks").iterdir():
        png(file, 255 - np.asarray(Image.open(file)))
    with pytest.raises(UsageError, match=r"foreground=255 or foreground=0$"):
        prepared(root)
    assert fits(prepared(root, ":pattern={patient}_*:foreground=0"))
    assert not fits(prepared(root, ":pattern={patient}_*:foreground=255"))


def test_a_further_mask_of_an_image_is_named_as_such(tmp_path: Path) -> None:
    root = fill(tmp_path / "own", ending="_mask")
    png(root / "masks" / "p1_1_mask_1.png", pair(0)[1] * 255)
    (line,) = prepared(root).left_out
    assert "further mask of p1_1.png beside p1_1_mask.png" in line


def test_the_refusal_of_nnunets_folders_says_how_to_move_them(tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    for part, old in (("images", "imagesTr"), ("masks", "labelsTr")):
        (root / part).rename(root / old)
    with pytest.raises(UsageError, match=r"move imagesTr/ to images/, labelsTr/ to masks/$"):
        prepared(root)
    for old in ("imagesTs", "labelsTs"):
        (root / old).mkdir()
    with pytest.raises(UsageError, match=r"imagesTs/ to images/test/, labelsTs/ to masks/test/$"):
        prepared(root)


def test_the_refusal_of_sides_outside_says_how_to_move_them(tmp_path: Path) -> None:
    root = tmp_path / "own"
    fill(root / "train")
    with pytest.raises(UsageError, match="move train/images/ to images/train/, train/masks/ to"):
        prepared(root)


def test_a_mask_of_a_whole_folder_is_named_as_such(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for number in range(3):
        image, mask = pair(number)
        png(root / "images" / f"p{number}" / "a.png", image)
        png(root / "masks" / f"p{number}.png", mask * 255)
    with pytest.raises(UsageError, match=r"p0.png seems to be of all .*: write .* masks/p0/a.png"):
        prepared(root, ":pattern={patient}/*")


def test_a_link_to_another_case_is_no_second_case(tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    before = len(prepared(root, ":pattern={patient}_*").cases)
    image = sorted((root / "images").iterdir())[0]
    for part in ("images", "masks"):
        (root / part / "z9_1.png").symlink_to(root / part / image.name)
    dataset = prepared(root, ":pattern={patient}_*")
    assert len(dataset.cases) == before
    assert f"z9_1.png is the same file as {image}" in dataset.left_out[0]


def test_folders_that_differ_in_case_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path / "own")
    shutil.copytree(root / "masks", root / "Masks")
    with pytest.raises(UsageError, match="has Masks and masks; expected one masks/: join them"):
        prepared(root)
