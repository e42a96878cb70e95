"""Results with pictures, for all tests of figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.store.cells import Store
from tests.report.figures.answers import references, trained
from tests.written import DICE


@pytest.fixture
def store(tmp_path: Path) -> Store:
    root = tmp_path / "results"
    for method, dice in DICE.items():
        trained(root, method, dice, extras=["prior"] if method == "unet" else [])
    references(root)
    return Store(root)
