from __future__ import annotations

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

import bench
from bench.cli.app import app


def test_the_version_is_that_of_the_package() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.stdout == f"verdiff-bench {version('verdiff-bench')}\n"
    assert bench.__version__ == version("verdiff-bench")


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'versoin'"):
        _ = bench.versoin
