"""Figures in print: the widths of a column and of a page, and text that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.report.figures import figure8, gallery, grids, seconds, stages
from bench.report.figures.style import MILLIMETRES, SMALL, Paper
from bench.store.cells import Store
from tests import written
from tests.report.figures.answers import references, trained
from tests.written import finished

NAMES = (
    "unet",
    "fcn",
    "verdiff",
    "smp:arch=UnetPlusPlus:encoder=resnet34",
    "smp:arch=UnetPlusPlus:encoder=resnet50",
    "a network of a very long name, with the recipe of another one",
    "deeplabv3",
    "swin_unet",
    "nnunet",
    "medsegdiff",
)
"""As many rows as the paper's table has, some of them long."""
PATIENTS = 12


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return results of ten methods whose names are long."""
    root = tmp_path_factory.mktemp("many")
    generator = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        dice = (0.9 - 0.06 * number + generator.normal(0, 0.03, PATIENTS)).clip(0.05, 0.99)
        trained(root, f"m{number}", tuple(dice), title=name)
    references(root, PATIENTS)
    return Store(root)


def texts(figure: Figure) -> Iterator[Text]:
    """Yield what can be read."""
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            yield text


def check(figure: Figure, width: float) -> None:
    """Fail where a text is too small, outside the figure, or where the width is another."""
    figure.draw_without_rendering()
    assert figure.get_figwidth() * MILLIMETRES == pytest.approx(width, abs=0.5)
    assert figure.get_figheight() <= 9.1
    page = figure.bbox
    ticks: set[Text] = set()
    for axis in figure.axes:
        for side in (axis.xaxis, axis.yaxis):
            ticks.update(side.get_ticklabels(which="both"))
            ticks.update(tick.label1 for tick in side.get_major_ticks())
    for axis in figure.axes:
        rows = [label for label in axis.get_yticklabels() if label.get_text()]
        boxes = sorted((label.get_window_extent() for label in rows), key=lambda box: box.y0)
        for low, high in pairwise(boxes):
            assert low.y1 <= high.y0 + 1, [label.get_text() for label in rows]
    for text in texts(figure):
        assert text.get_fontsize() >= SMALL, text
        box = text.get_window_extent()
        inside = page.x0 - 2 <= box.x0 and box.x1 <= page.x1 + 2
        inside &= page.y0 - 2 <= box.y0 and box.y1 <= page.y1 + 2
        if text in ticks and not inside:  # labels of ticks outside of the axis are not drawn
            continue
        assert inside, text


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (85, False),
        pytest.param(178, True, marks=pytest.mark.long),
        pytest.param(85, True, marks=pytest.mark.long),
        pytest.param(178, False, marks=pytest.mark.long),
    ],
)
def test_every_figure_can_be_read_at_its_width(
    many: Store, width: int, titles: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []

    def looked_at(figure: Figure, paths: list[Path]) -> None:
        seen.append(paths[0].stem)
        check(figure, width)

    for module in ("comparisons", "curves", "figure8", "grids", "patients", "seconds"):
        monkeypatch.setattr(f"bench.report.figures.{module}.save", looked_at)
    table = written.table(many)
    paper = Paper(width / MILLIMETRES, titles)
    for drawing in gallery.drawings(table, paper):
        assert list(drawing.draw([tmp_path / f"{drawing.stem}.png"])) == []
    for name, draw in (("figure8", figure8.draw), ("seconds", seconds.draw)):
        draw(table, [tmp_path / f"{name}.png"], paper)
    assert len(seen) == 9


@pytest.mark.long
@pytest.mark.parametrize("width", [85, 178])
def test_four_datasets_fit_on_a_page(
    width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []

    def looked_at(figure: Figure, paths: list[Path]) -> None:
        seen.append(paths[0].stem)
        check(figure, width)

    for module in ("comparisons", "figure8", "patients", "seconds"):
        monkeypatch.setattr(f"bench.report.figures.{module}.save", looked_at)
    for dataset in ("ct-pri", "ct-verse", "mr", "xray"):
        for number, name in enumerate(NAMES):
            dice = np.linspace(0.3, 0.9, 6) - 0.02 * number
            finished(tmp_path, f"m{number}", tuple(dice), dataset=dataset, title=name)
    table, paper = written.table(Store(tmp_path)), Paper(width / MILLIMETRES)
    for drawing in gallery.drawings(table, paper):
        if drawing.stem.startswith(("critical", "patients", "differences")):
            drawing.draw([tmp_path / f"{drawing.stem}.png"])
    for name, draw in (("figure8", figure8.draw), ("seconds", seconds.draw)):
        draw(table, [tmp_path / f"{name}.png"], paper)
    assert len(seen) == 5


def test_a_title_is_drawn_where_it_is_asked_for_and_phantoms_are_always_named() -> None:
    assert Paper().head("caption") == ""
    assert Paper(titled=True).head("caption") == "caption"
    assert Paper(mark="PHANTOM data (simulated)").head("caption") == "PHANTOM data (simulated)"


@pytest.mark.parametrize(("width", "across"), [(85, 3), (178, 6)])
def test_stages_are_as_wide_as_the_paper(width: int, across: int, tmp_path: Path) -> None:
    from PIL import Image

    names = ("image", "prior", *(f"x at t = {step}" for step in (999, 666, 333, 0)))
    maps = {name: np.random.default_rng(0).random((40, 30)) for name in (*names, "mean", "spread")}
    maps["reference"] = (maps["image"] > 0.5).astype(float)
    stages.draw(maps, "title", tmp_path / "a.png", Paper(width / MILLIMETRES))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width / 200 * MILLIMETRES == pytest.approx(width, abs=0.5)


def test_a_picture_has_a_bar_of_a_round_length_where_the_spacing_is_known() -> None:
    from bench.report.figures import overlay
    from bench.report.figures.style import sheet

    with sheet(2, 2) as figure:
        axis = figure.subplots()
        assert overlay.scale_bar(axis, (400, 300), (0.5, 0.5)) == "bar: 50 mm"
        [line] = axis.lines
        assert np.ptp(line.get_xdata()) == pytest.approx(50 / 150)
        assert overlay.scale_bar(axis, (400, 300), (0.7, 0.5)) == "bar: 50 mm across"
        assert overlay.scale_bar(axis, (4, 3), (0.01, 0.01)) == ""


def test_the_caption_says_what_the_picture_does_not(many: Store) -> None:
    table = written.table(many)
    captions = {drawing.stem: drawing.caption for drawing in gallery.drawings(table)}
    assert all("PHANTOM data" in caption for caption in captions.values())
    assert "Predictions of the first seed" in grids.heading(table, next(iter(table.columns)))
