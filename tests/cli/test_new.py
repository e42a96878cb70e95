"""`bench new method`, and what it writes."""

from __future__ import annotations

import importlib
import sys

import pytest

from bench.spec import registry
from bench.testing import check_method
from tests.user import Bench


def test_the_method_that_is_written_fulfils_the_contract_and_is_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = bench("new", "method", "my_net")
    assert "bench run --methods unet,./my_net.py:MyNet --datasets mr --profile smoke" in out
    monkeypatch.syspath_prepend(bench.home)
    module = importlib.import_module("my_net")
    monkeypatch.delitem(sys.modules, "my_net")
    check_method(module.MyNet)
    assert "check_method(MyNet)" in (bench.home / "test_my_net.py").read_text()
    [spec] = registry.expand(registry.METHODS, "./my_net.py:MyNet:width=3")
    assert registry.method(spec, "tiny").title == "My net"
    assert "is there already" in bench("new", "method", "my_net", code=2)


@pytest.mark.parametrize("name", ["unet", "../up", "My Net", "1net", ""])
def test_names_that_cannot_be_are_refused(bench: Bench, name: str) -> None:
    assert bench("new", "method", name, code=2).startswith("bench: '")
    assert list(bench.home.iterdir()) == []
