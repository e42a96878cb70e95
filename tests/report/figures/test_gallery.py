from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.report import write
from bench.report.figures import figure8, gallery
from bench.report.figures.style import PAGE, Paper
from bench.report.sections.table import Table
from bench.spec.names import Spec
from bench.store.cells import Store
from bench.store.plan import Plan
from tests import written
from tests.report.figures.answers import COLUMN, references, trained
from tests.report.sections.scored import COLUMN as SCORED
from tests.report.sections.test_marks import METHODS, seeded
from tests.user import ROOT, leave_undrawn
from tests.written import DICE, failed, finished


def drawn(store: Store, folder: Path) -> tuple[dict[str, bytes], str]:
    """Draw all figures; return their bytes and the list."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        path.name: path.read_bytes()
        for path in gallery.write(written.table(store), folder, redraw=True)
    }
    return files, files.pop("figures-phantom.md").decode()


ALONE = (f"grid-{COLUMN}", f"curves-{COLUMN}", "patients-phantom", "differences-phantom")
"""What one method alone gets."""
STEMS = (*ALONE, f"pairs-{COLUMN}", "critical-phantom", "ranks-phantom")


def test_all_figures_are_drawn(store: Store, tmp_path: Path) -> None:
    first, text = drawn(store, tmp_path / "one")
    assert set(first) == {f"{stem}.{suffix}" for stem in STEMS for suffix in ("png", "pdf")}
    assert "Not drawn" not in text
    for stem in (*STEMS, "figure8-phantom", "seconds-phantom"):
        assert f"- `{stem}`: " in text
    for stem in STEMS:
        assert first[f"{stem}.pdf"].startswith(b"%PDF")
        with Image.open(tmp_path / "one" / f"{stem}.png") as picture:
            assert max(picture.size) / 200 <= PAGE[1] + 0.1  # inches: none outgrows a page
            assert min(picture.size) > 250
            assert len(picture.convert("RGB").getcolors(2**20)) > 20


def test_the_map_of_pairs_says_that_declared_ones_are_corrected_among_themselves(
    tmp_path: Path,
) -> None:
    plain = written.table(seeded(tmp_path / "plain", 35, 36))
    assert gallery.of_pairs(plain, SCORED).split("; ")[1].endswith("Holm for 3 pairs")
    methods = [Spec(name) for name in METHODS]
    store = seeded(tmp_path, 35, 36)
    Plan(store, "cpu").declare(Spec("unet"), "holm", methods)
    said = gallery.of_pairs(written.table(store), SCORED)
    assert "Holm for 3 pairs, the 2 declared among themselves;" in said


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
        gallery, "drawings", lambda *_: [drawing("one"), drawing("two"), drawing("three")]
    )
    table = written.table(store)
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


def test_the_report_has_the_figures(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which ones; how they are drawn is tested above."""
    wanted = gallery.drawings

    def touch(paths: Sequence[Path]) -> list[str]:
        for path in paths:
            path.touch()
        return []

    def untouched(table: Table, paper: Paper) -> list[gallery.Drawing]:
        return [replace(drawing, draw=touch) for drawing in wanted(table, paper)]

    monkeypatch.setattr(gallery, "drawings", untouched)
    leave_undrawn(monkeypatch)
    files = write(written.results(store), tmp_path).files
    assert {f"{stem}.png" for stem in STEMS} <= {path.name for path in files}


def test_one_method_and_one_patient_are_enough(tmp_path: Path) -> None:
    trained(tmp_path / "results", "unet", (0.8,))
    references(tmp_path / "results", 1)
    files, text = drawn(Store(tmp_path / "results"), tmp_path / "out")
    assert set(files) == {f"{stem}.{suffix}" for stem in ALONE for suffix in ("png", "pdf")}
    assert "Not drawn" not in text
    assert "stages-" not in text
    [record] = (tmp_path / "results").rglob("cell.json")
    np.savez(record.with_name("stages.npz"), image=np.zeros((4, 4)), mean=np.zeros((4, 4)))
    assert "- `stages-*` (PNG alone): " in drawn(Store(tmp_path / "results"), tmp_path / "out")[1]


def test_methods_that_failed_or_lack_cases_have_their_place(store: Store, tmp_path: Path) -> None:
    failed(store.root, "sam", "ValueError: too bad")
    trained(store.root, "short", (0.5, 0.6, 0.7))
    files, text = drawn(store, tmp_path)
    assert {f"{stem}.png" for stem in STEMS} <= set(files)
    assert (
        "- Failed: MR, sam: ValueError: too bad" in text
        or f"- Failed: {COLUMN}, sam: ValueError: too bad" in text
    )


PROCESS = """
import sys
from pathlib import Path
from tests.report.figures.test_gallery import draw
draw(*map(Path, sys.argv[1:]))
"""


def draw(root: Path, folder: Path) -> None:
    """Draw two figures of the results in a folder into another one."""
    only = written.table(Store(root))
    for name, figure in (("critical", gallery.critical), ("figure8", figure8.draw)):
        figure(only, [folder / f"{name}.png", folder / f"{name}.pdf"])


def test_what_a_library_or_a_user_sets_changes_no_figure(store: Store, tmp_path: Path) -> None:
    """As nnU-Net's own training does: it makes all later text of its process larger."""
    import matplotlib as mpl

    files = []
    for name, settings in (("one", {}), ("two", {"font.size": 30, "axes.facecolor": "red"})):
        path = tmp_path / f"{name}.png"
        with mpl.rc_context(settings):
            figure8.draw(written.table(store), [path, path.with_suffix(".pdf")])
        files.append((path.read_bytes(), path.with_suffix(".pdf").read_bytes()))
    assert files[0] == files[1]


def test_two_processes_draw_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """Sets of names have another order in each process."""
    for method in ("sam", "nnunet", "verdiff", "swin_unet"):
        finished(store.root, method, DICE["fcn"])
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    draw(store.root, here)
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    words = [store.root, there]
    subprocess.run(
        [sys.executable, "-c", PROCESS, *map(str, words)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=ROOT,
        check=True,
    )
    drawn = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in (here, there)]
    assert len(drawn[0]) == 4
    assert drawn[0] == drawn[1]
