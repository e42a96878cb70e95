"""The answer in sentences says what the tests found, and of what it speaks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.report.sections import answer, table1
from bench.spec.words import p_words
from bench.store.cells import Store
from tests import written
from tests.report.sections.scored import PATIENTS, scores_of
from tests.written import finished


def filled(root: Path, *methods: str, seeds: int = 1, source: str = "real", **more: Any) -> Store:
    for seed in range(35, 35 + seeds):
        for method in methods:
            finished(root, method, scores_of(method), seed=seed, source=source, **more)
    return Store(root)


def test_the_best_is_named_with_what_is_lower_and_what_is_not(tmp_path: Path) -> None:
    table = written.table(filled(tmp_path, "unet", "fcn", "verdiff"))
    [one] = answer.answers(table)
    best, lower, same = one.sentences
    assert "UNET" in best or "VERDIFF" in best
    assert f"over {PATIENTS} patients" in best
    assert lower.startswith(("Significantly lower: FCN by ", "Lower, unless these few patients"))
    assert "FCN" not in same
    assert same.startswith("Not significantly different from it: ")
    assert re.search(r" \([+-]\d+\.\d points, p = [\d.]+\)\.$", same)
    assert "has the highest mean" in best
    [other] = answer.answers(written.table(filled(tmp_path / "two", "unet", "fcn")))
    assert ("is best" in other.text) == ("Significantly lower: FCN" in other.text)


def test_where_nothing_differs_nobody_is_called_best(tmp_path: Path) -> None:
    table = written.table(filled(tmp_path, "unet", "verdiff"))
    [one] = answer.answers(table)
    assert re.search(
        r"no other method is significantly lower: \w+ \(-\d\.\d points, p = [\d.]+\)\.", one.text
    )
    assert "is best" not in one.text


def test_one_method_has_a_score_and_no_rival(tmp_path: Path) -> None:
    table = written.table(filled(tmp_path, "unet"))
    [one] = answer.answers(table)
    mean = 100 * float(np.mean(scores_of("unet")))
    assert one.text.startswith(
        f"On MR, UNET reaches {mean:.1f} % Dice over 12 patients [95 % interval "
    )


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("source", ["real", "phantom"])
def test_the_limits_name_phantoms_small_networks_and_one_seed(
    tmp_path: Path, seeds: int, source: str
) -> None:
    small = {"scale": "small", "steps": 400, "pixels": 12544}
    store = filled(tmp_path, "unet", seeds=seeds, source=source, profile=small)
    said = answer.limits(written.table(store))
    assert ("simulated" in said) == (source == "phantom")
    assert ("one seed" in said) == (seeds == 1)
    assert "Images of about 112 x 112 pixels, small networks, at most 400 steps of training" in said


def test_what_is_from_outside_was_not_trained_here_by_seeds(tmp_path: Path) -> None:
    said = answer.limits(written.table(filled(tmp_path, "unet", source="external")))
    assert "Each method has one set of predictions: this compares" in said


def test_numbers_of_the_tests_profile_are_said_to_mean_nothing(tmp_path: Path) -> None:
    tiny = {"scale": "tiny", "steps": 60, "pixels": 4096}
    table = written.table(filled(tmp_path, "unet", profile=tiny))
    said = "Images of about 64 x 64 pixels, tiny networks, at most 60 steps of training"
    assert f"{said}: these numbers mean nothing." in answer.limits(table)


@pytest.mark.parametrize(
    ("p", "said"), [(0.0497, "p = 0.0497"), (0.0503, "p = 0.0503"), (1e-5, "p < 0.001")]
)
def test_no_p_is_rounded_to_the_other_side_of_the_level(p: float, said: str) -> None:
    assert p_words(p) == said


def test_in_an_unfinished_matrix_no_mean_is_best_and_the_answer_says_so_first(
    tmp_path: Path,
) -> None:
    easy, hard = scores_of("unet"), tuple(one - 0.3 for one in scores_of("verdiff"))
    finished(tmp_path, "fcn", tuple(one + 0.02 for one in easy), folds=3, fold=0)
    finished(tmp_path, "unet", easy, folds=3, fold=0)
    finished(tmp_path, "unet", hard, first=len(easy), folds=3, fold=1)
    table = written.table(Store(tmp_path))
    [column] = table.columns
    means = table.scores.dice_mean[column]
    assert table.best(column) == "fcn"
    assert means["fcn"] > means["unet"]
    [one] = answer.answers(table)
    assert "2 of 3 folds have a result" in one.sentences[0]
    assert "not tested on the same patients" in one.sentences[1]
    assert "bench run with the same options" in one.sentences[2]
    assert "is best" not in one.text
    assert f"FCN has the highest mean: {100 * means['fcn']:.1f} % Dice over 12 patients that" in (
        one.text
    )
    assert "UNET by 2.0 points" in one.text
    document = table1.document(table)
    marks = {cell.mark for row in document.blocks[0].rows for cell in row}
    assert marks == {""}
    notes = [note.text for note in document.notes]
    assert any("no mean is bold" in text for text in notes)
    assert not any("without a mark: significantly lower" in text for text in notes)


def test_methods_without_a_common_patient_have_no_best(tmp_path: Path) -> None:
    scores = scores_of("unet")
    finished(tmp_path, "fcn", scores, folds=2, fold=0)
    finished(tmp_path, "unet", scores, first=len(scores), folds=2, fold=1)
    table = written.table(Store(tmp_path))
    [column] = table.columns
    assert table.best(column) == ""
    [one] = answer.answers(table)
    assert "no patient in common" in one.text
    assert "highest" not in one.text


def test_more_seeds_of_one_method_leave_the_best_in_bold(tmp_path: Path) -> None:
    store = filled(tmp_path, "unet", "fcn")
    finished(tmp_path, "unet", scores_of("unet"), seed=36, source="real")
    assert not written.table(store).uneven
    finished(tmp_path, "fcn", scores_of("fcn")[:4], seed=36, source="real")
    assert written.table(Store(tmp_path)).uneven


def test_a_method_without_a_result_is_named(tmp_path: Path) -> None:
    store = filled(tmp_path, "unet", "verdiff")
    written.failed(tmp_path, "fcn", "no memory", dataset="mr@real-abcdef01")
    [one] = answer.answers(written.table(store))
    assert one.sentences[-1] == "No result on MR: fcn (failed)."


def test_where_pairs_have_one_seed_in_common_the_answer_speaks_of_weights(tmp_path: Path) -> None:
    store = filled(tmp_path, "unet", "fcn")
    finished(tmp_path, "unet", scores_of("unet"), seed=36, source="real")
    finished(tmp_path, "fcn", scores_of("fcn")[:4], seed=36, source="real")
    [one] = answer.answers(written.table(store))
    assert "not tested on the same patients and seeds" in one.sentences[0]
    assert "Where two have one seed in common, that compares trained weights" in one.text
