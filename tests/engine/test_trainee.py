from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from torch import nn

from bench.engine.trainee import save_weights


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_weights_may_be_read_by_those_who_read_the_rest(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        save_weights(nn.Linear(2, 2), tmp_path / "model.safetensors")
        (tmp_path / "cases.csv").touch()
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~mask}
