"""The loop of all launchers."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench.launch.base import Gone, Request
from bench.launch.debug import Debug
from bench.launch.follow import follow
from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Spec
from bench.spec.profile import load_profile
from bench.store.cells import Store


class Interrupted(Debug):
    """Ends each cell at once, while the user presses Ctrl-C."""

    def submit(self, cells: Sequence[Cell]) -> list[Cell]:
        return list(cells)

    def wait(self) -> Mapping[str, Gone]:
        self.request.store.fail(self.cell, "no such luck\n")
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    cell: Cell


def test_a_stop_while_the_last_cell_ends_is_heard(tmp_path: Path) -> None:
    ref = DatasetRef(id=DatasetId("mr", "phantom", "ab"), cache="")
    cell = Cell(profile=load_profile("smoke"), dataset=ref, method=Spec("unet"), seed=35)
    store = Store(tmp_path)
    launcher = Interrupted(Request(store, threads=1, device="cpu"))
    launcher.cell = cell
    reasons: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        follow([cell], store, launcher, ended=lambda _, reason: reasons.append(reason))
    assert reasons == ["no such luck"]
