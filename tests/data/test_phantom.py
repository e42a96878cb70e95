"""The phantoms are pure functions; sizes, shares and likeness are those of the datasets."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.data.phantom import NAMES, Slice, ct, distance, mr, render, sagittal
from bench.data.phantom.film import corners_of, film_of

ROOT = Path(__file__).parents[2]
SIZES = {"ct-verse": (369, 166), "ct-pri": (768, 534), "mr": (880, 880), "xray": (750, 250)}
SHARES = {
    "ct-verse": (0.06, 0.22),
    "ct-pri": (0.05, 0.16),
    "mr": (0.04, 0.13),
    "xray": (0.06, 0.18),
}


def digest(name: str, patient: int, position: int) -> str:
    got = render(name, patient, position, 3)
    return hashlib.sha256(got.image.tobytes() + got.mask.tobytes()).hexdigest()


def likeness(a: Slice, b: Slice) -> float:
    """Correlate two images after a blur that leaves anatomy and removes noise."""
    small = [
        cv2.resize(s.image.astype(np.float32), (48, 96), interpolation=cv2.INTER_AREA)
        for s in (a, b)
    ]
    return float(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1])


@pytest.fixture(scope="module")
def slices() -> dict[str, list[list[Slice]]]:
    return {name: [[render(name, p, q, 5) for q in (1, 2, 3)] for p in range(3)] for name in NAMES}


def test_pixels_depend_on_the_arguments_alone() -> None:
    asked = [(name, patient, position) for name in NAMES for patient, position in ((0, 1), (7, 0))]
    here = {key: digest(*key) for key in asked}
    sagittal.patient_of.cache_clear()
    assert {key: digest(*key) for key in reversed(asked)} == here
    code = (
        "import sys; sys.path[:0] = ['.', 'tests/data']\n"
        "from test_phantom import digest\n"
        f"print(*[digest(*key) for key in {asked[::2]!r}])"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert fresh.stdout.split() == [here[key] for key in asked[::2]]


def test_another_seed_position_or_patient_gives_other_pixels() -> None:
    first = render("ct-verse", 0, 1, 3)
    for other in (
        render("ct-verse", 1, 1, 3),
        render("ct-verse", 0, 2, 3),
        render("ct-verse", 0, 1, 3, seed=1),
    ):
        assert not np.array_equal(first.image, other.image)
        assert not np.array_equal(first.mask, other.mask)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_types_shares_and_spacing(name: str, slices: dict[str, list[list[Slice]]]) -> None:
    low, high = SHARES[name]
    for got in (s for patient in slices[name] for s in patient):
        assert got.image.shape == got.mask.shape == SIZES[name]
        assert (got.image.dtype, got.mask.dtype) == (np.uint16, np.uint8)
        assert set(np.unique(got.mask)) == {0, 1}
        assert low < got.mask.mean() < high
        assert got.image.std() > 0.03 * 65535
        if name == "xray":
            assert got.spacing is None
        else:
            assert got.spacing is not None
            assert got.spacing[0] == got.spacing[1]
            assert 0.3 < got.spacing[0] < 1.1


@pytest.mark.parametrize("name", NAMES)
def test_spacing_belongs_to_the_patient(name: str, slices: dict[str, list[list[Slice]]]) -> None:
    assert all(len({s.spacing for s in patient}) == 1 for patient in slices[name])
    if name != "xray":
        assert len({patient[0].spacing for patient in slices[name]}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_slices_of_a_patient_are_more_alike_than_patients(
    name: str, slices: dict[str, list[list[Slice]]]
) -> None:
    patients = slices[name]
    within = [likeness(p[0], p[1]) for p in patients] + [likeness(p[1], p[2]) for p in patients]
    between = [likeness(a[1], b[1]) for i, a in enumerate(patients) for b in patients[:i]]
    assert np.median(within) > max(between)
    assert np.median(within) > 0.6


@pytest.mark.parametrize("name", ["ct-verse", "ct-pri", "mr"])
def test_the_middle_slice_shows_more_vertebra_than_the_sides(name: str) -> None:
    area = np.array(
        [[render(name, p, q, 9).mask.mean() for q in (0, 4, 8)] for p in range(3)]
    ).mean(0)
    assert area[1] > area[0]
    assert area[1] > area[2]


def test_one_slice_is_mid_sagittal() -> None:
    alone, middle = render("ct-verse", 3, 0, 1), render("ct-verse", 3, 2, 5)
    both = (alone.mask & middle.mask).sum()
    assert 2 * both / (alone.mask.sum() + middle.mask.sum()) > 0.95


def test_the_distance_of_slices_is_that_of_their_planes() -> None:
    for name, protocol in (("mr", mr.MR), ("ct-verse", ct.VERSE)):
        first, second = (sagittal.plane_of(name, 0, 1, (place, 3), protocol).z for place in (0, 1))
        assert distance(name, 1, 3) == pytest.approx(second - first)
    assert distance("mr", 1, 1) is None


def test_xray_masks_hold_seventeen_bodies_in_order() -> None:
    for patient in range(6):
        film = film_of(("xray", 0, patient), np.random.default_rng(0))
        corners = [corners_of(film, v) for v in film.spine.mobile]
        assert len(corners) == 17
        areas = [cv2.contourArea(c.astype(np.float32)) for c in corners]
        assert min(areas) > 150
        assert areas[-1] > areas[0]
        assert np.all(np.diff([c[:, 1].mean() for c in corners]) > 0)
        assert all((c > -1).all() and (c < [251, 751]).all() for c in corners)


def test_curves_of_the_films_span_mild_to_severe() -> None:
    cobb = []
    for patient in range(30):
        film = film_of(("xray", 0, patient), np.random.default_rng(0))
        tilt = [np.rad2deg(np.arcsin(v.axes[1][2])) for v in film.spine.mobile]
        cobb.append(max(tilt) - min(tilt))
    assert min(cobb) < 18
    assert 40 < max(cobb) < 80


def test_wrong_arguments_name_the_valid_choices() -> None:
    with pytest.raises(ValueError, match="ct-verse, ct-pri, mr, xray"):
        render("ct", 0, 0, 1)
    with pytest.raises(ValueError, match="choose 0 to 4"):
        render("mr", 0, 5, 5)
    with pytest.raises(ValueError, match="choose 0 to 4"):
        render("mr", 0, -1, 5)
    with pytest.raises(ValueError, match="at least 1"):
        render("mr", 0, 0, 0)
    with pytest.raises(ValueError, match="0 or greater"):
        render("mr", -1, 0, 1)


@pytest.mark.parametrize("name", ["ct-verse", "mr", "xray"])
def test_levels_number_the_same_mask_from_top_to_bottom(name: str) -> None:
    plain, numbered = render(name, 3, 1, 3), render(name, 3, 1, 3, levels=True)
    assert np.array_equal(plain.image, numbered.image)
    discs = numbered.mask > 200
    vertebrae = np.where(discs, 0, numbered.mask)
    assert np.array_equal(vertebrae > 0, plain.mask > 0)
    assert discs.any() == (name == "mr")
    levels = [int(level) for level in np.unique(vertebrae) if level]
    rows = [np.nonzero(vertebrae == level)[0].mean() for level in levels]
    assert len(levels) >= 5
    assert rows == sorted(rows, reverse=name == "mr")
    lowest = 1 if name == "mr" else max(levels)
    assert lowest in (1, 23, 24, 25)
    if name == "mr":
        below = np.nonzero(numbered.mask == 201)[0].mean()
        assert below > np.nonzero(vertebrae == 1)[0].mean()
        _, parts = cv2.connectedComponents((numbered.mask == 201).astype(np.uint8))
        sizes = np.bincount(parts[parts > 0])
        assert sizes.max() > 0.9 * sizes.sum()  # what is left of discs in the sacrum is none
