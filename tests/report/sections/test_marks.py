"""What stands under and over table 1 with several seeds: looks, and whether runs allow to rank."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cli import shown
from bench.report.sections import table1
from bench.report.sections.table import Table
from bench.spec.names import Spec
from bench.store.cells import Store
from bench.store.plan import Plan
from bench.store.results import Results
from tests import written
from tests.report.sections.scored import COLUMN, scores_of
from tests.written import finished

METHODS = ("unet", "fcn", "verdiff")


def seeded(root: Path, *seeds: int) -> Store:
    """Add seeds to a store, each of which moves a method's scores by some points of its own."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for method in METHODS:
            moved = np.array(scores_of(method)) + 0.01 * rng.normal()
            finished(root, method, tuple(moved.clip(0, 1).round(4)), seed=seed)
    return Store(root)


def notes(table: Table) -> str:
    return "\n".join(note.text for note in table1.document(table).notes)


def test_a_row_of_one_run_leaves_the_marks_of_the_others_as_they_are(tmp_path: Path) -> None:
    store = seeded(tmp_path, 35, 36)
    rng = np.random.default_rng(0)
    other = np.array(scores_of("unet")) + rng.normal(0, 0.02, len(scores_of("unet")))
    finished(tmp_path, "swin_unet", tuple(other.clip(0, 1).round(4)), seed=35)
    pairs = written.table(store).pairs[COLUMN]
    assert pairs.seeds == (1, 2)
    assert pairs.runs_of("unet", "verdiff") == 2
    assert pairs.runs_of("unet", "swin_unet") == 1
    table = written.table(store)
    assert "1 to 2 seeds" in notes(table)
    marked = {key: table1.mark(table, COLUMN, "unet", key) for key in ("verdiff", "fcn")}
    assert set(marked.values()) <= {"like", "doubt", ""}
    assert table1.mark(table, COLUMN, "unet", "swin_unet") in ("weights", "doubt")


def test_a_look_at_several_seeds_is_written_once_and_paid_for(tmp_path: Path) -> None:
    store = seeded(tmp_path, 35, 36)
    first = Results.load(store).looked_at(store)
    assert [look.seeds for look in first.looks] == [(35, 36)]
    assert first.looked_at(store).looks == Results.load(store).looks == first.looks
    assert "Looks at results" not in notes(written.table(store))
    for seed in (35, 36):
        finished(tmp_path, "sam", scores_of("fcn"), seed=seed)
    assert Results.load(store).looked_at(store).looks == first.looks  # only new seeds make one
    shutil.rmtree(tmp_path / "cpu" / COLUMN / "sam")
    before = written.table(store).pairs[COLUMN]
    seeded(tmp_path, 37)
    unseen = written.table(store).pairs[COLUMN]
    Results.load(store).looked_at(store)
    table = written.table(store)
    after = table.pairs[COLUMN]
    assert (before.looks, unseen.looks, after.looks) == (1, 1, 4)
    assert after.p == pytest.approx(np.fmin(1, np.where(np.eye(3) > 0, 1, 4 * unseen.p)))
    assert ", 1 declared (bench run --looks N); only new seeds make another" in notes(table)
    assert "2 seeds on " in notes(table)
    assert "p x 4" in notes(table)
    said = "p is multiplied by 4: results were reported 2 times, each with new seeds"
    assert said in "".join(shown.lines(table1.document(table).notes))
    assert "multiplied" not in notes(written.table(seeded(tmp_path / "new", 35, 36)))


def test_declared_looks_are_paid_for_from_the_first_on(tmp_path: Path) -> None:
    store = seeded(tmp_path, 35, 36)
    methods = [Spec(name) for name in METHODS]
    Plan(store, "cpu").declare(Spec("unet"), "holm", methods, looks=4)
    table = written.table(store)
    [dice] = table.families.values()
    free = replace(table, family=None).pairs[COLUMN]
    assert table.looks(COLUMN) == 4
    assert table.pairs[COLUMN].p.max() <= 1
    assert table.pairs[COLUMN].p[0, 1] == pytest.approx(min(1, 4 * free.p[0, 1]))
    for comparison in dice.comparisons:
        assert comparison.adjusted >= min(1, 4 * comparison.pair.p)


def test_the_price_of_a_look_that_was_not_declared_is_told(tmp_path: Path) -> None:
    store = seeded(tmp_path, 35, 36)
    methods = [Spec(name) for name in METHODS]
    Plan(store, "cpu").declare(Spec("unet"), "holm", methods, looks=2)
    for seed in (37, 38):
        Results.load(store).looked_at(store)
        store = seeded(tmp_path, seed)
    Results.load(store).looked_at(store)
    table = written.table(store)
    assert table.looks(COLUMN) == 8
    assert "the first look beyond the declared ones costs p x 8" in notes(table)


def test_a_column_without_marks_is_not_told_to_have_them(tmp_path: Path) -> None:
    scores = scores_of("unet")
    finished(tmp_path, "fcn", scores[:4], folds=2, fold=0)
    finished(tmp_path, "unet", scores[:2], folds=2, fold=0)
    finished(tmp_path, "unet", scores[4:6], first=4, folds=2, fold=1)
    text = notes(written.table(Store(tmp_path)))
    assert "no mean is bold or marked" in text
    assert "every method is marked" not in text
    assert ": 1 patient, 1 seed, 1 pair" in text


def test_methods_without_a_common_patient_have_no_tests(tmp_path: Path) -> None:
    scores = scores_of("unet")
    finished(tmp_path, "fcn", scores, folds=2, fold=0)
    finished(tmp_path, "unet", scores, first=len(scores), folds=2, fold=1)
    assert ": no two methods share a patient." in notes(written.table(Store(tmp_path)))


def test_one_seed_is_no_look(tmp_path: Path) -> None:
    store = seeded(tmp_path, 35)
    assert Results.load(store).looked_at(store).looks == ()
    assert not store.layout.profile("cpu").looks.exists()


def test_several_seeds_say_over_the_column_whether_they_rank(tmp_path: Path) -> None:
    table = written.table(seeded(tmp_path, 35, 36, 37))
    [_, dice, _] = table1.document(table).blocks[0].heads
    assert "[methods/seeds " in dice.group
    assert "cannot rank" not in dice.group
    one = written.table(seeded(tmp_path / "one", 35))
    assert "[" not in table1.document(one).blocks[0].heads[1].group
