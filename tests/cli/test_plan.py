from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import measured, options
from bench.cli.app import app
from bench.launch import matrix
from bench.spec.config import Cell, DatasetRef
from bench.spec.errors import UsageError
from bench.spec.names import Column, DatasetId, Scheme, Spec
from bench.spec.profile import load_profile
from bench.store import looks
from bench.store.cells import Store
from tests.user import Bench
from tests.written import record_of

PROFILE = load_profile("smoke")
WEIGHTS = 4000


def finish(
    store: Store, method: str, dataset: str, seconds: float, source: str = "phantom", **more: Any
) -> None:
    """Leave a finished cell that took so long: training, three validations, 10 test cases."""
    ref = DatasetRef(id=DatasetId(dataset, source, "abcdef0123"), cache="")
    cell = Cell(profile=PROFILE, dataset=ref, method=Spec.parse(method), seed=more.pop("seed", 35))
    times = {
        "train_seconds": 0.9 * seconds,
        "train_seconds_per_step": 0.1 * seconds,
        "predict_seconds_per_case": 0.005 * seconds,
        "total_seconds_of_last_attempt": seconds,
        **more,
    }
    heads = [{"steps": step, "draws": "d", "pixels": "p"} for step in (1, 2, 3)]
    with store.at_work(cell) as work:
        work.weights.write_bytes(b"w" * WEIGHTS)
        work.predictions().mkdir()
        (work.predictions() / "1.png").write_bytes(b"p" * 60)
        store.finish(
            cell,
            record_of(
                cell,
                device=f"a {source} device",
                parameters=900,
                certificate={"seed": 35, "heads": heads},
                cases={"test": 10},
                timings=times,
            ),
        )


@pytest.fixture
def store(bench: Bench) -> Store:
    """Return a store with cells of 10 to 100 seconds."""
    store = Store(bench.home / "results")
    for method, seconds in (("unet", 10.0), ("fcn", 30.0), ("verdiff", 100.0)):
        for dataset in ("mr", "xray"):
            finish(store, method, dataset, seconds)
    return store


def plan(bench: Bench, simulate: str, *words: str) -> dict[str, Any]:
    words = ("--methods", "unet,fcn,verdiff", "--datasets", "mr,xray", "--profile", "smoke", *words)
    found: dict[str, Any] = json.loads(bench("plan", *words, "--simulate", simulate, "--json"))
    return found


def test_the_wall_time_is_that_of_the_measured_cells(bench: Bench, store: Store) -> None:
    found = plan(bench, "gpus=4", "--folds", "5", "--seeds", "2")
    assert found["cells"] == 3 * 2 * 5 * 2
    assert found["work_seconds"] == pytest.approx(20 * (10 + 30 + 100))
    assert found["bound_seconds"] == pytest.approx(700)
    assert found["longest_first"] == {"wall_seconds": 700, "idle_share": 0, "tail_seconds": 0}
    assert found["plan_order"]["wall_seconds"] > 700
    assert list(found["other_gpus"]) == ["1", "2", "4", "8"]
    assert found["other_gpus"]["1"]["wall_seconds"] == pytest.approx(2800)
    assert [(row["dataset"], row["method"], row["seconds"]) for row in found["measured"]][:2] == [
        ("mr", "unet", 10.0),
        ("mr", "fcn", 30.0),
    ]


def test_several_cells_on_a_gpu_are_so_many_slots(bench: Bench, store: Store) -> None:
    words = ("--folds", "5", "--seeds", "2")
    assert (
        plan(bench, "gpus=2:jobs=2", *words)["longest_first"]
        == plan(bench, "gpus=4", *words)["longest_first"]
    )


def test_more_gpus_than_cells_wait_for_the_longest(bench: Bench, store: Store) -> None:
    found = plan(bench, "gpus=48")
    assert found["longest_first"]["wall_seconds"] == found["bound_seconds"] == 100
    assert found["longest_first"]["idle_share"] == pytest.approx(1 - 280 / 4800)
    assert list(found["other_gpus"]) == ["1", "2", "4", "8", "16", "32", "48", "96"]


def test_an_interrupted_cell_counts_all_its_attempts(bench: Bench, store: Store) -> None:
    finish(store, "sam", "mr", 50.0, total_seconds_of_last_attempt=5.0)
    finish(store, "sam", "mr", 50.0, seed=36, predict_seconds_per_case=1.5)
    found = json.loads(
        bench(
            "plan",
            "--methods",
            "sam",
            "--datasets",
            "mr",
            "--profile",
            "smoke",
            "--simulate",
            "gpus=1",
            "--json",
        )
    )
    assert found["measured"][0]["cells"] == 2
    assert found["work_seconds"] == pytest.approx(((45 + 2.5) + (45 + 15)) / 2)


def test_real_cells_take_the_place_of_phantoms(bench: Bench, store: Store) -> None:
    finish(store, "unet", "mr", 70.0, "real")
    found = plan(bench, "gpus=1")
    assert found["work_seconds"] == pytest.approx(280 + 60)
    assert {
        (row["dataset"], row["source"]) for row in found["measured"] if row["method"] == "unet"
    } == {("mr", "real"), ("xray", "phantom")}
    assert found["devices"] == ["a phantom device", "a real device"]


def test_what_the_disk_sees_is_counted_from_the_folders(bench: Bench, store: Store) -> None:
    folder = next(store.root.glob("smoke/mr@*/unet/f0-s35"))
    left = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    found = plan(bench, "gpus=2")
    disk, wall = found["disk"], found["longest_first"]["wall_seconds"]
    assert disk["files"] == 6 * 3
    assert disk["bytes"] == pytest.approx(6 * left, rel=0.01)
    size = 2 * WEIGHTS + 8 * 900  # the weights, the best, Adam's two moments
    assert disk["largest_checkpoint_bytes"] == size
    assert disk["checkpoint_bytes_at_once"] == 2 * size
    assert disk["checkpoints"] == 2 * (
        3 + 3 + 3 * 2
    )  # at each validation, and 30 seconds after: at 90 s of training
    assert disk["checkpoint_bytes_per_second"] == pytest.approx(24 * size / wall)


def test_the_table_says_what_was_measured_and_on_what(bench: Bench, store: Store) -> None:
    out = bench(
        "plan",
        "--methods",
        "unet,fcn,verdiff",
        "--datasets",
        "mr,xray",
        "--profile",
        "smoke",
        "--folds",
        "5",
        "--seeds",
        "2",
        "--simulate",
        "gpus=4",
    )
    assert "60 cells (3 methods x 2 datasets x 5 folds x 2 seeds), 46 min 40 s of cells" in out
    assert (
        "No order on 4 GPUs ends before 11 min 40 s: the longest cell takes 1 min 40 s, "
        "an even share of all"
        " 11 min 40 s" in out
    )
    assert (
        "means of 6 finished cells (mr phantom, xray phantom) under the profile 'smoke' on a"
        " phantom device" in out
    )
    assert "as planned" in out


def test_what_was_never_measured_is_named_with_the_commands_that_do(
    bench: Bench, store: Store
) -> None:
    words = ("plan", "--profile", "smoke", "--simulate", "gpus=4")
    out = bench(*words, "--methods", "unet,unet:width=5", "--datasets", "mr,xray", code=2)
    assert (
        "no finished cell says how long these take: unet:width=5 on mr,xray; measure one of each:"
        " bench run" in out
    )
    assert "--methods unet:width=5 --datasets mr,xray --profile smoke --out results" in out
    out = bench(
        *words, "--methods", "unet,fcn", "--datasets", "mr,ct-pri", "--out", "no results", code=2
    )
    assert "unet,fcn on mr,ct-pri" in out
    assert "--out 'no results'" in out


@pytest.mark.parametrize(
    "text", ["64", "gpus", "gpus=0", "gpus=x", "gpu=4", "gpus=4:jobs=0", "gpus=4,jobs=2", ""]
)
def test_machines_that_cannot_be_are_refused(bench: Bench, store: Store, text: str) -> None:
    assert "for example --simulate gpus=64" in bench(
        "plan", "--profile", "smoke", "--simulate", text, code=2
    )


def power(*words: str) -> list[dict[str, float]]:
    done = CliRunner().invoke(
        app, ["plan", "--profile", "smoke", "--datasets", "mr", *words, "--json"]
    )
    assert done.exit_code == 0, done.output
    rows: list[dict[str, float]] = json.loads(done.stdout)
    return rows


def test_the_plan_says_what_its_patients_can_find(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path))
    [few] = power("--methods", "unet,fcn", *out)
    assert (few["patients"], few["one"], few["family"], few["tests"]) == (1, None, None, 1)
    [all_of_them] = power("--methods", "unet,fcn", "--folds", "5", *out)
    assert (all_of_them["patients"], all_of_them["folds"]) == (5, 5)
    assert (all_of_them["smallest_p"], all_of_them["measured"]) == (2 / 2**5, None)
    [more] = power("--methods", "unet,verdiff", *out)
    assert more["tests"] == 2  # the diffusion's prior is a row
    shown = CliRunner().invoke(
        app, ["plan", "--profile", "smoke", "--datasets", "mr", "--methods", "unet,fcn", *out]
    )
    assert "no star is possible; --folds 5 tests every patient" in shown.stdout
    assert "2.00 assumed" in shown.stdout


def test_each_look_has_its_share_and_few_patients_their_brackets(
    tmp_path: Path, slices: Callable[..., Path]
) -> None:
    asked = ["plan", "--profile", "smoke", "--datasets", "mr", "--methods", "unet,fcn"]
    asked += ["--data", str(slices(patients=20, each=1))]
    asked += ["--out", str(tmp_path), "--folds", "5", "--seeds", "3"]
    found = []
    for number in ("1", "2"):
        done = CliRunner().invoke(app, [*asked, "--looks", number, "--json"])
        [row] = json.loads(done.stdout)
        found.append(row["family"])
    assert found[0] < found[1]
    shown = " ".join(CliRunner().invoke(app, [*asked, "--looks", "2"]).stdout.split())
    assert "2 looks, each after more seeds: each has 2.5 % of the 5 %" in shown
    assert "bench run --baseline METHOD --looks 2" in shown
    assert "20 patients may hide outliers among 14 % of all patients" in shown


def test_a_plan_counts_the_reports_before_it(tmp_path: Path, slices: Callable[..., Path]) -> None:
    source = slices(patients=20, each=1)
    [mr] = matrix.find([Spec("mr")], source, PROFILE)
    folder = Store(tmp_path / "seen").layout.profile("smoke")
    folder.path.mkdir(parents=True)
    looks.add(folder.looks, {Column(mr.prepare().id, Scheme(5)).key: (35, 36)})
    asked = ["plan", "--profile", "smoke", "--datasets", "mr", "--methods", "unet,fcn"]
    asked += ["--data", str(source), "--folds", "5", "--seeds", "3", "--out"]
    rows = []
    for words in (["seen"], ["none", "--looks", "4"], ["none"]):
        out = str(tmp_path / words[0])
        done = CliRunner().invoke(app, [*asked, out, *words[1:], "--json"])
        rows += json.loads(done.stdout)
    assert [row["factor"] for row in rows] == [4, 4, 1]
    assert rows[0]["family"] == rows[1]["family"] > rows[2]["family"]
    shown = " ".join(CliRunner().invoke(app, [*asked, str(tmp_path / "seen")]).stdout.split())
    assert "a report of 3 seeds has p x 4: this plan counts it, at 1.25 % and not at 5 %" in shown
    for more in (
        ["--seeds", "2"],
        ["--seeds", "3", "--looks", "4"],
        ["--seeds", "3", "--folds", "2"],
    ):
        assert "reported already" not in CliRunner().invoke(app, [*asked, *more]).stdout


def test_a_plan_of_one_method_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["plan", "--methods", "unet", "--datasets", "mr", "--out", str(tmp_path)]
    )
    assert isinstance(done.exception, UsageError)
    assert "no difference to plan for" in str(done.exception)


def test_steps_are_timed_where_no_cell_is_finished(bench: Bench, store: Store) -> None:
    words = ("--datasets", "mr", "--profile", "smoke", "--measure", "1s")
    rows = json.loads(bench("plan", "--methods", "unet,fcn", *words, "--json"))
    assert [(row["dataset"], row["method"]) for row in rows] == [("mr", "unet"), ("mr", "fcn")]
    for row in rows:
        assert row["steps"] >= 1
        assert row["seconds"] > 4 * row["step"]  # the profile's steps, and predictions
    measured.show(rows, 10, options.console())
    shown = bench.capsys.readouterr().out
    assert "20 cells, one after the other on cpu: at most" in shown
    out = bench("plan", "--methods", "unet,swin_unet", *words, "--simulate", "gpus=4")
    assert "Timed by some steps, not by finished cells: 1 pair of dataset and method" in out
    said = bench("plan", "--methods", "nnunet:recipe=native", *words, code=2)
    assert "trains itself: no step tells how long" in said
