from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from bench.cli import imports
from bench.report.document import Document
from bench.report.page import forest
from bench.report.sections import inference, marks, table1
from bench.report.sections.table import Table
from bench.spec.errors import UsageError
from bench.spec.names import Spec
from bench.stats import family, intervals
from bench.store.cells import Store
from bench.store.plan import Correction, Family, Plan
from tests import written
from tests.report.sections.scored import COLUMN, PATIENTS, scores_of
from tests.written import finished


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for method in ("unet", "fcn", "verdiff"):
        finished(tmp_path, method, scores_of(method))
    return Store(tmp_path)


def table_of(store: Store) -> Table:
    return written.table(store)


def declare(
    store: Store, baseline: str, methods: list[str], correction: Correction = "holm"
) -> None:
    Plan(store, "cpu").declare(Spec(baseline), correction, [Spec(name) for name in methods])


def family_of(store: Store) -> Family:
    """Return what was declared; there is something."""
    known = Plan(store, "cpu").family()
    assert known is not None
    return known


def names(store: Store) -> set[str]:
    return {document.name for document in inference.documents(table_of(store))}


def document(store: Store, name: str) -> Document:
    [only] = [
        part for part in inference.documents(table_of(store)) if part.name == f"{name}-phantom"
    ]
    return only


def listing(store: Store, name: str) -> pd.DataFrame:
    return document(store, name).frames[""]


def test_what_the_patients_do_not_tell_from_the_best_is_marked(store: Store) -> None:
    table = table_of(store)
    best = max(
        ("unet", "verdiff"), key=lambda method: table.scores.loc[(COLUMN, method), "dice_mean"]
    )
    found = {method: table1.entry(table, COLUMN, method, "dice") for method in table.methods}
    assert {method for method, each in found.items() if each.mark == "best"} == {best}
    assert {method for method, each in found.items() if each.mark == "weights"} == {
        "unet",
        "verdiff",
    } - {best}
    pairs = family.all_pairs(table.patients[COLUMN]["dice"])
    assert set(pairs.like(best)) == {"unet", "verdiff"} - {best}
    [note, signs, few, _] = (note.text for note in marks.footnotes(table, ("weights", "doubt")))
    assert f"{PATIENTS} patients, 1 seed, 3 pairs, by max-T" in note
    assert "3 tests in all" in note
    assert signs.startswith("One seed: the sign-flip test over patients")
    assert few.startswith("§: so few patients may hide rare outliers")
    told = {note.text[0] for note in table1.document(table).notes if note.kind == "legend"}
    assert told == {"B", "‡", "D"}  # bold, the one sign that the table has, Dice without any
    assert f"MR: {PATIENTS} patients, " in few
    frame = pd.read_csv(io.StringIO(table1.document(table).texts()[".csv"])).set_index("method")
    assert dict(frame.dice_like_best) == {"fcn": False, "unet": True, "verdiff": True}


def test_so_few_patients_that_none_can_be_told_apart_are_told(tmp_path: Path) -> None:
    finished(tmp_path, "unet", (0.9,) * 8)
    finished(tmp_path, "fcn", (0.2,) * 8)
    table = table_of(Store(tmp_path))
    assert (
        "4 patients (too few for any significant difference, so every method is marked)"
        in marks.footnotes(table, ())[0].text
    )
    assert table1.entry(table, COLUMN, "fcn", "dice").mark == "weights"


def test_the_declared_family_is_what_is_compared(store: Store) -> None:
    assert "No family of comparisons was declared" in marks.footnotes(table_of(store), ())[-1].text
    assert "comparisons-phantom" not in names(store)
    declare(store, "unet", ["unet", "fcn", "verdiff"])
    frame = listing(store, "comparisons")
    expected = family.against(table_of(store).patients[COLUMN]["dice"], "unet", ["fcn", "verdiff"])
    dice = frame[frame.metric == "dice"]
    np.testing.assert_allclose(
        dice.adjusted, [each.adjusted for each in expected.comparisons], atol=1e-12
    )
    assert list(dice.star) == ["°", ""]
    assert next(iter(dice.verdict)) == "lower (these weights)"
    found = document(store, "comparisons").notes
    told = [note.text for note in found if note.kind == "legend"]
    assert [text.partition(":")[0] for text in told] == ["°"]
    assert "3 cells of the profile were FINISHED" in found[0].text
    assert "MR: 2; 4 p values computed" in found[1].text


def test_a_difference_has_one_sign_on_the_page_and_in_the_comparisons(store: Store) -> None:
    declare(store, "unet", ["unet", "fcn", "verdiff"])
    table = table_of(store)
    listed = document(store, "comparisons")
    frame = listed.frames[""].query("metric == 'dice'").set_index("title")
    plot = forest.of_column(table, COLUMN)
    assert plot
    for row in plot["rows"]:
        one = frame.loc[row["title"]]
        ends = f"[{100 * one.t_low:+.1f}, {100 * one.t_high:+.1f}]"
        assert row["text"] == f"{100 * one['mean']:+.1f} {ends}"
        assert one.t_low < one["mean"] < one.t_high
        assert one.bootstrap_low < one["mean"] < one.bootstrap_high
        assert one.verdict.startswith(row["verdict"])
    assert (frame.loc["FCN", "mean"] < 0, frame.loc["FCN", "superiority"]) == (True, 0)
    assert frame.loc["FCN", "of_shift_low"] < frame.loc["FCN", "shift"] < 0
    heads = [head.text for head in listed.blocks[0].heads]
    assert {"Method less UNET", "95 % t over patients", *imports.ASIDE} <= set(heads)
    assert "" not in heads
    assert (plot["head"], plot["interval"]) == ("Method less UNET", "95 % t interval over patients")
    means = [head.text for head in document(store, "intervals").blocks[0].heads]
    assert {"95 % t over patients", *imports.MEANS} <= set(means)
    said = " ".join(note.text for note in document(store, "intervals").notes)
    assert "below 10 % under any seed" in said
    assert re.search(r"NSD accepts distances up to \d px\.", said)
    assert listing(store, "comparisons").baseline.unique().tolist() == ["unet"]


@pytest.mark.parametrize("points", [0.2, 5])
def test_a_significant_difference_without_a_verdict_says_so(tmp_path: Path, points: float) -> None:
    rng = np.random.default_rng(4)
    base = 0.7 + 0.1 * rng.random(160)
    finished(tmp_path, "unet", tuple(base))
    finished(tmp_path, "fcn", tuple(base - points / 100 + 0.001 * rng.normal(size=160)))
    store = Store(tmp_path)
    declare(store, "unet", ["unet", "fcn"])
    [row] = document(store, "comparisons").frames[""].query("metric == 'dice'").itertuples()
    plot = forest.of_column(table_of(store), COLUMN)
    assert plot
    said = {0.2: "undecided (differs, by less than 0.5 points)", 5: "lower (these weights)"}
    assert (row.star, row.verdict) == ("°", said[points])
    assert f"{plot['rows'][0]['verdict']} {plot['rows'][0]['note']}" == said[points]


def test_no_two_places_disagree_about_a_pair(tmp_path: Path) -> None:
    """A difference that is significant among the declared ones, but not among all pairs."""
    rng = np.random.default_rng(4)
    base = 0.7 + 0.1 * rng.random(120)
    for method, less in (("unet", 0), ("fcn", 0.003), ("verdiff", 0), ("sam", 0), ("nnunet", 0)):
        finished(tmp_path, method, tuple(base - less + 0.01 * rng.normal(size=120)))
    store = Store(tmp_path)
    alone = table_of(store)
    declare(store, "unet", ["unet", "fcn"])
    table = table_of(store)
    rows = document(store, "comparisons").frames[""].query("metric == 'dice'")
    declared = float(rows.set_index("method").adjusted["fcn"])
    pairs = table.pairs[COLUMN]
    assert declared <= 0.05 < alone.pairs[COLUMN].p_of("unet", "fcn")
    assert pairs.p_of("unet", "fcn") == pairs.p_of("fcn", "unet") == declared
    among_all = alone.pairs[COLUMN].p_of("fcn", "sam")
    assert pairs.p_of("fcn", "sam") == pytest.approx(among_all * 11 / 10)  # one test more than ten
    plot = forest.of_column(table, COLUMN)
    assert plot
    assert [row["p"] for row in plot["rows"]] == [f"p = {declared:.3g}"]
    assert "fcn" not in pairs.like("unet")
    assert "fcn" in alone.pairs[COLUMN].like("unet")
    notes = " ".join(note.text for note in marks.footnotes(table, ("weights", "doubt")))
    assert "the p of these pairs is the same in all tables and figures" in notes
    for whole in (alone, table):
        best = whole.best(COLUMN)
        listed = forest.of_column(replace(whole, family=None), COLUMN)
        assert listed
        shown = {row["title"]: row["p"] for row in listed["rows"]}
        every = replace(whole, family=None).pairs[COLUMN]
        for key, title in whole.methods.items():
            if key != best:
                assert shown[title] == f"p = {every.p_of(best, key):.3g}"


def test_one_patient_has_no_differences_with_intervals(tmp_path: Path) -> None:
    for method in ("unet", "fcn"):
        finished(tmp_path, method, scores_of(method)[:2])
    table = table_of(Store(tmp_path))
    assert forest.of_column(table, COLUMN) is None


def test_a_family_keeps_its_size_when_a_result_is_removed(store: Store) -> None:
    declare(store, "unet", ["unet", "fcn", "verdiff"])
    before = listing(store, "comparisons").set_index(["metric", "method"]).adjusted
    shutil.rmtree(store.root / "cpu" / COLUMN / "verdiff")
    after = listing(store, "comparisons").set_index(["metric", "method"]).adjusted
    assert after["dice", "fcn"] >= before["dice", "fcn"]
    notes = document(store, "comparisons").notes
    assert "MR: verdiff was declared and has no result; its test counts." in notes[0].text
    assert "MR: 2;" in notes[1].text


def test_a_declaration_has_a_date_and_a_name(store: Store) -> None:
    declare(store, "unet", ["unet", "fcn"])
    known = family_of(store)
    assert known.date == datetime.now(timezone.utc).date().isoformat()
    assert len(known.hash) == 12
    assert known.hash != msgspec.structs.replace(known, margin=0.01).hash
    [note, *_] = document(store, "comparisons").notes
    assert f"It was declared on {known.date}, when 3 cells" in note.text
    assert f"(declaration {known.hash})" in note.text


def test_a_family_holds_no_other_methods_prior(store: Store) -> None:
    finished(store.root, "medsegdiff", scores_of("fcn"), extras=["prior"])
    folder = store.root / "cpu" / COLUMN / "medsegdiff" / "f0-s35"
    (folder / "cases-prior.csv").write_text((folder / "cases.csv").read_text())
    table = table_of(store)
    assert table.others(COLUMN, "unet") == ["fcn", "medsegdiff", "verdiff"]
    assert table.others(COLUMN, "medsegdiff") == ["fcn", "medsegdiff:prior", "unet", "verdiff"]


def test_a_family_is_declared_once_and_holds_no_method_that_came_later(store: Store) -> None:
    declare(store, "unet", ["unet", "fcn"])
    declare(store, "unet", ["fcn", "unet"])
    found = family_of(store)
    assert (found.baseline, found.correction, found.finished, found.methods) == (
        "unet",
        "holm",
        3,
        ("fcn", "unet"),
    )
    assert set(listing(store, "comparisons").method) == {"fcn"}
    said = document(store, "comparisons").notes[0].text.lower()
    assert "not declared, so not compared here: verdiff;" in said
    plot = forest.of_column(table_of(store), COLUMN)
    assert plot
    assert [row["title"] for row in plot["rows"]] == ["FCN"]
    assert plot["how"].startswith("declared when 3 cells of the profile were finished; ")
    changes: list[tuple[str, list[str], Correction]] = [
        ("fcn", ["unet", "fcn"], "holm"),
        ("unet", ["unet", "fcn"], "max-t"),
        ("unet", ["unet"], "holm"),
    ]
    for changed in changes:
        with pytest.raises(
            UsageError, match="declares another family already: unet against fcn, unet"
        ):
            declare(store, *changed)
    (store.root / "cpu" / "family.json").write_text("{")
    with pytest.raises(UsageError, match=r"family\.json is damaged"):
        family_of(store)


OLD = (
    '{"reference": "unet", "correction": "holm", "finished": 3, "methods": ["fcn", "unet"], '
    '"date": "2026-01-01", "metric": "dice", "margin": 0.005, "looks": 1, '
    '"seal": "f83a350a4d3f30f99a613200e139b5171db9d8977346195df377a19dbb2fd1d0"}'
)
"""A declaration as it was written when it called the baseline `reference`; its hash follows."""
HASH_OF_OLD = "f3074ab2fa0a"


def test_a_declaration_names_its_baseline_and_an_old_one_keeps_its_hash(store: Store) -> None:
    path = store.root / "cpu" / "family.json"
    path.write_text(OLD)
    old = family_of(store)
    assert (old.baseline, old.hash) == ("unet", HASH_OF_OLD)
    path.write_text(OLD.replace('"unet"', '"fcn"', 1))
    with pytest.raises(UsageError, match="its seal is not that of its text"):
        family_of(store)
    path.unlink()
    declare(store, "unet", ["unet", "fcn"])
    said = json.loads(path.read_text())
    assert said["baseline"] == "unet"
    assert "reference" not in said
    assert msgspec.structs.replace(family_of(store), date=old.date).hash == HASH_OF_OLD


def test_a_declaration_of_which_nothing_can_be_compared_says_so(store: Store) -> None:
    declare(store, "sam", ["sam", "unet"])
    said = " ".join(note.text for note in marks.footnotes(table_of(store), ()))
    assert "against each other method, but no comparison can be made: it has no result." in said
    assert "bench report writes the comparisons" not in said


def test_before_any_cell_is_finished_a_family_may_be_declared_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    declare(store, "verdiff", ["unet", "verdiff"])
    declare(store, "unet", ["unet", "verdiff"])
    found = family_of(store)
    assert (found.baseline, found.finished) == ("unet", 0)


def test_an_arms_prior_is_not_the_references_own_row(store: Store) -> None:
    for method in ("verdiff:nsa=off", "sam"):
        finished(store.root, method, scores_of("fcn"), extras=["prior"])
        folder = store.root / "cpu" / COLUMN / method.replace(":", ",") / "f0-s35"
        (folder / "cases-prior.csv").write_text((folder / "cases.csv").read_text())
    assert table_of(store).others(COLUMN, "verdiff") == ["fcn", "sam", "unet", "verdiff:nsa=off"]


def test_a_method_that_its_patients_show_ahead_of_the_best_mean_over_images_is_marked(
    tmp_path: Path,
) -> None:
    finished(tmp_path, "a", (0.9, 0.9) * 8)
    finished(tmp_path, "b", (0.8, 0.8) * 8)
    pairs = table_of(Store(tmp_path)).pairs[COLUMN]
    assert pairs.like("b") == ()
    assert (pairs.not_below("b"), pairs.not_below("a")) == (("a",), ())


def test_a_reference_without_a_result_is_said(store: Store) -> None:
    declare(store, "nnunet", ["unet", "nnunet"])
    assert "comparisons-phantom" not in names(store)


@pytest.mark.parametrize("seeds", [1, 2])
def test_ranks_say_what_first_means_and_what_one_seed_does_not_show(
    tmp_path: Path, seeds: int
) -> None:
    for seed in range(35, 35 + seeds):
        for method in ("unet", "fcn"):
            finished(tmp_path, method, scores_of(method), seed=seed)
    listed = document(Store(tmp_path), "ranks")
    assert "First (% of resamples)" in [head.text for head in listed.blocks[0].heads]
    text = " ".join(note.text for note in listed.notes)
    assert "not the probability that the method is the best one" in text
    assert ("One seed on MR: another seed may give another order" in text) == (seeds == 1)
    assert ("So few seeds (2) show little" in text) == (seeds == 2)
    assert ("and seeds where there are several" in text) == (seeds == 2)


def test_intervals_are_over_patients(store: Store) -> None:
    frame = listing(store, "intervals").set_index(["metric", "method"])
    [own] = intervals.summarise(table_of(store).patients[COLUMN]["dice"].only(["unet"]))
    row = frame.loc[("dice", "unet")]
    assert (row.patients, row["mean"], row.bootstrap_low) == (PATIENTS, own.mean, own.bootstrap[0])
    assert own.mean == pytest.approx(np.reshape(scores_of("unet"), (PATIENTS, 2)).mean())


def test_listings_are_markdown_latex_and_csv_without_a_name_that_does_anything(
    store: Store,
) -> None:
    finished(store.root, "odd", scores_of("fcn"), title="a|b & <i>")
    declare(store, "odd", ["odd", "unet"])
    named = set()
    for part in inference.documents(table_of(store)):
        texts = part.texts()
        assert "| a|b" not in texts[".md"]
        if r"\textbar{}b \& \textless{}i\textgreater{}" in texts[".tex"]:
            named.add(part.name)
        rows = [line for line in texts[".md"].splitlines() if line.startswith("| ")]
        assert len({line.count(" | ") for line in rows}) == 1
    listed = ("intervals", "comparisons", "ranks", "distances")
    assert named == {f"{name}-phantom" for name in listed}
