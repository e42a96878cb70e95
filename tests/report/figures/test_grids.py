from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from bench.report.figures import grids, overlay, pictures
from bench.report.figures.style import PAGE
from bench.store.cells import Store
from tests import written
from tests.report.figures.answers import COLUMN, HERE, disc, references, trained


def grid_of(store: Store, folder: Path, column: str = COLUMN) -> tuple[list[str], bool]:
    """Draw the grid; return what could not be drawn, and whether there is a file."""
    table = written.table(store)
    paths = [folder / "grid.png", folder / "grid.pdf"]
    left_out = grids.draw(table, column, pictures.places(table), paths)
    return left_out, all(path.is_file() for path in paths)


def test_results_without_references_say_so_in_one_line(store: Store, tmp_path: Path) -> None:
    shutil.rmtree(store.root / HERE / "references")
    (line,), there = grid_of(store, tmp_path)
    assert line.startswith(
        "image and reference of c2, c0, c3 are not in the store, as in results from before"
    )
    assert not there


def test_an_answer_that_cannot_be_read_leaves_its_place_empty(store: Store, tmp_path: Path) -> None:
    (store.root / HERE / "fcn" / "f0-s35" / "predictions" / "c2.png").write_bytes(b"torn")
    assert grid_of(store, tmp_path) == (["FCN has no prediction of case c2 that can be read"], True)


@pytest.mark.parametrize(
    ("spacing", "words"), [("2.0 2.0", "bar: 20 mm"), ("", ""), ("2.0 2.0 5.0", ""), ("wide", "")]
)
def test_a_case_has_a_scale_bar_where_its_scores_keep_its_spacing(
    store: Store,
    spacing: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    under_references: set[str] = set()

    def note(figure: Figure, _: list[Path]) -> None:
        for axis in figure.axes:
            if axis.get_title() == grids.REFERENCE_ALONE:
                under_references.add(axis.get_xlabel())

    for path in store.root.rglob("cases*.csv"):
        pd.read_csv(path).assign(spacing=spacing).to_csv(path, index=False)
    monkeypatch.setattr("bench.report.figures.grids.save", note)
    grid_of(store, tmp_path)
    assert under_references == {words}


def scores(**methods: tuple[float, ...]) -> pd.DataFrame:
    rows = [
        (method, f"c{number}", value)
        for method, values in methods.items()
        for number, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["method", "case", "dice"])


def test_best_median_and_worst_are_by_the_mean_over_all_methods() -> None:
    found = grids.choose(
        scores(a=(0.9, 0.1, 0.5, 0.6, 0.7), b=(0.1, 0.3, 0.9, 0.6, 0.7))
    )  # .5 .2 .7 .6 .7
    assert found == ({"c1": "worst", "c3": "median", "c4": "best"}, 5)
    assert grids.choose(scores(a=(0.5,))) == ({"c0": "only"}, 1)
    assert grids.choose(scores(a=(0.5, 0.4))) == ({"c1": "worst", "c0": "best"}, 2)
    assert list(grids.choose(scores(a=(0.5, 0.5, 0.5, 0.5)))[0]) == ["c0", "c1", "c3"]


def test_cases_that_some_methods_lack_are_not_chosen() -> None:
    assert grids.choose(scores(a=(0.5, 0.6, 0.7, 0.99), b=(0.5, 0.6, 0.7))) == (
        {"c0": "worst", "c1": "median", "c2": "best"},
        3,
    )


def test_one_methods_specks_do_not_make_all_pictures_small() -> None:
    truth, specks = disc(30), disc(30)
    specks[0, 0] = specks[-1, -1] = True
    image = np.zeros(truth.shape, np.uint8)
    shown = grids.Shown("", image, truth, {"a": truth, "b": truth, "c": specks, "d": None})
    assert shown.part == overlay.window([truth])
    assert grids.Shown("", image, truth, {"a": specks}).part == (slice(0, 60), slice(0, 40))
    assert grids.Shown("", image, np.zeros_like(truth), {}).part == (slice(0, 60), slice(0, 40))


@pytest.mark.parametrize("reference", ["empty", "full", "disc"])
def test_empty_and_full_masks_have_no_contour_and_a_dice(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, full = np.zeros((60, 40), bool), np.ones((60, 40), bool)
    masks = {"empty": empty, "full": full, "disc": disc(30)}
    said = []
    panel = grids._panel
    monkeypatch.setattr(grids, "_panel", lambda *given: said.append(panel(*given)) or said[-1])
    image = np.full((60, 40), 99, np.uint8)
    case = grids.Shown("Only case", image, masks[reference], {**masks, "none": None})
    grids.compose([case], "title", [tmp_path / "a.png", tmp_path / "a.pdf"])
    share = 2 * disc(30).sum() / (disc(30).sum() + full.sum())
    dice = {"empty": (1, 0, 0), "full": (0, 1, share), "disc": (0, share, 1)}[reference]
    assert [words.rstrip("*") for words in said] == [
        "",
        *(f"Dice {100 * value:.1f}" for value in dice),
        "no prediction",
    ]
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("titles", [2, 6, 12, 40])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.5])
def test_grids_fit_a_page(titles: int, ratio: float) -> None:
    across, side, head = grids._arrange([ratio] * 3, ["a method's title"] * titles, 8.5, PAGE[0])
    lines = -(-titles // across)
    assert across * (side + grids.GAP) <= PAGE[0] + 1e-9
    height = 3 * (grids.CASE + lines * (head + side * ratio + grids.LINE + 2 * grids.GAP))
    assert height <= 8.5 + 1e-9 or side == grids.SMALLEST


def test_of_a_cross_validation_each_case_is_shown_from_the_fold_that_tested_it(
    tmp_path: Path,
) -> None:
    root = tmp_path / "results"
    trained(root, "unet", (0.5, 0.7), "f0of2-s35", folds=2)
    folder = root / HERE / "unet"
    shutil.copytree(folder / "f0of2-s35", folder / "f1of2-s35")
    record = json.loads((folder / "f1of2-s35" / "cell.json").read_text())
    record["spec"]["fold"] = 1
    (folder / "f1of2-s35" / "cell.json").write_text(json.dumps(record))
    for number in range(2):
        masks = folder / "f1of2-s35" / "predictions"
        (masks / f"c{number}.png").rename(masks / f"c{number + 2}.png")
    cases = (
        (folder / "f1of2-s35" / "cases.csv").read_text().replace("c1,", "c3,").replace("c0,", "c2,")
    )
    (folder / "f1of2-s35" / "cases.csv").write_text(cases)
    references(root)
    assert grid_of(Store(root), tmp_path, f"{COLUMN}/2fold") == ([], True)
