"""AASCE's films and landmarks as distributed: odd names, unordered corners, and left-out films."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.io
from PIL import Image

from bench.data import cache
from bench.data.check import check
from bench.data.digest import digest_of
from bench.data.readers.xray import quadrilaterals
from bench.data.splits import Splitting
from bench.launch import matrix
from bench.spec import registry
from bench.spec.case import SIDES, Dataset
from bench.spec.config import SEED
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from bench.store.cells import Store
from tests.conftest import picture

NAMES = {
    "training": [
        "sunhl-1th-02-Jan-2017-162 A AP.jpg",
        "sunhl-1th-02-Jan-2017-163 a ap.jpg",
        "sunhl-1th-03-Jan-2017-164 A AP (2).jpg",
        "sunhl-1th-03-Jan-2017-165 B AP.jpg",
    ],
    "test": ["sunhl-1th-04-Jan-2017-291 M AP.jpg", "sunhl-1th-04-Jan-2017-165 C AP.jpg"],
}
SIZE = (340, 120)


def corners() -> np.ndarray:
    """Return (17, 4, 2): top left, top right, bottom left, bottom right of each vertebra."""
    top = np.arange(17)[:, None] * 19.0 + 8
    x = np.tile([40.0, 80.0, 40.0, 80.0], (17, 1))
    return np.stack([x, np.concatenate([top, top, top + 11, top + 11], 1)], 2)


def aasce(root: Path, mats: bool = True) -> None:
    points = corners()
    points[3] = points[3][[1, 0, 2, 3]]  # left and right exchanged, as in some vertebrae
    points[9] = points[9][[2, 1, 0, 3]]
    for side, names in NAMES.items():
        data, labels = (
            root / "boostnet_labeldata" / "data" / side,
            root / "boostnet_labeldata" / "labels" / side,
        )
        data.mkdir(parents=True)
        labels.mkdir(parents=True)
        for name in names:
            film = np.random.default_rng(len(name)).integers(0, 80, SIZE).astype(np.uint8)
            film[quadrilaterals(corners().reshape(-1, 2), SIZE) > 0] += 120
            Image.fromarray(film).save(data / name, quality=95)
            if mats:
                scipy.io.savemat(
                    labels / f"{name}.mat", {"p2": points.reshape(-1, 2).astype(np.uint16)}
                )
        relative = points.reshape(-1, 2) / (SIZE[1], SIZE[0])
        pd.DataFrame([relative.T.ravel()] * len(names)).to_csv(
            labels / "landmarks.csv", header=False, index=False
        )
        (labels / "filenames.csv").write_text("\n".join(names) + "\n")
        (labels / "angles.csv").write_text("1,2,3\n" * len(names))


def prepared(data: Path, spec: str = "xray") -> Dataset:
    adapter = registry.dataset(Spec.parse(spec))
    return cache.load(cache.prepare(adapter, data / adapter.name))


@pytest.mark.parametrize("mats", [True, False])
def test_films_and_filled_quadrilaterals_are_read(mats: bool, tmp_path: Path) -> None:
    aasce(tmp_path / "xray", mats)
    dataset = prepared(tmp_path)
    assert dataset.left_out == ()
    assert len(dataset.cases) == 6
    assert dataset.patients == ["n291", "n165", "n162", "n163", "n164"]
    assert [line for line in dataset.how if "film" in line] == [
        "the number in a film's name is taken for the patient's, which nobody documents "
        "(6 of 6 cases)"
    ]
    for index in range(6):
        mask = dataset.mask(index)
        assert (
            mask.sum() == 17 * 41 * 12
        )  # whole quadrilaterals, whatever the order of their corners
        assert dataset.image(index)[mask > 0].mean() > 2 * dataset.image(index)[mask == 0].mean()


def test_whose_films_are_is_told_as_it_was_found(tmp_path: Path) -> None:
    root = tmp_path / "xray"
    aasce(root)
    for suffix in ("jpg", "jpg.mat"):  # a film without a number
        for path in list((root / "boostnet_labeldata").rglob(f"*162 A AP.{suffix}")):
            path.rename(path.with_name(f"film.{suffix}"))
    _names(root, lambda names: ["film.jpg", *names[1:]])
    told = "each film without a number in its name is of a patient of its own (1 of 6 cases)"
    assert told in prepared(tmp_path).how
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    rows = ["file,volume"]
    for number in range(3):
        image, labels = picture(number)
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray((labels > 0).astype(np.uint8)).save(root / "labels" / f"{number}.png")
        rows.append(f"{number}.png,P{number}")
    (root / "index.csv").write_text("\n".join(rows))
    listed = prepared(tmp_path)
    assert listed.patients == ["P0", "P1", "P2"]
    assert not [line for line in listed.how if "film" in line]


def test_films_have_classes_by_level(tmp_path: Path) -> None:
    aasce(tmp_path / "xray")
    alone = prepared(tmp_path)
    assert alone.digest == digest_of(alone)
    dataset = prepared(tmp_path, "xray:labels=thorax=8-19/lumbar=20-24")
    assert dataset.classes == ("thorax", "lumbar")
    target = dataset.target(0)
    assert np.array_equal(target > 0, alone.mask(0) > 0)
    assert (target == 1).sum() == 12 * 41 * 12
    rows = [np.nonzero(target == number)[0].mean() for number in (1, 2)]
    assert rows == sorted(rows)


def test_the_official_test_side_is_the_test_side_and_a_patient_is_on_one_side(
    tmp_path: Path,
) -> None:
    aasce(tmp_path / "xray")
    profile = load_profile("smoke")
    (found,) = matrix.find([Spec("xray")], tmp_path, profile)
    ref = found.prepare()
    store = Store(tmp_path / "results")
    matrix.cells(profile, [ref], [Spec("unet")], store, Splitting(), [SEED])
    (split,) = (store.root / "smoke").glob("*/split.csv")
    sides = pd.read_csv(split).set_index("patient").side
    assert set(sides[sides == "test"].index) == {
        "n291",
        "n165",
    }  # 165 has a film in training/ too: all are tested
    matrix.cells(profile, [ref], [Spec("unet")], store, Splitting(5), [SEED])
    folds = pd.read_csv(split.with_name("split-5fold.csv"))
    assert (folds[folds.side == "test"].groupby("patient").size() == 1).all()


def test_corners_far_out_of_the_film_are_cut_off(tmp_path: Path) -> None:
    points = corners()
    points[16, 2:, 1] = SIZE[0] + 30
    mask = quadrilaterals(points.reshape(-1, 2), SIZE) > 0
    assert mask.shape == SIZE
    assert mask[-1, 40:81].all()


def _labels(root: Path) -> Path:
    return root / "boostnet_labeldata" / "labels" / "training"


def _first(root: Path) -> Path:
    return _labels(root) / f"{NAMES['training'][0]}.mat"


def _names(root: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = _labels(root) / "filenames.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def _link(root: Path) -> None:
    film = root / "boostnet_labeldata" / "data" / "training" / NAMES["training"][0]
    film.rename(root.parent / "elsewhere.jpg")
    film.symlink_to(root.parent / "elsewhere.jpg")


def _film(root: Path) -> Path:
    return root / "boostnet_labeldata" / "data" / "training" / NAMES["training"][0]


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no p2": (lambda r: scipy.io.savemat(_first(r), {"q": [1]}), r"162 A AP.jpg.mat has no p2"),
    "67 points": (
        lambda r: scipy.io.savemat(_first(r), {"p2": np.ones((67, 2))}),
        r"corners \(67, 2\), expected \(68, 2\)",
    ),
    "no mat": (lambda r: _first(r).write_bytes(b"abc"), r"162 A AP.jpg.mat cannot be read"),
    "corners of nothing": (
        lambda r: scipy.io.savemat(_first(r), {"p2": np.zeros((68, 2))}),
        r"vertebra 1 enclose nothing of a film of 120 x 340",
    ),
    "an image unnamed": (
        lambda r: _film(r).with_name("x-1 A AP.jpg").write_bytes(_film(r).read_bytes()),
        r"x-1 A AP.jpg: .*filenames.csv does not name it",
    ),
    "another of its name": (
        lambda r: _film(r).with_name(_film(r).name.lower()).write_bytes(b"other"),
        r"162 a ap.jpg: .*filenames.csv does not name it",
    ),
    "no image": (
        lambda r: _names(r, lambda n: [*n, "ghost-1 A AP.jpg"]),
        r"names ghost-1 A AP.jpg, which is not in",
    ),
    "twice": (
        lambda r: _names(r, lambda n: [*n, n[0].upper()]),
        r"is named twice, whatever its case",
    ),
    "a way out": (
        lambda r: _names(r, lambda n: [*n, "../x-1 A AP.jpg"]),
        r"leads out of the folder",
    ),
    "a link": (_link, r"162 A AP.jpg leads out of"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_films_are_left_out_and_the_others_go_on(what: str, tmp_path: Path) -> None:
    damage, message = BAD[what]
    aasce(tmp_path / "xray")
    damage(tmp_path / "xray")
    dataset = prepared(tmp_path)
    (line,) = dataset.left_out
    assert re.search(message, line), line
    assert "\n" not in line
    assert len(dataset.cases) >= 5


def test_a_film_of_monstrous_size_is_refused_by_a_limit_that_is_an_option(tmp_path: Path) -> None:
    aasce(tmp_path / "xray")
    film = tmp_path / "xray" / "boostnet_labeldata" / "data" / "training" / NAMES["training"][1]
    Image.new("L", (20_000, 20_000)).save(film)
    (line,) = prepared(tmp_path).left_out
    assert (
        "has more than 8192 x 8192 pixels: reduce it, or raise the limit by the option largest"
        in line
    )
    Image.new("L", (9000, 100)).save(film)
    (line,) = prepared(tmp_path).left_out
    assert (
        "has 9000 x 100 pixels, expected 8192 a side at most: reduce it, or raise the limit" in line
    )
    (line,) = prepared(tmp_path, "xray:largest=9000").left_out
    assert (
        "enclose nothing of a film of 9000 x 100 pixels" in line
    )  # read, for the limit is an option


@pytest.mark.parametrize("drop", [0, 3])
def test_a_csv_with_a_row_missing_is_not_guessed_at(drop: int, tmp_path: Path) -> None:
    """Films behind the gap would get their neighbours' corners."""
    aasce(tmp_path / "xray")
    for path in _labels(tmp_path / "xray").glob("*.mat"):
        path.unlink()
    table = pd.read_csv(_labels(tmp_path / "xray") / "landmarks.csv", header=None)
    table.drop(index=drop).to_csv(
        _labels(tmp_path / "xray") / "landmarks.csv", header=False, index=False
    )
    dataset = prepared(tmp_path)
    assert len(dataset.left_out) == len(NAMES["training"])
    assert all(
        "landmarks.csv has 3 rows, filenames.csv has 4 names" in line for line in dataset.left_out
    )
    assert len(dataset.cases) == len(NAMES["test"])


@pytest.mark.parametrize("text", ["", "a,b\n", "1,2\n1,2,3,4\n"])
def test_a_csv_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    aasce(tmp_path / "xray", mats=False)
    (_labels(tmp_path / "xray") / "landmarks.csv").write_text(text)
    dataset = prepared(tmp_path)
    assert len(dataset.left_out) == len(NAMES["training"])
    assert all("landmarks.csv" in line and "\n" not in line for line in dataset.left_out)


def test_names_may_be_in_latin_or_begin_with_a_mark_and_mats_in_another_case(
    tmp_path: Path,
) -> None:
    aasce(tmp_path / "xray")
    side = _labels(tmp_path / "xray")
    names = (side / "filenames.csv").read_text()
    _first(tmp_path / "xray").rename(side / f"{NAMES['training'][0].lower()}.mat")
    (side / "filenames.csv").write_bytes(b"\xef\xbb\xbf" + names.encode())
    assert len(prepared(tmp_path).cases) == 6
    (side / "filenames.csv").write_bytes(
        names.encode() + "M\u00fcller-7 A AP.jpg\n".encode("latin-1")
    )
    (line,) = prepared(tmp_path).left_out
    assert "names M\u00fcller-7 A AP.jpg, which is not in" in line


def test_an_official_split_is_kept_exactly(tmp_path: Path) -> None:
    """165 has a film in training/ too: nothing sees it, and its film in test/ is tested."""
    aasce(tmp_path / "xray")
    folder = cache.prepare(registry.dataset(Spec("xray")), tmp_path / "xray")
    dataset = cache.load(folder)
    (split,) = Splitting().split(dataset.patients, dataset.official)
    sides = {side: split.indexes(dataset, side) for side in SIDES}
    files = {side: {dataset.cases[i].id for i in indexes} for side, indexes in sides.items()}
    assert len(files["test"]) == len(NAMES["test"])
    assert all(name.startswith("test-") for name in files["test"])
    assert len(set().union(*files.values())) == len(dataset.cases) - 1
    assert any("1 case of 1 patient of the publisher's test side" in line for line in dataset.how)
    folds = Splitting(5).split(dataset.patients, dataset.official)
    tested = [index for fold in folds for index in fold.indexes(dataset, "test")]
    assert sorted(tested) == list(range(len(dataset.cases)))


def test_how_films_were_read_is_told(tmp_path: Path) -> None:
    aasce(tmp_path / "xray")
    folder = cache.prepare(registry.dataset(Spec("xray")), tmp_path / "xray")
    told = {finding.text for finding in check(folder) if finding.kind == "reading"}
    assert "spacing: unknown (6 of 6 cases)" in told
    assert any("is taken for the patient's" in line for line in told)


def test_a_pipe_in_the_place_of_the_names_is_one_line(tmp_path: Path) -> None:
    root = tmp_path / "xray"
    side = root / "labels" / "training"
    side.mkdir(parents=True)
    os.mkfifo(side / "filenames.csv")
    with pytest.raises(UsageError, match=r"filenames\.csv cannot be read \(it is no regular"):
        prepared(tmp_path)
