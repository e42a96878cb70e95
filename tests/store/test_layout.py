"""The names of files lie in one module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Label, Scheme, Spec
from bench.spec.profile import load_profile
from bench.store.layout import CellFolder, Layout, read_or_empty, write
from tests.user import ROOT

NAMES = (
    "cell.json",
    "cases.csv",
    "train.csv",
    "initial.json",
    "stages.npz",
    "log.txt",
    "spec.hash",
    "status.json",
    "energy.json",
    "error.txt",
    "model.safetensors",
    "profile.json",
    "plan.txt",
    "family.json",
    "tuning.db",
    "predictions",
    "references",
)
KNOWS = ROOT / "bench" / "store" / "layout.py"
OWN = ("bench.data.", "bench.testing")
"""The cache of prepared data, and the tests that ship, name files of folders of their own."""


def literals(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are no sentence."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


def test_no_other_module_names_a_file_of_the_results() -> None:
    paths = sorted((ROOT / "bench").rglob("*.py"))
    assert KNOWS in paths
    for path in paths:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path == KNOWS or module.startswith(OWN):
            continue
        for text in literals(path):
            used = [name for name in NAMES if name in text.split("/")]
            assert not used, f"{path} names {used}"


def test_the_module_that_knows_them_has_them() -> None:
    known = " ".join(literals(KNOWS))
    assert not [name for name in NAMES if name.removesuffix(".csv") not in known]


@pytest.mark.parametrize("method", ["unet", "smp:arch=Unet:encoder=resnet18"])
@pytest.mark.parametrize("scheme", [Scheme(), Scheme(5), Scheme(2, "own-1f2e3d4c-fraction0.5")])
def test_a_place_is_read_back_from_the_folder(method: str, scheme: Scheme) -> None:
    cell = Cell(
        profile=load_profile("smoke"),
        dataset=DatasetRef(id=DatasetId("mr", "real", "0123456789"), cache=""),
        method=Spec.parse(method),
        seed=36,
        fold=0,
        scheme=scheme,
    )
    folder = Layout(Path("results")).cell(cell)
    for one in (folder, folder.working):
        assert one.place == ("mr@real-01234567", method, cell.label.key)
        assert Label.parse(one.place[2]) == cell.label
    assert folder.working.at_work
    assert not folder.at_work
    assert folder.working.working == folder.working
    again = Layout(Path("results")).profile("smoke").cell(*folder.place)
    assert again == folder


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "below" / "file"
    write(path, "one")
    write(path, b"two")
    assert read_or_empty(path) == "two"
    assert read_or_empty(path / "further") == ""
    assert [each.name for each in path.parent.iterdir()] == ["file"]
    path.with_name("folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write(path.with_name("folder"), "text")
    assert len(list(path.parent.iterdir())) == 2


def test_a_finished_cell_keeps_neither_checkpoints_nor_leases(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    left = [folder.checkpoint(7, "abc"), tmp_path / "lease-000001", folder.status, folder.spec_hash]
    for path in (*left, folder.record, folder.weights):
        path.touch()
    assert set(left) <= set(folder.temporary())
    assert not {folder.record, folder.weights} & set(folder.temporary())
    assert folder.checkpoints() == left[:1]
