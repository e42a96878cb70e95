"""`bench ablate`, as a user calls it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from bench.store import looks
from tests.user import Bench, digests

Make = Callable[..., Path]


def test_ablate_writes_table_2_from_cells_that_run_shares(bench: Bench, slices: Make) -> None:
    data = slices()
    bench.run(data, "verdiff")
    words = ("ablate", "--dataset", "mr", "--data", str(data), "--profile", "smoke")
    out = bench(*words)
    assert "4 cells, 3 to run" in out
    assert "Certificates: all arms were given the same augmented data" in out
    assert "tensors of modules that arms share were the same under each seed" in out
    reports = bench.home / "reports" / "smoke"
    slug = f"{bench.cell('verdiff').parents[1].name}-verdiff-msfm-nsa"
    table = pd.read_csv(reports / f"table2-{slug}.csv")
    assert [*zip(table.msfm, table.nsa, strict=True)][::2] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert list(table.row) == ["answer", "prior"] * 4
    dice: dict[str, pd.Series] = {}
    for row in table[table.row == "answer"].itertuples():
        cases = pd.read_csv(bench.cell(row.method.replace(":", ",")) / "cases.csv")
        assert row.dice_mean == pytest.approx(cases.dice.mean())
        assert row.seconds_per_image > 0
        dice[row.method] = cases.groupby("patient").dice.mean()
    assert table.parameters[table.row == "answer"].nunique() == 4
    effects = pd.read_csv(reports / f"table2-{slug}-effects.csv").set_index(["metric", "effect"])
    on = (dice["verdiff"] + dice["verdiff:nsa=off"]) / 2
    off = (dice["verdiff:msfm=off"] + dice["verdiff:msfm=off:nsa=off"]) / 2
    assert effects["mean"]["dice", "msfm"] == pytest.approx((on - off).mean())
    markdown = (reports / f"table2-{slug}.md").read_text()
    assert markdown.count("✓") == 8
    with Image.open(reports / f"ablation-{slug}.png") as picture:
        assert min(picture.size) > 300
    before = digests(reports, "table2-*", "ablation-*")
    assert "All 4 cells are finished already" in bench(*words)
    assert digests(reports, "table2-*", "ablation-*") == before


def test_the_picture_of_an_ablation_takes_each_case_from_the_fold_that_tested_it(
    bench: Bench, slices: Make
) -> None:
    words = ("ablate", "--dataset", "mr", "--data", str(slices()), "--profile", "smoke")
    words += ("--factors", "nsa", "--folds", "2")
    out = bench(*words)
    [picture] = (bench.home / "reports" / "smoke").glob("ablation-*.png")
    assert picture.name in out
    assert "p is multiplied" not in out
    [column] = (bench.home / "results" / "smoke").glob("mr@real-*")
    for seeds in ((35, 36), (35, 36, 37)):
        looks.add(column.parent / "looks.csv", {f"{column.name}/2fold": seeds})
    assert "p is multiplied by 4 for the looks" in bench(*words)


@pytest.mark.parametrize("how", ["alone", "input"])
def test_table_2_compiles_as_it_is_and_inside_a_paper(bench: Bench, slices: Make, how: str) -> None:
    compiler = shutil.which("pdflatex")
    if not compiler:
        pytest.skip("no LaTeX compiler is installed")
    bench(
        "ablate",
        "--dataset",
        "mr",
        "--data",
        str(slices()),
        "--profile",
        "smoke",
        "--factors",
        "nsa",
    )
    path = next(bench.home.rglob("table2-*.tex"))
    if how == "input":
        paper = path.with_name("paper.tex")
        packages = "\\usepackage{booktabs,graphicx,amssymb}"
        paper.write_text(
            f"\\documentclass{{article}}{packages}\\begin{{document}}"
            f"Before.\\input{{{path.name}}}After.\\end{{document}}"
        )
        path = paper
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_an_ablation_with_a_failed_arm_says_so_and_keeps_the_rest(
    bench: Bench, slices: Make
) -> None:
    out = bench(
        "ablate",
        "--dataset",
        "mr",
        "--data",
        str(slices()),
        "--profile",
        "smoke",
        "--method",
        "faulty:how=raise",
        "--factors",
        "calm",
        code=1,
    )
    assert "No table 2 for mr: no result of faulty" in out
