"""What the slice reader accepts and refuses.

Each refusal is one line with the file, the expectation and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.data import cache
from bench.data import manifest as manifests
from bench.spec import machine, registry
from bench.spec.case import Dataset
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from tests.conftest import picture

Make = Callable[..., Path]


def prepared(data: Path, spec: str = "mr") -> Dataset:
    adapter = registry.dataset(Spec.parse(spec))
    return cache.load(cache.prepare(adapter, data / adapter.name))


def test_cases_patients_and_masks_are_read(slices: Make) -> None:
    dataset = prepared(slices(patients=4, each=3))
    assert (dataset.name, dataset.source) == ("mr", "real")
    assert len(dataset.cases) == 12
    assert dataset.patients == ["1", "2", "3", "4"]
    assert dataset.cases[0].spacing is None
    assert dataset.image(0).dtype == np.uint16
    assert set(np.unique(dataset.mask(0))) == {0, 1}
    assert dataset.image(0).max() == 65535


def test_spacing_is_taken_from_the_index(slices: Make) -> None:
    assert prepared(slices(row_mm=0.8, column_mm=0.4)).cases[3].spacing == (0.8, 0.4)


def test_discs_and_canal_are_no_vertebra(slices: Make) -> None:
    data = slices()
    labels = np.zeros((60, 44), np.uint8)
    labels[:8, 0] = np.arange(9, 17)
    labels[10:20] = 8
    labels[30] = 7
    Image.fromarray(labels).save(data / "mr" / "labels" / "1_0.png")
    mask = prepared(data).mask(0)
    assert mask[30].all()
    assert mask[0, 0] == 1  # 9: partly visible vertebra
    assert mask.sum() == 44 + 1


def test_blanks_do_not_make_another_patient(slices: Make) -> None:
    data = slices(patients=3, each=2)
    index = data / "mr" / "index.csv"
    index.write_text(index.read_text().replace("1_1.png,1", "1_1.png, 1 "))
    assert prepared(data).patients == ["1", "2", "3"]


def test_a_spreadsheets_index_is_the_same(slices: Make) -> None:
    plain = prepared(slices(row_mm=0.8, column_mm=0.4))
    index = index_of(slices(row_mm=0.8, column_mm=0.4))
    text = index.read_text().replace(",", ";").replace(";0.", ";0,")
    text = text.replace("file;volume;row_mm;column_mm", "File;VOLUME ;Row MM;column-mm")
    index.write_bytes(text.encode("utf-16"))
    same = prepared(index.parents[1])
    assert same.cases == plain.cases
    assert same.cases[0].spacing == (0.8, 0.4)


def index_of(data: Path) -> Path:
    return data / "mr" / "index.csv"


def test_names_that_look_like_gaps_are_patients(slices: Make) -> None:
    data = slices(patients=4, each=1)
    names = ["NA", "None", "null", "001"]
    rows = [f"{number}_0.png,{name}\n" for number, name in enumerate(names, 1)]
    index_of(data).write_text("".join(["file,volume\n", *rows]))
    assert prepared(data).patients == names


def test_columns_that_may_be_a_spacing_and_are_not_read_are_told(slices: Make) -> None:
    data = slices(patients=2, each=2, **{"PixelSpacing_X": 0.4, "row_um": 400, "age": 7})
    manifest = manifests.read(cache.prepare(registry.dataset(Spec("mr")), data / "mr"))
    assert any(
        line.split("; ")[1].startswith("not read: PixelSpacing_X, row_um (4 of 4")
        for line in manifest.assumed
    )


def test_columns_that_may_change_what_is_used_are_told(slices: Make) -> None:
    data = slices(patients=2, each=2, split="test", age=7)
    manifest = manifests.read(cache.prepare(registry.dataset(Spec("mr")), data / "mr"))
    line = "columns of index.csv that are not read: split; --split FILE keeps a split"
    assert any(told.startswith(line) for told in manifest.assumed)


def test_slices_without_a_number_are_told(slices: Make) -> None:
    data = slices(patients=2, each=2, slice="slice_7")
    manifest = manifests.read(cache.prepare(registry.dataset(Spec("mr")), data / "mr"))
    line = "slices such as 'slice_7' have no place in their volumes"
    assert any(told.startswith(line) for told in manifest.assumed)


def test_patients_whose_names_differ_by_case_are_told(slices: Make) -> None:
    data = slices(patients=2, each=2)
    index_of(data).write_text("file,volume\n1_0.png,P1\n1_1.png,p1\n2_0.png,P2\n2_1.png,P2\n")
    manifest = manifests.read(cache.prepare(registry.dataset(Spec("mr")), data / "mr"))
    assert manifest.patients == 3
    line = (
        "P1 and p1 are different patients, though they look alike; "
        "write one name where they are one"
    )
    assert line in manifest.assumed


def test_what_was_assumed_of_a_mask_is_told(slices: Make) -> None:
    data = slices(patients=3, each=1)
    for file in (data / "mr" / "labels").iterdir():
        reverse = Image.fromarray((np.asarray(Image.open(file)) == 0).astype(np.uint8))
        reverse.putpalette([255] * 3 + [0] * 3)
        reverse.save(file)
    adapter = registry.dataset(Spec.parse("mr:labels=binary"))
    told = manifests.read(cache.prepare(adapter, data / "mr")).assumed
    assert any("read by the greys of their palette" in line for line in told)


def with_binary_masks(data: Path) -> Path:
    """Write masks of 0 and 255 in the place of all labels; return their folder."""
    folder = data / "mr" / "labels"
    for file in folder.iterdir():
        Image.fromarray((np.asarray(Image.open(file)) > 0).astype(np.uint8) * 255).save(file)
    return folder


def test_what_jpeg_and_exif_did_to_a_mask_is_told(slices: Make) -> None:
    data = slices()
    labels = with_binary_masks(data)
    mask = np.zeros((60, 44), np.uint8)
    mask[8:24, 16:32] = 255  # blocks of JPEG
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(mask).save(labels / "1_0.png", "JPEG", quality=95)
    Image.fromarray(np.rot90(mask).copy()).save(labels / "2_0.png", exif=turned)
    dataset = prepared(data, "mr:labels=binary")
    (number,) = (i for i, case in enumerate(dataset.cases) if case.id == "2_0")
    np.testing.assert_array_equal(dataset.mask(number) * 255, mask)
    assert any("JPEG did not change the masks" in line for line in dataset.how)
    assert any("EXIF turns one of them alone (1 of" in line for line in dataset.how)


def test_a_mask_that_exif_turns_within_its_size_is_left_out(slices: Make) -> None:
    data = slices()
    labels = with_binary_masks(data)
    turned = Image.Exif()
    turned[274] = 3
    Image.open(labels / "2_0.png").save(labels / "2_0.png", exif=turned)
    (line,) = prepared(data, "mr:labels=binary").left_out
    assert "2_0.png is turned by EXIF" in line
    assert "remove its EXIF orientation" in line


def test_a_mask_that_jpeg_changed_is_left_out_with_a_word_about_it(slices: Make) -> None:
    data = slices()
    labels = with_binary_masks(data)
    mask = np.zeros((60, 44), np.uint8)
    mask[5:31, 11:29] = 1
    Image.fromarray(mask * 255).save(labels / "1_0.png", "JPEG", quality=60)
    Image.fromarray(mask).save(labels / "2_0.png", "JPEG", quality=90)
    lines = " ".join(prepared(data, "mr:labels=binary").left_out)
    assert re.search(r"1_0.png: label \d+ is none of 'binary', for JPEG changed", lines)
    assert re.search(r"2_0.png holds labels up to \d and was compressed as JPEG is", lines)


def test_a_spacing_may_be_unknown(slices: Make) -> None:
    data = slices(patients=3, each=1)
    rows = "1_0.png,1,,\n2_0.png,2,0.5,0.7\n3_0.png,3,NA,NA\n"
    index_of(data).write_text(f"file,volume,row_mm,column_mm\n{rows}")
    assert [case.spacing for case in prepared(data).cases] == [None, (0.5, 0.7), None]


def test_accents_may_be_composed_or_not(slices: Make) -> None:
    data = slices(patients=3, each=1)
    for part in ("images", "labels"):
        (data / "mr" / part / "1_0.png").rename(data / "mr" / part / "Mu\u0308ller.png")
    rows = "M\u00fcller.png,\u00e9\n2_0.png,e\u0301\n3_0.png,3\n"
    index_of(data).write_text(f"file,volume\n{rows}")
    dataset = prepared(data)
    assert not dataset.left_out
    assert dataset.patients == ["\u00e9", "3"]


def test_an_index_whose_encoding_is_guessed_says_so_where_a_name_fits_no_file(slices: Make) -> None:
    data = slices(patients=3, each=1)
    rows = "M\u00fcller.png,1\n2_0.png,2\n3_0.png,3\n"
    index_of(data).write_bytes(f"file,volume\n{rows}".encode("cp1252"))
    (line,) = prepared(data).left_out
    assert "images/M\u00fcller.png is not there" in line
    assert "index.csv is read as cp1252 (Windows), because it is no UTF-8" in line


def test_a_guessed_encoding_is_told_before_a_run(slices: Make) -> None:
    data = slices(patients=3, each=1)
    rows = "1_0.png,\u5f20\u4f1f\n2_0.png,\u674e\u5a1c\n3_0.png,3\n"
    index_of(data).write_bytes(f"file,volume\n{rows}".encode("gbk"))
    dataset = prepared(data)
    assert len(dataset.patients) == 3
    (line,) = dataset.how
    assert line.startswith("index.csv is read as cp1252 (Windows), because it is no UTF-8")


def test_a_name_may_lack_its_suffix_where_one_file_fits(slices: Make) -> None:
    data = slices(patients=3, each=1)
    (data / "mr" / "images" / "3_0.tif").write_bytes(b"")
    rows = "images/1_0.png,1\nimages\\2_0,2\n3_0,3\n"
    index_of(data).write_text(f"file,volume\n{rows}")
    dataset = prepared(data)
    assert dataset.patients == ["1", "2"]
    (line,) = dataset.left_out
    assert "images/3_0 is not there" in line


@pytest.mark.parametrize("mark", ["2", "yes", "0.5"])
def test_a_mark_is_one_or_zero(slices: Make, mark: str) -> None:
    data = slices(good_central=mark)
    with pytest.raises(UsageError, match=f"line 2: good_central is {mark}; expected 1 or 0"):
        prepared(data, "mr:good_central=on")


def test_good_central_filters(slices: Make) -> None:
    data = slices(patients=6, good_central=1)
    table = pd.read_csv(data / "mr" / "index.csv")
    table.loc[table.volume > 4, "good_central"] = 0
    table.to_csv(data / "mr" / "index.csv", index=False)
    assert len(prepared(data).cases) == 12
    assert len(prepared(data, "mr:good_central=on").cases) == 8


def test_a_mask_without_foreground_is_data(slices: Make) -> None:
    data = slices()
    Image.fromarray(np.zeros((60, 44), np.uint8)).save(data / "mr" / "labels" / "2_0.png")
    assert prepared(data).mask(2).sum() == 0


def test_sixteen_bit_and_float_images_are_read(slices: Make) -> None:
    data = slices(patients=3, each=1)
    ramp = np.linspace(0, 1, 60 * 44).reshape(60, 44)
    table = pd.read_csv(data / "mr" / "index.csv")
    for row, (suffix, array) in enumerate(
        [("png", (ramp * 4000).astype(np.uint16)), ("tiff", ramp.astype(np.float32))]
    ):
        name = f"{table.volume[row]}_0.{suffix}"
        Image.fromarray(array).save(data / "mr" / "images" / name)
        Image.fromarray(np.eye(60, 44, dtype=np.uint8)).save(data / "mr" / "labels" / name)
        table.loc[row, "file"] = name
    table.to_csv(data / "mr" / "index.csv", index=False)
    dataset = prepared(data)
    np.testing.assert_allclose(dataset.image(0) / 65535, dataset.image(1) / 65535, atol=2e-3)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _save(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(array).save(path)


def _nan(path: Path) -> None:
    array = np.random.default_rng(0).random((60, 44)).astype(np.float32)
    array[3, 4] = np.nan
    Image.fromarray(array).save(path, format="TIFF")


def _palette(path: Path) -> None:
    Image.fromarray(picture(0)[0]).convert("P").save(path)


def _pages(path: Path) -> None:
    first, second = (Image.fromarray(picture(seed)[0]) for seed in (1, 2))
    first.save(path, format="TIFF", save_all=True, append_images=[second])


BAD_FILES = {
    "truncated image": (
        "images/1_0.png",
        _truncate,
        r"images/1_0.png cannot be decoded .* copy it again",
    ),
    "truncated mask": ("labels/1_0.png", _truncate, r"labels/1_0.png cannot be decoded"),
    "text for an image": (
        "images/1_0.png",
        lambda p: p.write_text("hello"),
        r"images/1_0.png cannot be decoded",
    ),
    "other size": (
        "labels/1_1.png",
        _save(np.zeros((61, 44), np.uint8)),
        r"1_1.png is \(61, 44\), .*is \(60, 44\)",
    ),
    "unknown label": (
        "labels/2_0.png",
        _save(np.full((60, 44), 99, np.uint8)),
        r"2_0.png: label 99 is not known to the mapping 'spider-t2'.*labels=NAME",
    ),
    "one value": (
        "images/2_1.png",
        _save(np.full((60, 44), 7, np.uint8)),
        r"2_1.png: every pixel is 7",
    ),
    "NaN": ("images/3_0.png", _nan, r"3_0.png: holds NaN"),
    "colour": (
        "images/3_1.png",
        _save(np.zeros((60, 44, 3), np.uint8)),
        r"3_1.png: shape \(60, 44, 3\), expected one",
    ),
    "palette": ("images/3_1.png", _palette, r"3_1.png has a palette"),
    "pages": ("images/3_1.png", _pages, r"3_1.png holds 2 pages, expected one image"),
    "missing": (
        "images/4_0.png",
        lambda p: p.unlink(),
        r"images/4_0.png is not there, but .*index.csv names it: add it",
    ),
    "another case": (
        "labels/4_0.png",
        lambda p: p.rename(p.with_suffix(".PNG")),
        r"4_0.png is not there, but .*names it, and 4_0.PNG differs by case alone: write both",
    ),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_files_are_left_out_and_told(slices: Make, what: str) -> None:
    file, damage, message = BAD_FILES[what]
    data = slices()
    damage(data / "mr" / file)
    dataset = prepared(data)
    (line,) = dataset.left_out
    assert re.search(message, line)
    assert "\n" not in line
    assert len(dataset.cases) == 11
    assert not list(machine.cache_root().glob(".mr-*"))


def test_a_dataset_without_a_case_is_refused_with_the_first_reason(slices: Make) -> None:
    data = slices(patients=2, each=1)
    _truncate(data / "mr" / "images" / "2_0.png")
    assert (
        len(prepared(data).cases) == 1
    )  # one patient may be looked at, if not trained and tested on
    _truncate(data / "mr" / "images" / "1_0.png")
    with pytest.raises(
        UsageError, match=r"1_0.png cannot be decoded .* \(the first of 2 refusals\)"
    ):
        prepared(data)


BAD_INDEX = {
    "no column": ("file,age\n1_0.png,1\n", r"index.csv has no column 'volume'"),
    "patients by another heading": (
        "file,Patient\n1_0.png,1\n",
        r"no column 'volume', which names the patients; rename the heading 'Patient' to volume",
    ),
    "no row": ("file,volume\n", r"lists no case"),
    "empty cell": ("file,volume\n1_0.png,1\n1_1.png,\n", r"index.csv line 3: expected a value"),
    "way out": ("file,volume\n../images/1_0.png,1\n", r"leads out of the folder"),
    "spacing of text": (
        "file,volume,row_mm,column_mm\n1_0.png,1,wide,1\n",
        r"1_0.png has spacing wide, 1; expected mm",
    ),
    "control character": (
        'file,volume\n1_0.png,"a\nb"\n',
        r"volume 'a\\nb' holds control characters",
    ),
    "one spacing": (
        "file,volume,row_mm\n1_0.png,1,1\n",
        r"has the column row_mm without column_mm; add column_mm or remove row_mm",
    ),
    "half a spacing": (
        "file,volume,row_mm,column_mm\n1_0.png,1,1,\n",
        r"line 2: 1_0.png has one of row_mm and column_mm; give both",
    ),
    "spacing of pandas": (
        "file,volume,row_mm,column_mm\n1_0.png,1,nan,nan\n",
        r"line 2: 1_0.png has spacing nan, nan; expected mm .* or nothing in both",
    ),
    "decimal commas": (
        "file,volume,row_mm,column_mm\n1_0.png,1,0,5,1\n",
        r"line 2, column row_mm: '0,5' has a decimal comma; write 0.5",
    ),
    "another heading of the spacing": (
        "file,volume,RowMM,ColumnMM\n1_0.png,1,1,1\n",
        r"has no column row_mm; is 'RowMM' meant\? rename it to row_mm",
    ),
    "half a spacing of R": (
        "file,volume,row.mm,column.mm\n1_0.png,1,1,NA\n",
        r"line 2: 1_0.png has one of row_mm and column_mm; give both",
    ),
    "a spacing beyond numbers": (
        "file,volume,row_mm,column_mm\n1_0.png,1,1e99999999999999999999,1\n",
        r"1_0.png has spacing 1e99999999999999999999, 1; expected mm",
    ),
    "a name too long for a disk": (
        "file,volume\n" + "\u5c71" * 190 + ".png,1\n",
        r"index.csv line 2: file .* is longer than the 255 bytes",
    ),
    "twice by two names": (
        "file,volume\n1_0.png,1\n1_0,2\n",
        r"line 3: 1_0 is 1_0.png, which another row names",
    ),
    "volumes of one patient": (
        "file,volume,Subject_ID\n1_0.png,1,a\n2_0.png,2,b\n3_0.png,3,a\n",
        r"line 4: volumes 1 and 3 are both of subject id a, but the column volume names",
    ),
    "nothing": ("", r"index.csv cannot be read as CSV"),
    "twice": (
        "file,volume\n1_0.png,1\n2_0.png,2\n3_0.png,3\n1_0.png,1\n",
        r"index.csv names 1_0.png twice",
    ),
}


@pytest.mark.parametrize("what", BAD_INDEX)
def test_bad_index_is_refused(slices: Make, what: str) -> None:
    text, message = BAD_INDEX[what]
    data = slices()
    (data / "mr" / "index.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        prepared(data)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mr").mkdir()
    with pytest.raises(
        UsageError,
        match=r"holds no volume with a mask; expected MRSpineSeg .* or slices in index.csv",
    ):
        prepared(tmp_path)


def test_real_slices(spider: Path) -> None:
    dataset = prepared(spider)
    assert (len(dataset.patients), len(dataset.cases)) == (39, 52)
    central = prepared(spider, "mr:good_central=on")
    assert (len(central.patients), len(central.cases)) == (25, 31)
    share = [central.mask(i).mean() for i in range(31)]
    assert 0.01 < min(share) < max(share) < 0.2
