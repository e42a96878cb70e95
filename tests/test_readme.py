"""README and documentation: tables of the committed report, links that lead somewhere, commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from bench.cli.app import app
from tests import method_pages

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "reports" / "reference" / "cpu"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize(
    ("source", "page"),
    [("phantom", "README.md"), ("phantom", "docs/reference.md"), ("real", "docs/reference.md")],
)
def test_the_tables_are_the_reference_reports(source: str, page: str) -> None:
    rows = rows_of(REFERENCE / f"table1-{source}.md")
    assert len(rows) == 13  # heads, rule, eight methods and three further rows
    written = (ROOT / page).read_text(encoding="utf-8").splitlines()
    assert [row for row in rows if row not in written] == []


def test_the_ablation_is_that_of_the_reference() -> None:
    [table] = (ROOT / "reports" / "reference" / "ablation").glob("table2-*.md")
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows_of(table) if row not in written] == []


def rows_of(path: Path) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_is_there(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_is_read_in_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_in_the_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]]
    assert [page for page in pages if f" {page}\n" not in contents] == []


def commands(page: Path) -> list[str]:
    """Return the lines of code that call bench, without their comments."""
    lines = []
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("bench "):
                lines.append(line.split("  #")[0].strip())
    return lines


def test_every_command_of_the_documentation_has_its_options_and_no_other() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    checked = 0
    for page in PAGES:
        for line in commands(page):
            words = shlex.split(line.split(" > ")[0])[1:]
            command = group
            while isinstance(command, TyperGroup):
                assert words[0] in command.commands, line
                command = command.commands[words.pop(0)]
            known = {option for field in command.params for option in field.opts}
            asked = {word.split("=")[0] for word in words if word.startswith("--")}
            assert asked <= known, line
            needed = {field.opts[0] for field in command.params if field.required}
            assert {option for option in needed if option.startswith("--")} <= asked, line
            checked += 1
    assert checked > 20


def test_the_methods_pages_are_what_the_code_says() -> None:
    """`make docs` writes them; here they are made again and compared."""
    known = method_pages.names()
    assert sorted(path.stem for path in method_pages.FOLDER.glob("*.md")) == known
    stale = []
    for name in known:
        written = (method_pages.FOLDER / f"{name}.md").read_text(encoding="utf-8")
        if written != method_pages.page(name):
            stale.append(name)
    assert stale == [], "python -m tests.method_pages writes them again"
