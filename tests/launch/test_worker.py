from __future__ import annotations

import io
import sys

import pytest

from bench.launch import worker


def test_a_cell_prints_utf8_into_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    worker._print_utf8()
    stream.write("Łukasz")
    stream.flush()
    assert stream.buffer.getvalue() == "Łukasz".encode()  # type: ignore[attr-defined]
