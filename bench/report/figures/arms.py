"""The arms of an ablation on the same cases: contours of predictions and reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.report.figures.overlay import chosen, contour, window
from bench.report.figures.stages import ANSWER, REFERENCE
from bench.report.figures.style import PAGE, SMALL, clean_style
from bench.report.sections.ablation import Ablation
from bench.spec.arms import Arm
from bench.spec.case import Dataset


def draw(table: Ablation, dataset: Dataset, path: Path) -> None:
    """Draw one row a case and one column an arm, into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    arms = list(table.cells)
    cases = table.cases[table.cases.seed == table.cases.seed.min()]
    last = cases[cases.method == arms[-1].spec.key]
    rows = chosen(last.groupby("case").dice.mean())
    folds = dict(zip(last["case"], last.fold, strict=True))
    index = {case.id: number for number, case in enumerate(dataset.cases)}
    dice = cases.groupby(["method", "case"], observed=True).dice.mean()
    tallest = max(
        dataset.cases[index[name]].height / dataset.cases[index[name]].width for name in rows
    )
    page_width, _ = PAGE
    side = page_width / max(len(arms), 3)
    with clean_style():
        figure, axes = plt.subplots(
            len(rows),
            len(arms),
            squeeze=False,
            layout="constrained",
            figsize=(page_width, (side * min(tallest, 2.5) + 0.45) * len(rows) + 0.6),
        )
        for row, (name, place) in enumerate(rows.items()):
            image, reference = dataset.image(index[name]), dataset.mask(index[name])
            masks = [_mask(table, arm, folds[name], name) for arm in arms]
            part = window([reference, *masks])
            for column, (arm, answer) in enumerate(zip(arms, masks, strict=True)):
                axis = axes[row][column]
                axis.imshow(image[part], cmap="gray")
                for mask, colour, style in (
                    (answer, ANSWER, "solid"),
                    (reference, REFERENCE, "dashed"),
                ):
                    contour(axis, mask[part], colour, style)
                axis.set_title(f"Dice {100 * dice[arm.spec.key, name]:.1f}", fontsize=SMALL)
                axis.set_xticks([])
                axis.set_yticks([])
            axes[row][0].set_ylabel(f"{place} case\n{name}", fontsize=7)
        for column, arm in enumerate(arms):
            heads = "\n".join(
                f"{factor.upper()} {'on' if on else 'off'}"
                for factor, on in zip(table.factors, arm.switches, strict=True)
            )
            axes[0][column].set_title(f"{heads}\n{axes[0][column].get_title()}", fontsize=SMALL)
        named = table.column.dataset
        source = "PHANTOM data (simulated)" if named.source == "phantom" else "real data"
        title = (
            f"{table.title}, {named.name} ({source}), profile '{table.profile}'\n"
            "prediction solid orange, reference dashed blue; first seed; "
            "cases chosen by the last arm's Dice"
        )
        figure.suptitle(title, fontsize=8)
        figure.savefig(path, dpi=200, metadata={"Software": None})
        plt.close(figure)


def _mask(table: Ablation, arm: Arm, fold: int, case: str) -> NDArray[np.uint8]:
    """Return an arm's predicted mask (H, W), 0 and 1, of a case that a fold tested."""
    return np.asarray(table.cells[arm][fold].prediction(case), np.uint8)
