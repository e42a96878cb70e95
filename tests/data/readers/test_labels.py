"""Masks of any encoding over a whole set, compared with the classes that they were drawn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.data.readers import raster
from bench.data.readers.classes import Classes
from bench.data.readers.labels import choose, decode
from bench.data.readers.picture import Picture
from bench.spec.case import Census
from bench.spec.errors import UsageError

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
FILE = Path("mask")


def census(masks: Sequence[np.ndarray | Picture]) -> tuple[Census, list[np.ndarray]]:
    """Return what occurs in masks, and each mask as an array of labels."""
    counts: Counter[str] = Counter()
    sets: dict[tuple[str, ...], str] = {}
    arrays = []
    for number, mask in enumerate(masks):
        picture = mask if isinstance(mask, Picture) else Picture(mask)
        codes, labels, _ = decode(picture, FILE)
        named = np.array(labels)[codes]
        held, times = np.unique(named, return_counts=True)
        counts.update(dict(zip(held.tolist(), times.tolist(), strict=True)))
        sets.setdefault(tuple(held.tolist()), f"mask {number}")
        arrays.append(named)
    return Census(dict(counts), sets), arrays


def foreground(masks: Sequence[np.ndarray | Picture], option: str = "") -> list[np.ndarray]:
    """Return what is foreground in each mask."""
    known, arrays = census(masks)
    chosen = choose(known, option).foreground
    return [np.isin(array, list(chosen)) for array in arrays]


def file_of(image: Image.Image, tmp_path: Path, **how: object) -> Picture:
    path = tmp_path / "mask.png"
    image.save(path, **how)
    return raster.read(path, 1000)


CLASSES = st.lists(st.integers(0, 4), min_size=24, max_size=24).map(
    lambda values: np.array([0, 1, *values[2:]], np.uint8).reshape(6, 4)
)


@settings(max_examples=50, deadline=None)
@given(st.lists(CLASSES, min_size=1, max_size=3), st.integers(1, 4), st.data())
def test_a_colour_is_found_in_any_palette_and_in_rgb(
    drawn: list[np.ndarray], wanted: int, data: st.DataObject
) -> None:
    masks = []
    for classes in drawn:
        colours = np.array(COLOURS, np.uint8)
        if data.draw(st.booleans()):
            masks.append(Picture(colours[classes]))
            continue
        order = np.array(data.draw(st.permutations(range(5))))
        palette = np.zeros((256, 3), np.uint8)
        palette[:5] = colours[order]
        masks.append(Picture(np.argsort(order)[classes].astype(np.uint8), palette))
    red, green, blue = COLOURS[wanted]
    option = f"foreground=#{red:02x}{green:02x}{blue:02x}".partition("=")[2]
    if not any((classes == wanted).any() for classes in drawn):
        with pytest.raises(UsageError, match="occurs in no mask"):
            foreground(masks, option)
        return
    for mask, classes in zip(foreground(masks, option), drawn, strict=True):
        np.testing.assert_array_equal(mask, classes == wanted)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(CLASSES, min_size=1, max_size=3),
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64]),
    st.sets(st.integers(1, 4), min_size=1, max_size=3),
    st.sampled_from([1, 2, 40]),
)
def test_numbers_are_found_in_any_type(
    drawn: list[np.ndarray], kind: type, wanted: set[int], factor: int
) -> None:
    held = set(np.unique(np.stack(drawn)).tolist())
    masks = [(classes.astype(int) * factor).astype(kind) for classes in drawn]
    option = "+".join(str(value * factor) for value in wanted)
    if not wanted <= held:
        with pytest.raises(UsageError, match="occurs in no mask"):
            foreground(masks, option)
        return
    for mask, classes in zip(foreground(masks, option), drawn, strict=True):
        np.testing.assert_array_equal(mask, np.isin(classes, list(wanted)))


def binary(value: int) -> np.ndarray:
    mask = np.zeros((6, 4), np.uint16)
    mask[2:4] = value
    return mask


@pytest.mark.parametrize("option", ["", "1", "255"])
def test_files_of_1_and_of_255_are_one_set(option: str) -> None:
    for mask in foreground([binary(1), binary(255), binary(0)], option):
        assert mask.sum() in (0, 8)
        assert mask[2:4].all() or not mask.any()


def test_the_brighter_grey_of_a_palette_is_foreground_wherever_it_stands(tmp_path: Path) -> None:
    image = Image.fromarray(1 - binary(1).astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])
    (mask,) = foreground([file_of(image, tmp_path)])
    np.testing.assert_array_equal(mask, binary(1) == 1)


def test_one_colour_beside_black_is_no_choice() -> None:
    red = np.zeros((6, 4, 3), np.uint8)
    red[2:4] = 255, 0, 0
    (mask,) = foreground([Picture(red)])
    np.testing.assert_array_equal(mask, binary(1) == 1)


REFUSED: dict[str, tuple[list[np.ndarray], str, str]] = {
    "nowhere": (
        [binary(2), binary(5)],
        "3",
        r"foreground=3: 3 occurs in no mask; they hold 2 and 5",
    ),
    "a choice": (
        [binary(2), binary(5)],
        "",
        r"values 2 \(.* %\), 5 \(.* %\) beside 0.* foreground=2",
    ),
    "one of two": ([binary(2), binary(5)], "2+1", r"1 occurs in no mask"),
    "nothing": ([binary(0)], "1", r"1 occurs in no mask; they hold nothing but 0"),
    "all": ([binary(2)], "0+2", r"is every label of the masks"),
    "no label": ([binary(2)], "vertebra", r"'vertebra' is no label; expected numbers"),
    "void": (
        [binary(1), binary(2), binary(255)],
        "1+2",
        r"255 beside 1 and 2 is, by custom, the void label.*labels=NAME=1/.../void=255",
    ),
    "void above a threshold": (
        [np.array([[0, 1, 255]])],
        ">0",
        r"255 beside 1 is, by custom, the void",
    ),
    "void alone": (
        [np.array([[0, 1, 255]])],
        "",
        r"255 beside 1 is, by custom, the void label",
    ),
    "fractions": ([np.full((6, 4), 0.5)], "", r"values are not whole numbers"),
    "too many": ([np.arange(400).reshape(20, 20)], "", r"400 values; expected a label map"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_leaves_a_choice_or_none_is_refused(what: str) -> None:
    masks, option, message = REFUSED[what]
    with pytest.raises(UsageError, match=message):
        foreground(masks, option)


def test_numbers_that_look_smoothed_may_be_classes() -> None:
    levels = np.repeat(np.array([0, 20, 21, 22, 23, 201, 202, 203], np.uint8), 8).reshape(8, 8)
    with pytest.raises(UsageError, match="or, where they are classes, labels=NAME=20/"):
        foreground([Picture(levels)])


def test_colours_are_listed_with_their_shares() -> None:
    colours = np.zeros((10, 10, 3), np.uint8)
    colours[0], colours[1:3] = (255, 0, 0), (0, 255, 0)
    with pytest.raises(UsageError, match=r"0 70 %, #00ff00 20 %, #ff0000 10 %.*foreground=#00ff00"):
        foreground([Picture(colours)])


def blurred(levels: Sequence[int]) -> Picture:
    """Return a mask of bands of these levels, as JPEG keeps it."""
    mask = np.zeros((96, 96), np.uint8)
    for number, level in enumerate(levels, 1):
        mask[20 * number : 20 * number + 14, 10:70] = level
    file = BytesIO()
    Image.fromarray(mask).save(file, "JPEG", quality=30)
    return Picture(np.asarray(Image.open(file)))


def test_a_blurred_mask_gets_a_threshold_that_fits() -> None:
    with pytest.raises(UsageError, match=r"as JPEG .* about 0 and 25\d: .*foreground=>12[67]$"):
        foreground([blurred([255])])
    (mask,) = foreground([blurred([255])], ">127")
    assert abs(int(mask.sum()) - 14 * 60) < 30
    with pytest.raises(UsageError, match=r"foreground=>6\d or foreground=>1[89]\d"):
        foreground([blurred([128, 255])])


@pytest.mark.parametrize("quality", [50, 60, 75])
def test_the_slope_of_a_peak_is_no_peak(quality: int) -> None:
    """JPEG leaves many values around thin lines, ever fewer of them far from 0 and 255."""
    row, column = np.mgrid[:256, :256]
    lines = np.zeros((256, 256), np.uint8)
    for number in range(12):
        lines[np.abs(row - 20 - 18 * number - 15 * np.sin(column / 20 + number)) < 2] = 255
    file = BytesIO()
    Image.fromarray(lines).save(file, "JPEG", quality=quality)
    with pytest.raises(UsageError, match=r"about 0 and 25\d: say .* foreground=>12[67]$"):
        foreground([Picture(np.asarray(Image.open(file)))])


@pytest.mark.parametrize("option", ["", "255", ">0"])
def test_255_with_neighbours_is_a_grey_and_no_void_label(option: str) -> None:
    resized = np.repeat(np.array([0, 0, 1, 254, 255, 255], np.uint8), 8).reshape(6, 8)
    with pytest.raises(UsageError, match=r"about 0 and 255: .* foreground=>127; or, where they"):
        foreground([Picture(resized)], option)
    (mask,) = foreground([Picture(resized)], ">127")
    np.testing.assert_array_equal(mask, resized > 127)


def test_a_threshold_above_all_classes_takes_the_void_label_for_the_foreground() -> None:
    dirty = np.array([[0, 1, 255]])
    with pytest.raises(UsageError, match=r"if 255 is the foreground .*: foreground=>127$"):
        foreground([dirty])
    np.testing.assert_array_equal(foreground([dirty], ">127")[0], dirty == 255)
    for masks in (np.array([[0, 200, 255, 1]]), np.array([[0, -1, 255, 1]])):
        with pytest.raises(UsageError, match="by custom, the void label"):
            foreground([masks], ">127")


def test_a_coloured_jpeg_is_refused(tmp_path: Path) -> None:
    mask = np.zeros((96, 96, 3), np.uint8)
    mask[20:50, 10:70] = 255, 0, 0
    path = tmp_path / "mask.jpg"
    Image.fromarray(mask).save(path, quality=40)
    with pytest.raises(UsageError, match=r"mask.jpg|mask holds \d+ colours, as JPEG"):
        foreground([raster.read(path, 1000)])


def test_noise_beside_whole_numbers_is_rounded_and_told() -> None:
    noisy = binary(1) + np.random.default_rng(0).uniform(-1e-6, 1e-6, (6, 4))
    codes, labels, told = decode(Picture(noisy), FILE)
    assert labels == ("0", "1")
    assert "whole number" in told
    np.testing.assert_array_equal(codes, binary(1))


def test_a_threshold_above_a_mask_or_over_colours_is_refused() -> None:
    small, red = binary(2), np.zeros((6, 4, 3), np.uint8)
    red[2:4] = 255, 0, 0
    for masks in ([small, binary(255)], [Picture(red), binary(255)]):
        with pytest.raises(UsageError, match="of which none is above it; write all masks on one"):
            foreground(masks, ">127")


def test_a_choice_that_empties_masks_is_told_and_one_of_all_is_refused() -> None:
    known, _ = census([binary(2), binary(5)])
    assert any("mask 1 have no foreground" in line for line in choose(known, "2").how)
    full = np.where(binary(1) > 0, 1, 2)
    with pytest.raises(UsageError, match="is every label of the masks"):
        foreground([full], "1+2")


def test_a_palette_with_colours_names_its_greys_by_number() -> None:
    """As in Pascal VOC, where class 7 is grey: a mask without a tinted class is no grey mask."""
    palette = np.array([(0, 0, 0), (128, 0, 0), (128, 128, 128)], np.uint8)
    tinted = Picture(np.array([[0, 1, 2]], np.uint8), palette)
    grey = Picture(np.array([[0, 2, 2]], np.uint8), palette)
    assert foreground([tinted, grey], "2")[1].tolist() == [[False, True, True]]


def test_two_greys_above_all_numbers_of_classes_are_no_void() -> None:
    assert foreground([np.array([[0, 150, 255]])], "255")[0].tolist() == [[False, False, True]]


def lossy(level: int, quality: int = 60) -> tuple[Picture, np.ndarray]:
    """Return a mask of one square of this level as JPEG keeps it, and where the square is."""
    mask = np.zeros((96, 96), np.uint8)
    mask[21:50, 11:70] = level
    file = BytesIO()
    Image.fromarray(mask).save(file, "JPEG", quality=quality)
    return Picture(np.asarray(Image.open(file)), lossy=True), mask > 0


def lossy_census(level: int) -> tuple[Census, Picture]:
    picture, _ = lossy(level)
    known, _ = census([picture])
    return replace(known, lossy=True), picture


@pytest.mark.parametrize("option", ["255", ">1", ">0", ">250"])
def test_a_choice_that_jpeg_blurs_is_refused_with_a_threshold(option: str) -> None:
    known, _ = lossy_census(255)
    with pytest.raises(UsageError, match=rf"foreground={option}: .* as JPEG .*foreground=>12\d$"):
        choose(known, option)


def test_a_threshold_between_the_greys_of_a_jpeg_is_taken() -> None:
    known, picture = lossy_census(255)
    where = np.isin(picture.values, [int(label) for label in choose(known, ">127").foreground])
    np.testing.assert_array_equal(where, lossy(255)[1])


def test_numbers_of_classes_that_jpeg_makes_of_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match=r"labels up to \d and was compressed as JPEG is"):
        decode(lossy(2, 90)[0], FILE)


@pytest.mark.parametrize("text", ["a=255", "a=255/background=others", "a=1-9/b=250-255/void=10"])
def test_classes_of_a_jpeg_are_refused_with_a_word_about_jpeg(text: str) -> None:
    known, _ = lossy_census(255)
    with pytest.raises(UsageError, match=r"as JPEG .* export the masks as PNG.*foreground=>12\d"):
        Classes.parse(text).decide(known)


def test_classes_far_apart_that_jpeg_kept_are_read() -> None:
    flat = Picture(np.repeat([[0, 255]], 8, 0).astype(np.uint8), lossy=True)
    known, _ = census([flat])
    decision = Classes.parse("a=255").decide(replace(known, lossy=True))
    assert decision.foreground == {"255"}


def test_smoothed_masks_are_called_so_where_classes_are_asked_for() -> None:
    ramp = np.repeat([[0, 0, 40, 90, 140, 200, 255, 255]], 8, 0).astype(np.uint8)
    known, _ = census([ramp, *[np.repeat([[0, 255]], 64, 0)] * 40])
    with pytest.raises(UsageError, match=r"smoothing leave them, and labels=a=255 .*others$"):
        Classes.parse("a=255").decide(known)
    with pytest.raises(UsageError, match=r"as JPEG and smoothing leave them"):
        choose(known, "255")


def test_one_number_of_two_colours_is_no_class() -> None:
    masks = [
        Picture(np.array([[0, 1]], np.uint8), np.array([(0, 0, 0), tint], np.uint8))
        for tint in ((255, 0, 0), (0, 255, 0))
    ]
    known, _ = census(masks)
    with pytest.raises(UsageError, match=r"number 1 has several colours .* NAME=#00ff00"):
        Classes.parse("a=1").decide(known)
    assert Classes.parse("a=#ff0000/b=#00ff00").decide(known).foreground == set(known.counts) - {
        "0"
    }


def test_white_is_255_in_masks_that_have_colours_too() -> None:
    grey = np.array([[0, 255]], np.uint8)
    tinted = np.array([[(0, 0, 0), (255, 255, 255), (255, 0, 0)]], np.uint8)
    known, _ = census([grey, Picture(tinted)])
    assert choose(known, "255").foreground == {"255", "#ffffff"}
    decision = Classes.parse("a=255/b=#ff0000").decide(known)
    assert dict(decision.classes)["a"] == {"255", "#ffffff"}


def test_what_an_error_proposes_can_be_given() -> None:
    known, _ = census([np.array([[0, 128, 255]])])
    with pytest.raises(UsageError, match=r"foreground=128, foreground=255 or foreground=128\+255"):
        choose(known, "")
    for proposed in ("128", "255", "128+255"):
        assert choose(known, proposed)
    palette = Picture(np.array([[0, 1]], np.uint8), np.array([(0, 0, 0), (255, 0, 0)], np.uint8))
    known, _ = census([palette, np.array([[0, 1]], np.uint8)])
    with pytest.raises(UsageError, match=r"say so: labels=NAME=1$"):
        choose(known, "1")
    assert Classes.parse("a=1").decide(known).foreground == {"1", "1 #ff0000"}


def test_colours_of_16_bits_and_absurd_numbers_are_no_labels() -> None:
    """Packed into 8 bits, two of the colours would be one."""
    deep = np.array([[(0, 0, 0), (1, 0, 0), (0, 256, 0)]], np.uint16)
    with pytest.raises(UsageError, match="colours of type uint16, expected 8 bits"):
        decode(Picture(deep), FILE)
    with pytest.raises(UsageError, match=r"holds values up to 1e.20"):
        decode(Picture(np.array([[0, 1e20]])), FILE)


@pytest.mark.parametrize("void", [-1, -1000, 255])
def test_no_choice_is_proposed_that_the_void_label_forbids(void: int) -> None:
    """Whichever values were foreground, the pixels of no class would be background."""
    known, _ = census([np.array([[0, void, 1]])])
    with pytest.raises(UsageError, match=f"{void} beside 1 is, by custom, the void label"):
        choose(known, "")


def test_255_in_masks_without_classes_may_be_their_foreground() -> None:
    """That the user must say; no mask holds a class and 255, so neither is left unused."""
    known, _ = census([binary(2), binary(255)])
    with pytest.raises(UsageError, match=r"say which are foreground: foreground=2\+255;"):
        choose(known, "")
    assert choose(known, "2+255").foreground == {"2", "255"}
    with pytest.raises(UsageError, match="255 beside 2 is, by custom, the void label"):
        choose(known, "2")
