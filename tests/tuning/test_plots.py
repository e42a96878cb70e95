"""Pictures of a study, drawn from trials that are written down."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from bench.tuning import plots
from bench.tuning.study import Study
from tests.tuning.test_study import cell


@pytest.mark.usefixtures("pictures")
def test_a_study_has_its_pictures(tmp_path: Path) -> None:
    study = Study(cell(), f"sqlite:///{tmp_path}/tuning.db")
    opened = study.open()
    space = {"lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)}
    for number in range(2):
        opened.add_trial(
            optuna.trial.create_trial(
                params={"lr": 10.0 ** -(number + 2)},
                distributions=space,
                value=0.5 + 0.1 * number,
                intermediate_values={0: -1.0, 1: -0.5},
            )
        )
    plots.draw(study, tmp_path / "drawn")
    place = tmp_path / "drawn" / "mr@real-01234567" / "unet"
    drawn = {path.name for path in place.rglob("*.png")}
    assert drawn == {"history.png", "curves.png", "slice.png"}


def test_a_study_without_a_complete_trial_has_none(tmp_path: Path) -> None:
    study = Study(cell(), f"sqlite:///{tmp_path}/tuning.db")
    study.open()
    plots.draw(study, tmp_path / "drawn")
    assert not (tmp_path / "drawn").exists()
