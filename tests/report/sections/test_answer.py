"""The answer in sentences says what the tests found, and of what it speaks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.report.sections import answer
from bench.spec.words import p_words
from bench.store.cells import Store
from tests import written
from tests.report.sections.scored import PATIENTS, scores_of
from tests.written import finished


def filled(root: Path, *methods: str, seeds: int = 1, source: str = "real") -> Store:
    for seed in range(35, 35 + seeds):
        for method in methods:
            finished(root, method, scores_of(method), seed=seed, source=source)
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
    said = answer.limits(written.table(filled(tmp_path, "unet", seeds=seeds, source=source)))
    assert ("simulated" in said) == (source == "phantom")
    assert ("one seed" in said) == (seeds == 1)
    assert "The networks are small" in said


def test_what_is_from_outside_was_not_trained_here_by_seeds(tmp_path: Path) -> None:
    said = answer.limits(written.table(filled(tmp_path, "unet", source="external")))
    assert "Each method has one set of predictions: this compares" in said


def test_numbers_of_the_tests_profile_are_said_to_mean_nothing(tmp_path: Path) -> None:
    table = replace(written.table(filled(tmp_path, "unet")), profile="smoke-steps60")
    assert "these numbers mean nothing" in answer.limits(table)


@pytest.mark.parametrize(
    ("p", "said"), [(0.0497, "p = 0.0497"), (0.0503, "p = 0.0503"), (1e-5, "p < 0.001")]
)
def test_no_p_is_rounded_to_the_other_side_of_the_level(p: float, said: str) -> None:
    assert p_words(p) == said
