"""A results folder is believed only after it was checked: what was altered is named."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
import pytest

from bench.spec.errors import UsageError
from bench.store.cells import Store
from bench.store.results import Results
from tests.store import matrix
from tests.store.altered import Change, changes
from tests.user import Bench

MR = "mr@real-abcdef01"
CELL = f"{MR}/unet/f0-s35"
SAMPLE = 463
"""Of so many changes, one is tried in the usual suite; in `make test-all` one of `MANY`."""
MANY = 11
OLD = 23
UNSEEN = ("log.txt", "plan.txt")
"""Files on which no table depends."""
SECONDS = 120


@pytest.fixture
def results(bench: Bench) -> Path:
    """Return the profile's folder of a small finished matrix."""
    return matrix.finished(bench.home / "results").root / "smoke"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the report draw nothing; it checks pictures all the same."""
    for name in ("_figures", "_stages"):
        monkeypatch.setattr(f"bench.report.{name}", lambda *_: [])
    monkeypatch.setattr("bench.report.figures.gallery.write", lambda *_: [])
    monkeypatch.setattr("bench.report.page.html.page", lambda *_: "")


@contextmanager
def not_for_ever() -> Iterator[None]:
    """Fail where something waits for what never comes."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"nothing came for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tables(home: Path) -> dict[str, str]:
    """Return the tables of the last report."""
    return {path.name: path.read_text() for path in sorted((home / "reports").rglob("*.csv"))}


def untouched(folder: Path, change: Change) -> pd.DataFrame:
    """Return the scores of the cells that a change does not touch."""
    cases = Results.read(Store(folder.parent), "smoke").cases
    touched = change.file.split("/")
    if len(touched) == 4 and touched[1] != "references":
        cases = cases[~cases.method.astype(str).str.startswith(touched[1].replace(",", ":"))]
    return cases[["method", "case", "patient", "dice"]].reset_index(drop=True).astype(str)


def judge(bench: Bench, folder: Path, change: Change, before: dict[str, str]) -> str:
    """Say what a report and the status make of a change: named, same, silent or untidy."""
    shutil.rmtree(bench.home / "reports", ignore_errors=True)
    with not_for_ever():
        code, err = called(bench, "report")
        status, _ = called(bench, "status")
    same = tables(bench.home) == before
    if code == 0:
        return "same" if same else "silent"
    lines = err.splitlines()
    tidy = len(lines) == 1 and lines[0].startswith("bench: ") and Path(change.file).name in err
    if code == 2 or not tidy:
        return "refused" if tidy else f"untidy: {err[-300:]}"
    return "named" if status in (0, 1) else "no status"


def called(bench: Bench, *words: str) -> tuple[int, str]:
    """Call a command; return its exit code and what it said on standard error."""
    from bench.cli import app

    bench.patch.setattr("sys.argv", ["bench", *words])
    with pytest.raises(SystemExit) as left:
        app.main()
    return int(left.value.code or 0), bench.capsys.readouterr().err


def tried(bench: Bench, results: Path, one_of: int) -> Iterator[tuple[Change, str, Path]]:
    """Yield changes with what becomes of them, each in a copy of the results."""
    whole = results.parent.rename(results.parent.with_name("whole"))
    shutil.copytree(whole, results.parent)
    assert called(bench, "report") == (0, "")
    before = tables(bench.home)
    for number, change in enumerate(list(changes(whole / "smoke"))):
        if number % one_of:
            continue
        shutil.rmtree(results.parent)
        shutil.copytree(whole, results.parent)
        change.alter(results / change.file)
        yield change, judge(bench, results, change, before), whole / "smoke"


def test_patients_of_another_side_are_not_those_of_the_cell(results: Path) -> None:
    matrix.without_digests(results)
    path = results / CELL / "cases.csv"
    scores = pd.read_csv(path)
    others = dict(zip(scores.patient.unique(), ("p1", "p2"), strict=True))
    scores.assign(patient=scores.patient.map(others)).to_csv(path, index=False)
    (damage,) = Results.load(Store(results.parent)).damaged
    assert "is not on the test side" in damage.line


def is_free(change: Change) -> bool:
    """Return whether a change may stay unseen, for no table depends on what it alters."""
    name = Path(change.file).name
    weights = name == "model.safetensors" and change.what in ("emptied", "cut off", "a bit flipped")
    weights |= name == "model.safetensors" and change.what in ("garbage", "huge", "another cell's")
    noted = name == "profile.json" and change.what.startswith("family")
    return name in UNSEEN or weights or noted


def everything_is_named(bench: Bench, results: Path, one_of: int) -> Counter[str]:
    count: Counter[str] = Counter()
    for change, verdict, whole in tried(bench, results, one_of):
        count[verdict] += 1
        expected = ("same", "named") if is_free(change) else ("named", "refused")
        assert verdict in expected, f"{change}: {verdict}"
        if verdict == "named":
            assert untouched(results, change).equals(untouched(whole, change)), change
    return count


@pytest.mark.usefixtures("undrawn")
def test_what_was_altered_is_named_in_one_line_and_the_rest_is_as_it_was(
    bench: Bench, results: Path
) -> None:
    assert everything_is_named(bench, results, SAMPLE)["named"] > 3


@pytest.mark.long
@pytest.mark.usefixtures("undrawn")
def test_hundreds_of_alterations_are_named(bench: Bench, results: Path) -> None:
    count = everything_is_named(bench, results, MANY)
    print(dict(count))
    assert count.total() > 300


@pytest.mark.long
@pytest.mark.usefixtures("undrawn")
def test_older_results_are_never_a_traceback_and_their_dice_never_lies(
    bench: Bench, results: Path
) -> None:
    """They have no digests: a changed NSD cannot be seen, nor a changed word."""
    matrix.without_digests(results)
    count: Counter[str] = Counter()
    for change, verdict, _ in tried(bench, results, OLD):
        count[verdict] += 1
        assert verdict in ("named", "refused", "same", "silent"), f"{change}: {verdict}"
        if verdict == "silent":
            assert not change.what.startswith(("dice", "iou", "tp", "fp", "fn", "a row")), change
    print(dict(count))


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("case", "/etc/hostname", "case '/etc/hostname' cannot be used"),
        ("case", "../../x", "cannot be used"),
        ("case", "p5_1", "stands in it twice"),
        ("patient", "nobody", "it has 4 cases of 3 patients, but 4 of 2 were tested"),
        ("dice", 0.99, "IoU must be Dice / (2 - Dice)"),
        ("dice", np.nan, "Dice must lie in [0, 1]"),
        ("dice", np.inf, "Dice must lie in [0, 1]"),
        ("tp", 3, "dice must agree with tp, fp and fn"),
        ("tp", -3, "must be counts"),
        ("hd95", -1, "HD95 must be a distance"),
        ("hd95", 1e6, "hd95 must not exceed the diagonal"),
        ("nsd", np.nan, "NSD must lie in [0, 1]"),
        ("unit", "cm", "the unit must be mm or px"),
        ("empty", "both", "empty must agree with tp, fp and fn"),
    ],
)
def test_older_scores_are_checked_by_what_they_say(
    bench: Bench, results: Path, column: str, value: object, why: str
) -> None:
    matrix.without_digests(results)
    path = results / CELL / "cases.csv"
    scores = pd.read_csv(path).astype(object)
    place = 1 if scores["case"][0] == value else 0
    scores.loc[place, column] = value
    scores.to_csv(path, index=False)
    known = Results.load(Store(results.parent))
    (damage,) = known.damaged
    assert damage.path == path.parent
    assert str(path) in damage.line
    assert why in damage.line
    assert "unet" not in set(known.cases.method)
    assert len(known.cells) == len(matrix.METHODS) - 1


def test_both_values_may_be_changed_and_the_pixels_still_tell(results: Path) -> None:
    matrix.without_digests(results)
    path = results / CELL / "cases.csv"
    scores = pd.read_csv(path)
    scores.loc[0, ["dice", "iou"]] = (0.99, 0.99 / (2 - 0.99))
    scores.to_csv(path, index=False)
    (damage,) = Results.load(Store(results.parent)).damaged
    assert "dice must agree with tp, fp and fn" in damage.line


def test_a_copied_cell_is_no_other_cell(bench: Bench, results: Path) -> None:
    shutil.copytree(results / CELL, results / MR / "unet" / "f0-s36")
    assert "is of another cell, mr@real-abcdef01/unet/f0-s35" in bench("status", code=1)
    (damage,) = Results.load(Store(results.parent)).damaged
    assert damage.path.name == "f0-s36"


def test_what_was_named_is_removed_and_nothing_else(bench: Bench, results: Path) -> None:
    (results / CELL / "predictions" / "p5_0.png").write_bytes(b"no picture")
    (results / MR / "split.csv").write_text("fold,patient,side\n")
    (results / MR / "fcn" / "f0-s35" / "cell.json").unlink()
    (results / "plan.txt").write_text("../../etc\n")
    assert "this is no terminal to ask on" in bench("clean", "damaged", code=2)
    out = bench("clean", "damaged", "--yes")
    assert "Removed 4 of 4." in out
    left = sorted(path.name for path in (results / MR).iterdir())
    assert left == ["fcn", "references", "unet", "verdiff,steps=2"]
    assert not (results / CELL).exists()
    assert not (results / MR / "fcn" / "f0-s35").exists()
    assert not (results / "plan.txt").exists()
    known = Results.load(Store(results.parent))
    assert [cell.record.method.key for cell in known.cells] == ["verdiff:steps=2"]
    assert "No cell is damaged; nothing to remove." in bench("clean", "damaged", "--yes")
    assert "split.csv is damaged (it is missing)" in bench("status", code=1)


def test_a_run_refuses_the_place_of_a_damaged_cell(results: Path) -> None:
    store = Store(results.parent)
    [cell, *_] = [known.record for known in Results.load(store).cells]
    assert cell.digests
    (results / CELL / "cell.json").unlink()
    place = next(one for one in matrix.cells(store) if one.method.key == "unet")
    with pytest.raises(UsageError, match=r"cell\.json is damaged .* bench clean damaged"):
        store.status(place)
    assert store.status(next(c for c in matrix.cells(store) if c.method.key == "fcn")) == "done"


def test_a_lost_profile_is_written_again(results: Path) -> None:
    (results / "profile.json").unlink()
    (damage,) = Results.load(Store(results.parent)).damaged
    assert "profile.json is damaged (it is missing)" in damage.line
    Store(results.parent).open(matrix.PROFILE)
    assert json.loads((results / "profile.json").read_text())["format"] == 2
    assert not Results.load(Store(results.parent)).damaged


def test_nothing_is_reported_where_no_cell_may_be_believed(bench: Bench, results: Path) -> None:
    for path in results.rglob("cell.json"):
        path.write_text("{}")
    out = bench("report", "--no-pictures", code=2)
    assert "no finished cell may be believed" in out
    assert "and 2 more like this" in out
    assert out.count("\n") == 1
