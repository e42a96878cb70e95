"""Names survive being written and read, and no two meet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.spec.errors import UsageError
from bench.spec.names import Column, DatasetId, Label, Row, Scheme, Spec, safe_name

WORDS = st.text("abcxyz019_-", min_size=1, max_size=8)
PAIRS = st.builds("{}={}".format, WORDS, st.text("abcXYZ019_.+-/", max_size=8))
SPECS = st.builds(Spec, WORDS, st.lists(PAIRS, max_size=3).map(tuple))
ROWS = st.builds(Row, SPECS, st.just("") | WORDS)
HEX = st.text("0123456789abcdef", min_size=8, max_size=8)
SHARES = st.floats(0.01, 0.99).map("fraction{:g}".format)
SPECIAL = st.one_of(
    st.just(""), HEX.map("own-{}".format), SHARES, st.builds("own-{}-{}".format, HEX, SHARES)
)
SCHEMES = st.builds(Scheme, st.integers(1, 20), SPECIAL)
SOURCES = st.sampled_from(["real", "phantom"])
DATASETS = st.builds(DatasetId, WORDS | st.just("odd@name"), SOURCES, HEX)
COLUMNS = st.builds(Column, DATASETS, SCHEMES)
LABELS = st.builds(Label, st.integers(0, 19), st.integers(0, 99999), SCHEMES)


@given(SPECS)
def test_a_spec_is_read_back_from_its_key_and_from_its_folder(spec: Spec) -> None:
    assert Spec.parse(spec.key) == spec
    assert Spec.of_folder(spec.folder) == spec
    assert ":" not in spec.folder


@given(SPECS)
def test_an_option_that_is_taken_away_is_gone(spec: Spec) -> None:
    for option in spec.options:
        assert option not in spec.without(option).options
    assert spec.without("no=such") == spec


@given(ROWS)
def test_a_row_is_read_back_from_its_key(row: Row) -> None:
    assert Row.parse(row.key) == row
    assert row.folder == row.key.replace(":", ",")


def test_a_further_row_is_told_from_an_option() -> None:
    assert Row.parse("verdiff:steps=9:prior") == Row(Spec("verdiff", ("steps=9",)), "prior")
    assert Row.parse("verdiff:steps=9") == Row(Spec("verdiff", ("steps=9",)))
    assert Row.parse("verdiff:prior").title("Net") == "Net, prior alone"


@given(LABELS)
def test_a_label_is_read_back_from_its_key(label: Label) -> None:
    known = label.scheme if label.scheme.folds > 1 else Scheme(1, label.scheme.name)
    assert Label.parse(label.key) == Label(label.fold, label.seed, known)
    assert f"s{label.seed}" in label.key
    assert label.of_any_seed == Label(label.fold, label.seed + 1, label.scheme).of_any_seed


@pytest.mark.parametrize("text", ["", "f0", "s35", "f-s35", "f0of-s35", "f0-s35-", "x-f0-s35"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no label"):
        Label.parse(text)


@given(COLUMNS, COLUMNS)
def test_two_columns_never_share_a_name(one: Column, other: Column) -> None:
    assert (one.key == other.key) == (one == other)
    assert (one.folder == other.folder) == (one == other)


@given(SCHEMES, SCHEMES)
def test_two_schemes_never_share_a_name(one: Scheme, other: Scheme) -> None:
    assert (one.key == other.key) == (one == other)


@given(DATASETS)
def test_a_dataset_says_in_its_key_what_it_is(dataset: DatasetId) -> None:
    assert DatasetId.name_in(dataset.key) == dataset.name
    assert DatasetId.source_in(dataset.key) == dataset.source
    assert dataset.key.endswith(dataset.version)
    assert dataset.folder == dataset.key


@pytest.mark.parametrize(
    ("scheme", "title"),
    [
        (Scheme(), ""),
        (Scheme(5), "5-fold"),
        (Scheme(1, "fraction0.25"), "25 % of train"),
        (Scheme(3, "own-1f2e3d4c-fraction0.5"), "3-fold own split 1f2e3d4c 50 % of train"),
    ],
)
def test_a_heading_says_how_patients_were_split(scheme: Scheme, title: str) -> None:
    assert scheme.title == title
    column = Column(DatasetId("mr", "real", "0123456789"), scheme)
    assert column.title("MR", version=False) == " ".join(filter(None, ("MR", title)))
    assert "01234567" in column.title("MR", version=True)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "-x", "a\nb", "<b>", "x" * 151, "a..b"])
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        safe_name(name, "name")


@pytest.mark.parametrize(
    ("scheme", "takes"),
    [
        (Scheme(), True),
        (Scheme(1, "fraction0.25"), True),
        (Scheme(5), False),
        (Scheme(1, "own-1f2e3d4c"), False),
    ],
)
def test_only_one_split_that_is_not_the_users_own_takes_the_publishers_test_side(
    scheme: Scheme, takes: bool
) -> None:
    assert scheme.takes_official is takes
