from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.engine.energy import Meter
from bench.store.layout import CellFolder
from bench.store.record import Joules, read
from tests.user import Bench


def package(root: Path, number: int, energy: int, most: int = 1000_000) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    (folder / "name").write_text(f"package-{number}\n")
    (root / f"intel-rapl:{number}:0").mkdir(
        exist_ok=True
    )  # a part of the package, counted in it already
    return folder


def test_packages_are_added_and_a_full_counter_begins_anew(tmp_path: Path) -> None:
    package(tmp_path, 0, 100_000), package(tmp_path, 1, 900_000)
    meter = Meter("cpu", tmp_path / "energy.json", tmp_path)
    package(tmp_path, 0, 350_000), package(tmp_path, 1, 150_000)
    assert meter.joules() == {"gpu": None, "processor": pytest.approx(0.5)}
    package(tmp_path, 0, 300_000)
    assert meter.joules()["processor"] == pytest.approx(0.5 + 0.95)


def test_an_interrupted_cell_has_the_energy_of_all_its_attempts(tmp_path: Path) -> None:
    kept = tmp_path / "energy.json"
    package(tmp_path, 0, 100_000)
    first = Meter("cpu", kept, tmp_path)
    package(tmp_path, 0, 400_000)
    first.joules()
    package(tmp_path, 0, 900_000)  # nobody's
    again = Meter("cpu", kept, tmp_path)
    package(tmp_path, 0, 950_000)
    assert again.joules()["processor"] == pytest.approx(0.35)
    assert Meter("cpu", kept, tmp_path / "elsewhere").joules()["processor"] is None
    assert Meter("cpu", kept, tmp_path).joules()["processor"] is None, (
        "an attempt without a counter is missing"
    )


def test_without_a_counter_nothing_is_said(tmp_path: Path) -> None:
    assert Meter("cpu", tmp_path / "none.json", tmp_path).joules() == {
        "gpu": None,
        "processor": None,
    }
    folder = package(tmp_path, 0, 5)
    meter = Meter("cuda:0", tmp_path / "energy.json", tmp_path)
    (folder / "energy_uj").unlink()
    assert meter.joules() == {"gpu": None, "processor": None}


def test_the_ledger_has_energy_where_it_was_counted(
    bench: Bench, slices: Callable[..., Path]
) -> None:
    bench.run(slices(), "unet")
    path = bench.cell() / "cell.json"
    known = read(CellFolder(path.parent))
    assert set(json.loads(path.read_text())["energy_joules"]) == {"gpu", "processor"}
    ledger = bench.home / "reports" / "smoke" / "ledger-real.md"
    for joules, head in (
        ({"gpu": None, "processor": None}, False),
        ({"gpu": 1500.0, "processor": None}, True),
    ):
        changed = msgspec.structs.replace(known, energy_joules=Joules(**joules))
        path.write_text(changed.to_json(), encoding="utf-8")  # with its seal
        bench("report", "--no-pictures")
        text = ledger.read_text()
        assert ("Energy (kJ)" in text) == head
    assert "| 1.5 |" in text
