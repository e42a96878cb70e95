from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from bench.report.figures import patients
from bench.spec.names import Spec
from bench.store.cells import Store
from bench.store.plan import Plan
from tests import written
from tests.report.figures.answers import COLUMN
from tests.written import finished


def test_patients_are_means_of_their_cases(store: Store) -> None:
    table = written.table(store)
    frame = patients.means(table, COLUMN)
    np.testing.assert_allclose(frame["unet"], [85.0, 77.5])
    assert table.best(COLUMN) in ("unet", "unet:prior")


def test_the_baseline_is_the_best_that_compares_with_others_or_the_one_named(
    store: Store, tmp_path: Path
) -> None:
    finished(store.root, "told", (0.99,) * 4, oracle=True)
    table = written.table(store)
    assert patients.baseline_of(table, COLUMN) == "unet"
    methods = [Spec("fcn"), Spec("unet")]
    Plan(store, "cpu").declare(Spec("fcn"), "holm", methods)
    assert patients.baseline_of(written.table(store), COLUMN) == "fcn"
    for baseline in ("fcn", "nobody"):
        paths = [tmp_path / f"{baseline}.{suffix}" for suffix in ("png", "pdf")]
        patients.differences(table, paths, baseline)
        assert all(path.stat().st_size > 1000 for path in paths)


def test_wide_differences_still_show_half_a_point(store: Store, tmp_path: Path) -> None:
    finished(store.root, "poor", (0.0, 0.0, 0.01, 0.0))
    paths = [tmp_path / "a.png", tmp_path / "a.pdf"]
    patients.differences(written.table(store), paths)
    assert paths[0].is_file()


def test_differences_to_a_baseline_of_fewer_patients_say_of_how_many_they_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(store.root, "short", (0.5, 0.6))  # the first of two patients
    panels: list[tuple[str, list[str]]] = []

    def looked_at(figure: Figure, _: list[Path]) -> None:
        for axis in figure.axes:
            names = [label.get_text() for label in axis.get_yticklabels()]
            panels.append((axis.get_title(), names))

    monkeypatch.setattr(patients, "save", looked_at)
    patients.differences(written.table(store), [], "short")
    ((title, names),) = panels
    assert "n = 2 patients" in title
    assert all("(n=1)" in name.replace("\n", " ") for name in names), names
