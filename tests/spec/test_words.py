"""Counts and long names, as people read them."""

from __future__ import annotations

import pytest

from bench.spec.words import count, shortened


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 patients"), (1, "1 patient"), (2, "2 patients")]
)
def test_one_is_singular(number: int, words: str) -> None:
    assert count(number, "patient") == words


def test_a_plural_may_be_irregular() -> None:
    assert count(2, "study", "studies") == "2 studies"
    assert count(1, "study", "studies") == "1 study"


def test_the_middle_of_a_long_name_goes() -> None:
    name = "smp:arch=UnetPlusPlus:encoder=resnet34"
    short = shortened(name, 20)
    assert len(short) == 20
    assert short == "smp:arch=...resnet34"
    assert shortened(name, len(name)) == name
