"""The README's tables are those of the committed reference report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "reports" / "reference" / "cpu"


@pytest.mark.parametrize("source", ["phantom", "real"])
def test_the_tables_are_the_reference_reports(source: str) -> None:
    rows = [
        line
        for line in (REFERENCE / f"table1-{source}.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    assert len(rows) == 12  # heads, rule, eight methods and two priors
    missing = [row for row in rows if row not in (ROOT / "README.md").read_text().splitlines()]
    assert not missing


def test_every_file_that_the_readme_names_is_there() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert len(targets) > 5
    assert [target for target in targets if not (ROOT / target).exists()] == []
