"""Whose image a file is: the table of patients, whoever wrote it, and how its rows find images."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench.data import cache, manifest
from bench.data.readers import patients
from bench.data.readers.patients import Choice
from bench.spec import csvs, registry
from bench.spec.case import Dataset
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from tests.conftest import picture

NAMES = st.text(
    st.one_of(
        st.characters(categories=("L", "N", "P", "S"), exclude_characters="/\\"),
        st.sampled_from(' ,;"'),
    ),
    min_size=1,
    max_size=8,
).filter(lambda name: name == name.strip(csvs.BLANKS) and name != ".")
PATIENTS = st.one_of(NAMES, st.sampled_from(["NA", "None", "null", "001", "1e5"]))
TABLES = st.dictionaries(NAMES, PATIENTS, min_size=1, max_size=8).filter(
    lambda table: (
        len({patients.key(name) for name in table}) == len(table)
        and not any(name.lower().endswith(".png") for name in table)
    )
)


def composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@given(TABLES, st.sampled_from(["file", "Image ID"]), st.data())
def test_each_image_has_the_patient_of_its_row(
    tmp_path_factory: pytest.TempPathFactory,
    truth: dict[str, str],
    heading: str,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("list") / "list.csv"
    text = io.StringIO()
    writer = csv.writer(text, delimiter=data.draw(st.sampled_from([",", ";", "\t"])))
    writer.writerow(["patient", "notes", heading])
    for name, patient in truth.items():
        form = data.draw(st.sampled_from(["NFC", "NFD"]))
        front = data.draw(st.sampled_from(["", "./", "images/", "C:\\data\\images\\"]))
        end = data.draw(st.sampled_from(["", ".png", ".PNG"]))
        writer.writerow([patient, "", unicodedata.normalize(form, f"{front}{name}{end}")])
    path.write_bytes(text.getvalue().encode(data.draw(st.sampled_from(["utf-8", "utf-16"]))))
    choice = Choice(str(path), "" if heading == "file" else "image_id")
    images = {f"{unicodedata.normalize('NFD', name)}.png": name for name in truth}
    matched = patients.match(patients.read(path, choice, "own"), images)
    assert not matched.unused
    assert matched.patients == {image: composed(truth[name]) for image, name in images.items()}


def matched(images: list[str], rows: list[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Return the patients of images, and why rows are of none."""
    entries = [patients.Entry(f"list.csv line {n}", *row) for n, row in enumerate(rows, 2)]
    stems = {image: str(Path(image).with_suffix("")) for image in images}
    whose = patients.match(entries, stems)
    return dict(whose.patients), [f"{entry.name}: {why}" for entry, why in whose.unused]


def test_the_path_below_images_is_stronger_than_the_bare_name() -> None:
    images = ["a.png", "one/a.png", "two/b.png", "C/D.png"]
    rows = [("images/one/A.png", "P1"), ("a.png", "P2"), ("b", "P3"), ("data/c/d", "P4")]
    assert matched(images, rows) == (
        {"one/a.png": "P1", "a.png": "P2", "two/b.png": "P3", "C/D.png": "P4"},
        [],
    )


def test_a_bare_name_of_two_images_is_of_neither() -> None:
    assert matched(["one/a.png", "two/a.png"], [("a.png", "P1")]) == (
        {},
        ["a.png: which may be one/a.png or two/a.png; write its folder before the name"],
    )


def test_a_bare_name_of_two_patients_is_told_how_to_write_it(tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("file,patient\n001.png,P1\n001.png,P2\n")
    images = ["pat2/001.png", "pat1/001.png", "pat1/002.png"]
    way = "write the folder before the name: pat1/001.png and pat2/001.png"
    with pytest.raises(UsageError, match=f"line 3: 001.png is of P1 already, .*: {way}$"):
        patients.read(table, Choice(), "own", images)


def test_a_row_of_another_folder_is_of_no_image() -> None:
    absent = "which is not in images/; add it"
    assert matched(["two/a.png"], [("one/a.png", "P1")]) == ({}, [f"one/a.png: {absent}"])
    rows = [("a.png", "P1"), ("one/a.png", "P2")]
    assert matched(["a.png"], rows) == ({"a.png": "P1"}, [f"one/a.png: {absent}"])


def test_files_that_differ_in_their_suffix_are_two() -> None:
    rows = [("a.png", "P1"), ("a.jpg", "P2"), ("b.jpg", "P3")]
    assert matched(["a.png", "a.jpg", "b.png"], rows) == (
        {"a.png": "P1", "a.jpg": "P2"},
        ["b.jpg: which is not in images/; is b.png meant?"],
    )


def test_zeros_that_a_spreadsheet_dropped_are_asked_about() -> None:
    rows = [("1", "P1"), ("case_2.png", "P2"), ("3", "P3"), ("04", "P4")]
    assert matched(["001.png", "case_02.png", "03.png", "003.png", "04.png"], rows) == (
        {"04.png": "P4"},
        [
            "1: which is not in images/; is 001.png meant?",
            "case_2.png: which is not in images/; is case_02.png meant?",
            "3: which is not in images/; add it",
        ],
    )


def test_names_of_masks_are_asked_about() -> None:
    rows = [("a_mask.png", "P1"), ("b_Seg.nii.gz", "P2")]
    absent = "which is not in images/; is"
    assert matched(["a.png", "b.png"], rows)[1] == [
        f"a_mask.png: {absent} a.png meant?",
        f"b_Seg.nii.gz: {absent} b.png meant?",
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [("a.png", "P1"), ("A", "P2")],
        [("a.png", "P1"), ("images/a.png", "P2")],
        [("one/a.png", "P1"), ("two/a.png", "P2")],
    ],
)
def test_an_image_has_one_patient(rows: list[tuple[str, str]]) -> None:
    with pytest.raises(UsageError, match=r"list.csv line 3: .*a.* is of P1 already, and of P2"):
        matched(["a.png"], rows)


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of a folder of images and masks with tables."""

    def make(name: str = "own", **tables: str) -> Path:
        root = tmp_path / name
        for part in ("images", "masks"):
            (root / part).mkdir(parents=True)
        for number in range(6):
            image, labels = picture(number)
            Image.fromarray(image).save(root / "images" / f"{number}.png")
            Image.fromarray((labels > 0).astype(np.uint8)).save(root / "masks" / f"{number}.png")
        for stem, text in tables.items():
            (root / f"{stem}.csv").write_text(text)
        return root

    return make


def prepared(spec: str, root: Path) -> Dataset:
    return cache.load(cache.prepare(registry.dataset(Spec.parse(spec)), root))


def listed(heading: str, patient: str = "p") -> str:
    rows = "".join(f"{number}.png;{patient}{number // 2}\n" for number in range(6))
    return f"{heading}\n{rows}"


LIST = listed("image;subject id")


@pytest.mark.parametrize("kind", ["folder", "ct-pri"])
@pytest.mark.parametrize("absolute", [False, True])
def test_options_choose_the_table_and_its_columns(
    own: Callable[..., Path], kind: str, absolute: bool
) -> None:
    root = own("ct-pri", list=LIST)
    table = root / "list.csv" if absolute else "list.csv"
    spec = str(root) if kind == "folder" else kind
    dataset = prepared(f"{spec}:patients={table}:file=image:patient=Subject_ID", root)
    assert dataset.patients == ["p0", "p1", "p2"]
    assert not dataset.left_out


def test_a_table_that_changes_is_read_again_wherever_it_is(
    own: Callable[..., Path], tmp_path: Path
) -> None:
    root, table = own(), tmp_path / "list.csv"
    for patient in ("p", "q"):
        table.write_text(listed("file;patient", patient))
        folder = cache.prepare(registry.dataset(Spec(str(root), (f"patients={table}",))), root)
        assert cache.load(folder).patients == [f"{patient}{number}" for number in range(3)]
        assert manifest.read(folder).files["list.csv"]
    copy = table.rename(tmp_path / "copy.csv")
    assert cache.find(registry.dataset(Spec(str(root), (f"patients={copy}",))), root) == folder


def test_a_guessed_table_is_told_before_a_run(own: Callable[..., Path]) -> None:
    root = own()
    rows = "".join(f"{number}.png,M\u00fcller{number}\n" for number in range(6))
    (root / "patients.csv").write_bytes(f"file,patient\n{rows}".encode("cp1252"))
    dataset = prepared(str(root), root)
    assert dataset.patients[0] == "M\u00fcller0"
    (line,) = dataset.how
    assert line.startswith("patients.csv is read as cp1252 (Windows), because it is no UTF-8")


def test_an_image_without_a_row_is_added_to_the_table_that_is_there(
    own: Callable[..., Path],
) -> None:
    root = own(list="file,patient\n0.png,p\n1.png,q\n2.png,r\n3.png,s\n4.png,t\n")
    (line,) = prepared(f"{root}:patients=list.csv", root).left_out
    assert line.endswith(f"no patient is known for it; add it to {root / 'list.csv'}")


def test_a_table_in_a_folder_may_be_called_as_an_index(own: Callable[..., Path]) -> None:
    root = own("ct-pri")
    (root / "meta").mkdir()
    (root / "meta" / "index.csv").write_text(listed("file;patient"))
    assert len(prepared("ct-pri:patients=meta/index.csv", root).cases) == 6


SPOILED = {
    "other headings": (
        {"patients": LIST},
        "",
        r"has no column 'file'; its columns are image, subject id; name those of the files and the "
        r"patients, such as 'ROOT:file=image:patient=subject id'",
    ),
    "one other heading": (
        {"patients": listed("filename;patient")},
        "",
        r"such as 'ROOT:file=filename'$",
    ),
    "other headings of a named table": (
        {"list": listed("Case ID;name")},
        ":patients=list.csv",
        r"such as 'ROOT:patients=list.csv:file=name:patient=Case ID'",
    ),
    "no headings": (
        {"patients": "1.png,p\n0.png,q\n"},
        "",
        "first line holds '1.png', the name of an image; .* put the line file,patient above it",
    ),
    "no headings, as they were advised": (
        {"patients": "1.png,p\n0.png,q\n"},
        ":file=1.png:patient=p",
        "first line holds '1.png'",
    ),
    "one column": ({"patients": "file\n0.png\n"}, "", "expected one of files and one of patients"),
    "no such column": (
        {"patients": LIST},
        ":file=imgae",
        r"has no column 'imgae'; did you mean 'image'\? Valid: image, subject id\.",
    ),
    "one column for both": ({"patients": LIST}, ":file=image:patient=Image", "are one column"),
    "no table": ({}, ":file=image", "file=image names a column, but there is no patients.csv"),
    "no such table": ({}, ":patients=list.csv", r"list.csv is not there; expected a table in"),
    "outside": ({}, ":patients=../list.csv", r"leads out of ROOT; expected a name in it, or an"),
    "two sources": (
        {"patients": listed("file;patient")},
        ":pattern={patient}",
        r"patients.csv and pattern=\{patient\} both say whose image it is",
    ),
    "not filled in": ({"patients": "file,patient\n0.png,\n"}, "", "line 2: expected a file and"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_table_that_is_no_use_is_refused(own: Callable[..., Path], what: str) -> None:
    tables, options, says = SPOILED[what]
    root = own(**tables)
    with pytest.raises(UsageError, match=says.replace("ROOT", str(root))) as refusal:
        prepared(f"{root}{options}", root)
    assert "\n" not in str(refusal.value)


def test_an_index_leaves_no_choice_of_patients(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("file,volume\na.png,1\n")
    with pytest.raises(UsageError, match="leave out patient=subject, or remove the table"):
        prepared("ct-pri:patient=subject", tmp_path)


def test_a_row_with_a_suffix_is_of_that_file_alone() -> None:
    entries = [patients.Entry("line 2", "scan.jpg", "P1")]
    images = {"scan.jpg": "scan", "scan.jpg.png": "scan.jpg"}
    assert patients.match(entries, images).patients == {"scan.jpg": "P1"}


def test_the_table_may_be_written_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "Patients.CSV").write_text("file,patient\n")
    assert Choice().path(tmp_path) == tmp_path / "Patients.CSV"
    (tmp_path / "patients.csv").write_text("file,patient\n")
    with pytest.raises(UsageError, match=r"has Patients.CSV and patients.csv; expected one"):
        Choice().path(tmp_path)
