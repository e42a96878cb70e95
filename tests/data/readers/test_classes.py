"""Which labels are which class: the option, its files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.readers.classes import Classes
from bench.spec.case import Census
from bench.spec.errors import UsageError

SPINE = "vertebra=1-7+9/disc=10-16/background=8"


def census(*labels: str) -> Census:
    return Census(dict.fromkeys(("0", *labels), 5), {("0", *labels): "a.png"})


def test_the_option_names_classes_in_order() -> None:
    decision = Classes.parse(SPINE).decide(census("1", "9", "8", "10", "16"))
    assert [name for name, _ in decision.classes] == ["vertebra", "disc"]
    assert [set(labels) for _, labels in decision.classes] == [{"1", "9"}, {"10", "16"}]
    assert decision.foreground == {"1", "9", "10", "16"}
    assert not decision.void


def test_one_class_is_one_foreground() -> None:
    decision = Classes.parse("vertebra=1-7/background=others").decide(census("1", "2", "20"))
    assert decision.foreground == {"1", "2"}
    assert decision.classes == ()


def test_a_void_label_makes_one_class_a_class() -> None:
    decision = Classes.parse("organ=1/void=255").decide(census("1", "255"))
    assert decision.void == {"255"}
    assert [name for name, _ in decision.classes] == ["organ"]


def test_labels_of_palettes_colours_and_volumes_are_matched() -> None:
    by_colour = Classes.parse("a=#ff0000/b=2").decide(census("1 #ff0000", "2 #00ff00"))
    assert dict(by_colour.classes) == {"a": {"1 #ff0000"}, "b": {"2 #00ff00"}}
    volumes = Classes.parse("bone=1-25/disc=201-225").decide(census("spider-3", "spider-204"))
    assert dict(volumes.classes) == {"bone": {"spider-3"}, "disc": {"spider-204"}}


def test_white_is_white_in_masks_that_are_grey_too() -> None:
    decision = Classes.parse("bone=#ffffff/disc=#ff0000").decide(
        census("#ffffff", "#ff0000", "255")
    )
    assert dict(decision.classes) == {"bone": {"#ffffff", "255"}, "disc": {"#ff0000"}}


@pytest.mark.parametrize("name", ["ignore", "Void", "VOID"])
def test_what_is_void_may_be_called_as_nnunet_calls_it(name: str, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(f"class,labels\na,1\nb,2\n{name},9\n", "utf-8")
    for text in (f"a=1/b=2/{name}=9", str(table)):
        assert Classes.parse(text).decide(census("1", "2", "9")).void == {"9"}


def test_a_name_that_stands_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"bone": "1-2", "disc": 9, "bone": "3"}', "utf-8")
    with pytest.raises(UsageError, match="names bone twice; join its labels in a list"):
        Classes.parse(str(path))


@pytest.mark.parametrize(
    ("text", "label", "said"),
    [
        ("a=1/b=2", "3 #00ff00", "label 3 is in no class of .*: background=3 or void=3"),
        ("a=#ff0000/b=2", "3 #00ff00", "label #00ff00 is in no .*: background=#00ff00 or void=#"),
        ("a=1/b=2", "spider-7", "label 7 is in no class of .*: background=7 or void=7"),
        ("a=1/b=2", "-1", "label -1 is in no class of .*: background=others"),
    ],
)
def test_a_label_in_no_class_is_named_as_the_mapping_names_them(
    text: str, label: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        Classes.parse(text).decide(census("1 #ff0000", "2", label))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a=1-5/b=5-9", "label 5 is both a and b; expected classes that exclude each other"),
        ("a=1/A=2", "names a twice"),
        ("a=0/b=1", "a has the label 0, which is the background"),
        ("a=5-1/b=9", "5-1 of a is no range"),
        ("a=1/union=2", "'union' cannot name a class"),
        ("a=x/b=2", "'x' of a is no label"),
        ("a=1/b", "'b' is no NAME=LABELS"),
        ("background=1", "names 0 classes"),
    ],
)
def test_what_is_no_mapping_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="labels=") as error:
        Classes.parse(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (("1", "8", "10"), "a.png: label 8 is in no class of labels=vertebra=1-7/disc=10-16"),
        (("1", "2"), "class disc occurs in no mask; they hold 1, 2"),
        (("spider-1", "verse-10"), "are of spider and verse, which number"),
    ],
)
def test_masks_that_do_not_fit_are_refused(held: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as error:
        Classes.parse("vertebra=1-7/disc=10-16").decide(census(*held))
    assert said in str(error.value)


def test_files_say_the_same_as_the_option(tmp_path: Path) -> None:
    wanted = Classes.parse("vertebra=1-7+9/disc=10-16/background=8").text
    plain, table = tmp_path / "labels.json", tmp_path / "labels.csv"
    plain.write_text(
        json.dumps({"vertebra": ["1-7", 9], "disc": "10-16", "background": 8}), "utf-8"
    )
    table.write_text("class,labels\nvertebra,1-7+9\ndisc,10-16\nbackground,8\n", "utf-8")
    assert Classes.parse(str(plain)).text == Classes.parse(str(table)).text == wanted


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "vertebra": 1, "disc": [2, 3], "ignore": 4},
        {"0": "background", "1": "vertebra", "2": "disc", "3": "disc2", "4": "ignore"},
    ],
)
def test_nnunets_dataset_json_is_read(tmp_path: Path, labels: dict[str, object]) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": labels, "numTraining": 3}), "utf-8")
    classes = Classes.parse(str(path))
    assert classes.names[:2] == ("vertebra", "disc")
    assert classes.owner("4") == "void"
    assert classes.owner("0") == "background"


@pytest.mark.parametrize("text", ["[1]", "{", '{"labels": 3}', "{}"])
def test_files_without_classes_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match="labels"):
        Classes.parse(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        Classes.parse(str(tmp_path / "none.json"))


@given(st.lists(st.sets(st.integers(1, 300), min_size=1, max_size=9), min_size=1, max_size=4))
def test_each_label_has_one_class_or_the_mapping_is_refused(groups: list[set[int]]) -> None:
    text = "/".join(f"c{n}={'+'.join(map(str, own))}" for n, own in enumerate(groups))
    whole = set().union(*groups)
    if len(whole) < sum(map(len, groups)):
        with pytest.raises(UsageError, match="is both"):
            Classes.parse(text)
        return
    classes = Classes.parse(text)
    assert Classes.parse(classes.text).text == classes.text
    for number, own in enumerate(groups):
        assert {classes.owner(str(label)) for label in own} == {f"c{number}"}
    assert classes.owner("301") == ""
