"""Classes and instances in colours: each state of an instance is drawn and said."""

from __future__ import annotations

import base64
import io
import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.engine.parts import of_components, of_labels, of_mask, with_classes
from bench.report.figures import parts, pictures
from bench.report.figures.parts import BLACK, WHITE
from bench.report.page import html
from bench.report.sections.table import Table, collect
from bench.store.cells import Store
from bench.store.results import Results
from tests.user import Bench

WHOLE = (slice(None), slice(None))


def spine(*levels: int) -> NDArray[np.uint16]:
    labels = np.zeros((26 * len(levels) + 6, 60), np.uint16)
    for place, level in enumerate(levels):
        labels[6 + 26 * place : 26 + 26 * place, 20:40] = level
    return labels


def middle(drawn: parts.Drawn, place: int) -> set[int]:
    """Return the colours inside of a vertebra, its outline apart."""
    return set(np.unique(drawn.pixels[9 + 26 * place : 23 + 26 * place, 23:37]).tolist())


def drawn(mask: NDArray[np.uint16], labels: NDArray[np.uint16], named: bool = False) -> parts.Drawn:
    found = of_labels(mask) if named else of_components(mask > 0)
    return parts.prediction(found, of_labels(labels), WHOLE, 256, "ct-verse")


def test_what_matches_has_the_colour_of_its_reference_and_what_was_missed_a_dashed_outline() -> (
    None
):
    labels = spine(20, 21, 22)
    picture = drawn(spine(20, 0, 22), labels)
    assert [middle(picture, place) for place in range(3)] == [
        {parts.number_of(20)},
        {0},
        {parts.number_of(22)},
    ]
    assert set(np.unique(picture.pixels[32:52, 20])) == {WHITE, BLACK}
    assert picture.words == "2 of 3 found; missed L2"
    reference = parts.classes(labels, 256)
    assert middle(reference, 1) == {parts.number_of(21)}


def test_joined_split_shifted_and_other_instances_are_told_apart() -> None:
    labels = spine(20, 21, 22)
    joined = spine(20, 21, 22)
    joined[26:32, 25:35] = 1
    picture = drawn(joined, labels)
    assert middle(picture, 0) == middle(picture, 1) == {parts.number_of(20), parts.number_of(21)}
    assert picture.words == "1 of 3 found; joined L1, L2"
    split = spine(20, 21, 22)
    split[14:18] = 0
    picture = drawn(split, labels)
    assert (picture.pixels[6, 20:40] == WHITE).all()
    assert picture.words == "2 of 3 found; split L1"
    picture = drawn(labels + np.uint16(1) * (labels > 0), labels, named=True)
    assert middle(picture, 0) == {parts.number_of(21)}
    assert picture.words == "3 of 3 found; shifted L1 as L2, L2 as L3, L3 as L4"
    extra = spine(20, 21, 22)
    extra[:, 50:56] = 1
    picture = drawn(extra, labels)
    assert set(np.unique(picture.pixels[:, 50:56])) == {BLACK}
    assert picture.words == "3 of 3 found; 1 of no instance"


def test_words_count_what_the_picture_paints_black() -> None:
    labels = spine(20, 21, 22)
    part = spine(20, 21, 22)
    part[10] = 0  # L1 is matched by its larger part; the smaller one is a part of it too
    picture = drawn(part, labels)
    assert BLACK not in picture.pixels
    assert picture.words == "3 of 3 found"
    missed_and_extra = spine(20, 0, 22)
    missed_and_extra[:, 50:56] = 1
    picture = drawn(missed_and_extra, labels)
    assert set(np.unique(picture.pixels[:, 50:56])) == {BLACK}
    assert picture.words == "2 of 3 found; missed L2; 1 of no instance"


def test_what_is_predicted_as_another_class_is_missed() -> None:
    labels = spine(20, 21, 22)
    numbers = np.where(labels, 1 + (labels == 22), 0).astype(np.uint8)
    swapped = np.where(numbers == 2, 1, numbers).astype(np.uint8)
    reference = with_classes(of_labels(labels), numbers)
    found = of_mask(swapped, numbers, (0, 0))
    picture = parts.prediction(found, reference, WHOLE, 256, "ct-verse")
    assert picture.words == "2 of 3 found; missed L3; 1 of no instance"
    assert middle(picture, 2) == {BLACK}


def test_neighbours_have_different_colours_and_names_are_verses() -> None:
    numbers = [parts.number_of(level) for level in range(1, 30)]
    assert all(one != other for one, other in pairwise(numbers))
    names = [parts.name_of("ct-verse", level) for level in (1, 7, 8, 19, 20, 25, 28)]
    assert names == ["C1", "C7", "T1", "T12", "L1", "L6", "T13"]
    assert parts.name_of("mr", 3) == "3"


@pytest.fixture
def table(bench: Bench) -> Table:
    """Return the table of a folder of spines, of which one method names each a level too high."""
    for name, shift in (("labels", 0), ("high", 1)):
        (bench.home / name).mkdir()
        labels = spine(20, 21, 22)
        labels[labels > 0] += shift
        for case in ("a_1", "b_1", "c_1"):
            cv2.imwrite(str(bench.home / name / f"{case}.png"), labels.astype(np.uint8))
    bench(
        *("score", "--reference", "labels", "--pattern", "{patient}_*", "--foreground", ">0"),
        *("--instances", "--predictions", "High=high"),
    )
    (only,) = collect(Results.load(Store(Path("results"))))
    return only


def test_the_page_shows_instances_and_says_what_became_of_them(table: Table) -> None:
    (column,) = table.columns
    shown = pictures.case(pictures.places(table), column, list(table.methods), "a_1")
    assert shown is not None
    assert shown["words"] == ["3 of 3 found; shifted 20 as 21, 21 as 22, 22 as 23"]
    encoded = shown["answers"][0].split(",")[1]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert {parts.number_of(21), WHITE} <= set(np.unique(pixels).tolist())
    page = html.page([table], {table.source: []})
    assert "MutationObserver" in page
    assert json.dumps(parts.MEANING) in page


def test_a_page_without_instances_is_as_it_was(bench: Bench, table: Table) -> None:
    words = ("score", "--reference", "labels", "--pattern", "{patient}_*", "--foreground", ">0")
    bench(*words, "--predictions", "High=high", "--out", "plain")
    plain = collect(Results.load(Store(bench.home / "plain")))
    page = html.page(plain, {one.source: [] for one in plain})
    assert "MutationObserver" not in page
    assert '"words"' not in page
