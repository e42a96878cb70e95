from __future__ import annotations

import pytest

from bench.spec.arms import arms
from bench.spec.errors import UsageError


def test_the_arms_are_the_papers_table_2() -> None:
    factors, made = arms("verdiff", "", "full")
    assert factors == ("msfm", "nsa")
    assert [(arm.spec.key, arm.switches) for arm in made] == [
        ("verdiff:msfm=off:nsa=off", (False, False)),
        ("verdiff:nsa=off", (True, False)),
        ("verdiff:msfm=off", (False, True)),
        ("verdiff", (True, True)),
    ]


def test_an_arm_that_is_the_method_itself_is_named_like_it() -> None:
    """So that `bench run` and `bench ablate` share the cell."""
    _, made = arms("verdiff:steps=9", "bce", "full")
    assert [arm.spec.key for arm in made] == ["verdiff:steps=9:bce=off", "verdiff:steps=9"]


def test_an_arm_lacks_the_options_of_what_it_lacks() -> None:
    _, switched = arms("verdiff:nsa_gate=hard", "nsa", "full")
    assert [arm.spec.key for arm in switched] == ["verdiff:nsa=off", "verdiff:nsa_gate=hard"]


def test_three_factors_make_eight_arms() -> None:
    factors, made = arms("verdiff", "nsa, msfm,bce", "full")
    assert factors == ("nsa", "msfm", "bce")
    assert len({arm.spec for arm in made}) == 8


@pytest.mark.parametrize(
    ("spec", "names", "message"),
    [
        ("unet", "", "unet has no modules to switch; its on/off options: none"),
        ("verdiff", "msfn", "verdiff has no on/off option 'msfn'; did you mean 'msfm'"),
        ("verdiff", "steps", "verdiff has no on/off option 'steps'"),
        ("verdiff:nsa=off", "", "switches 'nsa', so it cannot be given"),
        ("verdiff", "nsa,nsa", "twice"),
        ("verdiff,unet", "", "names 2 methods; an ablation switches one"),
    ],
)
def test_wrong_factors_say_what_is_right(spec: str, names: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        arms(spec, names, "full")
