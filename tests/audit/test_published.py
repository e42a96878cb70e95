from __future__ import annotations

import pandas as pd
import pytest

from bench.audit import published
from bench.spec import registry
from tests.user import ROOT

GIVEN = ROOT.parent / "shared" / "paper"


def test_table_1_is_the_papers_in_fractions_and_in_our_names() -> None:
    table = published.table1()
    assert table.shape == (32, 7)
    assert not table.isna().any(axis=None)
    assert table.duplicated(["method", "dataset"]).sum() == 0
    ours = table.set_index(["method", "dataset"])
    scores = ["dice_mean", "dice_std", "iou_mean", "iou_std"]
    assert ours.loc[("swin_unet", "mr"), scores].tolist() == [0.8586, 0.0794, 0.7539, 0.1648]
    assert ours.loc[("unet", "ct-verse"), scores].tolist() == [0.8325, 0.0408, 0.7135, 0.0323]
    assert ours.loc[("verdiff", "xray"), "title"] == "Verdiff-Net"


def test_table_2_names_the_arms_as_bench_ablate_does() -> None:
    table = published.table2().set_index("method")
    known = registry.expand(registry.METHODS, ",".join(table.index))
    assert {spec.key for spec in known} == set(table.index)
    assert table.loc["verdiff:msfm=on:nsa=off", ["dice_mean", "iou_mean"]].tolist() == [
        0.9196,
        0.8682,
    ]
    assert table.loc["verdiff:msfm=off:nsa=on", ["dice_mean", "iou_mean"]].tolist() == [
        0.9027,
        0.8521,
    ]
    assert set(table.dataset) == {"mr"}
    assert table.msfm.tolist() == [False, True, False, True]
    assert table.nsa.tolist() == [False, False, True, True]


def test_every_name_is_registered() -> None:
    assert set(published.table1().method) <= set(registry.names(registry.METHODS))
    assert (
        set(published.table1().dataset)
        == set(published.DATASETS)
        <= set(registry.names(registry.DATASETS))
    )
    for name, dataset in published.DATASETS.items():
        assert registry.load(registry.DATASETS, name).title == dataset.title
    assert "10.3390/bioengineering11101031" in published.SOURCE


@pytest.mark.skipif(
    not GIVEN.is_dir(), reason="the tables as given are not beside this checkout (../shared/paper)"
)
def test_the_numbers_are_those_that_were_given() -> None:
    assert published.FILES["table1"].read_text() == (GIVEN / "table1.csv").read_text()
    given, ours = pd.read_csv(GIVEN / "table2.csv"), published.table2()
    pd.testing.assert_frame_equal(
        ours.astype({"msfm": int, "nsa": int})[["msfm", "nsa"]], given[["msfm", "nsa"]]
    )
    pd.testing.assert_frame_equal(ours[["dice_mean", "iou_mean"]], given[["dice_mean", "iou_mean"]])
