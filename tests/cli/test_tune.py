"""`bench tune` and `bench run --tuned`, as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from bench.data import cache
from bench.data.splits import read_splits
from bench.spec import registry
from bench.spec.names import Spec
from bench.spec.space import Between
from bench.tuning.trial import sealed
from tests.launch.test_survive import until
from tests.user import Bench, children, long_profile

Make = Callable[..., Path]


def tune(bench: Bench, data: Path, methods: str, trials: int, *words: str, code: int = 0) -> str:
    return bench(
        "tune",
        "--methods",
        methods,
        "--datasets",
        "mr",
        "--data",
        str(data),
        "--profile",
        "smoke",
        "--trials",
        str(trials),
        *words,
        code=code,
    )


def studies(bench: Bench) -> dict[str, optuna.Study]:
    """Return the studies by method and fold."""
    storage = f"sqlite:///{next(bench.home.rglob('tuning.db'))}"
    names = optuna.get_all_study_names(storage)
    return {
        "/".join(n.split("/")[2:]): optuna.load_study(study_name=n, storage=storage) for n in names
    }


def ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [
        t for t in study.trials if t.state.name in ("COMPLETE", "PRUNED") or "why" in t.user_attrs
    ]


def test_every_method_has_as_many_trials_and_the_best_is_used(bench: Bench, slices: Make) -> None:
    data = slices()
    out = tune(bench, data, "unet,fcn", 3, "--jobs", "2")
    assert "2 studies of 3 trials" in out
    found = studies(bench)
    assert sorted(found) == ["fcn/f0", "unet/f0"]
    assert [len(ended(study)) for study in found.values()] == [3, 3]
    first = found["unet/f0"].trials[0]
    assert first.params["lr"] == pytest.approx(
        1e-3
    )  # the profile's: tuning is never worse by chance
    assert "0 trials to run" in tune(bench, data, "unet,fcn", 3)
    bench.run(data, "unet")
    out = bench.run(data, "unet,fcn", "--tuned")
    assert "| U-Net (tuned=on) |" in out
    assert "| U-Net |" in out
    record = json.loads((bench.cell("unet,tuned=on") / "cell.json").read_text())
    best = found["unet/f0"].best_trial
    assert record["spec"]["options"]["lr"] == best.params["lr"]
    assert record["spec"]["tuning"] == {
        "trials": 3,
        "steps": 4,
        "values": best.params,
        "dice": best.value,
    }
    ledger = pd.read_csv(next((bench.home / "reports").rglob("ledger-real.csv"))).set_index("title")
    trials = {title.partition(" [size")[0]: number for title, number in ledger.trials.items()}
    assert trials == {"U-Net": 0, "U-Net (tuned=on)": 3, "FCN (tuned=on)": 3}


def test_methods_with_unequal_trials_are_refused(bench: Bench, slices: Make) -> None:
    data = slices()
    tune(bench, data, "unet", 2)
    tune(bench, data, "fcn", 1)
    out = bench.run(data, "unet,fcn", "--tuned", code=2)
    assert "fewer than 2 had: fcn:tuned=on on mr 1; bench tune --trials 2 gives all as many" in out


def test_the_test_split_is_not_read(bench: Bench, slices: Make, own_cache: Path) -> None:
    """A study is the same where the prepared test cases are replaced by noise."""
    data = slices()
    tune(bench, data, "unet", 3, "--jobs", "1", "--out", "one")
    folder = cache.find(registry.dataset(Spec("mr")), data / "mr")
    assert folder
    dataset = cache.load(folder)
    split = read_splits(next((bench.home / "one").rglob("split.csv")), dataset.patients)[0]
    closed = sealed(dataset, split)
    tests = split.indexes(dataset, "test")
    assert tests
    for index in tests:
        for read in (closed.image, closed.mask):
            with pytest.raises(PermissionError, match="is sealed"):
                read(index)
    assert np.array_equal(
        closed.image(split.indexes(dataset, "train")[0]),
        dataset.image(split.indexes(dataset, "train")[0]),
    )
    before = [(t.params, t.value) for t in studies(bench)["unet/f0"].trials]
    images, masks = (
        np.memmap(folder.parent / name, kind, "r+")
        for name, kind in (("images.u8", "u1"), ("masks.u8", "u1"))
    )
    for index in tests:
        case, start = dataset.cases[index], dataset.starts[index]
        place = slice(start, start + case.height * case.width)
        images[place], masks[place] = (
            np.random.default_rng(1).integers(0, 255, place.stop - place.start),
            1,
        )
    images.flush(), masks.flush()
    (bench.home / "one").rename(bench.home / "before")
    tune(bench, data, "unet", 3, "--jobs", "1", "--out", "two")
    (bench.home / "before" / "smoke" / "tuning.db").unlink()
    assert [(t.params, t.value) for t in studies(bench)["unet/f0"].trials] == before


def test_two_workers_and_two_commands_share_a_study(bench: Bench, slices: Make) -> None:
    data = slices()
    words = (
        "tune",
        "--methods",
        "unet",
        "--datasets",
        "mr",
        "--data",
        str(data),
        "--profile",
        "smoke",
        "--trials",
        "5",
    )
    other = bench.start(*words, "--jobs", "2", "--report", "one")
    bench(*words, "--jobs", "2", "--report", "two")
    told, _ = other.communicate(timeout=200)
    assert other.returncode == 0, told
    trials = ended(studies(bench)["unet/f0"])
    assert len(trials) == 5
    assert len({trial.params["lr"] for trial in trials}) == 5


def test_a_worker_that_is_killed_costs_one_trial(
    bench: Bench, slices: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.tuning.study.BEAT_SECONDS", 1)
    data, profile = slices(), long_profile(tmp_path, 20)
    words = (
        "tune",
        "--methods",
        "unet",
        "--datasets",
        "mr",
        "--data",
        str(data),
        "--profile",
        str(profile),
        "--trials",
        "2",
        "--jobs",
        "1",
    )
    process = bench.start(*words)
    until(lambda: _has(bench, "select 1 from trial_heartbeats"))
    for pid in [*children(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    storage = next(bench.home.rglob("tuning.db"))
    with sqlite3.connect(storage) as database:  # an hour later
        database.execute("update trial_heartbeats set heartbeat = datetime(heartbeat, '-1 hour')")
    out = bench(*words)
    assert "2 trials to run" in out
    assert len(ended(studies(bench)["unet/f0"])) == 2


def _running(bench: Bench) -> bool:
    """Return whether a trial is at work."""
    return _has(bench, "select 1 from trials where state = 'RUNNING'")


def _has(bench: Bench, question: str) -> bool:
    """Return whether a query of the database has a row; Optuna itself could change a trial."""
    for path in bench.home.rglob("tuning.db"):
        try:
            with sqlite3.connect(path) as database:
                return bool(database.execute(question).fetchall())
        except sqlite3.OperationalError:
            return False
    return False


def test_ctrl_c_stops_in_a_line_and_goes_on(bench: Bench, slices: Make, tmp_path: Path) -> None:
    words = (
        "tune",
        "--methods",
        "unet",
        "--datasets",
        "mr",
        "--data",
        str(slices()),
        "--profile",
        str(long_profile(tmp_path, 3000)),
        "--trials",
        "2",
        "--jobs",
        "1",
    )
    process = bench.start(*words)
    until(lambda: _running(bench))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130, out
    assert "goes on where this one was" in out
    assert "Traceback" not in out
    assert not any(t.state.name == "RUNNING" for t in studies(bench)["unet/f0"].trials)


def test_each_fold_has_a_study_of_its_own(bench: Bench, slices: Make) -> None:
    data = slices()
    tune(bench, data, "unet", 1, "--folds", "3")
    assert sorted(studies(bench)) == [f"unet/f{fold}of3" for fold in range(3)]
    bench.run(data, "unet", "--folds", "3", "--tuned")
    assert "was not tuned on mr" in bench.run(data, "unet", "--tuned", code=2)


def test_a_study_of_another_search_space_is_left_alone(
    bench: Bench, slices: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = slices()
    tune(bench, data, "unet", 1)
    before = [t.params for t in studies(bench)["unet/f0"].trials]
    monkeypatch.setattr(
        registry.load(registry.METHODS, "unet"), "space", {"lr": Between(1e-5, 1e-1)}
    )
    out = tune(bench, data, "unet", 3, code=2)
    assert "was made with another search space; choose another --storage" in out
    assert [t.params for t in studies(bench)["unet/f0"].trials] == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--storage", "nonsense://x"), "--storage nonsense://x does not answer"),
        (("--storage", "sqlite:////nowhere/at/all.db"), "does not answer"),
        (
            ("--storage", "postgresql://nobody:secret@127.0.0.1:9/x"),
            "--storage postgresql://nobody:***@127.0.0.1:9/x",
        ),
        (("--methods", "unet:tuned=on"), "leave tuned=on out"),
        (("--methods", "unet:lr=0.01"), "unet: lr=0.01 has no effect where bench tune chooses it"),
        (("--methods", "nnunet:recipe=native"), "none of these methods can be tuned"),
    ],
)
def test_wrong_use_is_one_line(
    bench: Bench, slices: Make, words: tuple[str, ...], message: str
) -> None:
    out = tune(bench, slices(), "unet", 1, *words, code=2)
    assert message in out
    assert "secret" not in out
    assert "Traceback" not in out


def test_a_run_of_what_was_never_tuned_names_the_command(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "unet:lr=0.01,fcn", "--tuned", code=2)
    assert "unet: lr=0.01 has no effect where bench tune chooses it; leave it out" in out
    out = bench.run(slices(), "unet,fcn", "--tuned", code=2)
    assert "unet was not tuned on mr" in out
    assert "bench tune --methods unet --datasets mr" in out
    assert not list(bench.home.rglob("cell.json"))
