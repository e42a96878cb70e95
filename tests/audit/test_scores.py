"""Scores of others: every form is read as its program writes it, or refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.audit.case_score import Reading
from bench.audit.complete import check, contradicts
from bench.audit.printed import Printed
from bench.audit.scores import parse_columns, read, told
from bench.spec.errors import UsageError
from bench.spec.names import safe_name


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def values(path: Path, reading: Reading, metric: str = "dice") -> dict[tuple[str, str], float]:
    scores = read(path, reading)
    return {(score.method, score.case): score.values[metric].value for score in scores}


def summary(tmp_path: Path, labels: tuple[str, ...] = ("1",)) -> Path:
    counts = [(8, 2, 2), (0, 0, 0), (0, 0, 5), (0, 4, 0)]
    cases = []
    for number, (tp, fp, fn) in enumerate(counts):
        metrics = {"TP": tp, "FP": fp, "FN": fn, "TN": 9, "Dice": float("nan")}
        file = f"/data/fold_0/validation/p{number}_slice.nii.gz"
        cases.append({"metrics": dict.fromkeys(labels, metrics), "prediction_file": file})
    return write(tmp_path / "summary.json", json.dumps({"metric_per_case": cases}))


def test_nnunets_summary_is_read_by_its_counts(tmp_path: Path) -> None:
    reading = Reading(method="nnU-Net", pattern="{patient}_*")
    scores = read(summary(tmp_path), reading)
    assert [score.values["dice"].value for score in scores] == pytest.approx([0.8, 1, 0, 0])
    assert [score.empty for score in scores] == ["none", "both", "prediction", "truth"]
    assert [score.patient for score in scores] == ["p0", "p1", "p2", "p3"]
    assert scores[0].case == "p0_slice"
    with pytest.raises(UsageError, match=r"has 2 labels \(1, 2\); .*--label 1"):
        read(summary(tmp_path, ("1", "2")), reading)


def test_a_summary_whose_scores_are_not_of_its_counts_is_refused(tmp_path: Path) -> None:
    path = summary(tmp_path)
    reading = Reading(method="nnU-Net", pattern="{patient}_*")
    path.write_text(path.read_text().replace("NaN", "0.8", 1))  # as its counts have it
    assert read(path, reading)[0].values["dice"].value == 0.8
    path.write_text(path.read_text().replace('"Dice": 0.8', '"Dice": 0.7', 1))
    with pytest.raises(UsageError, match=r"case 1: Dice is 0[.]7, but 0[.]8 by its TP"):
        read(path, reading)


def test_monais_file_says_its_metric_by_its_name(tmp_path: Path) -> None:
    text = "filename\tclass0\tmean\n/d/a_1.nii.gz\t0.8000\t0.8000\n/d/b_1.nii.gz\t0.6000\t0.6000\n"
    path = write(tmp_path / "val_mean_dice_raw.csv", text)
    expected = {("Ours", "a_1"): 0.8, ("Ours", "b_1"): 0.6}
    assert values(path, Reading(method="Ours", pattern="{patient}")) == expected
    other = write(tmp_path / "raw.csv", text)
    with pytest.raises(UsageError, match="of which metric are these numbers"):
        read(other, Reading(method="Ours", pattern="{patient}"))
    two = write(
        tmp_path / "dice_raw.csv",
        text.replace("class0", "class0\tclass1")
        .replace("\t0.8000\t", "\t0.7\t0.8\t")
        .replace("\t0.6000\t", "\t0.5\t0.6\t"),
    )
    reading = Reading(method="Ours", pattern="{patient}", label="class1")
    assert values(two, reading) == expected
    with pytest.raises(UsageError, match="--label class0"):
        read(two, Reading(method="Ours", pattern="{patient}"))


def test_panoptica_and_metrics_reloaded(tmp_path: Path) -> None:
    header = "subject_name\tbone-sq_dsc\tbone-global_bin_dsc\tbone-global_bin_hd95\n"
    path = write(tmp_path / "eval.tsv", header + "s1\t0.1\t0.9\t2.5\ns2\t0.1\t0.7\tinf\n")
    scores = read(path, Reading(method="P", pattern="{patient}"))
    assert [score.values["dice"].value for score in scores] == [0.9, 0.7]
    assert "hd95" not in scores[1].values
    text = "reference,prediction,label,dsc,nsd,EmptyRef\n"
    text += (
        "x/a_seg.nii.gz,y/a.nii.gz,1.0,0.9,0.8,False\nx/a_seg.nii.gz,y/a.nii.gz,2.0,0.5,0.4,False\n"
    )
    path = write(tmp_path / "metrics.csv", text)
    reading = Reading(method="M", pattern="{patient}", label="2")
    assert values(path, reading) == {("M", "a_seg"): 0.5}
    assert values(path, reading, "nsd") == {("M", "a_seg"): 0.4}


def test_a_long_and_a_wide_table(tmp_path: Path) -> None:
    long = "Method;Patient;Image;DSC;jaccard\nU-Net;p1;a.png;0,8;0,667\n"
    scores = read(write(tmp_path / "long.csv", long), Reading())
    assert (scores[0].patient, scores[0].case) == ("p1", "a")
    assert scores[0].values["iou"].value == 0.667
    wide = write(tmp_path / "wide.csv", "image,who,U-Net,Ours\na,p1,80.5,90\n")
    reading = Reading(metric="dice", columns=parse_columns("patient=who"), percent=True)
    assert values(wide, reading) == {("U-Net", "a"): 0.805, ("Ours", "a"): 0.9}
    with pytest.raises(UsageError, match="--metric dice"):
        read(wide, Reading(columns=parse_columns("patient=who")))


def test_a_line_for_each_patient_is_a_case(tmp_path: Path) -> None:
    long = write(tmp_path / "long.csv", "method,patient,dice\nA,p,0.5\nA,q,0.6\n")
    assert values(long, Reading()) == {("A", "p"): 0.5, ("A", "q"): 0.6}
    wide = write(tmp_path / "wide.csv", "Patient;A;B\np;50,5;60\nq;40;50\n")
    scores = read(wide, Reading(metric="dice", percent=True))
    assert {(score.patient, score.case) for score in scores} == {("p", "p"), ("q", "q")}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("method,case,dice\nA,a,0.5\n", "no patient is known; .*where each case is a patient"),
        ("patient,A,B\np,0.5,0.6\np,0.4,0.5\n", "no column of cases"),
        ("patient,case,dice\np,a,0.5\n", "does not say whose scores it has"),
        ("method,patient,case,dice\nA,p,a,good\n", "is no number"),
        ("method,patient,case,dice\n", "holds no score"),
    ],
)
def test_what_is_not_said_is_asked_for(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        read(write(tmp_path / "scores.csv", text), Reading())


HEAD = "method,patient,case,dice,iou\n"


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("A,p,a,0.5,0.333\nA,p,a,0.6,0.429\n", r"1 case \(a\) have several scores"),
        (
            "A,p,a,0.5,0.333\nB,q,a,0.6,0.429\n",
            r"1 case \(a\) have two patients; .*, such as FOLDER_a",
        ),
        ("A,p,a,50,33.3\nA,p,b,60,42.9\n", r"dice: 2 cases \(A a, A b\) outside.*--percent"),
        ("A,p,a,-0.1,0.2\n", "outside its range, expected 0 to 1"),
        ("A,p,a,0.800,0.800\nA,p,b,0.5,0.333\n", r"A: Dice and IoU of 1 case \(a\) contradict"),
        ("A,p,a,0.333,0.5\nA,p,b,0.429,0.6\n", "is above its Dice: are the columns swapped"),
        ("A,p,a,0.5,\nA,p,b,0.5,\nB,p,a,0.5,\n", r"B on scores: 1 case \(b of p\) have no score"),
    ],
)
def test_impossible_scores_are_refused_with_their_number(
    tmp_path: Path, rows: str, line: str
) -> None:
    scores = read(write(tmp_path / "scores.csv", HEAD + rows), Reading())
    with pytest.raises(UsageError, match=line):
        check(scores, "refuse")


def test_percent_has_one_remedy(tmp_path: Path) -> None:
    scores = read(write(tmp_path / "s.csv", HEAD + "A,p,a,50,33.3\n"), Reading())
    with pytest.raises(UsageError) as refused:
        check(scores, "refuse")
    assert "--percent" in str(refused.value)
    assert "contradict" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reading", "line"),
    [
        (
            'method,patient,case,dice,hd95\nA,p,a,0.5,"1,234"\n',
            Reading(),
            "line 2, column hd95: '1,234' may be 1.234 or 1234; write it without a comma",
        ),
        ('case,patient,A\na,p,"1,234"\n', Reading(metric="hd95"), "may be 1.234 or 1234"),
        (
            "method,patient,case,dice,DSC\nA,p,a,0.5,0.7\n",
            Reading(),
            "the columns dice and DSC both mean dice, and their values differ",
        ),
        (
            "method,patient,case,dice\nA,p,a,0.5\nA,p,b,0.7\n",
            Reading(percent=True),
            "no score is above 1, as where they are fractions; expected percent: leave --percent",
        ),
        (
            "method,patient,case,dice\nA,1.23E+11,a,0.5\n",
            Reading(),
            "line 2: patient '1.23E\\+11' is what a spreadsheet writes",
        ),
    ],
)
def test_what_may_mean_two_things_is_refused(
    tmp_path: Path, text: str, reading: Reading, line: str
) -> None:
    with pytest.raises(UsageError, match=line):
        read(write(tmp_path / "scores.csv", text), reading)


def test_a_decimal_comma_and_one_score_twice_are_read(tmp_path: Path) -> None:
    text = "method;patient;case;dice;DSC;hd95\nA;p;a;0,500;0,500;1,234\n"
    (score,) = read(write(tmp_path / "scores.csv", text), Reading())
    assert score.values["hd95"].value == 1.234
    text = 'method,patient,case,dice,DSC,hd95\nA,p,a,"0,5",0.7,"12,5"\n'
    (score,) = read(write(tmp_path / "other.csv", text), Reading(columns={"dice": "DSC"}))
    assert (score.values["dice"].value, score.values["hd95"].value) == (0.7, 12.5)
    text = "method,patient,case,dice\nA,p,a,0.9\nA,p,b,80\n"
    first, _ = read(write(tmp_path / "percent.csv", text), Reading(percent=True))
    assert first.values["dice"].value == pytest.approx(0.009)


def test_a_missing_score_is_zero_where_the_user_says_so(tmp_path: Path) -> None:
    rows = "A,p,a,0.5,\nA,p,b,0.5,\nB,p,a,0.5,\n"
    scores = check(read(write(tmp_path / "s.csv", HEAD + rows), Reading()), "zero")
    (lacking,) = [score for score in scores if score.place[0] == "B" and score.case == "b"]
    assert lacking.values["dice"].value == 0
    assert lacking.empty == "missing"


@given(st.floats(0, 1), st.integers(1, 6), st.booleans())
def test_honest_scores_never_contradict_however_they_are_printed(
    dice: float, decimals: int, cut: bool
) -> None:
    def printed(value: float) -> Printed:
        scale = 10**decimals
        shown = int(value * scale) / scale if cut else round(value, decimals)
        return Printed(shown, decimals - 2)

    assert not contradicts(printed(dice), printed(dice / (2 - dice)))


@pytest.mark.parametrize(
    "name",
    [
        *("mean", "Std. dev", "Mittelwert", "AVERAGE", "Mean \u00b1 SD", "mean (n=8)", "avg_all"),
        *("25%", "Average Dice", "grand mean", "media", "M\u00e9dia", "\u00c9cart-type", "Summe"),
        *("Standardabweichung", "\u6807\u51c6\u5dee", "\ud3c9\uade0", "Maximum", "IQR", "SEM"),
        *("CI lower", "[0.81; 0.92]", "Wilcoxon"),
    ],
)
@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("method,patient,case,dice\nA,p1,p1_1,0.8\nA,{},{},0.8\n", Reading()),
        ("method,patient,dice\nA,p1,0.8\nA,{0},0.8\n", Reading()),
        ("patient,case,A,B\np1,p1_1,0.8,0.9\n{},{},0.8,0.9\n", Reading(metric="dice")),
    ],
)
def test_a_line_that_sums_up_others_is_no_case(
    text: str, reading: Reading, name: str, tmp_path: Path
) -> None:
    """It was a patient more."""
    path = write(tmp_path / "scores.csv", text.format(name, name))
    with pytest.raises(UsageError, match=f"line 3: '{re.escape(name)}' sums up other li"):
        read(path, reading)


@pytest.mark.parametrize(
    "name",
    ["All", "n", "SE", "p", "max", "\u03bc", "\u00d8", "rank", "p25", "Q1", "95%-KI", "Quartil 3"],
)
def test_a_line_named_unlike_all_others_is_no_case(name: str, tmp_path: Path) -> None:
    rows = "".join(f"c{number:02},0.8,0.9\n" for number in range(8))
    path = write(tmp_path / "scores.csv", f"case,A,B\n{rows}{name},0.8,0.9\n")
    with pytest.raises(UsageError, match=f"line 10: '{re.escape(name)}' is named unlike all other"):
        read(path, Reading(metric="dice", pattern="{patient}"))


@pytest.mark.parametrize(
    "names",
    [
        ["lena", "max", "se", "all"],
        ["p1", "p2", "p25", "p30"],
        ["q1", "q2", "q3"],
        ["case1", "lena", "tom"],
        ["case1", "b_2", "x-3 4"],
    ],
)
def test_names_of_cases_may_differ(names: list[str], tmp_path: Path) -> None:
    rows = "".join(f"{name},0.8,0.9\n" for name in names)
    path = write(tmp_path / "scores.csv", f"case,A,B\n{rows}")
    assert len(read(path, Reading(metric="dice", pattern="{patient}"))) == 2 * len(names)


def test_a_name_that_holds_such_a_word_is_a_case(tmp_path: Path) -> None:
    names = ["meander", "mean_01", "overall-2", "allan", "std1"]
    rows = "".join(f"A,{name},0.8\n" for name in names)
    path = write(tmp_path / "scores.csv", f"method,patient,dice\n{rows}")
    assert [score.case for score in read(path, Reading())] == names


@pytest.mark.parametrize(
    ("name", "case"),
    [("p 1 (2)", "p_1__2_"), ("_p1", "x_p1"), ("p:1", "p:1"), ("\u0141_1", "x__1-130068")],
)
def test_a_case_is_kept_under_the_name_of_its_mask(name: str, case: str, tmp_path: Path) -> None:
    """Results with other names were imported, and then said to be damaged."""
    path = write(tmp_path / "scores.csv", f"method,patient,case,dice\nA,p1,{name},0.8\n")
    (score,) = read(path, Reading())
    assert score.case == case
    assert safe_name(score.case, "case")


def test_columns_that_are_unknown_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'dice'"):
        parse_columns("dicee=x")
    with pytest.raises(UsageError, match="no name=heading"):
        parse_columns("dice")


@pytest.mark.parametrize(
    "other",
    ["sex", "fold", "Unnamed: 0", "diff", "p-value", "Mean", "std", "volume_ml", "age (years)"],
)
def test_a_column_of_something_else_is_no_method_and_is_told(other: str, tmp_path: Path) -> None:
    path = write(tmp_path / "scores.csv", f"case,{other},A,B\na,1,0.8,0.9\nb,0,0.7,0.8\n")
    reading = Reading(metric="dice", pattern="{patient}")
    assert {score.method for score in read(path, reading)} == {"A", "B"}
    lines = told(path, reading)
    assert lines == () if other.startswith("Unnamed") else other in lines[0]


def test_columns_that_are_not_read_are_told(tmp_path: Path) -> None:
    text = "method,patient,case,dice,site,asd\nA,p,a,0.5,X,1\n"
    path = write(tmp_path / "scores.csv", text)
    assert told(path, Reading()) == ("columns of scores.csv that are not read: site, asd",)


@pytest.mark.parametrize(
    ("heading", "cell", "metric", "value", "unit"),
    [
        ("HD95 (mm)", "8.5", "hd95", 8.5, "mm"),
        ("hd95_mm", "8.5", "hd95", 8.5, "mm"),
        ("hd95 [voxel]", "8.5", "hd95", 8.5, "px"),
        ("IoU (%)", "66.7", "iou", 0.667, "unknown"),
        ("hd95 (cm)", "0.85", "", 0, "unknown"),
        ("HD95%", "8.5", "hd95", 8.5, "unknown"),
        ("HD95 (%)", "8.5", "", 0, "unknown"),
    ],
)
def test_a_heading_may_have_a_unit(
    heading: str, cell: str, metric: str, value: float, unit: str, tmp_path: Path
) -> None:
    text = f"method,patient,case,dice,{heading}\nA,p,a,0.8,{cell}\n"
    (score,) = read(write(tmp_path / "scores.csv", text), Reading())
    assert score.unit == unit
    expected = {"dice": 0.8} | ({metric: value} if metric else {})
    assert {name: printed.value for name, printed in score.values.items()} == expected


def test_what_fits_no_remedy_is_not_told_it(tmp_path: Path) -> None:
    """Percent that are given as such, and one case under two names."""
    high = write(tmp_path / "high.csv", HEAD + "A,p,a,8505,\n")
    with pytest.raises(UsageError, match=r"outside its range, expected 0 to 1$"):
        check(read(high, Reading(percent=True)), "refuse", percent=True)
    zeros = write(tmp_path / "zeros.csv", HEAD + "A,p,01,0.5,\nB,p,1,0.5,\n")
    with pytest.raises(
        UsageError, match=r"A on .* no score; 1 and 01 are different cases"
    ) as error:
        check(read(zeros, Reading()), "refuse")
    assert "--missing" not in str(error.value)
    assert "write one name where they are one, in all methods" in str(error.value)


def test_a_point_among_decimal_commas_may_stand_between_thousands(tmp_path: Path) -> None:
    """Spreadsheets write 1234 so in some languages."""
    head = "method;patient;case;dice;hd95\n"
    for numbers, line in (
        ("0,85;1.234", r"column hd95: '1\.234' may be 1.234 or 1234"),
        ("0.85;1,234", "column hd95: '1,234' may be 1.234 or 1234"),
    ):
        with pytest.raises(UsageError, match=line):
            read(write(tmp_path / "scores.csv", f"{head}A;p;a;{numbers}\n"), Reading())
    for numbers in ("0,85;1,234", "0.85;1.234", "0,851;0.851", "0,85;12.5"):
        assert read(write(tmp_path / "scores.csv", f"{head}A;p;a;{numbers}\n"), Reading())


@pytest.mark.parametrize(
    ("text", "reading", "line"),
    [
        (
            "method,patient,case,dice,hd95_mm,hd95_px\nA,p,a,0.5,1,2\n",
            Reading(),
            "the columns hd95_mm and hd95_px both mean hd95",
        ),
        (
            "method,patient,case,dice,hd95_mm,assd_px\nA,p,a,0.5,1,2\n",
            Reading(),
            r"hd95_mm and assd_px say two units of distances \(mm, px\)",
        ),
        (
            "method,patient,case,dice,dice.1\nA,p,a,0.5,0.6\n",
            Reading(),
            "the columns dice and dice.1 both mean dice",
        ),
        (
            "method,patient,case,dice,unit\nA,p,a,0.5,cm\n",
            Reading(),
            "line 2: unit 'cm', expected mm or px",
        ),
        (
            "method,patient,case,dice,set\nA,p,a,0.5,test\nA,q,b,0.5,Train\n",
            Reading(),
            "line 3: set is 'Train', of other lines it is not; expected cases of the test side",
        ),
        (
            "method,patient,case,metric,value\nA,p,a,iou,0.5\n",
            Reading(columns={"dice": "value"}),
            r"has a line for each metric \(column metric: iou\); expected a column for each",
        ),
        (
            "method,patient,case,metric,value\nA,p,a,iou,0.5\nA,p,a,dice,0.6\n",
            Reading(),
            r"has a line for each metric \(column metric: dice, iou\)",
        ),
        (
            "case,A_dice,A_iou\na,0.8,0.6\n",
            Reading(metric="dice", pattern="{patient}"),
            r"a has columns of several metrics \(dice, iou\); expected those of --metric",
        ),
        (
            "method,patient,case,dice\nA,p,a,91.2\nA,q,b,88\nB,p,a,0.9\nB,q,b,0.8\n",
            Reading(percent=True),
            "no score of B is above 1, as where they are fractions, but others are percent",
        ),
        (
            "method,patient,case,Dice (%)\nA,p,a,0.9\n",
            Reading(),
            r"Dice \(%\) says %, but no score is above 1",
        ),
        (
            "method,patient,case,dice\nA,p,a,0.5\n,p,b,0.6\n",
            Reading(),
            "line 3, column method: nothing is there, but other lines have it",
        ),
        (
            "dataset,method,patient,case,dice\nMR,A,p,a,0.5\n,B,p,a,0.6\n",
            Reading(),
            "line 3, column dataset: nothing is there, but other lines have it",
        ),
        (
            "A,p01,p01_a,0.84\nA,p02,p02_a,0.85\n",
            Reading(),
            "its first line holds '0.84', a number; expected headings",
        ),
        (
            "p01,0.84,0.81\np02,0.85,0.82\n",
            Reading(metric="dice", pattern="{patient}", columns={"case": "p01"}),
            "its first line holds '0.84', a number; expected headings",
        ),
        (
            "Methode,patient,case,dice\nA,p,a,0.5\n",
            Reading(),
            "its columns are Methode, patient, case, dice; name that of the methods",
        ),
    ],
)
def test_columns_that_change_what_lines_mean_are_refused(
    text: str, reading: Reading, line: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=line):
        read(write(tmp_path / "scores.csv", text), reading)


def test_a_heading_that_the_user_names_has_its_unit_in_brackets(tmp_path: Path) -> None:
    text = "method,patient,case,Score [%],Hausdorff (mm)\nA,p,a,91.2,8.5\n"
    columns = parse_columns("dice=Score [%],hd95=Hausdorff (mm)")
    (score,) = read(write(tmp_path / "scores.csv", text), Reading(columns=columns))
    assert score.values["dice"].value == pytest.approx(0.912)
    assert (score.values["hd95"].value, score.unit) == (8.5, "mm")


def test_small_percent_is_read_where_it_has_its_sign(tmp_path: Path) -> None:
    text = "method,patient,case,dice\nA,p,a,91.2\nB,p,a,0.9%\n"
    path = write(tmp_path / "scores.csv", text)
    expected = {("A", "a"): 0.912, ("B", "a"): 0.009}
    assert values(path, Reading(percent=True)) == pytest.approx(expected)


def test_a_summary_is_read_in_every_encoding_and_with_regions(tmp_path: Path) -> None:
    path = summary(tmp_path, ("(1, 2)", "2"))
    reading = Reading(method="nnU-Net", pattern="{patient}_*", label="(1, 2)")
    expected = [score.values for score in read(path, reading)]
    assert len(expected) == 4
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(path.read_text("utf-8"), encoding=encoding)
        assert [score.values for score in read(path, reading)] == expected
        summary(tmp_path, ("(1, 2)", "2"))
    both = read(path, Reading(method="A", pattern="{patient}_*", label="whole=(1, 2),one=2"))
    assert {score.label for score in both} == {"whole", "one"}


def test_a_prediction_of_another_case_is_refused(tmp_path: Path) -> None:
    path = summary(tmp_path)
    data = json.loads(path.read_text())
    for case, other in zip(data["metric_per_case"], reversed(data["metric_per_case"]), strict=True):
        case["reference_file"] = other["prediction_file"].replace("validation", "labels")
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="case 1: the prediction p0_slice was compared with the"):
        read(path, Reading(method="A", pattern="{patient}_*"))


@pytest.mark.parametrize("text", ["[1, 2]", '{"results": {"all": []}}', "{", '"a"'])
def test_other_json_is_refused_in_words(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no ") as refusal:
        read(write(tmp_path / "summary.json", text), Reading(method="A", pattern="{patient}"))
    assert "Error" not in str(refusal.value)


def test_a_pattern_and_a_column_of_patients_must_agree(tmp_path: Path) -> None:
    text = "method,patient,case,dice\nA,c01,siteA_c01_1,0.9\nA,c02,siteA_c02_1,0.8\n"
    path = write(tmp_path / "long.csv", text)
    assert [score.patient for score in read(path, Reading())] == ["c01", "c02"]
    assert len(read(path, Reading(pattern="siteA_{patient}_1"))) == 2
    with pytest.raises(UsageError, match=r"of patient c01, and --pattern .* of siteA; leave"):
        read(path, Reading(pattern="{patient}_*"))
