"""The layout of a paper: what it names stands in its table, what it leaves out in the note."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.report import write_layout
from bench.report.document import Document
from bench.report.layouts.documents import documents
from bench.report.layouts.file import Layout, read, template
from bench.report.sections.table import Table
from bench.spec.errors import UsageError
from bench.store.cells import Store
from bench.store.results import Results
from tests import written
from tests.written import DICE, finished

MR = "mr@phantom-abcdef01"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for dataset in ("mr", "xray"):
        for method in ("unet", "fcn"):
            finished(tmp_path, method, DICE[method], dataset=dataset)
    finished(tmp_path, "sam", (0.5, 0.6, 0.7, 0.4), dataset="mr")
    return Store(tmp_path)


@pytest.fixture
def table(store: Store) -> Table:
    return written.table(store)


def layout(tmp_path: Path, text: str) -> Layout:
    path = tmp_path / "paper.toml"
    path.write_text(text, encoding="utf-8")
    return read(path)


def texts(table: Table, chosen: Layout) -> list[list[str]]:
    block = documents([table], chosen)[0].blocks[0]
    return [[cell.text for cell in row] for row in block.rows]


def test_the_template_gives_table_1_and_every_key(tmp_path: Path, table: Table) -> None:
    text = template([table])
    chosen = layout(tmp_path, text)
    for row in texts(table, chosen):
        assert row[0] in table.methods.values()
    assert len(texts(table, chosen)) == 3
    for key in Layout.__dataclass_fields__:
        assert f"{key} = " in text or f"[{key}]" in text or f"[[{key}]]" in text


def test_the_marks_of_iou_are_those_of_dice(tmp_path: Path) -> None:
    for method, dice in written.APART.items():
        finished(tmp_path, method, written.patients(dice))
    table = written.table(Store(tmp_path))

    def marks(metrics: tuple[str, ...]) -> list[str]:
        chosen = documents([table], Layout(metrics=metrics))[0]
        assert "Dice" in chosen.notes[1].text
        return [cell.mark for cell in chosen.blocks[0].rows[0][1:]]

    assert marks(("iou", "dice")) == ["", "doubt"]
    assert marks(("iou",)) == ["doubt"]


@pytest.mark.parametrize("mean", ["true", "false"])
def test_means_that_lack_cases_are_told_and_have_no_place(
    tmp_path: Path, table: Table, mean: str
) -> None:
    images = table.images.copy()
    lacking = (images.method == "fcn") & (images.column == next(iter(table.columns)))
    images.loc[images[lacking].index[0], "hd95"] = np.nan
    chosen = layout(tmp_path, f'metrics = ["dice", "hd95"]\nnotes = "none"\nmean = {mean}\n')
    [whole, _] = documents([table], chosen)
    [without, _] = documents([replace(table, images=images)], chosen)
    assert not any("without a number" in note.text for note in whole.notes)
    [note] = [note for note in without.notes if "without a number" in note.text]
    assert note.text.startswith("HD95: cases without a number are left out of the mean")
    assert "FCN on MR 1 case." in note.text

    def places(document: Document) -> int:
        cells = [cell for row in document.blocks[0].rows for cell in row]
        return sum(cell.second or cell.mark == "best" for cell in cells)

    assert places(without) < places(whole)


def test_names_order_groups_and_decimals(tmp_path: Path, table: Table) -> None:
    chosen = layout(
        tmp_path,
        """
        datasets = ["xray", "mr"]
        decimals = 0
        metrics = ["dice"]
        spread = "none"
        [names]
        unet = "Ours"
        mr = "Lumbar MR"
        [[groups]]
        title = "First"
        rows = ["unet"]
        [[groups]]
        rows = ["fcn"]
        """,
    )
    first, notes = documents([table], chosen)
    block = first.blocks[0]
    assert [head.group for head in block.heads] == ["", "X-ray", "Lumbar MR"]
    assert [[cell.text for cell in row] for row in block.rows] == [
        ["First", "", ""],
        ["Ours", "81", "81"],
        ["FCN", "74", "74"],
    ]
    assert block.rules == (2,)
    best, second = block.rows[1][1], block.rows[2][1]
    assert (best.mark, second.second) == ("best", True)
    tex = first.texts()[".tex"]
    assert r"\textbf{81}" in tex
    assert r"\underline{74" in tex
    assert tex.count(r"\midrule") == 2
    said = " ".join(note.text for note in first.notes)
    assert "Left out of this table: methods SAM." in said
    assert "paper-notes" in said
    assert len(notes.notes) > len(first.notes)
    assert any(note.kind == "difference" for note in notes.notes)
    assert not any(note.kind == "difference" for note in first.notes)


def test_the_csv_stays_complete(tmp_path: Path, table: Table) -> None:
    chosen = layout(tmp_path, 'datasets = ["mr"]\n[[groups]]\nrows = ["fcn"]\n')
    frame = documents([table], chosen)[0].frames[""]
    assert isinstance(frame, pd.DataFrame)
    assert set(frame.method) == {"unet", "fcn", "sam"}
    assert set(frame.dataset) == set(table.columns)
    assert set(frame[frame.shown].method) == {"fcn"}


def test_a_mean_over_datasets_is_of_rows_that_have_all(tmp_path: Path, table: Table) -> None:
    rows = texts(table, layout(tmp_path, 'mean = true\nspread = "none"\nmetrics = ["dice"]\n'))
    by_name = {row[0]: row[-1] for row in rows}
    assert by_name["SAM"] == "-"
    assert by_name["UNET"].startswith("81.25")


def test_one_table_a_dataset(tmp_path: Path, store: Store) -> None:
    chosen = layout(tmp_path, 'tables = "each"\nname = "t"\nnotes = "long"\n')
    done = write_layout(Results.load(store), chosen, tmp_path / "reports")
    names = {path.name for path in done.files}
    assert f"t-{MR}.tex" in names
    assert "t-notes.md" in names
    assert len(done.tables) == 2


def test_an_interval_stands_beside_the_mean_over_patients(tmp_path: Path, table: Table) -> None:
    rows = texts(table, layout(tmp_path, 'spread = "interval"\ndatasets = ["mr"]\n'))
    assert all("[" in text for text in rows[0][1:])


def test_what_makes_numbers_not_compare_stands_under_every_table(
    tmp_path: Path, store: Store
) -> None:
    finished(store.root, "other", (0.5, 0.6, 0.7), dataset="mr")  # a case less
    table = written.table(store)
    first = documents([table], layout(tmp_path, 'notes = "none"\n'))[0]
    assert "NOT the same cases" in " ".join(note.text for note in first.notes)


@pytest.mark.parametrize("notes", ["short", "long", "none"])
def test_a_profile_that_is_not_the_papers_stands_under_every_table(
    tmp_path: Path, table: Table, notes: str
) -> None:
    chosen = layout(tmp_path, f'notes = "{notes}"\n')
    said = f"Profile '{table.profile}': {table.summary}."
    assert table.profile == "cpu"
    assert said in [note.text for note in documents([table], chosen)[0].notes]
    for other in (replace(table, profile="paper"), replace(table, source="external")):
        assert said not in [note.text for note in documents([other], chosen)[0].notes]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("metric = []", "unknown key 'metric'; did you mean 'metrics'"),
        ('metrics = ["dise"]', "unknown metric 'dise'; did you mean 'dice'"),
        ("decimals = 9", "expected 0 to 6"),
        (
            'spread = "sd"',
            "spread: 'sd' is not allowed; did you mean 'std'? Valid: interval, none, std",
        ),
        ('name = "a/b"', "cannot be used"),
        ('spread = "interval"\nmetrics = ["assd"]', "assd has no interval"),
        ("metrics = [", "is no TOML"),
        ('[[groups]]\nrows = ["unett"]', "row 'unett' has no result here; did you mean 'unet'"),
        ('[[groups]]\nrows = ["unet", "unet"]', "named twice"),
        ('datasets = ["ct"]', "dataset 'ct' has no result here"),
        ('[names]\nunett = "U"', "names: 'unett' is no row or column"),
        ('source = "real"', "source 'real' has no result"),
    ],
)
def test_a_wrong_layout_is_one_line(tmp_path: Path, table: Table, text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        documents([table], layout(tmp_path, text))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
