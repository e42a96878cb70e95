"""`instances=on`: which labels name instances, and what that leaves as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import cache
from bench.data.levels import levels_of
from bench.data.readers.simulated import Simulated
from bench.launch import matrix
from bench.spec import registry
from bench.spec.case import Census, Dataset, Place
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.spec.profile import load_profile
from tests.data.test_volumes import verse
from tests.data.test_xray import aasce

Make = Callable[..., Path]


def prepared(data: Path, spec: str) -> Dataset:
    adapter = registry.dataset(Spec.parse(spec))
    return cache.load(cache.prepare(adapter, adapter.folder or data / adapter.name))


def test_slices_keep_their_labels_as_instances_and_only_the_digest_differs(slices: Make) -> None:
    data = slices()
    plain, named = prepared(data, "mr"), prepared(data, "mr:instances=on")
    assert plain.instances(0) is None
    labels = named.instances(0)
    assert labels is not None
    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert ((labels > 0) == (plain.mask(0) > 0)).all()
    assert (named.mask(0) == plain.mask(0)).all()
    assert named.digest != plain.digest
    assert named.cases == plain.cases


@pytest.mark.parametrize("labels", ["", "labels=vertebra=1-7/disc=16:"])
def test_a_label_of_several_things_is_said_to_be_one_instance(slices: Make, labels: str) -> None:
    data = slices()
    for path in (data / "mr" / "labels").glob("*.png"):
        mask = np.array(Image.open(path))
        mask[mask == 1], mask[mask == 2] = 7, 16
        Image.fromarray(mask).save(path)
    told = " ".join(prepared(data, f"mr:{labels}instances=on").how)
    assert "label 7, all vertebrae above T12, is one instance in each mask" in told
    assert ("label 16, all discs above" in told) == bool(labels)
    assert "is one instance" not in " ".join(prepared(data, f"mr:{labels}".rstrip(":")).how)


def test_volumes_name_their_levels_and_say_where_slices_lie(tmp_path: Path) -> None:
    verse(tmp_path / "ct-verse")
    dataset = prepared(tmp_path, "ct-verse:instances=on")
    assert dataset.digest != prepared(tmp_path, "ct-verse").digest
    for index, case in enumerate(dataset.cases):
        labels = dataset.instances(index)
        assert labels is not None
        assert set(np.unique(labels)) == {0, 20, 21, 22}
        assert case.place is not None
        assert case.id == f"{case.place.volume}_{case.place.position:03d}"
        assert case.place.thickness == pytest.approx(3.0)
    assert dataset.cases[0].place == Place("sub-verse004_ct", 1, 3.0)


def test_films_name_seventeen_vertebrae(tmp_path: Path) -> None:
    aasce(tmp_path / "xray")
    labels = prepared(tmp_path, "xray:instances=on").instances(0)
    assert labels is not None
    assert set(np.unique(labels)) == {0, *range(8, 25)}  # T1 to L5


def folder(root: Path, values: tuple[int, ...]) -> Path:
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a_1", "b_1", "c_1"):
        mask = np.zeros((20, 16), np.uint8)
        for place, value in enumerate(values):
            mask[3 + 5 * place : 6 + 5 * place, 4:9] = value
        Image.fromarray(rng.integers(0, 255, mask.shape, np.uint8)).save(
            root / "images" / f"{name}.png"
        )
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    return root


def test_a_folder_of_label_maps_has_instances_too(tmp_path: Path) -> None:
    place = folder(tmp_path / "scans", (2, 5))
    labels = prepared(tmp_path, f"{place}:pattern={{patient}}_*:foreground=>0:instances=on")
    assert set(np.unique(labels.instances(0))) == {0, 2, 5}  # type: ignore[arg-type]


def test_binary_masks_name_no_instances(tmp_path: Path) -> None:
    place = folder(tmp_path / "scans", (255, 255))
    with pytest.raises(UsageError, match="instances=on, but no mask holds two foreground labels"):
        prepared(tmp_path, f"{place}:pattern={{patient}}_*:instances=on")


def test_a_phantom_names_its_levels_too_and_their_pixels_are_the_same() -> None:
    (found,) = matrix.find([Spec.parse("mr:instances=on")], None, load_profile("smoke"))
    assert found.adapter.instances
    one = partial(Simulated, name="mr", title="MR", patients=1, slices=1)
    plain, named = (
        cache.load(cache.prepare(adapter, Path())) for adapter in (one(), one(instances=True))
    )
    labels = named.instances(0)
    assert labels is not None
    assert labels.max() > 1
    assert ((labels > 0) == (plain.mask(0) > 0)).all()
    assert (named.image(0) == plain.image(0)).all()
    assert named.cases[0].place == Place(named.cases[0].patient, 0)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("0", "70000", "1"), "label 70000 is above 65535"),
        (("0", "1 #ff0000", "1 #00ff00"), "2 of its labels have the number 1"),
        (("0", "1"), "expected a label for each"),
    ],
)
def test_labels_that_cannot_be_instances_are_refused(labels: tuple[str, ...], said: str) -> None:
    census = Census(dict.fromkeys(labels, 9), {labels: "a.png"})
    with pytest.raises(UsageError, match=re.escape(said)):
        levels_of("scans", labels[1:], census)


def test_colours_are_numbered_in_their_order() -> None:
    labels = ("#00ff00", "#0000ff")
    assert levels_of("scans", labels, Census({}, {labels: "a.png"})) == {"#0000ff": 1, "#00ff00": 2}
