from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench.store.store import Store

from bench.audit import published
from bench.report.sections import beside, inference, tables
from bench.spec.config import load_profile
from bench.spec.errors import UsageError
from bench.stats import family, intervals
from tests.report.test_report import finished

PATIENTS = 12
COLUMN = "mr@phantom-abcdef01"


def scores_of(method: str) -> tuple[float, ...]:
    """Return two cases a patient: `unet` is clearly ahead of `fcn`, and `verdiff` as good as `unet`."""
    rng = np.random.default_rng(len(method))
    level = {"unet": 0.8, "fcn": 0.6, "verdiff": 0.8}[method]
    return tuple((level + 0.02 * rng.normal(size=2 * PATIENTS)).round(4))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for method in ("unet", "fcn", "verdiff"):
        finished(tmp_path, method, scores_of(method))
    return Store(tmp_path)


def table_of(store: Store) -> tables.Table:
    [table] = tables.collect(store, "cpu")
    return table


def listing(store: Store, name: str) -> pd.DataFrame:
    [found] = [
        each for each in inference.listings(table_of(store)) if each.name == f"{name}-phantom"
    ]
    return found.frame


def test_what_the_patients_do_not_tell_from_the_best_is_marked(store: Store) -> None:
    table = table_of(store)
    best = max(
        ("unet", "verdiff"), key=lambda method: table.scores.loc[(COLUMN, method), "dice_mean"]
    )
    found = {method: tables.entry(table, COLUMN, method, "dice") for method in table.methods}
    assert {method for method, each in found.items() if each.best} == {best}
    assert {method for method, each in found.items() if each.like} == {"unet", "verdiff"} - {best}
    pairs = family.matrix(table.patients[COLUMN]["dice"])
    assert set(pairs.like(best)) == {"unet", "verdiff"} - {best}
    [note, _] = tables.footnotes(table)
    assert f"{PATIENTS} patients, 3 pairs by each metric, by max-T" in note
    assert "6 tests in all" in note
    frame = pd.read_csv(pd.io.common.StringIO(tables.csv(table))).set_index("method")
    assert dict(frame.dice_like_best) == {"fcn": False, "unet": True, "verdiff": True}


def test_so_few_patients_that_none_can_be_told_apart_are_told(tmp_path: Path) -> None:
    finished(tmp_path, "unet", (0.9,) * 8)
    finished(tmp_path, "fcn", (0.2,) * 8)
    table = table_of(Store(tmp_path))
    assert (
        "4 patients, too few to tell any two apart at this level, so every method is marked"
        in tables.footnotes(table)[0]
    )
    assert tables.entry(table, COLUMN, "fcn", "dice").like


def test_the_declared_family_is_what_is_compared(store: Store) -> None:
    assert "No family of comparisons was declared" in tables.footnotes(table_of(store))[1]
    assert "comparisons-phantom" not in {each.name for each in inference.listings(table_of(store))}
    store.declare(load_profile("cpu"), "unet", "holm", ["unet", "fcn", "verdiff"])
    frame = listing(store, "comparisons")
    expected = family.against(table_of(store).patients[COLUMN]["dice"], "unet", ["fcn", "verdiff"])
    dice = frame[frame.metric == "dice"]
    np.testing.assert_allclose(
        dice.adjusted, [each.adjusted for each in expected.comparisons], atol=1e-12
    )
    assert list(dice.star) == ["*", ""]
    assert next(iter(dice.verdict)) == "better"
    [found] = [
        each for each in inference.listings(table_of(store)) if each.name == "comparisons-phantom"
    ]
    assert "3 cells of the profile were FINISHED" in found.notes[0]
    assert "MR Dice: 2, MR IoU: 2; 8 p values computed" in found.notes[1]


def test_a_family_holds_no_other_methods_prior(store: Store) -> None:
    finished(store.root, "medsegdiff", scores_of("fcn"), extras=["prior"])
    folder = store.root / "cpu" / COLUMN / "medsegdiff" / "f0-s35"
    (folder / "cases-prior.csv").write_text((folder / "cases.csv").read_text())
    table = table_of(store)
    assert table.others(COLUMN, "unet") == ["fcn", "medsegdiff", "verdiff"]
    assert table.others(COLUMN, "medsegdiff") == ["fcn", "medsegdiff:prior", "unet", "verdiff"]


def test_a_family_is_declared_once_and_holds_no_method_that_came_later(store: Store) -> None:
    profile = load_profile("cpu")
    store.declare(profile, "unet", "holm", ["unet", "fcn"])
    store.declare(profile, "unet", "holm", ["fcn", "unet"])
    found = store.declared("cpu")
    assert found is not None
    assert (found.reference, found.correction, found.finished, found.methods) == (
        "unet",
        "holm",
        3,
        ("fcn", "unet"),
    )
    assert set(listing(store, "comparisons").method) == {"fcn"}
    for changed in (
        ("fcn", "holm", ["unet", "fcn"]),
        ("unet", "max-t", ["unet", "fcn"]),
        ("unet", "holm", ["unet"]),
    ):
        with pytest.raises(
            UsageError, match="declares another family already: unet against fcn, unet"
        ):
            store.declare(profile, changed[0], changed[1], changed[2])  # type: ignore[arg-type]
    (store.root / "cpu" / "family.json").write_text("{")
    with pytest.raises(UsageError, match=r"family\.json is damaged"):
        store.declared("cpu")


def test_before_any_cell_is_finished_a_family_may_be_declared_anew(tmp_path: Path) -> None:
    store, profile = Store(tmp_path), load_profile("cpu")
    store.declare(profile, "verdiff", "holm", ["unet", "verdiff"])
    store.declare(profile, "unet", "holm", ["unet", "verdiff"])
    found = store.declared("cpu")
    assert found is not None
    assert (found.reference, found.finished) == ("unet", 0)


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
    pairs = table_of(Store(tmp_path)).pairs[COLUMN, "dice"]
    assert pairs.like("b") == ()
    assert (pairs.not_below("b"), pairs.not_below("a")) == (("a",), ())


def test_a_reference_without_a_result_is_said(store: Store) -> None:
    store.declare(load_profile("cpu"), "nnunet", "holm", ["unet", "nnunet"])
    assert "comparisons-phantom" not in {each.name for each in inference.listings(table_of(store))}


def test_arms_and_oracles_have_no_published_number_beside_them(store: Store) -> None:
    finished(store.root, "verdiff:msfm=off", scores_of("fcn"))
    finished(store.root, "sam:prompt=box", scores_of("fcn"), oracle=True)
    [found] = beside.listings(table_of(store))
    assert set(found.frame.method) == {"fcn", "unet", "verdiff"}


def test_intervals_are_over_patients(store: Store) -> None:
    frame = listing(store, "intervals").set_index(["metric", "method"])
    [own] = intervals.summarise(table_of(store).patients[COLUMN]["dice"].only(["unet"]))
    row = frame.loc[("dice", "unet")]
    assert (row.patients, row["mean"], row.bootstrap_low) == (PATIENTS, own.mean, own.bootstrap[0])
    assert own.mean == pytest.approx(np.reshape(scores_of("unet"), (PATIENTS, 2)).mean())


def test_the_published_numbers_stand_beside_ones_own_and_in_no_ranking(store: Store) -> None:
    [found] = beside.listings(table_of(store))
    row = found.frame.set_index(["method", "metric"]).loc[("unet", "dice")]
    assert row.published == pytest.approx(0.9123)  # table 1: U-Net on MR
    assert row.difference == pytest.approx(row["mean"] - 0.9123)
    assert row.inside == "no"
    assert "PHANTOMS: a difference between a simulation and a paper says nothing" in found.caption
    assert published.SOURCE in found.notes[0]
    assert set(listing(store, "ranks").method) == {"fcn", "unet", "verdiff"}


def test_the_audits_verdict_stands_beside_a_published_cell(store: Store) -> None:
    [found] = beside.listings(table_of(store))
    frame = found.frame.set_index(["method", "metric"])
    assert frame.audit[("unet", "dice")] == "yes"
    assert frame.audit[("verdiff", "dice")] == "no"


def test_real_data_is_not_called_a_phantom(tmp_path: Path) -> None:
    finished(tmp_path, "unet", scores_of("unet"), source="real")
    [found] = beside.listings(table_of(Store(tmp_path)))
    assert "PHANTOM" not in found.caption
    assert found.name == "published-real"


def test_a_dataset_that_the_paper_has_not_has_nothing_beside_it(tmp_path: Path) -> None:
    finished(tmp_path, "unet", scores_of("unet"))
    (tmp_path / "cpu" / COLUMN).rename(tmp_path / "cpu" / "own@phantom-abcdef01")
    path = tmp_path / "cpu" / "own@phantom-abcdef01" / "unet" / "f0-s35" / "cell.json"
    path.write_text(path.read_text().replace('"name": "mr"', '"name": "own"'))
    assert beside.listings(table_of(Store(tmp_path))) == []


def test_listings_are_markdown_latex_and_csv_without_a_name_that_does_anything(
    store: Store,
) -> None:
    finished(store.root, "odd", scores_of("fcn"), title="a|b & <i>")
    store.declare(load_profile("cpu"), "odd", "holm", ["odd", "unet"])
    names = set()
    for each in inference.listings(table_of(store)):
        texts = each.texts()
        assert "| a|b" not in texts["md"]
        names |= (
            {each.name} if r"\textbar{}b \& \textless{}i\textgreater{}" in texts["tex"] else set()
        )
        rows = [line for line in texts["md"].splitlines() if line.startswith("| ")]
        assert len({line.count(" | ") for line in rows}) == 1
    assert names == {"intervals-phantom", "comparisons-phantom", "ranks-phantom"}
