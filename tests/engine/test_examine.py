from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.engine import examine
from bench.spec.note import Note


def test_each_validated_case_is_a_sign_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--timeout` kills a cell whose note does not change, however much it computes."""
    monkeypatch.setattr(examine, "predictions", lambda *_: iter([None] * 3))
    monkeypatch.setattr(examine, "_add", lambda *_: None)
    data = SimpleNamespace(
        validation=[4, 5, 6],
        test=[7],
        cases=SimpleNamespace(case=lambda index: SimpleNamespace(patient=str(index))),
        dataset=SimpleNamespace(target=lambda index: None, classes=()),
    )
    notes: list[Note] = []
    examine.validate(cast(Any, None), cast(Any, data), notes.append)
    assert len(set(map(str, notes))) == 3
