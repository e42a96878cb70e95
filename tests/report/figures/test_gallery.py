from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.report import write
from bench.report.figures import curves, gallery, grids, matrix, overlay, patients, pictures
from bench.report.figures.style import PAGE
from bench.report.sections.table1 import Table
from bench.store.cells import Store
from tests import written
from tests.user import ROOT
from tests.written import DICE, NO_CERTIFICATE, failed, finished

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


def drawn(store: Store, folder: Path) -> tuple[dict[str, bytes], str]:
    """Draw all figures; return their bytes and the list."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        path.name: path.read_bytes() for path in gallery.write(table_of(store), folder, redraw=True)
    }
    return files, files.pop("figures-phantom.md").decode()


ALONE = (f"grid-{COLUMN}", f"curves-{COLUMN}", "patients-phantom", "differences-phantom")
"""What one method alone gets."""
STEMS = (*ALONE, f"pairs-{COLUMN}", "critical-phantom", "ranks-phantom")


def test_all_figures_are_drawn_and_are_the_same_bytes_each_time(
    store: Store, tmp_path: Path
) -> None:
    first, text = drawn(store, tmp_path / "one")
    assert set(first) == {f"{stem}.{suffix}" for stem in STEMS for suffix in ("png", "pdf")}
    assert drawn(store, tmp_path / "two") == (first, text)
    assert "Not drawn" not in text
    for stem in STEMS:
        assert first[f"{stem}.pdf"].startswith(b"%PDF")
        with Image.open(tmp_path / "one" / f"{stem}.png") as picture:
            assert max(picture.size) / 200 <= PAGE[1] + 0.1  # inches: none outgrows a page
            assert min(picture.size) > 250
            assert len(picture.convert("RGB").getcolors(2**20)) > 20


def test_figures_are_drawn_once_and_again_where_one_is_missing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    able = {"one", "two"}

    def drawing(stem: str) -> gallery.Drawing:
        def draw(paths: Sequence[Path]) -> list[str]:
            calls.append(stem)
            for path in paths if stem in able else ():
                path.write_text(stem)
            return [] if stem in able else ["nothing to see"]

        return gallery.Drawing(stem, f"the {stem}.", draw)

    monkeypatch.setattr(
        gallery, "drawings", lambda _: [drawing("one"), drawing("two"), drawing("three")]
    )
    table = table_of(store)
    made = gallery.write(table, tmp_path, redraw=False)
    names = ["one.png", "one.pdf", "two.png", "two.pdf", "figures-phantom.md"]
    assert [path.name for path in made] == names
    assert "- three: nothing to see." in made[-1].read_text()
    assert gallery.write(table, tmp_path, redraw=False) == made
    assert calls == ["one", "two", "three"]
    (tmp_path / "two.pdf").unlink()
    assert gallery.write(table, tmp_path, redraw=False) == made
    assert len(calls) == 6
    able.remove("one")
    assert [path.name for path in gallery.write(table, tmp_path, redraw=True)] == names[2:]
    assert not (tmp_path / "one.png").is_file()  # an older one would pass for these results


def test_the_report_has_the_figures(store: Store, tmp_path: Path) -> None:
    files = write(written.results(store), tmp_path).files
    assert {f"{stem}.png" for stem in STEMS} <= {path.name for path in files}


def grid_of(store: Store, folder: Path, column: str = COLUMN) -> tuple[list[str], bool]:
    """Draw the grid; return what could not be drawn, and whether there is a file."""
    table = table_of(store)
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
    assert grid_of(store, tmp_path) == (["FCN has no answer to case c2 that can be read"], True)


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


def test_a_false_positive_is_lighter_than_a_false_negative_also_on_grey_paper() -> None:
    image = np.arange(256, dtype=np.uint8)[None]
    yes, no = np.ones((1, 256), bool), np.zeros((1, 256), bool)
    grey = [
        cv2.cvtColor(overlay.tinted(image, *pair), cv2.COLOR_RGB2GRAY)
        for pair in ((yes, no), (no, yes))
    ]
    assert grey[0].min() > grey[1].max() + 10
    for hit in (yes, no):
        np.testing.assert_array_equal(overlay.tinted(image, hit, hit)[..., 0], image)


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
        "no answer",
    ]
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("titles", [2, 6, 12, 40])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.5])
def test_grids_fit_a_page(titles: int, ratio: float) -> None:
    across, side, head = grids._arrange([ratio] * 3, ["a method's title"] * titles, 8.5)
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


def test_one_method_and_one_patient_are_enough(tmp_path: Path) -> None:
    trained(tmp_path / "results", "unet", (0.8,))
    references(tmp_path / "results", 1)
    files, text = drawn(Store(tmp_path / "results"), tmp_path / "out")
    assert set(files) == {f"{stem}.{suffix}" for stem in ALONE for suffix in ("png", "pdf")}
    assert "Not drawn" not in text


def test_methods_that_failed_or_lack_cases_have_their_place(store: Store, tmp_path: Path) -> None:
    failed(store.root, "sam", "ValueError: too bad")
    trained(store.root, "short", (0.5, 0.6, 0.7))
    files, text = drawn(store, tmp_path)
    assert {f"{stem}.png" for stem in STEMS} <= set(files)
    assert (
        "- Failed: MR, sam: ValueError: too bad" in text
        or f"- Failed: {COLUMN}, sam: ValueError: too bad" in text
    )


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


def test_curves_are_the_cells_own(store: Store) -> None:
    trained(store.root, "unet", DICE["unet"], "f0-s36", seed=36)
    finished(store.root, "own", DICE["fcn"], own_training=True, certificate=NO_CERTIFICATE)
    finished(store.root, "lost", DICE["fcn"])
    found, without = curves.collect(table_of(store), COLUMN)
    assert {title: len(cells) for title, cells in found.items()} == {"FCN": 1, "UNET": 2}
    assert found["FCN"][0].best == 6
    assert without == [
        "LOST: no training curve; train.csv is missing",
        (
            "OWN [trained on data of its own making]: no training curve; trains itself, which"
            " leaves none"
        ),
    ]


def test_a_curve_of_one_validation_is_drawn(tmp_path: Path) -> None:
    rows = pd.DataFrame({"step": [4], "training_loss": [0.5], "validation_loss": [0.4]})
    curves.compose(
        {"U-Net": [curves.Curve(rows, 4)]}, "title", [tmp_path / "a.png", tmp_path / "a.pdf"]
    )
    assert (tmp_path / "a.png").is_file()


NAMES = ["U-Net", "FCN", "Verdiff-Net, prior alone", "an oracle [told]"]


def square(values: list[list[float]]) -> pd.DataFrame:
    return pd.DataFrame(values, NAMES, NAMES)


P = square(
    [
        [1, 0.01, 0.3, np.nan],
        [0.01, 1, 0.0, np.nan],
        [0.3, 0.0, 1, np.nan],
        [np.nan, np.nan, np.nan, 1],
    ]
)
DIFFERENCES = square(
    [[0, 0.1, 0.01, -0.1], [-0.1, 0, -0.1, -0.2], [-0.01, 0.1, 0, -0.1], [0.1, 0.2, 0.1, 0]]
)


@pytest.mark.parametrize(("count", "times"), [(1, 1), (4, 2)])
def test_maps_and_diagrams_are_drawn_the_same_each_time(
    count: int, times: int, tmp_path: Path
) -> None:
    part = P.iloc[:count, :count]
    ranks = pd.Series(np.arange(1.0, count + 1), part.index)
    chances = pd.DataFrame(np.eye(count), part.index, range(1, count + 1))
    made = []
    for number in range(times):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths = {
            what: [folder / f"{what}.png", folder / f"{what}.pdf"]
            for what in ("pairs", "ranks", "diagram")
        }
        matrix.significance(part, DIFFERENCES.iloc[:count, :count], "MR, Dice", paths["pairs"])
        matrix.ranks(chances, "MR, Dice", paths["ranks"])
        matrix.critical_difference(
            {"MR": ranks, "CT": ranks}, {"MR": part, "CT": part}, "Dice", paths["diagram"]
        )
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[-1]
    assert len(made[0]) == 6


def test_p_values_are_short_and_never_zero() -> None:
    assert [matrix.shown(p) for p in (0.0, 0.0009, 0.0234, 0.4, 0.999, 1.0, np.nan)] == [
        "p<.001",
        "p<.001",
        "p=.023",
        "p=.400",
        "p=1",
        "p=1",
        "",
    ]


def test_the_first_seed_is_shown(store: Store) -> None:
    trained(store.root, "unet", DICE["unet"], "f0-s34", seed=34)
    places = pictures.places(table_of(store))
    seeds = {"unet": 34, "fcn": 35}
    for method, seed in seeds.items():
        cells = [cell for cell, _ in places[COLUMN, method].values()]
        assert {cell.record.spec.seed for cell in cells} == {seed}


PROCESS = """
import sys
from pathlib import Path
from bench.report.figures import figure8, gallery
from bench.report.sections import table1
from bench.store.cells import Store
from bench.store.results import Results
(table,) = table1.collect(Results.load(Store(Path(sys.argv[1]))))
folder = Path(sys.argv[2])
for name, draw in (("critical", gallery.critical), ("figure8", figure8.draw)):
    draw(table, [folder / f"{name}.png", folder / f"{name}.pdf"])
"""


def test_two_processes_draw_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """Sets of names have another order in each process."""
    for method in ("sam", "nnunet", "verdiff", "swin_unet"):
        finished(store.root, method, DICE["fcn"])
    drawn = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", PROCESS, str(store.root), str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
        )
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert len(drawn[0]) == 4
    assert drawn[0] == drawn[1]
