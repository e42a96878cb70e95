"""What `bench data check` finds, and that it finds nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import cache
from bench.data.check import READING, Finding, check
from bench.launch import matrix
from bench.spec import registry
from bench.spec.names import Spec
from bench.spec.profile import load_profile

Make = Callable[..., Path]


def prepared(data: Path) -> Path:
    return cache.prepare(registry.dataset(Spec("mr")), data / "mr")


def found(data: Path) -> dict[str, Finding]:
    return {each.kind: each for each in check(prepared(data))}


def change(
    data: Path, name: str, how: Callable[[np.ndarray], np.ndarray], parts: tuple[str, ...]
) -> None:
    for part in parts:
        path = data / "mr" / part / name
        Image.fromarray(how(np.asarray(Image.open(path)))).save(path)


BOTH = ("images", "labels")


def test_nothing_is_found_where_nothing_is(slices: Make) -> None:
    assert {each.kind for each in check(prepared(slices()))} == {READING}


@pytest.mark.parametrize("labels", ["", "labels=a=1/b=2-3:"])
def test_instances_are_no_damage(slices: Make, labels: str) -> None:
    adapter = registry.dataset(Spec.parse(f"mr:{labels}instances=on"))
    findings = check(cache.prepare(adapter, slices() / "mr"))
    assert {each.kind for each in findings} == {READING}


def test_too_few_patients_are_told(slices: Make) -> None:
    findings = check(prepared(slices(patients=1)))
    [few] = [finding for finding in findings if finding.kind == "patients"]
    assert few.text.startswith("1 patient (1) cannot be split: expected at least 3")
    assert few.grave


def test_the_patients_are_told_first(slices: Make) -> None:
    first = check(prepared(slices(patients=5)))[0]
    assert first.text == "patients: 5 (1, 2, 3, ...), with 10 cases"


@pytest.mark.parametrize("name", ["mr", "ct-verse", "ct-pri", "xray"])
def test_phantoms_are_no_twins_and_not_flipped(name: str) -> None:
    profile = load_profile("smoke")
    (phantom,) = matrix.find([Spec(name)], None, profile)
    ref = phantom.prepare()
    kinds = {each.kind for each in check(Path(ref.cache))}
    assert kinds <= {READING, "cut mask", "nearly identical"}
    assert not any(each.grave for each in check(Path(ref.cache)))


def test_one_image_of_two_patients_is_grave(slices: Make) -> None:
    data = slices()
    first = {part: np.asarray(Image.open(data / "mr" / part / "1_0.png")) for part in BOTH}
    for part in BOTH:
        Image.fromarray(first[part]).save(data / "mr" / part / "4_1.png")
        Image.fromarray(first[part]).save(
            data / "mr" / part / "1_1.png"
        )  # of the same patient: no matter
    findings = [each for each in check(prepared(data)) if each.kind == "identical"]
    assert {each.cases for each in findings} == {("1_0", "4_1"), ("1_1", "4_1")}
    assert all(each.grave for each in findings)
    assert "(patient 1)" in findings[0].text
    assert "(patient 4)" in findings[0].text


def test_nearly_one_image_of_two_patients_is_told(slices: Make) -> None:
    data = slices()
    image = np.asarray(Image.open(data / "mr" / "images" / "1_0.png")).astype(np.int16)
    noisy = np.clip(
        image * 1.05 + np.random.default_rng(1).normal(0, 1, image.shape), 0, 255
    ).astype(np.uint8)
    Image.fromarray(noisy).save(data / "mr" / "images" / "5_0.png")
    twin = found(data)["nearly identical"]
    assert twin.cases == ("1_0", "5_0")
    assert not twin.grave


def test_one_mask_of_two_patients_is_told(slices: Make) -> None:
    data = slices()
    labels = data / "mr" / "labels"
    (labels / "5_0.png").write_bytes((labels / "1_0.png").read_bytes())
    finding = found(data)["one mask"]
    assert finding.cases == ("1_0", "5_0")
    assert not finding.grave


def test_empty_and_cut_masks_are_told(slices: Make) -> None:
    data = slices()
    change(data, "2_0.png", np.zeros_like, ("labels",))
    change(data, "3_1.png", lambda mask: np.roll(mask, -14, 0), ("labels",))
    change(data, "4_1.png", lambda mask: (mask == 0).astype(np.uint8), ("labels",))
    findings = found(data)
    assert findings["inverted mask"].cases == ("4_1",)
    assert findings["empty mask"].cases == ("2_0",)
    assert findings["cut mask"].cases == ("3_1", "4_1")


@pytest.mark.parametrize(("axis", "kind"), [(1, "left-right"), (0, "up-down")])
def test_a_case_that_lies_otherwise_than_the_others_is_told(
    axis: int, kind: str, tmp_path: Path
) -> None:
    profile = load_profile("smoke")
    source = cache.load(Path(matrix.find([Spec("ct-verse")], None, profile)[0].prepare().cache))
    root = tmp_path / "mr"
    rows = ["file,volume"]
    for part in BOTH:
        (root / part).mkdir(parents=True)
    for index, case in enumerate(source.cases):
        image, mask = source.image(index), source.mask(index)
        if index == 2:
            image, mask = np.flip(image, axis), np.flip(mask, axis)
        Image.fromarray(np.ascontiguousarray(image)).save(root / "images" / f"{case.id}.png")
        Image.fromarray(np.ascontiguousarray(mask)).save(root / "labels" / f"{case.id}.png")
        rows.append(f"{case.id}.png,{case.patient}")
    (root / "index.csv").write_text("\n".join(rows) + "\n")
    flips = [each for each in check(prepared(tmp_path)) if each.kind == "flip"]
    assert [each.cases for each in flips if kind in each.text] == [(source.cases[2].id,)]


def test_cases_that_differ_by_themselves_are_not_called_flipped(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = ["file,volume"]
    for part in BOTH:
        (tmp_path / "mr" / part).mkdir(parents=True)
    for number in range(12):
        column = int(rng.integers(4, 26))
        mask = np.zeros((48, 48), np.uint8)
        mask[20:34, column : column + 14] = 1
        image = rng.normal(90, 10, mask.shape).clip(0, 255).astype(np.uint8) + 60 * mask
        for part, pixels in zip(BOTH, (image, mask), strict=True):
            Image.fromarray(pixels).save(tmp_path / "mr" / part / f"{number}.png")
        rows.append(f"{number}.png,{number}")
    (tmp_path / "mr" / "index.csv").write_text("\n".join(rows) + "\n")
    assert not [finding for finding in check(prepared(tmp_path)) if finding.kind == "flip"]


def test_damaged_pixels_and_what_was_left_out_are_told(slices: Make, own_cache: Path) -> None:
    data = slices()
    (data / "mr" / "images" / "6_1.png").unlink()
    folder = prepared(data)
    assert {each.kind for each in check(folder)} == {"left out", READING}
    path = folder.parent / "images.u8"
    pixels = bytearray(path.read_bytes())
    pixels[100] ^= 1
    path.write_bytes(pixels)
    first = check(folder)[0]
    assert (first.kind, first.grave) == ("damage", True)
    assert "prepare again" in first.text


def test_a_set_whose_masks_are_all_empty_is_grave(slices: Make) -> None:
    data = slices()
    for path in (data / "mr" / "labels").iterdir():
        Image.fromarray(np.zeros((60, 44), np.uint8)).save(path)
    assert found(data)["empty mask"].grave
