from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.splits import Splitting, make_splits, parse_splits, read_splits, write_splits
from bench.spec import names
from bench.spec.case import SIDES, Split
from bench.spec.errors import UsageError
from bench.spec.formulas import harmless

patients = st.lists(
    st.text("abcxyz0123456789-_ ,", min_size=1, max_size=8), min_size=5, max_size=60, unique=True
)


@given(patients, st.integers(1, 5))
def test_every_patient_is_on_one_side_and_every_side_has_one(names: list[str], folds: int) -> None:
    for split in make_splits(names, folds):
        assert set(split.sides) == set(names)
        assert set(split.sides.values()) == set(SIDES)


@given(patients, st.integers(2, 5))
def test_a_cross_validation_tests_each_patient_once(names: list[str], folds: int) -> None:
    tested = [
        name
        for split in make_splits(names, folds)
        for name, side in split.sides.items()
        if side == "test"
    ]
    assert sorted(tested) == sorted(names)


@given(patients, st.randoms())
def test_the_order_of_patients_does_not_matter(names: list[str], random: Random) -> None:
    mixed = list(names)
    random.shuffle(mixed)
    assert make_splits(mixed) == make_splits(names)


def test_the_holdout_is_70_10_20() -> None:
    sides = list(make_splits([f"p{i}" for i in range(200)])[0].sides.values())
    assert [sides.count(side) for side in SIDES] == [140, 20, 40]


names_of_any_kind = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8),
        st.text(' ,;"a', min_size=1, max_size=6),
        st.sampled_from(["NA", "None", "null", "001", "1e5", "Smith, John", '"a"', "train"]),
    ),
    min_size=5,
    max_size=20,
    unique=True,
)


@given(names_of_any_kind, st.integers(1, 3))
def test_a_split_of_any_names_reads_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], folds: int
) -> None:
    path = tmp_path_factory.mktemp("split") / "split.csv"
    splits = make_splits(names, folds)
    text = write_splits(splits)
    path.write_bytes(text.encode())
    assert read_splits(path, names) == splits
    assert write_splits(read_splits(path, names)) == text


def written_before(splits: list[Split]) -> str:
    """Return what versions wrote that put no name into quotes."""
    lines = ["fold,patient,side"]
    for fold, split in enumerate(splits):
        lines += [f"{fold},{patient},{side}" for patient, side in split.sides.items()]
    return "\n".join([*lines, ""])


@given(patients, st.integers(1, 3))
def test_a_split_of_an_older_version_is_read_and_stays_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], folds: int
) -> None:
    path = tmp_path_factory.mktemp("split") / "split.csv"
    splits = make_splits(names, folds)
    path.write_text(written_before(splits))
    assert read_splits(path, names) == splits
    if not any("," in name or harmless(name) != name for name in names):
        assert write_splits(splits) == path.read_text()


def test_the_split_of_old_results_is_written_again_as_it_is() -> None:
    files = sorted((Path(__file__).parents[1] / "store" / "old").rglob("split.csv"))
    assert files
    for path in files:
        assert write_splits(parse_splits(path)) == path.read_text()


@given(patients, st.sampled_from([",", ";", "\t"]), st.sampled_from(["utf-8-sig", "utf-16"]))
def test_a_split_may_be_a_table_of_any_program(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], delimiter: str, encoding: str
) -> None:
    path = tmp_path_factory.mktemp("split") / "mine.csv"
    names = [f"p{number}{name}x" for number, name in enumerate(names)]
    splits = make_splits(names, 2)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["Patient", "note", "Side", "FOLD"])
    for fold, split in enumerate(splits):
        writer.writerows((name, "", side, fold) for name, side in split.sides.items())
    path.write_bytes(text.getvalue().encode(encoding))
    assert read_splits(path, names) == splits


@given(patients, st.integers(1, 3))
def test_a_written_split_reads_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], folds: int
) -> None:
    path = tmp_path_factory.mktemp("split") / "split.csv"
    splits = make_splits(names, folds)
    path.write_text(write_splits(splits))
    assert read_splits(path, names) == splits


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"2 patients \(a, b\) cannot be split: .* correct the pattern"
    ):
        make_splits(["a", "b"])
    with pytest.raises(
        UsageError, match=r"3 patients \(a, b, c\) cannot be split: expected at least 4"
    ):
        make_splits(["a", "b", "c"], folds=2)
    with pytest.raises(UsageError, match="expected at least 7"):
        make_splits(list("abcdef"), folds=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold,patient,side\n0,a,train\n0,a,test\n", "patient a is on two sides"),
        ("fold,patient,side\n0,a,training\n", "side 'training'"),
        ("fold,patient,side\n0,a\n", "expected fold,patient,side"),
        ("patient,side\n", "is no split file"),
        ("", "is empty; expected the columns fold, patient, side"),
        ("fold,patient,side\n", "is no split file"),
        ("fold,patient,side\n0,,train\n", "line 2: '0,,train', expected fold,patient,side"),
        ("fold,patient,side\nx,a,train\n", "line 2: the fold is 'x', expected a number such as 0"),
        ("fold;patient;side\n0;a;train\n0;a\n", "line 3: column side is missing"),
        ("Fold,patient,side\n0,a,b,train\n", "line 2: 4 fields where the header has 3"),
        (
            "fold,patient,side\n0,a,train\n0,b,validation\n0,d,test\n0,c,test\n",
            "has no patient d; remove the line",
        ),
        (
            "fold,patient,side\n0,a_1.png,train\n0,b_1.png,validation\n0,c_1.png,test\n",
            r"none of its names, such as a_1[.]png, is a patient; expected .* such as a: write",
        ),
        (
            "fold,patient,side\n0,a,train\n0,b,validation\n0,d,test\n",
            "fold 0 lacks patient c; give it a side, unused",
        ),
        ("fold,patient,side\n0,a,train\n0,b,train\n0,c,test\n", "fold 0 has no validation patient"),
        (f"fold,patient,side\n{'9' * 5000},a,train\n", "line 2: the fold is '99.*, expected a"),
        (
            "fold,patient,side\n0,a,train\n2,a,train\n",
            "its column fold holds 0, 2; expected folds from 0, or from 1, without a gap",
        ),
        ("sep=,\nfold,patient,side\n0,a,x\n", "line 3: side 'x'"),
        (
            "fold,patient,side\n1,0,a,train\n2,0,b,validation\n3,0,c,test\n",
            "fold 1 has no validation patient.*; the lines have a number before fold,patient,side",
        ),
        (
            'fold,patient,side\n0,"a,train\n0,b,validation\n0,c,test\n',
            "fold 0 lacks patient a; .*; is '\"a' meant",
        ),
        (
            "fold,patient,side\n0,A,train\n0,B,validation\n0,c,test\n",
            r"in fold 0 A \(and 1 more\) differs by case from the dataset's a; write names as the",
        ),
        (
            "fold,patient,side\n0,a\u200b,train\n0,b,validation\n0,c,test\n",
            r"fold 0 lacks patient a; .*; is 'a\\u200b' meant",
        ),
    ],
)
def test_a_damaged_split_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_splits(path, ["a", "b", "c"])


NAMES = ["M\u00fcller", "Smith, John", " c "]
PLAIN = '0,M\u00fcller,train\n0,"Smith, John",validation\n0, c ,test\n'
"""Names of a dataset: with an accent, a comma and blanks at its ends."""


@pytest.mark.parametrize(
    "text",
    [
        f"fold,patient,side\n{PLAIN}",
        f"fold,patient,side \n{PLAIN}",
        'fold,patient,side\n0, M\u00fcller, train\n0, "Smith, John", validation\n0, c, test\n',
        "fold,patient,side\n0,M\u00fcller ,Train,\n0,Smith, John,val,\n0,c,TEST,\n",
        'fold,patient,side\n0.0,M\u00fcller\u00a0,train\n0.0,"Smith, John",val\n0.0,c,test\n',
        f"fold,patient,side\n{unicodedata.normalize('NFD', PLAIN)}",
        f"fold,patient,side\n{PLAIN}".replace("0,", "1,"),
        "fold,patient,side\n" + PLAIN.replace('"', "").replace("\n", "\r"),
        'sep=;\nfold;patient;side\n1;M\u00fcller;train\n1;"Smith, John";Validation\n1;c;test\n',
    ],
)
def test_a_split_that_is_clear_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(text.encode())
    sides = dict(zip(NAMES, SIDES, strict=True))
    assert [split.sides for split in read_splits(path, NAMES)] == [sides]
    assert [split.sides for split in Splitting(file=path).split(NAMES)] == [sides]


def test_folds_may_stand_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    splits = make_splits(list("abcdef"), 3)
    header, *lines = write_splits(splits).splitlines()
    path.write_text("\n".join([header, *reversed(lines)]))
    assert read_splits(path, list("abcdef")) == splits


def test_a_spelling_that_is_not_clear_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("fold,patient,side\n0,a ,train\n0,a,validation\n0,b,test\n")
    with pytest.raises(UsageError, match="it has no patient a "):
        read_splits(path, ["a", "b"])
    assert read_splits(path, ["a", "a ", "b"])


def test_a_guessed_encoding_is_told_where_names_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes("fold,patient,side\n0,\u5f20\u4f1f,train\n0,b,val\n0,c,test\n".encode("gbk"))
    with pytest.raises(UsageError, match=r"mine.csv is read as cp1252 \(Windows\)"):
        read_splits(path, ["\u5f20\u4f1f", "b", "c"])


def test_a_letter_of_another_encoding_is_no_blank(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"fold,patient,side\n0,Novotn\xa0,train\n0,b,val\n0,c,test\n")
    with pytest.raises(UsageError, match=r"mine.csv line 2: .* save it as UTF-8"):
        read_splits(path, ["Novotn", "b", "c"])


def own(tmp_path: Path, text: str, **wish: float) -> Splitting:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    return Splitting(file=path, **wish)  # type: ignore[arg-type]


FIVE = (
    "fold,patient,side\r\n0,a,train\r\n0,b,validation\r\n"
    "0,c,test\r\n\r\n0,d,unused\r\n0,e,train\r\n"
)


def test_ones_own_split_is_used_as_it_is(tmp_path: Path) -> None:
    scheme = own(tmp_path, FIVE)
    assert scheme.count == 1
    assert scheme.split(list("abcde"))[0].sides == {
        "a": "train",
        "b": "validation",
        "c": "test",
        "d": "unused",
        "e": "train",
    }


def test_the_name_of_ones_own_split_follows_what_it_says(tmp_path: Path) -> None:
    """Not the file's name, its line ends or its blank lines."""
    one = own(tmp_path, FIVE).scheme.name
    assert one.startswith("own-")
    assert own(tmp_path, FIVE.replace("\r", "")).scheme.name == one
    assert own(tmp_path, FIVE.replace("0,d,unused", "0,d,test")).scheme.name != one


@given(patients, st.integers(1, 5), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_smaller_share_of_patients_is_part_of_a_larger(
    names: list[str], folds: int, a: float, b: float
) -> None:
    def sides(fraction: float, side: str) -> list[set[str]]:
        splits = Splitting(folds, fraction=fraction).split(names)
        return [{name for name, each in split.sides.items() if each == side} for split in splits]

    few, many, whole = sides(min(a, b), "train"), sides(max(a, b), "train"), sides(1, "train")
    for small, large, every in zip(few, many, whole, strict=True):
        assert small <= large <= every
        assert len(small) == max(1, round(min(a, b) * len(every)))
    assert sides(a, "test") == sides(1, "test")
    assert sides(a, "validation") == sides(1, "validation")


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"fraction": 0}, "--fraction 0 is no share"),
        ({"fraction": 1.5}, "--fraction 1.5"),
        ({"folds": 2, "file": Path("x.csv")}, "the file says how many folds; give one"),
    ],
)
def test_a_contradiction_is_refused(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Splitting(**wish)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ((1, "", False), "one 70/10/20 split by patient"),
        ((5, "", True), "5 folds by patient"),
        ((1, "", True), "the publisher's test side, the others 7 to 1 by patient"),
        (
            (1, "fraction0.25", False),
            "one 70/10/20 split by patient, 25 % of the training patients used",
        ),
        (
            (3, "own-1f2e3d4c-fraction0.5", False),
            (
                "a split of the user's own (1f2e3d4c) by patient, 3 folds, 50 % of the training"
                " patients used"
            ),
        ),
    ],
)
def test_how_patients_were_split_is_said_in_words(way: tuple[int, str, bool], said: str) -> None:
    folds, name, official = way
    assert names.Scheme(folds, name).words(official) == said


@pytest.mark.parametrize("separator", [",", ";"])
def test_empty_rows_at_the_end_are_none(separator: str, tmp_path: Path) -> None:
    rows = ["fold,patient,side", "0,a,train", "0,b,validation", "0,c,test", ",,", ",,"]
    path = tmp_path / "split.csv"
    path.write_text("\n".join(rows).replace(",", separator) + "\n")
    (split,) = read_splits(path, ["a", "b", "c"])
    assert dict(split.sides) == {"a": "train", "b": "validation", "c": "test"}
