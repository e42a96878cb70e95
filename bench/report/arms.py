"""The arms of an ablation on the same cases: each answer's contour over the image, beside the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.ablate import Arm
from bench.data.case import Dataset
from bench.report.ablation import Ablation
from bench.report.stages import ANSWER, REFERENCE
from bench.store import Store


def chosen(cases: pd.DataFrame, method: str) -> list[str]:
    """Return the worst, the median and the best case by a method's Dice, so that nobody picks them."""
    mine = cases[cases.method == method].groupby("case").dice.mean().sort_values(kind="stable")
    return list(dict.fromkeys(str(mine.index[i]) for i in (0, (len(mine) - 1) // 2, len(mine) - 1)))


def draw(table: Ablation, store: Store, dataset: Dataset, cases: pd.DataFrame, path: Path) -> None:
    """Draw one row a case and one column an arm, into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    arms = list(table.folders)
    rows = chosen(cases, arms[-1].spec)
    index = {case.id: number for number, case in enumerate(dataset.cases)}
    dice = cases.groupby(["method", "case"]).dice.mean()
    ratio = max(dataset.cases[index[name]].height / dataset.cases[index[name]].width for name in rows)
    with plt.rc_context({"font.size": 8}):
        figure, axes = plt.subplots(
            len(rows),
            len(arms),
            squeeze=False,
            layout="constrained",
            figsize=(1.8 * len(arms), (1.8 * min(ratio, 2.5) + 0.3) * len(rows) + 0.5),
        )
        for row, name in enumerate(rows):
            image, truth = dataset.image(index[name]), dataset.mask(index[name])
            window = _window([truth, *(_mask(store, table, arm, name) for arm in arms)])
            for column, arm in enumerate(arms):
                axis = axes[row][column]
                axis.imshow(image[window], cmap="gray")
                for mask, colour, style in ((_mask(store, table, arm, name), ANSWER, "solid"),
                                            (truth, REFERENCE, "dashed")):  # fmt: skip
                    if mask[window].any() and not mask[window].all():
                        axis.contour(mask[window], [0.5], colors=colour, linewidths=0.9, linestyles=style)
                axis.set_title(f"Dice {100 * dice[arm.spec, name]:.1f}", fontsize=8)
                axis.set_xticks([])
                axis.set_yticks([])
            axes[row][0].set_ylabel(f"{('worst', 'median', 'best')[row] if len(rows) == 3 else ''} case\n{name}")
        for column, arm in enumerate(arms):
            heads = "\n".join(
                f"{factor.upper()} {'on' if on else 'off'}"
                for factor, on in zip(table.factors, arm.switches, strict=True)
            )
            axes[0][column].set_title(f"{heads}\n{axes[0][column].get_title()}", fontsize=8)
        source = "PHANTOM data (simulated)" if table.dataset.source == "phantom" else "real data"
        figure.suptitle(
            f"{table.title}, {table.dataset.name} ({source}), profile '{table.profile}'\n"
            "answer solid orange, reference dashed blue; first seed; cases chosen by the last arm's Dice",
            fontsize=8,
        )
        figure.savefig(path, dpi=200, metadata={"Software": None})
        plt.close(figure)


def _mask(store: Store, table: Ablation, arm: Arm, case: str) -> NDArray[np.uint8]:
    path = store.prediction(table.folders[arm], case)
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise OSError(f"{path} cannot be read")
    return np.asarray(mask > 0, np.uint8)


def _window(masks: Sequence[NDArray[np.uint8]], margin: float = 0.08) -> tuple[slice, slice]:
    """Return the part of the image that holds every mask, with a margin."""
    any_mask = np.logical_or.reduce([mask > 0 for mask in masks])
    height, width = any_mask.shape
    if not any_mask.any():
        return slice(0, height), slice(0, width)
    rows, columns = np.flatnonzero(any_mask.any(1)), np.flatnonzero(any_mask.any(0))
    pad = int(margin * max(height, width))
    return (slice(max(0, rows[0] - pad), min(height, rows[-1] + pad + 1)),
            slice(max(0, columns[0] - pad), min(width, columns[-1] + pad + 1)))  # fmt: skip
