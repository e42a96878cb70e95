from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.spec.errors import UsageError
from bench.spec.profile import Augmentation, load_profile, name_of, profiles
from tests.user import SMOKE


def test_shipped_profiles_load() -> None:
    assert profiles() == ["cpu", "lunch", "paper", "smoke"]
    paper = load_profile("paper")
    assert (paper.pixels, paper.batch, paper.lr, paper.steps) == (0, 1, 1e-4, 9000)


def test_unknown_profile_says_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown profile 'papr'; did you mean 'paper'"):
        load_profile("papr")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 4", "steps = 0"), r"mine\.toml: steps: expected int >= 1"),
        (("lr = 1e-3", "lr = -1"), "lr: expected float > 0"),
        (("lr = 1e-3", "lr = nan"), "lr: "),
        (("lr = 1e-3", "lr = inf"), "lr: "),
        (("lr = 1e-3", "lr = -inf"), "lr: "),
        (("steps = 4", "stepz = 4"), r"no key 'stepz'; did you mean 'steps'\?"),
        (("steps = 4\n", ""), 'missing keys: steps; copy .* or begin with extends = "cpu"'),
        (("steps = 4", "steps"), "no TOML"),
        (("steps = 4", 'steps = "ten"'), "steps: expected int, got str"),
        (("steps = 4", "steps = 2.5"), "steps: expected int, got float"),
        (("xray = 5 }\nphantom", "xray = 0 }\nphantom"), "phantom_patients.*: expected int >= 1"),
        (('scale = "tiny"', 'scale = "big"'), "scale: 'big' .* Valid: full, half, small, tiny"),
    ],
)
def test_a_bad_profile_file_is_refused(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMOKE.replace(*change))
    with pytest.raises(UsageError, match=message) as caught:
        load_profile(str(path))
    assert "\n" not in str(caught.value)


def test_a_users_own_profile_is_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMOKE)
    assert load_profile(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cpu", "cpu"),
        ("cpu-steps7", "cpu-steps7"),
        ("mine", "mine"),
        ("a/mine.toml", "mine"),
        ("a/mine.toml-steps7-pixels9", "mine-steps7-pixels9"),
    ],
)
def test_results_of_a_file_lie_under_its_name(text: str, name: str) -> None:
    assert name_of(text) == name


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_a_profile_extends_another(tmp_path: Path) -> None:
    mine = load_profile(write(tmp_path, "mine.toml", 'extends = "cpu"\nsteps = 50\n'))
    cpu = load_profile("cpu")
    assert (mine.name, mine.steps, mine.pixels) == ("mine", 50, cpu.pixels)
    assert mine.augmentation == cpu.augmentation == Augmentation()
    assert mine.summary == "cpu with its own steps"


def test_what_a_refusal_says_of_the_augmentation_switches_it_off(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        load_profile(write(tmp_path, "bad.toml", 'extends = "cpu"\naugmentation = false\n'))
    _, _, advice = str(refused.value).partition("write a line ")
    head, _, keys = advice.partition(", and below it ")
    lines = "\n".join(re.split(r", (?=[a-z])", keys))
    mine = load_profile(write(tmp_path, "mine.toml", f'extends = "cpu"\n{head}\n{lines}\n'))
    assert mine.augmentation.words == "off"


@pytest.mark.parametrize("text", ["", "steps = 400\n", "[augmentation]\nrotation = 30\n"])
def test_a_profile_that_changes_nothing_says_so(text: str, tmp_path: Path) -> None:
    mine = load_profile(write(tmp_path, "mine.toml", f'extends = "cpu"\n{text}'))
    assert mine.summary == "cpu, of which nothing is changed"


def test_tables_of_a_profile_are_joined_with_those_of_its_base(tmp_path: Path) -> None:
    write(tmp_path, "still.toml", 'extends = "cpu"\n[augmentation]\nrotation = 0\n')
    text = 'extends = "still.toml"\n[augmentation]\nflips = "both"\n[phantom_patients]\nmr = 9\n'
    mine = load_profile(write(tmp_path, "mine.toml", text))
    assert mine.augmentation == Augmentation(rotation=0, flips="both")
    assert mine.phantom_patients == load_profile("cpu").phantom_patients | {"mr": 9}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "cpo"', "unknown profile 'cpo'; did you mean 'cpu'"),
        ('extends = "other.toml"', "other.toml is not there"),
        ('extends = "mine.toml"', "extends itself"),
        ("extends = 3", 'extends: expected a name or a file, as "cpu"'),
        ('extends = "cpu"\nstep = 3', r"no key 'step'; did you mean 'steps'\?"),
        ('extends = "cpu"\nrotation = 3', r"rotation .* below a line \[augmentation\]$"),
        ('extends = "cpu"\n[augment]\nflips = "both"', "no key 'augment'; did you mean 'aug"),
        (
            'extends = "cpu"\n[augmentation]\nsteps = 3',
            r"steps stands under \[augmentation\] .* above the line \[augmentation\]$",
        ),
        (
            'extends = "cpu"\n[phantom_patients]\nmr = 3\nbatch = 3',
            r"batch stands under \[phantom_patients\]",
        ),
        ('extends = "cpu"\nphantom_patients = 3', "phantom_patients: expected a section such"),
        ('extends = "cpu"\naugmentation = "off"', "is a section, not 'off'; to switch it off"),
        (
            'extends = "cpu"\n[augmentation]\nflip = "both"',
            r"\[augmentation\] no key 'flip'; did you mean 'flips'\?",
        ),
        (
            'extends = "cpu"\n[augmentation]\nflips = "off"',
            "augmentation.flips: 'off' is not allowed; Valid: both, horizontal, none, vertical",
        ),
        ('extends = "cpu"\n[augmentation]\nflips = false', "flips: False is not allowed; Valid"),
        ('extends = "cpu"\n[augmentation]\nelastic = 0.2', "augmentation.elastic: .*<= 0.1"),
        ('extends = "cpu"\n[augmentation]\nshift = [0.1, 0]', "the smallest, 0.1, is above 0"),
        ('extends = "cpu"\n[augmentation]\nrotation = nan', "augmentation.rotation"),
    ],
)
def test_a_bad_extension_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_profile(write(tmp_path, "mine.toml", text))
    assert "\n" not in str(caught.value)


def test_two_profiles_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "other.toml", 'extends = "mine.toml"')
    with pytest.raises(UsageError, match="extends itself"):
        load_profile(write(tmp_path, "mine.toml", 'extends = "other.toml"'))


def test_a_name_may_end_with_other_steps_and_pixels(tmp_path: Path) -> None:
    few = load_profile("cpu-steps7-pixels4096")
    assert (few.name, few.steps, few.pixels) == ("cpu-steps7-pixels4096", 7, 4096)
    own = load_profile(write(tmp_path, "mine.toml", SMOKE) + "-steps7")
    assert (own.name, own.steps) == ("mine-steps7", 7)
    with pytest.raises(UsageError, match="steps: expected int >= 1"):
        load_profile("cpu-steps0")
    with pytest.raises(UsageError, match="unknown profile 'cpo'"):
        load_profile("cpo-steps5")


@pytest.mark.parametrize("name", profiles())
def test_a_protocol_survives_json(name: str) -> None:
    protocol = load_profile(name).protocol()
    assert json.loads(json.dumps(protocol)) == protocol


def test_the_papers_augmentation_is_not_named_as_in_older_results(tmp_path: Path) -> None:
    assert "augmentation" not in load_profile("cpu").protocol()
    text = 'extends = "cpu"\n[augmentation]\nflips = "both"\n'
    mine = load_profile(write(tmp_path, "mine.toml", text)).protocol()
    assert mine["augmentation"]["flips"] == "both"


def test_tf32_is_named_where_a_gpu_may_use_it() -> None:
    assert "tf32" not in load_profile("cpu").protocol()
    assert load_profile("lunch").protocol()["tf32"] is True


def test_cases_at_once_are_named_where_there_are_several(tmp_path: Path) -> None:
    assert "cases_at_once" not in load_profile("cpu").protocol()
    mine = load_profile(write(tmp_path, "mine.toml", 'extends = "cpu"\ncases_at_once = 8\n'))
    assert mine.protocol()["cases_at_once"] == 8
    with pytest.raises(UsageError, match="cases_at_once: expected int >= 1"):
        load_profile(write(tmp_path, "none.toml", 'extends = "cpu"\ncases_at_once = 0\n'))


@pytest.mark.parametrize("switch", ["channels_last", "fused_adam"])
def test_a_switch_that_changes_last_bits_is_named_where_it_is_off(
    tmp_path: Path, switch: str
) -> None:
    assert switch not in load_profile("cpu").protocol()
    mine = load_profile(write(tmp_path, "mine.toml", f'extends = "cpu"\n{switch} = false\n'))
    assert mine.protocol()[switch] is False
    with pytest.raises(UsageError, match=f"{switch}: expected bool"):
        load_profile(write(tmp_path, "none.toml", f'extends = "cpu"\n{switch} = "off"\n'))


def test_pinned_memory_changes_no_value_and_so_is_not_named(tmp_path: Path) -> None:
    cpu = load_profile("cpu")
    mine = load_profile(write(tmp_path, "cpu.toml", 'extends = "cpu"\npinned_memory = false\n'))
    assert not mine.pinned_memory
    assert mine.protocol() == cpu.protocol()


def test_the_tolerance_of_nsd_is_named_where_it_is_another(tmp_path: Path) -> None:
    assert "nsd_tolerance" not in load_profile("cpu").protocol()
    mine = load_profile(write(tmp_path, "mine.toml", 'extends = "cpu"\nnsd_tolerance = 4\n'))
    assert mine.protocol()["nsd_tolerance"] == 4
    with pytest.raises(UsageError, match="nsd_tolerance: expected float > 0"):
        load_profile(write(tmp_path, "none.toml", 'extends = "cpu"\nnsd_tolerance = 0\n'))


def test_an_augmentation_says_what_it_does() -> None:
    assert Augmentation().words == (
        "rotation up to 30 degrees, shift of 1 to 5 %, elastic up to 3 %, contrast up to 25 %"
    )
    off = Augmentation(rotation=0, shift=(0, 0), elastic=0, contrast=0)
    assert off.words == "off"
