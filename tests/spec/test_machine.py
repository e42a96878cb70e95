from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from bench.cli.doctor import _check_cache
from bench.spec import machine
from bench.spec.errors import UsageError


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make this process's user one without a home and without an entry in the list of users."""

    def unknown(user: object) -> None:
        raise KeyError(user)

    for name in ("HOME", "USER", "BENCH_CACHE", "XDG_CACHE_HOME"):
        # Set first, so that what the test sets is taken back as well.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    return monkeypatch


def test_without_a_home_one_line_asks_for_the_cache(stranger: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="set BENCH_CACHE to a folder"):
        machine.cache_root()
    machine.lend_home()
    assert "HOME" not in os.environ
    assert "BENCH_CACHE" in _check_cache()["remedy"]


@pytest.mark.parametrize("home", [None, "/not/there"])
def test_libraries_find_a_home_below_the_cache(
    stranger: pytest.MonkeyPatch, tmp_path: Path, home: str | None
) -> None:
    stranger.setenv("BENCH_CACHE", str(tmp_path))
    if home:
        stranger.setenv("HOME", home)
    machine.lend_home()
    assert Path.home() == tmp_path
    assert machine.cache_root() == tmp_path


def test_a_home_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    machine.lend_home()
    assert Path.home() == tmp_path


def test_the_revision_is_that_of_the_code_when_it_was_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine.revision.cache_clear()
    loaded = machine.revision()
    assert loaded
    monkeypatch.setenv("PATH", "")  # whatever git would say now
    assert machine.revision() == loaded
