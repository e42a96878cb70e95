"""A profile's caveat is made of its values, so it holds for profiles of users too."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.spec.caveat import PAPER_STEPS, WORTH, caveat, described
from bench.spec.profile import load_profile
from tests.user import ROOT


def said_of(profile: str) -> str:
    loaded = load_profile(profile)
    return described(loaded.name, loaded.summary, loaded.protocol())


def test_the_papers_protocol_has_no_caveat() -> None:
    paper = load_profile("paper")
    assert paper.steps == PAPER_STEPS
    assert caveat(paper.protocol()) == caveat({"name": "external"}) == ""
    assert said_of("paper") == paper.summary
    assert said_of("paper-steps3").endswith(f"at most 3 steps of training: {WORTH['full']}")


@pytest.mark.parametrize("name", ["cpu", "lunch"])
def test_the_summary_of_a_shipped_profile_says_what_its_numbers_are_worth(name: str) -> None:
    profile = load_profile(name)
    assert WORTH[profile.scale] in profile.summary


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('extends = "smoke"\nsteps = 3\n', "at most 3 steps of training: these numbers mean"),
        ('extends = "smoke"\nsummary = "mine"\n', "mine; images of about 64 x 64 pixels, tiny"),
        ('extends = "cpu"\npixels = 0\nsteps = 1', "pixels, steps; small networks, at most 1 step"),
        ('extends = "smoke"\nscale = "small"', ": good for trying things, not for a paper"),
    ],
)
def test_a_profile_of_ones_own_keeps_the_caveat_as_far_as_it_holds(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    assert words in said_of(str(path))


@pytest.mark.parametrize("name", ["cpu-steps3", "cpu-steps1000000000", "cpu-pixels0"])
def test_other_steps_and_pixels_are_not_called_those_of_the_base(name: str) -> None:
    said = said_of(name)
    assert "a few hundred steps" not in said
    assert "small images" not in said
    assert f"at most {load_profile(name).steps} steps of training: good for trying" in said


def test_a_copy_of_a_shipped_profile_does_not_keep_a_summary_that_no_longer_holds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.toml"
    text = (ROOT / "bench" / "spec" / "profiles" / "cpu.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("steps = 400", "steps = 20000"), encoding="utf-8")
    assert said_of(str(path)).startswith("made from cpu; images of about 112 x 112 pixels, small")
    assert "at most 20000 steps of training" in said_of(str(path))
