"""Finished cells with answers, images and references, written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.written import finished

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
