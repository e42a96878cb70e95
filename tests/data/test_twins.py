"""Two patients who may be one: by an image, or by a name."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.data import cache, manifest, twins
from bench.data.check import check
from bench.spec import registry
from bench.spec.names import Spec
from tests.user import Bench

Films = dict[str, NDArray[np.uint8]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("S4", "s4 "),
        ("01", "1"),
        ("p007_a", "p7_a"),
        ("Zoë", unicodedata.normalize("NFD", "Zoë")),
        ("A\u00a0B", "A B"),
        ("Straße", "STRASSE"),
        ("\uff11\uff12", "12"),
        ("7", "7.0"),
        ("P-1", "P_1"),
        ("p 1", "P.1"),
        ("Müller", "Mueller"),
        ("Muñoz", "Munoz"),
        ("P1", "\u04201"),  # a Cyrillic letter
        ("P01", "PO1"),
    ],
)
def test_names_that_look_alike_are_told(one: str, other: str) -> None:
    (line,) = twins.look_alike([one, "another", other, one])
    assert "are different patients" in line
    assert line.isprintable()
    first, second = line.split(" are ")[0].split(" and ")
    assert first != second


@pytest.mark.parametrize(
    "names", [["10", "1"], ["a1", "a2"], ["p1", "p11"], ["x", "x"], ["1", "1.01"], ["1-12", "11-2"]]
)
def test_other_names_do_not_look_alike(names: list[str]) -> None:
    assert twins.look_alike(names) == ()


def test_patients_of_one_header_are_told_unless_all_are_anonymous() -> None:
    (line,) = twins.of_one_header({"7": ["a", "b"], "8": ["c"]})
    assert line == "a and b are different patients, though DICOM files of theirs have one PatientID"
    assert twins.of_one_header({"7": ["a", "b", "c"]}) == ()
    assert twins.of_one_header({"7": ["a"], "8": ["c"]}) == ()


@pytest.mark.parametrize("name", ["nan", "N/A", "<NA>", "-", "?", "unknown", "Anonymous", "未知"])
def test_patients_whom_nobody_knows_are_told(name: str) -> None:
    (line,) = twins.of_nobody(["a", name, "b", name])
    assert "is the name of one patient, with 2 cases" in line
    assert line.isprintable()
    assert twins.of_nobody(["a", name, "b"]) == ()
    assert twins.of_nobody(["Nanni", "Nanni"]) == ()


def test_many_that_look_alike_are_one_line() -> None:
    names = [f"{zeros}{number}" for number in range(1, 9) for zeros in ("", "0")]
    (line,) = twins.look_alike(names)
    assert line.startswith("1 and 01; 2 and 02; 3 and 03 and 5 more such groups are different")


def eye(seed: int, shift: float = 0) -> NDArray[np.uint8]:
    """Return a round bright field with a disc and vessels, as a photograph of an eye has them."""
    rng = np.random.default_rng(seed)
    size = 300
    image = np.zeros((size, size), np.float32)
    cv2.circle(image, (150, 150), 140, 120, -1)
    image *= np.linspace(0.9, 1.1, size, dtype=np.float32)
    disc = (int(90 + rng.normal(0, 4)), int(150 + rng.normal(0, 4)))
    cv2.circle(image, disc, 22, 220, -1)
    for turn in np.linspace(0, 2 * np.pi, 9)[:-1]:
        points = [np.array(disc, float)]
        way = turn + rng.normal(0, 0.5)
        for _ in range(14):
            way += rng.normal(0, 0.3)
            points.append(points[-1] + 14 * np.array([np.cos(way), np.sin(way)]))
        cv2.polylines(image, [np.rint(points).astype(np.int32)], False, 70, 3)
    ring = np.zeros_like(image)
    cv2.circle(ring, (150, 150), 140, 1, -1)
    image = cv2.GaussianBlur(image * ring, (0, 0), 1.2) + rng.normal(0, 2, image.shape)
    return np.clip(image + shift, 0, 255).astype(np.uint8)


def folder(root: Path, films: Films, pattern: str = "{patient}") -> Path:
    mask = np.zeros((300, 300), np.uint8)
    mask[120:180, 60:120] = 255
    for name, film in films.items():
        size = (film.shape[1], film.shape[0])
        for kind, values in (("images", film), ("masks", cv2.resize(mask, size, None, 0, 0, 0))):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / kind / f"{name}.png")
    adapter = registry.dataset(Spec.parse(f"{root}:pattern={pattern}"))
    return cache.prepare(adapter, root)


def test_eyes_of_other_patients_are_no_twins_and_copies_are(tmp_path: Path) -> None:
    films = {f"eye{seed}": eye(seed) for seed in range(40)}
    quality = [int(cv2.IMWRITE_JPEG_QUALITY), 60]
    jpeg = cv2.imdecode(cv2.imencode(".jpg", films["eye3"], quality)[1], 0)
    films["jpeg"] = np.asarray(jpeg, np.uint8)
    films["small"] = np.asarray(cv2.resize(films["eye5"], (210, 210), None, 0, 0, cv2.INTER_AREA))
    films["bright"] = np.clip(films["eye9"] * 1.1 + 12, 0, 255).astype(np.uint8)
    prepared = folder(tmp_path / "eyes", films)
    pairs = {finding.cases for finding in check(prepared) if "identical" in finding.kind}
    assert pairs == {("eye3", "jpeg"), ("eye5", "small"), ("bright", "eye9")}


def test_hashes_are_compared_as_all_pairs_would_be() -> None:
    rng = np.random.default_rng(0)
    bits = (rng.random((400, 64)) < rng.uniform(0.02, 0.98, 64)).astype(np.uint8)
    bits[1::5] = bits[::5] ^ (rng.random((80, 64)) < 0.04)
    expected = []
    for first in range(400):
        for second in range(first + 1, 400):
            if (bits[first] != bits[second]).sum() <= twins.NEAR:
                expected.append((first, second))
    assert list(twins._close(bits)) == expected
    assert len(expected) > 60


@pytest.mark.long
def test_the_search_grows_as_its_input_does() -> None:
    rng = np.random.default_rng(0)
    seconds = []
    for count in (10_000, 40_000):
        bits = (rng.random((count, 64)) < 0.5).astype(np.uint8)
        began = time.process_time()
        list(twins._close(bits))
        seconds.append(time.process_time() - began)
    assert seconds[1] < 8 * seconds[0]


def test_a_run_says_which_patients_share_an_image_or_nearly_a_name(
    bench: Bench, tmp_path: Path
) -> None:
    films = {f"p{number}_1": eye(number) for number in range(5)}
    films |= {"q_1": eye(0), "p04_1": eye(8)}
    root = tmp_path / "films"
    assert manifest.read(folder(root, films, "{patient}_*")).twins == (("p0_1", "q_1"),)
    words = ("run", "--methods", "unet", "--datasets", f"{root}:pattern={{patient}}_*")
    out = bench(*words, "--profile", "smoke")
    before, _, after = out.partition("1 cell")
    assert "p0_1 (patient p0) and q_1 (patient q) are identical images" in before
    assert "p04 and p4 are different patients, though they look alike" in before
    notes = next(bench.home.rglob("table1-real.md")).read_text()
    assert "identical images of two patients, who may be one: 1 pair (p0_1 (patient p0, " in notes
    assert after
