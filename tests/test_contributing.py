"""The examples of CONTRIBUTING.md are code that keeps the contract."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from bench.testing import check_dataset, check_method
from tests.conftest import picture

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def load(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the one example that has a class of this name, from a file of its own."""
    (block,) = (block for block in BLOCKS if f"class {name}(" in block)
    path = folder / f"{name.lower()}_example.py"
    path.write_text(block, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


def test_the_method_of_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_method(load("Line", tmp_path, monkeypatch).Line)


def test_the_dataset_of_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("Scans", tmp_path, monkeypatch)
    root = tmp_path / "scans"
    root.mkdir()
    for number, name in enumerate(("a_1", "a_2", "b_1")):
        image, labels = picture(number)
        Image.fromarray(image).save(root / f"{name}.png")
        Image.fromarray((labels > 0).astype("uint8") * 255).save(root / f"{name}.mask.png")
    check_dataset(module.Scans(), root)
