from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.spec.config import Cell, DatasetRef
from bench.spec.errors import UsageError
from bench.spec.names import DatasetId, Spec
from bench.spec.profile import load_profile
from bench.store import clean
from bench.store.cells import Store
from bench.store.lease import BusyError, Leases
from bench.store.plan import Place, Plan
from bench.store.results import finished_profiles
from tests.user import Bench, digests
from tests.written import record_of

PROFILE = load_profile("smoke")
STATES = ("done", "failed", "stopped", "waiting")
METHODS = dict(zip(STATES, ("unet", "unet:width=5", "fcn", "sam"), strict=True))


def cell(method: str, dataset: str = "mr", digest: str = "abcdef0123") -> Cell:
    ref = DatasetRef(id=DatasetId(dataset, "phantom", digest), cache="")
    return Cell(profile=PROFILE, dataset=ref, method=Spec.parse(method), seed=35)


def leave(store: Store, one: Cell, state: str) -> None:
    """Have a cell end in a state."""
    if state == "waiting":
        return
    with store.at_work(one) as work:
        work.predictions().mkdir()
        (work.predictions() / "f1-s1.png").write_bytes(b"mask")
        if state == "done":
            store.finish(one, record_of(one))
        elif state == "failed":
            store.fail(one, "ValueError: no such luck\n")


@pytest.fixture
def store(bench: Bench) -> Store:
    """Return a store with a cell in each state, and all that is not a cell's own."""
    store = Store(bench.home / "results")
    store.open(PROFILE)
    plan = Plan(store, PROFILE.name)
    plan.remember([cell(method) for method in METHODS.values()])
    plan.declare(Spec("unet"), "holm", [Spec.parse(method) for method in METHODS.values()])
    for state, method in METHODS.items():
        leave(store, cell(method), state)
    dataset = store.folder(cell("unet")).path.parents[1]
    (dataset / "references").mkdir()
    for name in ("references/f1-s1-image.png", "split.csv", "unet/notes.txt"):
        (dataset / name).write_bytes(b"not a cell's")
    return store


def states(store: Store) -> dict[str, str]:
    return {place.method: place.state for place in Plan(store, PROFILE.name).places()}


def first(store: Store, state: str) -> Place:
    """Return the first cell in a state."""
    return next(place for place in Plan(store, PROFILE.name).places() if place.state == state)


@pytest.mark.parametrize(
    "wanted", [("done",), ("failed",), ("stopped",), ("stopped", "done", "failed")]
)
def test_only_what_is_named_is_removed(bench: Bench, store: Store, wanted: tuple[str, ...]) -> None:
    before = digests(store.root, "*")
    out = bench("clean", *wanted, "--yes")
    folders = [
        str(store.folder(cell(METHODS[state])).path.relative_to(bench.home)) for state in wanted
    ]
    assert all(folder in out for folder in folders)
    assert f"Removed {len(wanted)} of {len(wanted)}" in out
    inside = tuple(
        f"{folder.removeprefix('results/')}{end}/" for folder in folders for end in ("", ".part")
    )
    assert digests(store.root, "*") == {
        path: digest for path, digest in before.items() if not path.startswith(inside)
    }
    assert states(store) == {
        method: "waiting" if state in wanted else state for state, method in METHODS.items()
    }
    assert f"No cell is {' or '.join(wanted)}; nothing to remove" in bench(
        "clean", *wanted, "--yes"
    )


def test_methods_and_datasets_are_named_as_in_status(bench: Bench, store: Store) -> None:
    for other in (cell("unet", "xray"), cell("unet", "mr", "99999999")):
        leave(store, other, "done")
    leave(store, cell("unet:width=7"), "failed")
    bench("clean", "failed", "done", "--methods", "unet:width=5", "--yes")
    assert states(store) | {"unet:width=5": "waiting"} == states(store)
    assert states(store)["unet:width=7"] == "failed"
    bench("clean", "done", "--datasets", "mr@phantom-99999999,xray", "--yes")
    assert [store.folder(each).path.exists() for each in (cell("unet"), cell("unet", "xray"))] == [
        True,
        False,
    ]
    bench("clean", "done", "--datasets", "mr", "--methods", "unet,fcn", "--yes")
    assert not store.layout.profile(PROFILE).finished()


def test_the_command_that_a_conflict_names_removes_that_method_on_that_dataset_alone(
    bench: Bench, store: Store
) -> None:
    for other in (cell("unet", "xray"), cell("unet", "mr", "99999999")):
        leave(store, other, "done")
    changed = replace(cell("unet"), volumes=True)
    with pytest.raises(UsageError, match="another choice of --score") as refused:
        store.status(changed)
    command = str(refused.value).rpartition(": ")[2]
    assert command.startswith("bench clean done --methods unet --datasets mr@phantom-abcdef01 ")
    bench(*shlex.split(command)[1:], "--yes")
    left = [cell("unet"), cell("unet", "xray"), cell("unet", "mr", "99999999")]
    assert [store.status(one) for one in left] == ["waiting", "done", "done"]
    assert store.status(changed) == "waiting"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["runing"], "cells that are 'runing' cannot be removed; Valid: damaged, done, failed"),
        (["stoped"], "did you mean 'stopped'"),
        (["done", "--methods", "unett"], "no cell is of the method 'unett'; did you mean 'unet'?"),
        (["done", "--methods", "fcn,"], ""),
        (["done", "--datasets", "ct"], "no cell is of the dataset 'ct'"),
        (["done", "--profile", "cpu"], "has no planned cell under the profile 'cpu'"),
        (["done", "--profile", "../results/smoke"], "profile '../results/smoke' cannot be used"),
        (["done"], "this is no terminal to ask on; --yes removes what is listed"),
    ],
)
def test_nothing_is_removed_where_nothing_was_confirmed(
    bench: Bench, store: Store, words: list[str], line: str
) -> None:
    before = digests(store.root, "*")
    out = bench("clean", *words, code=2 if line else 0)
    assert line in out
    if words == ["done"]:
        assert "mr@phantom-abcdef01/unet/f0-s35" in out
    assert digests(store.root, "*") == before


def test_a_state_must_be_named(bench: Bench, store: Store) -> None:
    bench("clean", "--yes", code=2)
    assert states(store)["unet"] == "done"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "left"), [("n\n", "done"), ("\n", "done"), ("y\n", "waiting")])
def test_it_asks_on_a_terminal(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch, answer: str, left: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    bench("clean", "done", code=int(left == "done"))
    assert states(store)["unet"] == left


def test_a_running_cell_is_never_touched(bench: Bench, store: Store) -> None:
    place = first(store, "stopped")
    with store.at_work(cell(METHODS["stopped"])):
        before = digests(store.root, "*")
        assert "nothing to remove" in bench("clean", "stopped", "--yes")
        with pytest.raises(BusyError):  # it was listed before, and began since
            clean.remove(store, PROFILE.name, place, Leases())
        assert digests(store.root, "*") == before


def test_a_cell_whose_state_changed_since_it_was_listed_is_left(store: Store) -> None:
    place = first(store, "failed")
    shutil.rmtree(store.working(cell(place.method)).path)
    leave(store, cell(place.method), "done")
    before = digests(store.root, "*")
    assert clean.remove(store, PROFILE.name, place, Leases()) is False
    assert digests(store.root, "*") == before


KILLED = """
import os, signal, sys
from pathlib import Path
from bench.store.lease import Leases
from bench.store.cells import Store
from bench.store.clean import remove
from bench.store.plan import Plan
rename, left = Path.rename, int(sys.argv[1])
def deadly(self, target):
    global left
    left -= 1
    rename(self, target)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
Path.rename = deadly
store = Store(Path("results"))
done = next(place for place in Plan(store, "smoke").places() if place.state == "done")
remove(store, "smoke", done, Leases())
"""


@pytest.mark.parametrize("renames", [1, 2])
def test_killed_in_the_middle_no_half_cell_counts(bench: Bench, store: Store, renames: int) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(renames)], cwd=bench.home, env=env, check=False
    )
    assert killed.returncode == -9
    assert states(store)["unet"] in ("stopped", "waiting")
    assert (store.layout.profile(PROFILE).finished(), finished_profiles(store)) == ([], [])
    assert list(store.root.glob(".removed-*"))
    bench("clean", "failed", "stopped", "--yes")
    assert not list(store.root.glob(".removed-*"))
    leave(store, cell("unet"), "done")


def test_links_are_not_followed(bench: Bench, store: Store, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("all of it")
    (store.folder(cell("unet")).path / "link").symlink_to(precious)
    (store.folder(cell("unet")).path / "file").symlink_to(precious / "thesis.tex")
    moved = store.folder(cell("fcn")).path.parent.rename(tmp_path / "elsewhere")
    store.folder(cell("fcn")).path.parent.symlink_to(moved)
    work = store.working(cell("unet:width=5")).path
    work.rename(tmp_path / "part")
    work.symlink_to(tmp_path / "part")
    for state in ("stopped", "failed"):
        assert "links are not followed" in bench("clean", state, "--yes", code=2)
    bench("clean", "done", "--yes")
    assert (precious / "thesis.tex").read_text() == "all of it"
    assert (moved / "f0-s35.part" / "predictions").is_dir()
    assert (tmp_path / "part" / "error.txt").is_file()


@pytest.mark.parametrize("alive", [False, True])
def test_another_machines_lease_is_watched(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    """A dead node holds its lease for ever; a slow disk can make a live one look free."""
    lease, clock = store.working(cell("fcn")).path / "lease-000007", [1000.0]
    text = json.dumps({"machine": "other", "pid": 1, "started": "1"})
    lease.write_text(f"{0:012}\n{text}\n")
    os.utime(lease, (1, 1))

    def sleep(seconds: float) -> None:
        clock[0] += 20
        if alive:
            lease.write_text(f"{int(clock[0]):012}\n{text}\n")

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    out = bench("clean", "stopped", "failed", "--yes", code=int(alive))
    assert "1 have a lease; it is watched for 90 s" in out
    assert ("left: mr@phantom-abcdef01/fcn/f0-s35: another run is at work on it" in out) is alive
    assert store.working(cell("fcn")).path.exists() is alive
    assert states(store)["unet:width=5"] == "waiting"
