"""Imports run one way, and what is light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    "cli",
    "tuning",
    "launch",
    "report",
    "engine",
    "store",
    "stats",
    "audit",
    "data",
    "spec",
)
"""The rooms of `bench`, the top one first: a room imports from itself and from those below it."""
LOOSE = {"bench.testing"}
"""Modules beside the rooms; no room imports them."""
CONTRACT = {
    "bench.spec.capabilities",
    "bench.spec.errors",
    "bench.spec.method",
    "bench.spec.note",
    "bench.spec.options",
    "bench.spec.space",
    "bench.spec.weights",
}
"""What `methods` may import of `bench`."""


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name is from"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(package: str) -> list[Path]:
    """Return the files of a package; there are always some."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no file was found in {package}"
    return files


def room(module: str) -> str:
    """Return the room of a module of `bench`, empty for `bench` itself."""
    return [*module.split("."), ""][1]


def module_of(path: Path) -> str:
    """Return the name of the module in a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "methods":
        parts = ("verdiff_bench_methods", *parts[1:])
    return ".".join(parts).removesuffix(".__init__")


@pytest.mark.parametrize("floor", FLOORS)
def test_rooms_import_downwards_only(floor: str) -> None:
    below = FLOORS[FLOORS.index(floor) :]
    for path in sources(f"bench/{floor}"):
        for name in imported(path):
            if name.startswith("bench."):
                assert room(name) in below, f"{path} imports {name} from a room above it"


def test_every_folder_of_bench_is_a_room() -> None:
    rooms = {room(module_of(path)) for path in sources("bench")} - {""}
    loose = {name.removeprefix("bench.") for name in LOOSE}
    assert rooms - loose == set(FLOORS)


def test_no_module_imports_itself_through_others() -> None:
    files = [path for package in ("bench", "methods", "verdiff") for path in sources(package)]
    modules = {module_of(path) for path in files}
    graph: dict[str, set[str]] = {}
    for path in files:
        names = {name if name in modules else name.rpartition(".")[0] for name in imported(path)}
        graph[module_of(path)] = (names & modules) - {module_of(path)}
    done: set[str] = set()
    while len(done) < len(graph):
        ready = [name for name, needs in graph.items() if name not in done and needs <= done]
        assert ready, f"a cycle among {sorted(graph.keys() - done)}"
        done.update(ready)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("bench", ("methods", "verdiff_bench_methods", "verdiff", "tests")),
        ("verdiff", ("bench", "methods", "verdiff_bench_methods", "tests")),
        ("methods", ("methods", "tests")),  # its name to Python is verdiff_bench_methods
    ],
)
def test_packages_import_one_way(package: str, forbidden: tuple[str, ...]) -> None:
    for path in sources(package):
        for name in imported(path):
            assert name.split(".")[0] not in forbidden, f"{path} imports {name}"


def test_methods_see_the_contract_alone() -> None:
    for path in sources("methods"):
        for name in imported(path):
            if name.startswith("bench"):
                known = name in CONTRACT or name.rpartition(".")[0] in CONTRACT
                assert known, f"{path} imports {name}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("bench.cli.app", {"torch", "numpy", "pandas", "matplotlib"}),
        ("bench.launch.matrix", {"torch", "matplotlib"}),
        ("bench.spec.capabilities", {"torch", "numpy"}),
        ("bench.stats.ablation", {"torch", "matplotlib"}),
        ("bench.store.cells", {"torch", "matplotlib"}),
        ("bench.report", {"torch"}),
        ("bench.report.sections.ablation", {"torch"}),
        ("bench.engine.metrics", {"torch"}),
    ],
)
def test_light_modules_stay_light(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
