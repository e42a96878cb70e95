"""Texts of users, whatever they hold: one line, at once, and nothing that a terminal obeys."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from bench.cli import options
from bench.spec.errors import LONGEST, UsageError, printable
from bench.store.layout import last_line
from tests.user import Bench

RED = "\x1b[31m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{RED}red", "\\x1b[31mred"),
        ("a\nbench: forged", "a\\nbench: forged"),
        ("a\u2028b\u202ec", "a\\u2028b\\u202ec"),
        ("half \udcff", "half \\udcff"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 脊柱 é", None),
        ("[/x] [bold]", None),
    ],
)
def test_what_is_not_seen_is_shown(text: str, shown: str | None) -> None:
    assert str(UsageError(text)) == (shown or text)
    if "\n" not in text and "\u2028" not in text:
        assert last_line(f"Traceback\n{text}\n") == (shown or text)


def test_the_class_of_an_error_for_users_is_not_shown() -> None:
    try:
        raise UsageError("give larger cases")
    except UsageError:
        assert last_line(traceback.format_exc()) == "give larger cases"


def test_a_long_text_keeps_its_ends() -> None:
    text = printable(f"begin {'9' * 10**6} end")
    assert text.startswith("begin 99")
    assert text.endswith("99 end")
    assert "(998,010 characters)" in text
    assert len(text) < LONGEST + 50


@pytest.mark.parametrize(
    "words",
    [
        ("report", "--out", f"{RED}red"),
        ("report", "--check", "a\nb"),
        ("audit", "z" * 5000),
        ("data", "check", "--data", "z" * 5000),
        ("report", "--out", "z" * 300),
        ("run", "--methods", "[/x]", "--profile", "smoke"),
        ("run", "--methods", f"unet:width={'9' * 5000}", "--profile", "smoke"),
        ("run", "--methods", "unet", "--datasets", "mr", "--device", "hpu"),
        ("run", "--methods", "unet", "--datasets", "mr", "--device", "meta"),
        ("run", "--methods", "unet", "--datasets", "mr", "--split", "pipe.csv"),
        ("audit", "pipe.csv"),
        ("run", "--methods", "unet:width=99999999999", "--datasets", "mr", "--profile", "smoke"),
        ("run", "--methods", "unet", "--datasets", "mr", "--profile", "long.toml"),
        ("run", "--methods", "unet", "--datasets", "mr", "--profile", "deep.toml"),
        ("run", "--methods", "unet", "--datasets", "mr", "--profile", "e0.toml"),
    ],
)
def test_a_wrong_text_is_one_line(bench: Bench, words: tuple[str, ...]) -> None:
    os.mkfifo(bench.home / "pipe.csv")
    home = bench.home
    (home / "long.toml").write_text(f'extends = "smoke"\nsteps = {"9" * 5000}\n')
    (home / "deep.toml").write_text(f"a = {'[' * 9999}{']' * 9999}")
    for number in range(30):
        (home / f"e{number}.toml").write_text(f'extends = "e{number + 1}.toml"\n')
    code = 1 if words[-1].startswith("zzz") and words[0] != "audit" else 2
    out = bench(*words, code=code)
    assert out.startswith("bench: ")
    assert (out.count("\n"), RED in out, len(out) < LONGEST + 100) == (1, False, True)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--folds", "9" * 30), ("--steps", "9" * 5000), ("--jobs", "1e400")],
)
def test_numbers_have_bounds(bench: Bench, option: str, value: str) -> None:
    assert "Invalid value" in bench("run", "--methods", "unet", option, value, code=2)


@pytest.mark.parametrize("value", ["100000000", "9" * 5000, "0", "-1", "35,35", ",", "3.5", "³"])
def test_seeds_are_a_number_or_a_list_within_bounds(bench: Bench, value: str) -> None:
    out = bench("run", "--methods", "unet", f"--seeds={value}", code=2)
    assert out.startswith("bench: --seeds")
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("90s", 90), ("1.5min", 90), ("2h", 7200)]
)
def test_a_duration_may_have_a_unit(text: str, seconds: float) -> None:
    assert options.seconds_of(text, "--timeout") == seconds


@pytest.mark.parametrize("value", ["10 parsecs", "0s", "9999999999h", "nan", ""])
def test_a_duration_has_a_unit_that_is_known(value: str) -> None:
    with pytest.raises(UsageError, match="expected a time such as 60s, 5min or 2h"):
        options.seconds_of(value, "--timeout")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:secret@127.0.0.1:x/db",
        "postgresql://u:secret@127.0.0.1:99999999/db",
        "nonsense://u:secret@h/db?password=secret",
        "postgresql+nope://h/db?user=u&password=secret",
    ],
)
def test_no_password_is_told(address: str) -> None:
    from bench.tuning.study import connect, hidden

    assert "secret" not in hidden(address)
    with pytest.raises(UsageError) as caught:
        connect(address)
    assert "secret" not in str(caught.value)


def test_names_in_results_do_nothing_to_a_terminal(bench: Bench) -> None:
    folder = bench.home / "results" / "smoke" / "mr@phantom-abcdef01" / "unet" / f"f0-s35{RED}"
    folder.mkdir(parents=True)
    (bench.home / "results" / "smoke" / "plan.txt").write_text("mr@phantom-abcdef01/unet/f0-s35\n")
    work = folder.with_name("f0-s35.part")
    work.mkdir()
    (work / "error.txt").write_text(f"Traceback\n[/x]{RED}ValueError\n")
    out = bench("status", code=1)
    assert RED not in out
    assert "[/x]\\x1b[31mValueError" in out


def test_a_pipe_in_the_place_of_a_list_is_named(bench: Bench, tmp_path: Path) -> None:
    from bench.spec import texts

    os.mkfifo(tmp_path / "index.csv")
    with pytest.raises(UsageError, match="it is no regular file"):
        texts.read_text(tmp_path / "index.csv")
