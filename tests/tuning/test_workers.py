"""Workers of `bench tune`: what happens when one of them dies."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from bench.spec import devices
from bench.spec.case import Split
from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Spec
from bench.spec.profile import load_profile
from bench.tuning import workers

GPUS = ("cuda:0", "cuda:1", "cuda:2")


def die_once_on_the_last_gpu(
    cells: Sequence[str],
    splits: Sequence[Split],
    log: str,
    trials: int,
    device: str,
    say: Connection,
) -> None:
    """Note the device in a file instead of training; the first worker of the last GPU dies."""
    path = Path(log)
    is_first = device not in path.read_text(encoding="utf-8").splitlines()
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{device}\n")
    if device == GPUS[-1] and is_first:
        os._exit(7)


def test_a_worker_that_replaces_a_dead_one_works_on_the_same_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "all_of", lambda _: GPUS)
    monkeypatch.setattr(workers, "work", die_once_on_the_last_gpu)
    log = tmp_path / "devices.txt"
    log.touch()
    dataset = DatasetRef(id=DatasetId("mr", "real", "0123456789"), cache="")
    cell = Cell(profile=load_profile("smoke"), dataset=dataset, method=Spec("unet"), seed=35)
    deaths: list[int] = []
    workers.run(
        cells=[cell],
        splits=[Split({})],
        storage=str(log),
        trials=3,
        jobs=3,
        device="cuda",
        on_trial=lambda _: None,
        on_death=deaths.append,
    )
    assert deaths == [7]
    used = Counter(log.read_text(encoding="utf-8").splitlines())
    assert used == {"cuda:0": 1, "cuda:1": 1, "cuda:2": 2}
