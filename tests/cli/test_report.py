from __future__ import annotations

from tests.user import Bench


def test_report_without_results_says_what_to_do(bench: Bench) -> None:
    assert "run: bench run" in bench("report", code=2)
