"""One thought a line: what the linter cannot hold of the project's style."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

VAGUE = {"each", "found", "made"}
"""Names that say nothing of what they hold."""


def sources() -> list[Path]:
    """Return the files of the packages; there are always some."""
    files = [
        path for name in ("bench", "methods", "verdiff") for path in (ROOT / name).rglob("*.py")
    ]
    assert files
    return sorted(files)


def trees() -> Iterator[tuple[Path, ast.Module]]:
    """Yield each file with its syntax tree."""
    for path in sources():
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def parts(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of one statement without those of the statements inside it."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.stmt | ast.ExceptHandler):
                waiting.append(child)


def offences(path: Path, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, COMPREHENSIONS) and len(node.generators) > 1:
            yield f"{path}:{node.lineno}: a comprehension with two generators; write a loop"
        if isinstance(node, ast.stmt):
            ternaries = [part for part in parts(node) if isinstance(part, ast.IfExp)]
            if len(ternaries) > 1:
                yield f"{path}:{node.lineno}: {len(ternaries)} conditional expressions; name one"
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE:
            yield f"{path}:{node.lineno}: '{node.id}' does not say what it holds"


@pytest.mark.parametrize("package", ["bench", "methods", "verdiff"])
def test_one_thought_a_line(package: str) -> None:
    found = []
    for path, tree in trees():
        if path.relative_to(ROOT).parts[0] == package:
            found += offences(path, tree)
    assert not found, "\n".join(found)


def test_nothing_is_kept_from_the_formatter() -> None:
    for path in sources():
        assert "fmt: skip" not in path.read_text(encoding="utf-8"), path
