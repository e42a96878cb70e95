from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bench.report.figures import patients
from bench.report.sections.table1 import Table
from bench.store.cells import Store
from tests import written
from tests.written import DICE, finished

COLUMN = "mr@phantom-abcdef01"


HERE = Path("cpu") / COLUMN


def disc(centre: int, height: int = 60, width: int = 40, radius: int = 9) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:height, :width]
    found: NDArray[np.bool_] = (rows - centre) ** 2 + (columns - 20) ** 2 < radius**2
    return found


def keep(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels.astype(np.uint8) * (255 if pixels.dtype == bool else 1))


def trained(
    root: Path, method: str, dice: tuple[float, ...], label: str = "f0-s35", **more: Any
) -> None:
    """Write a finished cell with its answers and its training curve."""
    finished(root, method, dice, **more)
    folder = root / HERE / method.replace(":", ",") / label
    for row in ("", *more.get("extras", ())):
        for number in range(len(dice)):
            keep(
                folder / ("predictions" + f"-{row}" * bool(row)) / f"c{number}.png",
                disc(28 + number),
            )
    rows = [(step, 1 / step, 1.2 / step, step) for step in (2, 4, 6)]
    frame = pd.DataFrame(rows, columns=["step", "training_loss", "validation_loss", "seconds"])
    frame.to_csv(folder / "train.csv", index=False)


def references(root: Path, cases: int = 4) -> None:
    rng = np.random.default_rng(0)
    for number in range(cases):
        keep(
            root / HERE / "references" / f"c{number}-image.png",
            rng.integers(0, 256, (60, 40), np.uint8),
        )
        keep(root / HERE / "references" / f"c{number}-reference.png", disc(30))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    root = tmp_path / "results"
    for method, dice in DICE.items():
        trained(root, method, dice, extras=["prior"] if method == "unet" else [])
    references(root)
    return Store(root)


def table_of(store: Store) -> Table:
    return written.table(store)


def test_patients_are_means_of_their_cases(store: Store) -> None:
    table = table_of(store)
    frame = patients.means(table, COLUMN)
    np.testing.assert_allclose(frame["unet"], [85.0, 77.5])
    assert patients.best(table, frame) in ("unet", "unet:prior")


def test_the_reference_is_the_best_that_compares_with_others_or_the_one_named(
    store: Store, tmp_path: Path
) -> None:
    finished(store.root, "told", (0.99,) * 4, oracle=True)
    table = table_of(store)
    assert patients.best(table, patients.means(table, COLUMN)) == "unet"
    for reference in ("fcn", "nobody"):
        paths = [tmp_path / f"{reference}.{suffix}" for suffix in ("png", "pdf")]
        patients.differences(table, paths, reference)
        assert all(path.stat().st_size > 1000 for path in paths)


def test_wide_differences_still_show_half_a_point(store: Store, tmp_path: Path) -> None:
    finished(store.root, "poor", (0.0, 0.0, 0.01, 0.0))
    paths = [tmp_path / "a.png", tmp_path / "a.pdf"]
    patients.differences(table_of(store), paths)
    assert paths[0].is_file()
