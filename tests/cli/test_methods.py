"""`bench methods --table`: the ledger in the terminal."""

from __future__ import annotations

import re

import pytest

from tests.user import Bench
from tests.written import DICE, finished


def test_each_number_stands_under_its_heading(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for method, dice in DICE.items():
        finished(bench.home / "results", method, dice, size=0.58, trials=7)
    rows = {}
    for line in bench("methods", "--table").splitlines():
        words = [word.strip() for word in re.split("[┃│]", line)[1:-1]]
        if words:
            rows[words[0]] = words[1:]
    shown = dict(zip(rows["method"], rows["fcn"], strict=True))
    assert (shown["params M"], shown["MACs G"]) == ("1.234", "5.6")
    assert (shown["MiB"], shown["trials"]) == ("100", "7")
