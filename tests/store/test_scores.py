"""Files of scores parsed together are those parsed alone, whatever is wrong with one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engine import instances, metrics
from bench.engine.parts import of_labels
from bench.store import scores
from bench.store.damage import DamagedError
from bench.store.scores import parse, parse_all

HEADING = "case,patient,dice,iou,unit,note"
LINES = st.sampled_from(
    [
        "a_1,a,0.5,0.33333333,mm,",
        "b_1,b,,nan,px,x",
        "c_1,c,0.25,0.1,mm",
        "d_1,d,0.25,0.1,mm,x,y",
        ",,,,,",
        "e_1,NA,1e400,0.1,,",
        "f_1,f,often,0.1,mm,",
        '"g_1,h",g,0.5,0.5,mm,',
        '"h_1,h,0.5,0.5,mm,',
        "",
        "é,é,0.5,0.5,mm,\t",
    ]
)
HEADINGS = st.sampled_from([HEADING, HEADING, HEADING, "case,patient,dice", "a,b,c,d,e,f", ""])
FILES = st.tuples(HEADINGS, st.lists(LINES, max_size=4), st.sampled_from(["\n", "", "\r\n"]))


def _outcome(table: pd.DataFrame | DamagedError) -> object:
    if isinstance(table, DamagedError):
        return str(table)
    return list(table.columns), table.dtypes.map(str).tolist(), table.astype(str).values.tolist()


@settings(deadline=None, max_examples=150)
@given(st.lists(FILES, max_size=5))
def test_files_together_are_those_parsed_alone(drawn: list[tuple[str, list[str], str]]) -> None:
    files = []
    for number, (heading, lines, end) in enumerate(drawn):
        text = "\n".join([heading, *lines]) + end
        files.append((text.encode(), Path(f"{number}.csv")))
    alone = []
    for content, path in files:
        try:
            alone.append(_outcome(parse(content, path)))
        except DamagedError as error:
            alone.append(_outcome(error))
    assert [_outcome(table) for table in parse_all(files)] == alone


def instances_of(**changes: float) -> list[str]:
    """Return which rules a line of cases.csv breaks, of four instances of which two match."""
    reference = np.zeros((40, 10), np.uint8)
    for level in range(4):
        reference[10 * level : 10 * level + 8, 2:8] = level + 1
    prediction = np.where(np.isin(reference, (1, 2)), reference, 0)
    row = {**metrics.score(prediction > 0, reference > 0, None).row()}
    [own] = instances.rows(of_labels(prediction), reference, reference, 0, None)
    row |= {"case": "a", "patient": "a", **own}
    frame = pd.DataFrame([{**row, **changes}]).reindex(columns=list(scores.COLUMNS))
    lacking = {name: np.zeros(1, bool) for name in scores.COLUMNS}
    return [rule for wrong, rule in scores.impossible(frame, lacking) if wrong.any()]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("pq", 0.4, "PQ must be RQ x SQ"),
        ("rq", 0.9, "RQ must agree"),
        ("matched", 3, "counts of instances must agree"),
        ("missed", 1.5, "counts of instances must agree"),
        ("identified", 1.5, "Identification rate must lie in [0, 1]"),
        ("localisation", -1.0, "Localisation must be a distance"),
        ("matched_dice", float("nan"), "Dice of matches must lie in [0, 1]"),
    ],
)
def test_scores_of_instances_that_cannot_be_are_named(name: str, value: float, said: str) -> None:
    assert instances_of() == []
    assert any(rule.startswith(said) for rule in instances_of(**{name: value}))


def test_classes_without_scores_of_instances_are_of_an_older_version() -> None:
    older = dict.fromkeys(scores.RARE, float("nan"))
    assert any("which older versions did not write" in rule for rule in instances_of(**older))


def of_classes(path: Path, lines: Sequence[str]) -> pd.DataFrame:
    """Return scores of one case with the classes a and b, whose lines are given."""
    heading = "case,patient,class,dice,iou,hd95,unit,empty,diagonal"
    path.write_text("\n".join([heading, *lines]) + "\n", encoding="utf-8")
    return scores.parse(path.read_bytes(), path)


@pytest.mark.parametrize(
    ("rule", "dice", "hd95"), [("undefined", 0.8, 3.0), ("best", 0.9, 1.5), ("worst", 0.4, 51.5)]
)
def test_an_absent_class_is_left_out_unless_another_rule_is_asked_for(
    tmp_path: Path, rule: str, dice: float, hd95: float
) -> None:
    lines = (
        "c,p,union,0.7,0.5384615,2,mm,none,100",
        "c,p,a,0.8,0.6666667,3,mm,none,100",
        "c,p,b,,,,mm,both,100",
    )
    frame = of_classes(tmp_path / "cases.csv", lines)
    filled = scores.filled(scores.defined(frame, rule))
    means = scores.over_classes(filled, frame["class"])
    assert len(means) == 1
    assert means["dice"].item() == pytest.approx(dice)
    assert means["hd95"].item() == pytest.approx(hd95)
    if rule == "undefined":
        assert scores.read_scores(tmp_path / "cases.csv")["dice"].item() == pytest.approx(dice)


def test_a_missed_class_counts_as_zero_and_a_case_without_any_has_no_score(tmp_path: Path) -> None:
    lines = (
        "c,p,union,0.7,0.5384615,2,mm,none,100",
        "c,p,a,0.8,0.6666667,3,mm,none,100",
        "c,p,b,0,0,,mm,prediction,100",
        "d,p,union,1,1,0,mm,both,100",
        "d,p,a,,,,mm,both,100",
        "d,p,b,,,,mm,both,100",
    )
    of_classes(tmp_path / "cases.csv", lines)
    means = scores.read_scores(tmp_path / "cases.csv")
    assert means["dice"].tolist()[0] == pytest.approx(0.4)
    assert means["hd95"].tolist()[0] == pytest.approx(51.5)
    assert np.isnan(means["dice"].tolist()[1])
