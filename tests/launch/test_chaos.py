"""Two hundred kills at random moments: of launchers, servers, cells, workers and readers."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.data import cache
from bench.spec import registry
from bench.spec.names import Spec
from tests.user import RESULTS, Bench, children, digests, long_profile

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("pictures")]
Make = Callable[..., Path]
TABLES = ("table*", "figure8-*.csv")
SHARE = float(os.environ.get("BENCH_CHAOS", "1"))
"""Of the kills, to try them in less time."""
LEAVE_SECONDS = 30.0
"""That what a killed launcher started may take to end."""


@dataclass
class Kills:
    """Starts a command and kills it, again and again."""

    bench: Bench
    words: tuple[str, ...]
    longest: float
    """Seconds within which a kill comes."""
    dice: random.Random

    def times(self, count: int, between: Callable[[], object] = lambda: None) -> None:
        """Kill the launcher, what it started, or both, so often; nothing may be left of it."""
        for _ in range(max(1, round(SHARE * count))):
            between()
            process = self.bench.start(*self.words)
            time.sleep(self.dice.uniform(0, self.longest))
            below, what = children(process.pid), self.dice.choice(["launcher", "below", "both"])
            victims = [process.pid] if what != "below" else []
            victims += below if what != "launcher" else []
            for pid in victims:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue  # it had just ended by itself
            out, _ = process.communicate()
            assert "Traceback" not in out, out
            self._wait_for(below)

    def _wait_for(self, pids: list[int]) -> None:
        deadline = time.monotonic() + LEAVE_SECONDS
        while left := [pid for pid in pids if is_alive(pid)]:
            assert time.monotonic() < deadline, f"{left} are left of {self.words[0]}"
            time.sleep(0.1)


def is_alive(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def selection(data: Path, profile: Path) -> tuple[str, ...]:
    return ("--datasets", "mr", "--data", str(data), "--profile", str(profile))


@pytest.fixture
def dice() -> random.Random:
    return random.Random(35)


def test_sixty_kills_of_a_run(
    bench: Bench, slices: Make, tmp_path: Path, dice: random.Random
) -> None:
    words = ("run", *selection(slices(), long_profile(tmp_path, 150)), "--folds", "2")
    words = (*words, "--methods", "unet,fcn", "--jobs", "2")
    bench(*words, "--out", "whole", "--report", "report-whole")
    again = (*words, "--out", "killed", "--report", "report-killed", "--retry-failed")
    Kills(bench, again, 12, dice).times(60)
    bench(*again)
    assert digests(bench.home / "whole", *RESULTS) == digests(bench.home / "killed", *RESULTS)
    assert digests(bench.home / "report-whole", *TABLES) == digests(
        bench.home / "report-killed", *TABLES
    )
    bench("verify", "killed")


def test_twenty_kills_of_an_ablation(
    bench: Bench, slices: Make, tmp_path: Path, dice: random.Random
) -> None:
    profile = long_profile(tmp_path, 20)
    words = ("ablate", "--dataset", "mr", "--data", str(slices()), "--profile", str(profile))
    words = (*words, "--factors", "nsa", "--jobs", "2")
    bench(*words, "--out", "whole", "--report", "report-whole")
    again = (*words, "--out", "killed", "--report", "report-killed")
    Kills(bench, again, 15, dice).times(20, lambda: forgive(bench))
    forgive(bench)
    bench(*again)
    assert digests(bench.home / "whole", *RESULTS) == digests(bench.home / "killed", *RESULTS)


def forgive(bench: Bench) -> None:
    """Have cells that were killed alone run again: `ablate` leaves failed ones be."""
    for path in (bench.home / "killed").rglob("error.txt"):
        path.unlink()


def test_thirty_kills_of_a_study(
    bench: Bench, slices: Make, tmp_path: Path, dice: random.Random
) -> None:
    words = ("tune", *selection(slices(), long_profile(tmp_path, 40)), "--methods", "unet")
    words = (*words, "--trials", "6", "--jobs", "2")
    Kills(bench, words, 10, dice).times(30)
    bench(*words)
    (path,) = bench.home.rglob("tuning.db")
    with sqlite3.connect(path) as database:
        (count,) = database.execute(
            "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
        ).fetchone()
    assert count == 6


def test_thirty_kills_of_a_report(
    bench: Bench, slices: Make, tmp_path: Path, dice: random.Random
) -> None:
    words = ("run", *selection(slices(), long_profile(tmp_path, 10)), "--methods", "unet,fcn")
    bench(*words)
    before = digests(bench.home / "results", "*")
    bench("report", "--to", "whole")
    Kills(bench, ("report", "--to", "killed"), 9, dice).times(30)
    bench("report", "--to", "killed")
    names = ("table*", "*.csv", "numbers.tex")
    assert digests(bench.home / "whole", *names) == digests(bench.home / "killed", *names)
    assert digests(bench.home / "results", "*") == before


def films(root: Path) -> Path:
    """Make films whose preparation takes seconds."""
    rng = np.random.default_rng(0)
    mask = np.zeros((1500, 1000), np.uint8)
    mask[300:900, 200:700] = 255
    for number in range(40):
        small = rng.integers(0, 255, (150, 100), np.uint8)
        image = cv2.resize(small, (1000, 1500), interpolation=cv2.INTER_CUBIC)
        for kind, values in (("images", image), ("masks", mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / kind / f"p{number}.png"), values)
    return root


def hidden(folder: Path) -> list[str]:
    """Return what an unfinished write left in a folder."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_thirty_kills_of_a_preparation(
    bench: Bench, tmp_path: Path, own_cache: Path, dice: random.Random
) -> None:
    root = films(tmp_path / "films")
    name = f"{root}:pattern={{patient}}"
    words = ("data", "prepare", name, "--from", str(root))
    Kills(bench, words, 5, dice).times(30, lambda: forget(own_cache))
    forget(own_cache)
    bench(*words)
    folder = cache.find(registry.dataset(Spec.parse(name)), root)
    assert folder
    dataset = cache.load(folder)
    assert len(dataset.cases) == 40
    assert not dataset.left_out
    assert cache.load(folder).digest == dataset.digest
    assert not hidden(own_cache)


def forget(folder: Path) -> None:
    """Have a finished preparation begin anew."""
    for path in folder.glob("films-*"):
        path.rename(path.with_name(f"{path.name}.old{len(list(folder.iterdir()))}"))


def test_fifteen_kills_of_cleaning(
    bench: Bench, slices: Make, tmp_path: Path, dice: random.Random
) -> None:
    words = ("run", *selection(slices(), long_profile(tmp_path, 10)), "--methods", "unet,fcn")
    bench(*words)
    whole = digests(bench.home / "results", *RESULTS)
    clean = ("clean", "done", "failed", "stopped", "--yes")
    Kills(bench, clean, 4, dice).times(15, lambda: bench(*words))
    bench(*words)
    assert digests(bench.home / "results", *RESULTS) == whole
    bench("verify")
    bench(*clean)
    assert not hidden(bench.home / "results")


def test_fifteen_kills_of_an_export(
    bench: Bench, slices: Make, tmp_path: Path, dice: random.Random
) -> None:
    words = ("data", "export", "mr", "--data", str(slices(patients=30, each=4)), "--to")
    bench(*words, "whole")
    target = bench.home / "killed"

    def fresh() -> None:
        for path in target.glob("Dataset*"):
            path.rename(path.with_name(f"old{len(list(target.iterdir()))}"))

    Kills(bench, (*words, str(target)), 6, dice).times(15, fresh)
    fresh()
    bench(*words, str(target))
    (folder,) = target.glob("Dataset*")
    (whole,) = (bench.home / "whole").glob("Dataset*")
    assert digests(folder, "*.nii.gz", "*.csv") == digests(whole, "*.nii.gz", "*.csv")
    assert not hidden(target)
