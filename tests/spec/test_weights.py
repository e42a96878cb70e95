from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.spec import options, weights
from bench.spec.errors import UsageError
from bench.spec.machine import cache_root
from bench.spec.names import Spec
from bench.spec.options import option


@dataclass(frozen=True)
class Tool:
    file: str = option("", "a file", file=True)
    width: int = option(3, "another option")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "given.pth"
    path.write_bytes(b"abc")
    return path


ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_is_known_by_its_digest(given: Path) -> None:
    assert weights.enter(str(given)) == ABC[:16]
    assert weights.find(ABC[:16]) == given
    assert weights.sha256(ABC[:16]) == ABC
    assert weights.known(ABC[:16])
    assert not weights.known("0" * 16)
    assert not weights.known("*" * 16)


def test_no_path_is_in_a_spec_and_a_spec_parses_again(given: Path) -> None:
    values = options.parse(Spec("tool", (f"file={given}", "width=4")), Tool)
    spec = options.canonical(Spec("tool"), values, Tool)
    assert spec.key == f"tool:file={ABC[:16]}:width=4"
    assert options.parse(spec, Tool) == values


def test_paths_may_be_relative_or_of_the_home_and_be_links(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(given.parent)
    monkeypatch.setenv("HOME", str(given.parent))
    link = given.with_name("link")
    link.symlink_to(given)
    for text in ("given.pth", "~/given.pth", str(link)):
        assert weights.enter(text) == ABC[:16]
        assert weights.find(ABC[:16]) == given


def test_a_file_is_read_once(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.enter(str(given))
    with monkeypatch.context() as patch:
        patch.setattr(weights.pooch, "file_hash", lambda path: pytest.fail("read again"))
        assert weights.enter(str(given)) == ABC[:16]
    given.write_bytes(b"abcd")
    assert weights.enter(str(given)) != ABC[:16]


def test_the_same_file_at_another_place_is_found_there(given: Path) -> None:
    weights.enter(str(given))
    moved = given.rename(given.with_name("moved.pth"))
    with pytest.raises(
        UsageError, match=r"no longer where it was: .*given\.pth; give its path again"
    ):
        weights.find(ABC[:16])
    assert weights.enter(str(moved)) == ABC[:16]
    assert weights.find(ABC[:16]) == moved


def test_a_file_that_changed_is_not_the_one_that_was_given(given: Path) -> None:
    weights.enter(str(given))
    given.write_bytes(b"abd")
    os.utime(given, ns=(1, 1))
    with pytest.raises(UsageError, match="has changed since it was given"):
        weights.find(ABC[:16])


def test_a_damaged_record_is_made_again(given: Path) -> None:
    weights.enter(str(given))
    record = cache_root() / "weights" / f"{ABC}.json"
    assert json.loads(record.read_text())["bytes"] == 3
    record.write_text("{")
    with pytest.raises(UsageError, match="give its path again"):
        weights.find(ABC[:16])
    assert weights.enter(str(given)) == ABC[:16]
    assert weights.find(ABC[:16]) == given


@pytest.mark.parametrize(
    "text", ["", "missing.pth", "0123456789abcdef", ".", "C", "~nobody-here/x", "a\0b"]
)
def test_what_is_no_file_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(
        UsageError,
        match=r"^tool:file: '.*' is no file; expected the path of one, without ':' and ','",
    ):
        options.parse(Spec("tool", (f"file={text}",)), Tool)


def test_a_digest_that_was_never_given_is_refused() -> None:
    with pytest.raises(UsageError, match="no file of the digest 0123456789abcdef was given"):
        weights.find("0123456789abcdef")


def test_a_cache_that_is_not_writable_is_named(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(given))  # a file where a folder is needed
    with pytest.raises(UsageError, match=r"cannot be written .*; set BENCH_CACHE"):
        weights.enter(str(given))
