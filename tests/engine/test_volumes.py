"""Slices of a volume are stacked and scored in 3D; what is no volume is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.data import cache
from bench.engine import instances
from bench.engine.metrics import score
from bench.engine.parts import of_components, of_labels
from bench.engine.volumes import about, of_line, stacks
from bench.report.sections import volumes
from bench.report.sections.table import collect
from bench.spec import registry
from bench.spec.case import Case, Dataset, Place
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.store.cells import Store
from bench.store.results import Results
from tests.conftest import make_slices
from tests.data.test_volumes import nifti, spine
from tests.user import Bench


def case(position: int, **changes: object) -> Case:
    place = Place("v", position, 2.0)
    return replace(Case(f"v_{position:03d}", "p", 4, 5, (1.0, 0.5), place), **changes)


def test_slices_lie_at_their_positions_and_gaps_are_background() -> None:
    [stack] = stacks([case(7), case(4), case(5)])
    assert (stack.positions, stack.cases) == ((4, 5, 7), ("v_004", "v_005", "v_007"))
    assert stack.spacing == (2.0, 1.0, 0.5)
    whole = stack.whole(lambda name: np.full((4, 5), int(name[-1]), np.uint8))
    assert whole is not None
    assert whole[:, 0, 0].tolist() == [4, 5, 0, 7]
    assert stack.whole(lambda name: None) is None
    line = {**{k: str(v) for k, v in about(stack).items()}, "spacing": "2.0 1.0 0.5"}
    assert of_line(line) == stack
    with pytest.raises(ValueError, match="other positions than slices"):
        of_line({**line, "positions": "4 5"})


def test_faces_where_a_slab_was_cut_are_no_boundary() -> None:
    one, other = np.zeros((2, 30, 30), np.uint8)
    one[5:20, 5:20], other[7:22, 5:20] = 1, 1
    flat = score(one, other, (1.0, 1.0))
    alone = score(one[None], other[None], (3.0, 1.0, 1.0), asked=[True])
    assert (alone.hd95, alone.assd, alone.nsd) == (flat.hd95, flat.assd, flat.nsd)
    apart = score(
        np.stack([one, 0 * one, one]),
        np.stack([other, 0 * one, other]),
        (3.0, 1.0, 1.0),
        asked=[True, False, True],
    )
    assert (apart.hd95, apart.assd, apart.nsd) == (flat.hd95, flat.assd, flat.nsd)
    whole = [np.stack([0 * mask, mask, mask, 0 * mask]) for mask in (one, other)]
    closed = score(*whole, (3.0, 1.0, 1.0), asked=[True] * 4)
    assert closed.values == pytest.approx(score(*whole, (3.0, 1.0, 1.0)).values)
    assert closed.nsd > flat.nsd  # both slices end where they were asked about


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ([case(0, place=None)], "no slice of a known volume"),
        ([case(0), case(1, patient="q")], "2 patients"),
        ([case(0), case(9000)], "are numbered from 0 to 9000"),
        ([case(0), case(1, height=5)], "2 sizes or spacings"),
        ([case(0), case(1, place=Place("v", 1, 3.0))], "2 distances between slices"),
        ([case(0), case(0, id="other")], r"volume v have the number 0 \(.* and other\)"),
    ],
)
def test_what_is_no_volume_is_refused(cases: list[Case], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        stacks(cases)


def test_an_index_may_number_its_slices(tmp_path: Path) -> None:
    data = make_slices(tmp_path, slice_mm=4.0)
    index = data / "mr" / "index.csv"
    table = pd.read_csv(index).assign(slice=lambda frame: frame.index % 2 + 6)
    table.to_csv(index, index=False)
    adapter = registry.dataset(Spec("mr"))
    dataset = cache.load(cache.prepare(adapter, data / "mr"))
    assert dataset.cases[1].place == Place("1", 7, 4.0)
    table.assign(slice=table["slice"].astype(float)).to_csv(index, index=False)  # 7.0
    assert adapter.items(data / "mr")[1].place == Place("1", 7, 4.0)
    table.assign(slice_mm=-1).to_csv(index, index=False)
    with pytest.raises(UsageError, match="slice_mm is -1; expected mm"):
        adapter.items(data / "mr")
    for unknown in ("middle", "1.5", "-1", "", "20261127", "1e300"):
        table.assign(slice=unknown).to_csv(index, index=False)
        assert {item.place for item in adapter.items(data / "mr")} == {None}


@pytest.fixture
def verse(bench: Bench) -> Dataset:
    """Return ten volumes of four slices that show vertebrae, and predictions of the test side."""
    for number in range(10):
        image, labels = spine(number)
        subject, root = f"sub-verse{100 + number}", bench.home / "data" / "ct-verse"
        nifti(root / "rawdata" / subject / f"{subject}_ct.nii.gz", image)
        nifti(root / "derivatives" / subject / f"{subject}_seg-vert_msk.nii.gz", labels)
    adapter = registry.dataset(Spec.parse("ct-verse:instances=on"))
    dataset = cache.load(cache.prepare(adapter, bench.home / "data" / "ct-verse"))
    for name in ("shifted", "short"):
        (bench.home / name).mkdir()
    for index, one in enumerate(dataset.cases):
        labels = dataset.instances(index)
        assert labels is not None
        shifted = np.where(labels, labels + 1, 0).astype(np.uint8)
        cv2.imwrite(str(bench.home / "shifted" / f"{one.id}.png"), shifted)
        assert one.place is not None
        cut = (labels > 0) & (one.place.position > 1)
        cv2.imwrite(str(bench.home / "short" / f"{one.id}.png"), cut * np.uint8(255))
    return dataset


def test_a_prepared_volume_is_scored_by_slice_and_in_3d(bench: Bench, verse: Dataset) -> None:
    bench(
        *("score", "--dataset", "ct-verse:instances=on", "--data", "data", "--score", "volume"),
        *("--foreground-predictions", ">0", "--folds", "5", "--profile", "smoke"),
        *("--predictions", "Shifted=shifted", "--predictions", "Short=short"),
    )
    (table,) = collect(Results.load(Store(bench.home / "results")))
    (document,) = volumes.documents(table)
    frame = document.frames[""].set_index(["title", "scored"])
    assert frame.loc[("Shifted [from outside]", "volume"), "dice"] == 1
    assert frame.loc[("Shifted [from outside]", "volume"), "identified"] == 0
    assert frame.loc[("Short [from outside]", "slice"), "dice"] == pytest.approx(3 / 4)
    _, labels = spine(0)
    reference = labels[1:5] > 0
    short = reference.copy()
    short[0] = False
    expected = score(short, reference, (3.0, 1.0, 1.0))
    row = frame.loc[("Short [from outside]", "volume")]
    assert row["dice"] == pytest.approx(expected.dice) == pytest.approx(6 / 7)
    assert row["number"] == 10
    assert row["hd95"] == pytest.approx(3.0)
    found = of_components(short)
    assert row["pq"] == pytest.approx(instances.score(found, of_labels(labels[1:5])).values["pq"])
    assert "does not hold: 0" in bench("verify", "results")
    path = next((bench.home / "results").rglob("volumes.csv"))
    path.write_text(path.read_text().replace(",1,", ",0.9,", 1))
    assert "its digest" in bench("report", "--no-pictures", code=1)


def test_a_volume_without_predictions_is_identified_nowhere(bench: Bench, verse: Dataset) -> None:
    (bench.home / "few").mkdir()
    for one in verse.cases[:6]:  # a volume, and a half
        mask = cv2.imread(str(bench.home / "shifted" / f"{one.id}.png"), cv2.IMREAD_GRAYSCALE)
        assert mask is not None
        cv2.imwrite(str(bench.home / "few" / f"{one.id}.png"), np.where(mask, mask - 20, 0))
    bench(
        *("score", "--dataset", "ct-verse:labels=L1=20/L2=21/L3=22:instances=on"),
        *("--data", "data", "--score", "volume", "--folds", "5", "--profile", "smoke"),
        *("--predictions", "Few=few", "--missing", "zero"),
    )
    lines = [pd.read_csv(path) for path in sorted((bench.home / "results").rglob("volumes.csv"))]
    whole = pd.concat(lines).query("`class` == 'union'").sort_values("case")
    assert whole["identified"].tolist() == [1, 1, *[0] * 8]
    assert "does not hold: 0" in bench("verify", "results")


def test_distances_in_voxels_are_not_called_millimetres(bench: Bench) -> None:
    data = make_slices(bench.home / "data", row_mm=0.5, column_mm=0.5)
    index = data / "mr" / "index.csv"
    table = pd.read_csv(index).assign(slice=lambda frame: frame.index % 2)
    table.to_csv(index, index=False)
    bench(
        *("score", "--dataset", "mr", "--data", "data", "--score", "volume", "--profile", "smoke"),
        *("--foreground-predictions", ">0", "--predictions", "Same=data/mr/labels"),
    )
    (whole,) = collect(Results.load(Store(bench.home / "results")))
    (document,) = volumes.documents(whole)
    assert document.frames[""].unit.tolist() == ["mm", "px"]
    heads = [head.text for head in document.blocks[0].heads]
    assert "Unit" in heads
    assert not [head for head in heads if "mm" in head]


def test_references_of_no_dataset_are_refused(bench: Bench) -> None:
    for part in ("labels", "preds"):
        (bench.home / part).mkdir()
        cv2.imwrite(str(bench.home / part / "a_1.png"), np.eye(9, dtype=np.uint8) * 255)
    usual = ("--predictions", "Ours=preds", "--score", "volume")
    said = bench("score", "--reference", "labels", "--pattern", "{patient}_*", *usual, code=2)
    assert "--score volume stacks slices of a prepared dataset" in said


def test_a_trained_network_is_scored_by_slice_and_in_3d(bench: Bench) -> None:
    levels = "L1=20/L2=21/L3=22/L4=23/background=others"
    bench(
        *("run", "--methods", "unet", "--datasets", f"ct-verse:labels={levels}:instances=on"),
        *("--profile", "smoke", "--score", "volume", "--launcher", "debug", "--device", "cpu"),
    )
    (table,) = collect(Results.load(Store(bench.home / "results")))
    (document,) = volumes.documents(table)
    assert list(document.frames[""].scored) == ["slice", "volume"]
    assert document.frames[""].identified.notna().all()  # classes of one label have names
    assert "does not hold: 0" in bench("verify", "results")
