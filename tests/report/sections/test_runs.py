"""What few runs allow: comparisons and page name the test that decided, and the seeds it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.page import forest, html
from bench.report.paper.check import unproven
from bench.report.paper.source import Use
from bench.report.sections import answer, comparisons, runs, table1
from bench.report.sections.table import Table
from bench.spec.names import Spec
from bench.store.cells import Store
from bench.store.plan import Plan
from bench.store.results import Results
from tests import written
from tests.report.sections.scored import COLUMN
from tests.report.sections.test_marks import METHODS, seeded


def declared(root: Path, *seeds: int) -> Table:
    """Return results of seeds whose runs vary by a point, with a declared family."""
    Plan(seeded(root, *seeds), "cpu").declare(Spec("unet"), "holm", [Spec(m) for m in METHODS])
    return written.table(seeded(root))


def test_two_seeds_are_decided_by_the_runs_and_told_how_many_it_would_take(tmp_path: Path) -> None:
    table = declared(tmp_path, 35, 36)
    listed = comparisons.document(table)
    assert listed
    rows = listed.frames[""].set_index(["metric", "method"])
    assert rows.decided["dice", "fcn"] == "seeds"
    notes = " ".join(note.text for note in listed.notes)
    assert "2 seeds the test over seeds asks for a difference of 12.7 standard errors" in notes
    assert "(5 seeds: 2.8)" in notes
    assert "Seeds that would be needed for a p up to 0.05" in notes
    assert "bench plan --datasets ... --profile cpu --seeds N" in notes
    assert "95 % t over patients and seeds" in [head.text for head in listed.blocks[0].heads]
    plot = forest.of_column(table, COLUMN)
    assert plot
    assert [row["decided"] for row in plot["rows"]] == list(rows.decided["dice"])
    assert plot["runs"] in notes
    page = html.page([table], {table.source: [listed]})
    assert "Decided by</th>" in page
    assert "12.7 standard errors" in page
    assert "trained 2 times (2 seeds)" in answer.limits(table)
    first = " ".join(note.text for note in table1.document(table).notes)
    assert "12.7 standard errors" in first


def test_a_further_look_is_said_where_p_is_and_counted_in_the_seeds_it_would_take(
    tmp_path: Path,
) -> None:
    first = declared(tmp_path, 35, 36)
    Results.load(Store(tmp_path)).looked_at(Store(tmp_path))
    seeded(tmp_path, 37)
    Results.load(Store(tmp_path)).looked_at(Store(tmp_path))
    table = written.table(Store(tmp_path))
    listed = comparisons.document(table)
    plot = forest.of_column(table, COLUMN)
    assert listed
    assert plot
    assert "p is multiplied by 4: results were reported 2 times" in plot["runs"]
    assert plot["runs"] in " ".join(note.text for note in listed.notes)
    assert "counted as a further look: p x 8" in plot["runs"]
    assert "multiplied" not in runs.words(first, first.families[COLUMN])
    claim = Use(Path("paper.tex"), 1, ("PhantomDiceBetter", "mr", "fcn"), "unet")
    assert unproven([claim], [first])[0].endswith("corrected as one of 2")
    assert unproven([claim], [table])[0].endswith("corrected as one of 2 and x 4 for the looks")


def test_what_the_runs_do_not_decide_needs_no_more_of_them(tmp_path: Path) -> None:
    table = declared(tmp_path, 35)
    listed = comparisons.document(table)
    assert listed
    assert set(listed.frames[""].decided) == {"patients"}
    assert "would be needed" not in " ".join(note.text for note in listed.notes)


@pytest.mark.parametrize(("seeds", "said"), [(1, ""), (3, "4.3"), (4, "3.2"), (5, "")])
def test_few_seeds_are_two_to_four(seeds: int, said: str) -> None:
    assert said in runs.few(seeds)
    assert bool(said) == bool(runs.few(seeds))
