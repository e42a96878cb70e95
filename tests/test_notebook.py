"""The notebook runs from its first cell to its last, with few steps."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.user import ROOT

NOTEBOOK = ROOT / "examples" / "verdiff.ipynb"


def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)  # results of a machine are no part of it
    names: dict[str, Any] = {}
    for cell in cells:
        code = "".join(cell["source"]).replace("STEPS = 200", "STEPS = 3")
        code = code.replace("samples=3, steps=5", "samples=2, steps=1")
        exec(compile(code, f"{NOTEBOOK.name}: {cell['id']}", "exec"), names)
    out = capsys.readouterr().out
    assert "torch.Size([3, 1, 64, 64]) the same again: True" in out
    assert "images have the shape (3, 3, 64, 64), expected grey ones (B, 1, H, W)" in out
    assert names["STEPS"] == 3
    assert torch.isfinite(names["sampled"].spread).all()
