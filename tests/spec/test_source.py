"""Which code a method is: the revision of an own one, the digest of another package's."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.spec import registry
from bench.spec.config import Cell, DatasetRef
from bench.spec.errors import UsageError
from bench.spec.names import DatasetId, Spec
from bench.spec.profile import load_profile
from bench.spec.source import digest_of
from tests.user import forget


def test_an_own_method_says_what_changed_in_its_code() -> None:
    changed = {name: registry.source(Spec(name)) for name in registry.names(registry.METHODS)}
    assert changed["unet"] == ""
    assert changed["deeplabv3"] == "groups of 16 channels"


def test_an_own_method_whose_code_changed_is_another_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, profile = Spec("deeplabv3"), load_profile("smoke")
    dataset = DatasetRef(id=DatasetId("mr", "phantom", "0" * 64), cache="")
    now = Cell(profile=profile, dataset=dataset, method=spec, seed=35, source=registry.source(spec))
    registry.of_cell(now)
    monkeypatch.setattr(registry.load(registry.METHODS, spec.name), "revision", "another")
    assert replace(now, source=registry.source(spec)).hash != now.hash
    with pytest.raises(UsageError, match="was edited since"):
        registry.of_cell(now)


def test_any_file_of_a_package_is_part_of_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "outside_package"
    package.mkdir()
    (package / "__init__.py").write_text("from outside_package.net import Net")
    (package / "net.py").write_text("class Net: levels = 4")
    (package / "weights.pt").write_bytes(b"large")
    monkeypatch.syspath_prepend(tmp_path)
    cls = importlib.import_module("outside_package").Net
    first = digest_of(cls)
    (package / "weights.pt").write_bytes(b"larger")
    assert digest_of(cls) == first
    (package / "net.py").write_text("class Net: levels = 3")
    assert digest_of(cls) != first
    (package / "net.py").write_text("class Net: levels = 4")
    assert digest_of(cls) == first
    (package / "more.py").write_text("")
    assert digest_of(cls) != first


def test_a_cell_of_code_that_was_edited_meanwhile_is_refused(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(plugin)
    monkeypatch.delitem(sys.modules, "faulty_plugin", raising=False)
    forget()
    spec, ref = Spec("faulty"), DatasetRef(id=DatasetId("mr", "phantom", "abcdef0123"), cache="")
    cell = Cell(profile=load_profile("smoke"), dataset=ref, method=spec, seed=35)
    planned = replace(cell, source=registry.source(spec))
    assert len(planned.source) == 64
    assert planned.hash != cell.hash
    assert registry.of_cell(planned)
    path = plugin / "faulty_plugin.py"
    text = path.read_text()
    path.write_text(text + "\n")
    try:
        with pytest.raises(UsageError, match="was edited since"):
            registry.of_cell(planned)
    finally:
        path.write_text(text)
        forget()


def test_a_lost_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lost_module.py"
    path.write_text("class Net: pass")
    monkeypatch.syspath_prepend(tmp_path)
    cls = importlib.import_module("lost_module").Net
    path.unlink()
    with pytest.raises(UsageError, match=r"the source of lost_module\.Net cannot be read"):
        digest_of(cls)
