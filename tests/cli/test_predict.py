"""`bench predict`: masks of new images by the weights of a cell."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from tests.user import Bench

Make = Callable[..., Path]


@pytest.mark.parametrize("method", ["unet", pytest.param("verdiff", marks=pytest.mark.long)])
def test_the_cells_own_images_get_the_masks_that_it_kept(
    bench: Bench, slices: Make, method: str
) -> None:
    data = slices()
    bench.run(data, method, "--launcher", "debug")
    cell = bench.cell(method)
    tested = pd.read_csv(cell / "cases.csv").case
    for case in tested:
        (bench.home / "new").mkdir(exist_ok=True)
        shutil.copy(data / "mr" / "images" / f"{case}.png", bench.home / "new")
    out = bench("predict", str(cell), "--images", "new", "--to", "masks")
    assert f"masks: {len(tested)} masks by" in out
    for case in tested:
        kept = cv2.imread(str(cell / "predictions" / f"{case}.png"), 0)
        assert np.array_equal(cv2.imread(str(bench.home / "masks" / f"{case}.png"), 0), kept)
    if method != "unet":
        return
    with (cell / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    said = bench("predict", str(cell), "--images", "new", "--to", "masks", code=2)
    assert "is not as the cell left it" in said


def test_what_is_no_cell_is_said(bench: Bench) -> None:
    (bench.home / "new").mkdir()
    cv2.imwrite(str(bench.home / "new" / "a.png"), np.zeros((9, 9), np.uint8))
    out = bench("predict", "results", "--images", "new", code=2)
    assert out.startswith("bench: results is no finished cell; expected a folder such as")
    assert "--images nowhere is not there" in bench(
        "predict", "results", "--images", "nowhere", code=2
    )
