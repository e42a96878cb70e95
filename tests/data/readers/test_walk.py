"""Names of files: what counts, what is passed over, and which mask belongs to which image."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.data.readers import pairing
from bench.data.readers.walk import case_id, same, sides, stem, walk
from bench.spec.errors import UsageError
from bench.spec.names import safe_name

SUFFIXES = (".png", ".nii.gz", ".nii", ".mha")
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp"), exclude_characters="/\\"),
    min_size=1,
    max_size=12,
).filter(lambda name: not name.startswith(".") and name.strip() == name and not name.endswith("."))
CASES = st.sampled_from([str, str.upper, str.title])


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@settings(max_examples=60, deadline=None)
@given(NAMES, st.sampled_from(SUFFIXES), CASES, st.sampled_from(["NFC", "NFD"]))
def test_a_name_of_any_script_is_found_and_becomes_a_case(
    name: str, suffix: str, case: type, form: str
) -> None:
    written = unicodedata.normalize(form, name)
    assume(len(written.encode()) < 200)
    with tempfile.TemporaryDirectory() as folder:
        path = touch(Path(folder) / (written + case(suffix)))
        assert walk(Path(folder)).select(SUFFIXES) == [path]
        assert stem(path) == unicodedata.normalize("NFC", name)
        safe_name(case_id(stem(path)), "case")


@settings(max_examples=60, deadline=None)
@given(st.sets(NAMES, min_size=2, max_size=6))
def test_cases_of_different_names_have_different_ids(names: set[str]) -> None:
    foreign = {same(name) for name in names if not name.isascii()}
    assert len({case_id(name) for name in foreign}) == len(foreign)


def test_what_systems_leave_is_passed_over(tmp_path: Path) -> None:
    wanted = touch(tmp_path / "sub" / "a.png")
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "._a.png",
        "__MACOSX/b.png",
        ".git/c.png",
        ".Trash-0/files/d.png",
        "sub/.ipynb_checkpoints/e.png",
    ):
        touch(tmp_path / name)
    assert walk(tmp_path).files == (wanted,)


def test_links_are_followed_or_named(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data", tmp_path / "elsewhere"
    touch(inside / "a.png")
    touch(outside / "b.png")
    (inside / "c.png").symlink_to(inside / "a.png")
    (inside / "gone.png").symlink_to(inside / ".git" / "annex" / "x.png")
    (inside / "sub").symlink_to(outside)
    below = walk(inside)
    assert [path.name for path in below.files] == ["a.png", "c.png"]
    assert [(path.name, why.split(";")[0]) for path, why in below.broken] == [
        ("gone.png", "is a link to a file that is not there"),
        ("sub", f"leads out of {inside}"),
    ]


@pytest.mark.parametrize(
    ("named", "answer"),
    [
        ("a.raw", ["a.raw"]),
        ("LOCAL", []),
        ("../a.raw", "names the data file '../a.raw'; expected one file beside it"),
        ("slice%03d.raw 1 3 1", "names the data file"),
        ("LIST", "names the data file"),
    ],
)
def test_a_header_names_the_file_beside_it(
    named: str, answer: list[str] | str, tmp_path: Path
) -> None:
    header = tmp_path / "a.mhd"
    header.write_text(f"ObjectType = Image\nElementDataFile = {named}\n")
    if isinstance(answer, str):
        with pytest.raises(UsageError, match=answer):
            sides(header)
    else:
        assert [path.name for path in sides(header)] == answer


def side(tmp_path: Path, kind: str, names: list[str]) -> pairing.Side:
    folder = tmp_path / kind
    for name in names:
        touch(folder / name)
    return pairing.side(folder, walk(folder), SUFFIXES)


PAIRS: dict[str, tuple[list[str], list[str], dict[str, str]]] = {
    "equal": (["a.png", "b.PNG"], ["A.nii.gz", "b.png"], {"a.png": "A.nii.gz", "b.PNG": "b.png"}),
    "mask": (
        ["a.png", "b.png"],
        ["a_mask.png", "b_mask.png"],
        {"a.png": "a_mask.png", "b.png": "b_mask.png"},
    ),
    "nnunet": (["a_0000.nii.gz"], ["a.nii.gz"], {"a_0000.nii.gz": "a.nii.gz"}),
    "both": (["a_image.png"], ["a_Segmentation.png"], {"a_image.png": "a_Segmentation.png"}),
    "exact first": (["a.png"], ["a.png", "a_seg.png"], {"a.png": "a.png"}),
    "ambiguous": (["a.png"], ["a_seg.png", "a_mask.png"], {}),
    "two channels": (["a_0000.png", "a_image.png"], ["a.png"], {}),
    "accents": (["Ko\u0308ln.png"], ["K\u00f6ln_seg.png"], {"Ko\u0308ln.png": "K\u00f6ln_seg.png"}),
    "folders": (
        ["x/a.png", "y/a.png"],
        ["y/a_seg.png", "x/a_seg.png"],
        {"x/a.png": "x/a_seg.png", "y/a.png": "y/a_seg.png"},
    ),
}


@pytest.mark.parametrize("what", PAIRS)
def test_masks_are_paired_where_it_is_unambiguous(what: str, tmp_path: Path) -> None:
    images, masks, expected = PAIRS[what]
    left, right = side(tmp_path, "images", images), side(tmp_path, "masks", masks)
    paired, alone, spare = pairing.pairs(left, right)
    told = {
        pair.image.relative_to(left.folder).as_posix(): pair.mask.relative_to(
            right.folder
        ).as_posix()
        for pair in paired
    }
    assert told == expected
    assert len(alone) == len(images) - len(expected)
    assert len(spare) == len(masks) - len(expected)
    assert all(pair.how for pair in paired) == (what not in ("equal", "exact first"))


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        (
            ["21_training.png", "22_training.png"],
            ["21_manual1.png", "22_manual1.png"],
            ("_training", "_manual1"),
        ),
        (["a.png", "b.png"], ["a_gt2.png", "b_gt2.png"], ("", "_gt2")),
        (["a_1.png", "b_1.png"], ["a_1_x.png", "b_1_x.png"], ("", "_x")),
        (["a.png", "b.png"], ["c.png", "d.png"], None),
    ],
)
def test_a_shared_ending_is_named_once(
    images: list[str], masks: list[str], expected: tuple[str, str] | None, tmp_path: Path
) -> None:
    left, right = side(tmp_path, "images", images), side(tmp_path, "masks", masks)
    ends = pairing.endings(left, right)
    assert ends == expected
    if ends:
        paired, alone, spare = pairing.pairs(
            pairing.without(left, ends[0]), pairing.without(right, ends[1])
        )
        assert (len(paired), alone, spare) == (len(images), [], [])
