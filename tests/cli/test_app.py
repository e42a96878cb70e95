from __future__ import annotations

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

import bench
from bench.cli.app import app, main


def test_the_version_is_that_of_the_package() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.stdout == f"verdiff-bench {version('verdiff-bench')}\n"
    assert bench.__version__ == version("verdiff-bench")


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'versoin'"):
        _ = bench.versoin


def test_an_error_of_a_file_without_a_number_says_what_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError("predictions/1.png cannot be read")

    monkeypatch.setattr("bench.cli.app.app", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("bench: predictions/1.png cannot be read; see its ")
