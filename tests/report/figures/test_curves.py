from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from bench.report.figures import curves
from bench.store.cells import Store
from tests import written
from tests.report.figures.answers import COLUMN, trained
from tests.written import DICE, NO_CERTIFICATE, finished


def test_curves_are_the_cells_own(store: Store) -> None:
    trained(store.root, "unet", DICE["unet"], "f0-s36", seed=36)
    finished(store.root, "own", DICE["fcn"], own_training=True, certificate=NO_CERTIFICATE)
    finished(store.root, "lost", DICE["fcn"])
    found, without = curves.collect(written.table(store), COLUMN)
    assert {title: len(cells) for title, cells in found.items()} == {"FCN": 1, "UNET": 2}
    assert found["FCN"][0].best == 6
    assert without == [
        "LOST: no training curve; train.csv is missing",
        (
            "OWN [trained on data of its own making]: no training curve; trains itself, which"
            " leaves none"
        ),
    ]


@pytest.mark.parametrize(("steps", "marker"), [((50, 60), "."), (range(10, 610, 10), "None")])
def test_few_validations_are_points_on_an_axis_that_begins_at_0(
    steps: Sequence[int], marker: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = pd.DataFrame({"step": list(steps), "training_loss": 0.5, "validation_loss": 0.4})
    seen: list[Figure] = []

    def looked_at(figure: Figure, _: list[Path]) -> None:
        [axis] = [one for one in figure.axes if one.lines]
        assert axis.get_xlim()[0] == 0
        assert axis.lines[0].get_marker() == marker
        assert axis.get_title() == "U-Net (2 cells)"
        seen.append(figure)

    monkeypatch.setattr(curves, "save", looked_at)
    curves.compose({"U-Net": [curves.Curve(rows, 60)] * 2}, "title", [tmp_path / "a.png"])
    assert seen


def test_a_curve_of_one_validation_is_drawn(tmp_path: Path) -> None:
    rows = pd.DataFrame({"step": [4], "training_loss": [0.5], "validation_loss": [0.4]})
    curves.compose(
        {"U-Net": [curves.Curve(rows, 4)]}, "title", [tmp_path / "a.png", tmp_path / "a.pdf"]
    )
    assert (tmp_path / "a.png").is_file()
