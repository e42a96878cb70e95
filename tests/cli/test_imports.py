"""`bench import` and `bench compare`: scores without masks go through the same statistics."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bench.report.sections.table import collect
from bench.store.cells import Store
from bench.store.results import Results
from tests.user import Bench


def scores(path: Path, methods: int = 3, iou: bool = True) -> None:
    rng = np.random.default_rng(0)
    lines = ["method,dataset,patient,case,dice,iou,hd95"]
    for patient in range(20):
        base = rng.uniform(0.7, 0.9)
        for method in range(methods):
            dice = round(base - 0.03 * method + rng.uniform(-0.01, 0.01), 4)
            other = f"{dice / (2 - dice):.4f}" if iou else ""
            lines.append(f"M{method},liver,P{patient},c{patient},{dice},{other},{3 + method}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_imported_scores_become_tables_and_macros(bench: Bench) -> None:
    scores(bench.home / "scores.csv")
    said = bench("import", "scores.csv", "--baseline", "M0")
    assert "M0, M1, M2: 20 cases of 20 patients" in said
    (table,) = collect(Results.load(Store(bench.home / "results")))
    assert list(table.columns.values()) == ["liver"]
    bench("report", "--no-pictures")
    assert (bench.home / "reports" / "external" / "comparisons-external.tex").is_file()
    first = (bench.home / "reports" / "external" / "table1-external.md").read_text()
    assert "scores that others computed from scores.csv" in first
    comparisons = (bench.home / "reports" / "external" / "comparisons-external.md").read_text()
    assert "20 cells" not in comparisons
    assert "FINISHED" in comparisons  # the scores were known when it was declared


@pytest.mark.long
def test_the_whole_report_of_scores_without_iou_and_masks(bench: Bench, pictures: None) -> None:
    scores(bench.home / "scores.csv", iou=False)
    bench("import", "scores.csv")
    bench("report")
    folder = bench.home / "reports" / "external"
    assert "| M0 |" in (folder / "table1-external.md").read_text()
    assert "no masks" in (folder / "report.html").read_text()
    assert (folder / "figure8-external.png").stat().st_size > 1000


def test_a_layout_begins_with_the_metrics_that_there_are(bench: Bench) -> None:
    scores(bench.home / "scores.csv", iou=False)
    bench("import", "scores.csv")
    assert 'metrics = ["dice"]' in bench("report", "--layout-template")


def test_compare_prints_and_keeps_nothing(bench: Bench) -> None:
    scores(bench.home / "scores.csv")
    before = set(bench.home.rglob("*"))
    said = bench("compare", "scores.csv")
    for word in ("Table 1", "Intervals", "Distances", "All pairs", "Significant"):
        assert word in said
    assert (
        said.partition("All pairs")[2].count("| M0 | M1 |") == 1
    )  # by Dice, which decides for IoU
    said = bench("compare", "scores.csv", "--baseline", "M1")
    assert "Verdict" in said
    assert set(bench.home.rglob("*")) == before


def test_distances_that_are_left_out_are_counted_where_the_mean_stands(bench: Bench) -> None:
    scores(bench.home / "scores.csv")
    lines = (bench.home / "scores.csv").read_text().splitlines()
    for number in (1, 4):  # of M0
        lines[number] = lines[number].removesuffix(",3") + (",inf" if number == 1 else ",")
    lines = [line.removesuffix(",5") + ",inf" if line[:2] == "M2" else line for line in lines]
    (bench.home / "scores.csv").write_text("\n".join(lines))
    said = bench("compare", "scores.csv", "--unit", "mm")
    distances = said.partition("Distances")[2].partition("All pairs")[0]
    assert re.search(r"\| M0 \| HD95 \(mm\) \| 18 \|.*\| 2 \|", distances)
    assert re.search(r"\| M1 \| HD95 \(mm\) \| 20 \|.*\| 0 \|", distances)
    assert re.search(r"\| M2 \| HD95 \(mm\) \| 0 \|.*\| 20 \|", distances)
    assert (
        "Undefined: cases left out of HD95 (mm), for their file has no number there (empty or "
        "inf): M0 2, M2 20."
    ) in distances
    assert "diagonal" not in distances


def test_distances_of_a_class_that_are_left_out_are_told(bench: Bench) -> None:
    lines = ["case,patient,label,dice,hd95"]
    for number in range(4):
        lines += [f"c{number},p{number},a,0.8,3", f"c{number},p{number},b,0.7,{number or 'inf'}"]
    (bench.home / "scores.csv").write_text("\n".join(lines))
    said = bench("compare", "Net=scores.csv", "--label", "a=a,b=b", "--unit", "mm")
    assert (
        "assumed: 1 score (c0, b) of Net left out of HD95, for their file has no number there "
        "(empty or inf); the mean of such a case is over its other classes"
    ) in said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--metric", "dicee"), "did you mean 'dice'"),
        (("--unit", "cm"), "expected mm or px"),
        (("--pattern", "{patient}{patient}"), "holds {patient} 2 times; expected it once"),
        (("--pattern", "{patient}-*"), "c0 does not fit --pattern {patient}-*"),
        (("--baseline", "M9"), "--baseline M9 is no method"),
    ],
)
def test_wrong_use_is_one_line(bench: Bench, words: tuple[str, ...], line: str) -> None:
    scores(bench.home / "scores.csv")
    assert line in bench("compare", "scores.csv", *words, code=2)


def test_a_refused_baseline_keeps_no_scores(bench: Bench) -> None:
    scores(bench.home / "scores.csv")
    bench("import", "scores.csv", "--baseline", "M9", code=2)
    assert not list(bench.home.rglob("cell.json"))


def test_patients_stand_in_names_where_pattern_says_by_its_old_name_too(bench: Bench) -> None:
    cases = [f"p{number // 2}_{number}" for number in range(8)]
    lines = [f"{method},{case},0.9{case[-1]}" for method in "AB" for case in cases]
    (bench.home / "cases.csv").write_text("\n".join(["method,case,dice", *lines]))
    said = bench("import", "cases.csv", "--pattern", "{patient}_*", "--out", "a")
    assert "A, B: 8 cases of 4 patients" in said
    for words in (("--pattern", "{patient}"), ("--patient", "case")):
        said = bench("import", "cases.csv", *words, "--out", words[1].strip("{}"))
        assert "A, B: 8 cases of 8 patients" in said


def test_datasets_whose_names_look_alike_are_told_or_refused(bench: Bench) -> None:
    """Those of one name in files would be two columns under one heading."""

    def scores_of(*datasets: str) -> None:
        lines = ["method,dataset,patient,dice"]
        for method, dataset in zip("AB", datasets, strict=True):
            lines += [f"{method},{dataset},p{number},0.8{number}" for number in range(4)]
        (bench.home / "scores.csv").write_text("\n".join(lines))

    scores_of("MR1", "MR01")
    assert "are different datasets, though they look alike" in bench("import", "scores.csv")
    scores_of("MR", "mr ")
    said = bench("import", "scores.csv", code=2)
    assert "MR and mr have one name in files; rename one" in said


def test_what_was_assumed_of_scores_is_told(bench: Bench) -> None:
    lines = ["method,patient,case,dice,nsd"]
    for method in "AB":
        for number, patient in enumerate(["1", "01", "2", "3"]):
            lines.append(f"{method},{patient},c{number},0.{80 + number},0.9")
    (bench.home / "scores.csv").write_text("\n".join(lines))
    for command in ("import", "compare"):
        said = bench(command, "scores.csv", "--unit", "mm")
        assert said.count("assumed: 1 and 01 are different patients, though they look alike") == 1
    assert "NSD of A, B: others computed it, so which distances it accepts is not known" in said
    assert "NSD accepts distances" not in said
    bench("report", "--no-pictures")
    first = (bench.home / "reports" / "external" / "table1-external.md").read_text()
    assert "1 and 01 are different patients" in first


def test_columns_that_are_not_read_are_told(bench: Bench) -> None:
    scores(bench.home / "scores.csv")
    text = (bench.home / "scores.csv").read_text().replace("hd95", "site")
    (bench.home / "scores.csv").write_text(text)
    said = bench("compare", "scores.csv")
    assert "assumed: columns of scores.csv that are not read: site" in said


def test_a_guessed_encoding_of_scores_is_told(bench: Bench) -> None:
    lines = ["method,patient,case,dice", *(f"A,M\u00fcller{n},c{n},0.8" for n in range(4))]
    (bench.home / "scores.csv").write_bytes("\n".join(lines).encode("cp1252"))
    said = bench("compare", "scores.csv")
    assert said.count("assumed: scores.csv is read as cp1252 (Windows)") == 1


def test_a_score_that_nnunet_leaves_undefined_is_told(bench: Bench) -> None:
    cases = []
    for number, counts in enumerate([(8, 2, 2), (0, 0, 0), (9, 1, 1)]):
        metrics = dict(zip(("TP", "FP", "FN"), counts, strict=True))
        cases.append({"metrics": {"1": metrics}, "prediction_file": f"p{number}_1.nii.gz"})
    (bench.home / "summary.json").write_text(json.dumps({"metric_per_case": cases}))
    said = bench("import", "Net=summary.json", "--pattern", "{patient}_*")
    assert "assumed: 1 case (p1_1) of Net have foreground in neither mask and score 1" in said


def test_a_second_file_joins_the_table_where_its_cases_are_the_same(bench: Bench) -> None:
    scores(bench.home / "scores.csv")
    (bench.home / "ours.csv").write_text(
        "case,patient,dataset,dice\n" + "".join(f"c{n},P{n},liver,0.9\n" for n in range(20))
    )
    bench("import", "scores.csv")
    bench("import", "Ours=ours.csv")
    (table,) = collect(Results.load(Store(bench.home / "results")))
    assert list(table.methods.values()) == ["M0", "M1", "M2", "Ours"]
    assert len(table.columns) == 1
