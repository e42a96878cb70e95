from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from bench.spec import registry
from bench.spec.capabilities import highest_lr
from bench.spec.config import Cell, DatasetRef
from bench.spec.errors import UsageError
from bench.spec.names import DatasetId, Spec
from bench.spec.options import options
from bench.spec.profile import Augmentation, load_profile
from bench.spec.space import Between
from bench.tuning.study import Study, connect, fail_dead_trials


def test_a_study_loads_no_torch() -> None:
    code = (
        "import sys, bench.tuning.study; print(*sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", registry.names(registry.METHODS))
@pytest.mark.parametrize("scale", ["full", "half", "small", "tiny"])
def test_a_space_is_of_options_within_their_bounds(name: str, scale: str) -> None:
    method, known = (
        registry.method(Spec.parse(name), scale),
        options(registry.load(registry.METHODS, name)),
    )
    assert "lr" in method.space
    for option, values in method.space.items():
        bounds = known[option].metadata
        for value in (values.low, values.high) if isinstance(values, Between) else values:
            assert bounds["low"] is None or value >= bounds["low"]
            assert bounds["high"] is None or value <= bounds["high"]
    rate = method.space["lr"]
    assert isinstance(rate, Between)
    assert rate.low <= highest_lr(method, rate.low) <= rate.high


def cell() -> Cell:
    ref = DatasetRef(id=DatasetId("mr", "real", "0123456789"), cache="")
    return Cell(profile=load_profile("smoke"), dataset=ref, method=Spec("unet"), seed=35)


def test_a_trial_that_was_taken_but_never_begun_is_given_up(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/tuning.db"
    one = Study(cell(), storage)
    study = optuna.create_study(storage=connect(storage), study_name=one.name, direction="maximize")
    orphan, begun = study.ask(), study.ask()
    one.claim_place(study, begun, 5)
    since: dict[int, float] = {}
    fail_dead_trials(study, since)
    assert [t.state.name for t in study.trials] == ["RUNNING", "RUNNING"]
    fail_dead_trials(study, {number: then - 61 for number, then in since.items()})
    assert study.trials[orphan.number].state.name == "FAIL"
    assert study.trials[begun.number].state.name == "RUNNING"


def test_processes_that_open_a_new_storage_at_once_all_get_it(tmp_path: Path) -> None:
    addresses = [f"sqlite:///{tmp_path}/{number}.db" for number in range(3)]
    with ProcessPoolExecutor(4, multiprocessing.get_context("forkserver")) as pool:
        for address in addresses:
            assert list(pool.map(opens, [address] * 4)) == [[], [], [], []]


def opens(address: str) -> list[str]:
    """Return the studies in a storage."""
    return [study.study_name for study in optuna.get_all_study_summaries(connect(address))]


def test_trials_of_another_augmentation_than_the_profiles_are_not_continued(
    tmp_path: Path,
) -> None:
    storage = f"sqlite:///{tmp_path}/tuning.db"
    usual = cell()
    mine = replace(usual, profile=replace(usual.profile, augmentation=Augmentation(flips="both")))
    study = Study(mine, storage).open()
    Study(mine, storage).open()  # goes on
    identity = study.user_attrs["identity"]
    del identity["augmentation"]  # as trials were kept that had the paper's under any profile
    study.set_user_attr("identity", identity)
    with pytest.raises(UsageError, match="another augmentation; choose another --storage"):
        Study(mine, storage).open()
