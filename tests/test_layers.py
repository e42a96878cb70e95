"""Imports run one way, and what is light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


FORBIDDEN = {  # what each package may not import; of bench, methods may have MAY alone
    "bench": ("methods", "verdiff", "tests"),
    "verdiff": ("bench", "methods", "tests"),
    "methods": ("tests",),
}
MAY = {"bench.method", "bench.options", "bench.weights", "bench.errors"}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for name in imported(path):
            for forbidden in FORBIDDEN[package]:
                assert f"{name}.".startswith(f"{forbidden}.") is False, f"{path} imports {name}"


def test_methods_see_the_contract_alone() -> None:
    for path in (ROOT / "methods").rglob("*.py"):
        assert {name for name in imported(path) if name.startswith("bench")} <= MAY, path


@pytest.mark.parametrize(
    ("module", "absent"),
    [("bench.cli", {"torch", "numpy", "pandas", "matplotlib"}), ("bench.plan", {"torch", "matplotlib"}),
     ("bench.ablate", {"torch", "matplotlib"}), ("bench.store", {"torch", "matplotlib"}), ("bench.report", {"torch"}),
     ("bench.report.ablation", {"torch"}), ("bench.metrics", {"torch"})],
)  # fmt: skip
def test_light_modules_stay_light(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
