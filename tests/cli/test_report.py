from __future__ import annotations

import pytest

from bench import report
from tests.user import Bench
from tests.written import DICE, finished


def test_report_without_results_says_what_to_do(bench: Bench) -> None:
    assert "run: bench run" in bench("report", code=2)


def test_the_path_of_the_page_is_the_last_thing_that_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method, dice in DICE.items():
        finished(bench.home / "results", method, dice)
    monkeypatch.setattr("bench.report.figures.gallery.write", lambda *_: [])
    said = bench("report").splitlines()
    page = bench.home / "reports" / "cpu" / report.PAGE
    assert page.is_file()
    assert said[-1] == f"Open in a browser: {page}"
    assert "Open in" not in bench("report", "--no-pictures")
