"""Other tools read from an export the same cases, pixels, labels and sides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cli.app import app
from bench.data import cache
from bench.data.export import Export
from bench.data.geometry import Geometry
from bench.data.splits import Splitting
from bench.launch import matrix
from bench.spec import registry
from bench.spec.case import SIDES, Case, Dataset, Side, Split
from bench.spec.errors import UsageError
from bench.spec.names import DatasetId, Spec
from bench.spec.plain import content_hash
from bench.spec.profile import load_profile
from bench.store.cells import Store
from bench.store.plan import Plan

Make = Callable[..., Path]
SPACING = {"row_mm": 0.6, "column_mm": 0.5}


def call(*words: Any, code: int = 0) -> Any:
    """Call the command; an error is the exception that `bench` prints as one line."""
    result = CliRunner().invoke(app, ["data", "export", *map(str, words)])
    if code:
        assert isinstance(result.exception, UsageError), result.output
        return str(result.exception)
    assert result.exception is None, result.output
    return Path(result.stdout.splitlines()[-1])


def prepared(data: Path) -> Dataset:
    return cache.load(cache.prepare(registry.dataset(Spec("mr")), data / "mr"))


def made(names: dict[str, str], size: tuple[int, int] = (40, 24), **how: Any) -> Dataset:
    """Return a dataset in memory of cases with their patients."""
    rng = np.random.default_rng(5)
    cases = tuple(Case(name, patient, *size, how.get("spacing")) for name, patient in names.items())
    area = size[0] * size[1]
    images = rng.integers(0, 65536, len(cases) * area).astype(np.uint16)
    masks = (rng.random(len(cases) * area) > 0.7).astype(np.uint8)
    starts = tuple(range(0, len(cases) * area, area))
    return Dataset("set", "real", "0123456789abcdef", cases, images, masks, starts)


PATIENTS = {"a": "p1", "b": "p2", "c": "p3"}
SPLIT = Split({"p1": "train", "p2": "validation", "p3": "test"})


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(next(folder.glob("*.csv")), dtype={"patient": str, "case": str})


def test_nnunet_reads_the_prepared_pixels_labels_and_spacing(slices: Make, tmp_path: Path) -> None:
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

    data = slices(**SPACING)
    folder = call("mr", "--data", data, "--to", tmp_path / "raw")
    about = read(folder / "dataset.json")
    first = str(next((folder / "imagesTr").iterdir()))
    reader = determine_reader_writer_from_dataset_json(about, first, verbose=False)()
    dataset = prepared(data)
    sides = table(folder).set_index("case").side
    for index, case in enumerate(dataset.cases):
        part = "Ts" if sides[case.id] == "test" else "Tr"
        image, properties = reader.read_images(
            (str(folder / f"images{part}" / f"{case.id}_0000.nii.gz"),)
        )
        label, of_label = reader.read_seg(str(folder / f"labels{part}" / f"{case.id}.nii.gz"))
        assert image.shape == label.shape == (1, 1, case.height, case.width)
        assert np.array_equal(image[0, 0], dataset.image(index).astype(np.float32))
        assert np.array_equal(label[0, 0], dataset.mask(index).astype(np.float32))
        assert properties["spacing"] == pytest.approx([999, 0.6, 0.5])
        assert of_label["spacing"] == pytest.approx([999, 0.6, 0.5])
        assert (image % 257).any()  # values that 8 bit do not hold
    assert {path.name: len(list(path.iterdir())) for path in folder.iterdir() if path.is_dir()} == {
        "imagesTr": 10,
        "labelsTr": 10,
        "imagesTs": 2,
        "labelsTs": 2,
    }


def test_nnunets_own_check_passes(slices: Make, tmp_path: Path) -> None:
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    verify_dataset_integrity(
        str(call("mr", "--data", slices(patients=3, each=1, **SPACING), "--to", tmp_path)),
        num_processes=1,
    )


def test_the_split_is_that_of_a_run(slices: Make, tmp_path: Path) -> None:
    data = slices(patients=10)
    folder = call("mr", "--data", data, "--to", tmp_path / "raw")
    dataset = prepared(data)
    plan = Plan(Store(tmp_path / "results"), "smoke")
    name = DatasetId("mr", "real", dataset.digest)
    of_run = plan.splits(name, dataset.patients, Splitting())[0]
    assert read(folder / "bench-export.json")["split"] == content_hash(of_run.sides)
    rows = table(folder)
    assert dict(zip(rows.patient, rows.side, strict=True)) == of_run.sides
    assert (rows.groupby("patient").side.nunique() == 1).all()
    (fold,) = read(folder / "splits_final.json")
    assert fold == {
        key: list(rows.case[rows.side == side])
        for key, side in (("train", "train"), ("val", "validation"))
    }
    in_folder = {path.name.removesuffix("_0000.nii.gz") for path in (folder / "imagesTr").iterdir()}
    assert in_folder == {*fold["train"], *fold["val"]}
    assert read(folder / "dataset.json")["numTraining"] == len(in_folder) == 16
    assert not in_folder & set(rows.case[rows.side == "test"])


def test_a_share_of_patients_is_another_export(slices: Make, tmp_path: Path) -> None:
    words = ("mr", "--data", slices(patients=8), "--to", tmp_path)
    whole, half = table(call(*words)), table(call(*words, "--fraction", "0.5"))
    train = [set(each[each.side == "train"].patient) for each in (whole, half)]
    assert train[1] < train[0]
    assert set(whole[whole.side == "test"].case) == set(half[half.side == "test"].case)


def test_each_fold_is_an_export_of_its_own(slices: Make, tmp_path: Path) -> None:
    data = slices()
    call("mr", "--data", data, "--to", tmp_path / "raw", "--folds", "3")
    folders = sorted((tmp_path / "raw").iterdir())
    assert [folder.name.rpartition("-")[2] for folder in folders] == ["f0", "f1", "f2"]
    assert all("3fold" in folder.name for folder in folders)
    tested: list[str] = []
    for folder in folders:
        rows = pd.read_csv(folder / "cases.csv", dtype=str)
        assert set(rows.side) == {"train", "validation", "test"}
        tested += sorted(set(rows.patient[rows.side == "test"]))
    assert sorted(tested) == [str(number) for number in range(1, 7)]  # each patient once


def test_the_publishers_test_side_is_the_test_side(
    slices: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = slices()
    dataset = replace(prepared(data), official=frozenset({"2", "5"}))
    monkeypatch.setattr(cache, "load", lambda _: dataset)
    rows = table(call("mr", "--data", data, "--to", tmp_path / "raw"))
    assert set(rows.patient[rows.side == "test"]) == {"2", "5"}


def test_patients_on_no_side_are_not_written(tmp_path: Path) -> None:
    sides: dict[str, Side] = {**SPLIT.sides, "p4": "unused"}
    dataset = made({**PATIENTS, "d": "p4", "e": "p1"})
    export = Export(dataset, Split(sides))
    nnunet, npz = export.nnunet(tmp_path), export.medsegbench(tmp_path, 128)
    for folder in (nnunet, npz):
        assert list(table(folder).case) == ["a", "e", "b", "c"]
        assert read(folder / "bench-export.json")["cases"] == {
            "train": 2,
            "validation": 1,
            "test": 1,
        }
    assert not list(nnunet.rglob("d*.nii.gz"))


@pytest.mark.parametrize("layout", ["nnunet", "medsegbench"])
def test_phantoms_are_marked(layout: str, tmp_path: Path) -> None:
    folder = call("mr", "--profile", "smoke", "--to", tmp_path, "--as", layout)
    assert "-phantom-" in folder.name
    assert "PHANTOM" in (folder / "README.md").read_text()
    about = read(folder / "bench-export.json")
    assert (about["layout"], about["source"]) == (layout, "phantom")
    if layout == "nnunet":
        assert "PHANTOM" in read(folder / "dataset.json")["description"]


def test_medsegbench_keys_types_and_shapes(slices: Make, tmp_path: Path) -> None:
    data = slices()
    folder = call(
        "mr", "--data", data, "--to", tmp_path / "out", "--as", "medsegbench", "--size", "128"
    )
    dataset, rows = prepared(data), table(folder)
    file = folder / f"mr-real-{dataset.digest[:8]}_128.npz"
    assert {path.name for path in folder.iterdir()} == {
        file.name,
        f"{file.stem}.csv",
        "README.md",
        "bench-export.json",
    }
    with np.load(file, allow_pickle=False) as loaded:
        arrays = dict(loaded)
    assert set(arrays) == {
        f"{side}_{what}" for side in ("train", "val", "test") for what in ("images", "label")
    }
    known = {case.id: index for index, case in enumerate(dataset.cases)}
    for side, prefix in zip(SIDES, ("train", "val", "test"), strict=True):
        images, labels = arrays[f"{prefix}_images"], arrays[f"{prefix}_label"]
        here = rows[rows.side == side]
        assert list(here["index"]) == list(range(len(here)))
        assert images.shape == labels.shape == (len(here), 128, 128)
        assert images.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels)) == {0, 1}
        for image, label, case in zip(images, labels, here.case, strict=True):
            grid = Geometry(dataset.image(known[case]).shape, (128, 128))
            assert np.abs(image * 257.0 - grid.image(dataset.image(known[case]))).max() <= 128.5
            assert np.array_equal(label, grid.mask(dataset.mask(known[case])))
            assert not image[
                :, :17
            ].any()  # 44 of 60 pixels wide: 94 of 128, the rest on both sides is nothing
            assert not image[:, -17:].any()
            assert Image.fromarray(image).mode == "L"  # as MedSegBench's own loader opens it
    assert arrays["train_images"].max() > 250


def test_a_case_of_the_squares_size_keeps_its_label(tmp_path: Path) -> None:
    dataset = made(PATIENTS, (128, 128))
    folder = Export(dataset, SPLIT).medsegbench(tmp_path, 128)
    with np.load(folder / f"{folder.name}.npz") as arrays:
        assert np.array_equal(arrays["val_label"][0], dataset.mask(1))
        assert np.array_equal(arrays["val_images"][0], (dataset.image(1).astype(int) + 128) // 257)


def test_an_unknown_spacing_is_one_for_all(tmp_path: Path) -> None:
    import nibabel

    dataset = made(PATIENTS, spacing=(0.6, 0.5))
    mixed = replace(dataset, cases=(*dataset.cases[:2], Case("c", "p3", 40, 24, None)))
    folder = Export(mixed, SPLIT).nnunet(tmp_path)
    zooms = {tuple(nibabel.load(path).header.get_zooms()) for path in folder.rglob("*.nii.gz")}
    assert zooms == {(1, 1, 999)}
    assert "spacing is unknown" in (folder / "README.md").read_text()


def test_two_exports_are_the_same_bytes(slices: Make, tmp_path: Path) -> None:
    data = slices(**SPACING)
    for layout in ("nnunet", "medsegbench"):
        digests = []
        for name in ("one", "two"):
            folder = call("mr", "--data", data, "--to", tmp_path / layout / name, "--as", layout)
            digests.append(
                {
                    str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                    for path in folder.rglob("*")
                    if path.is_file()
                }
            )
        assert digests[0] == digests[1]


def test_each_dataset_takes_the_next_number_and_none_is_written_twice(
    slices: Make, tmp_path: Path
) -> None:
    data, raw = slices(), tmp_path / "raw"
    assert call("mr", "--data", data, "--to", raw).name.startswith("Dataset901_mr-real-")
    second = call("ct-pri", "--profile", "smoke", "--to", raw)
    assert second.name.startswith("Dataset902_ct-pri-phantom-")
    assert "-d 902 " in (second / "README.md").read_text()
    before = sorted(path.name for path in raw.iterdir())
    assert "is there already; remove it, or choose another folder with --to" in call(
        "mr", "--data", data, "--to", raw, code=2
    )
    assert sorted(path.name for path in raw.iterdir()) == before
    how = ("--as", "medsegbench", "--size", 128)
    call("mr", "--data", data, "--to", raw, *how)
    assert "_128 is there already" in call("mr", "--data", data, "--to", raw, *how, code=2)


def test_what_stops_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nibabel.save", full)
    monkeypatch.setattr("numpy.savez_compressed", full)
    export = Export(made(PATIENTS), SPLIT)
    for write in (export.nnunet, export.medsegbench):
        with pytest.raises(UsageError, match="No space left on device"):
            write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_nnunet_takes_for_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="case a_seg: nnU-Net expects names that do not end in _seg"
    ):
        Export(made({"a_seg": "p1", "b": "p2", "c": "p3"}), SPLIT).nnunet(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("all",), "'all' names 4 datasets; expected one: bench data export ct-pri"),
        (("mr", "--as", "nnunets"), "unknown layout 'nnunets'; did you mean 'nnunet'"),
        (("mr", "--size", "128"), "keeps native sizes"),
        (("mr", "--as", "medsegbench", "--size", "0"), "squares of 128, 256, 512 pixels"),
        (("mr", "--profile", "smoke", "--to", "file/below"), "cannot be written"),
        (("mrs",), "did you mean 'mr'"),
        (("mr:instances=on",), "mr: instances=on, but these layouts have classes and no instances"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_mends_it(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    to = () if "--to" in words else ("--profile", "smoke", "--to", "out")
    text = call(*words, *to, code=2)
    assert message in text
    assert "\n" not in text


def test_real_slices_reach_nnunet_as_they_are(spider: Path, tmp_path: Path) -> None:
    import SimpleITK

    folder = call("mr", "--data", spider, "--to", tmp_path / "raw")
    (found,) = matrix.find([Spec("mr")], spider, load_profile("cpu"))
    dataset = cache.load(Path(found.prepare().cache))
    known = {case.id: index for index, case in enumerate(dataset.cases)}
    paths = sorted(folder.glob("images*/*.nii.gz"))
    assert len(paths) == len(dataset.cases)
    for path in paths[::10]:
        volume = SimpleITK.ReadImage(str(path))
        index = known[path.name.removesuffix("_0000.nii.gz")]
        assert np.array_equal(SimpleITK.GetArrayFromImage(volume)[0], dataset.image(index))
