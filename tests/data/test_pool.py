"""Readers that die, hang, crash or ask for all memory: each is named by its file, and at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.data import cache
from bench.data.pool import Lost, Pool
from bench.data.readers import limits
from bench.spec.errors import UsageError
from bench.spec.processes import at_most, memory
from tests.user import ROOT

Make = Callable[..., Path]

ODD = """
import ctypes, os, signal, time
from dataclasses import dataclass
import numpy as np
from bench.data.readers.mr import MR
from bench.spec.options import option

@dataclass(frozen=True)
class Odd(MR):
    how: str = option("", "what happens to patient 3", free=True)

    def read(self, item):
        if item.patient == "3":
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "crash":
                ctypes.string_at(0)
            if self.how == "hang":
                time.sleep(600)
            if self.how == "memory":
                len(np.ones(1 << 40, np.uint8))
        yield from super().read(item)

def double(number):
    if number == 7:
        os._exit(3)
    if number == 11:
        raise KeyError("eleven")
    return 2 * number
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a module of readers that fail, in this process and in those that it starts."""
    (tmp_path / "odd_readers.py").write_text(ODD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bench.data.reading.LIGHT", 0)


def prepared(data: Path, how: str, jobs: int) -> Path:
    import odd_readers  # type: ignore[import-not-found]

    return cache.prepare(odd_readers.Odd(how=how), data / "mr", jobs)


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("kill", "its reader was killed, as happens when memory runs out; run again, remove it"),
        ("hang", "has not been read within 2 s, so its reader was killed; run again, remove it"),
        ("memory", "to read, of .* GB; remove it, or set BENCH_READ_SHARE"),
    ],
)
def test_what_depends_on_the_machine_stops_all_by_name_and_leaves_no_cache(
    slices: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, words: str
) -> None:
    """Else a file would be left out for ever, because the machine was busy once."""
    if how == "hang":
        monkeypatch.setenv(limits.SECONDS_VARIABLE, "2")
    with pytest.raises(UsageError, match=f"3_[01].png .*{words}"):
        prepared(slices(patients=12), how, 2)
    assert not list((tmp_path / "cache").glob("mr-*"))


@pytest.mark.usefixtures("odd")
def test_a_file_at_which_a_library_crashes_is_left_out_and_the_others_go_on(slices: Make) -> None:
    dataset = cache.load(prepared(slices(patients=12), "crash", 2))
    assert [case.patient for case in dataset.cases].count("3") == 0
    assert len(dataset.cases) == 22
    assert len(dataset.left_out) == 2
    assert "3_0.png cannot be read: a library crashed (SIGSEGV); write it" in dataset.left_out[0]


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("variable", [limits.SECONDS_VARIABLE, limits.SHARE_VARIABLE])
@pytest.mark.parametrize("text", ["none", "0", "-1", "nan", "1e400"])
def test_a_wrong_limit_is_one_line(
    slices: Make, monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(UsageError, match=f"{variable}={text}: expected .* above 0"):
        prepared(slices(patients=3), "", 1)


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("at_once", [1, 3])
def test_results_come_in_order_and_what_has_none_says_so(at_once: int) -> None:
    import odd_readers

    pool = Pool(odd_readers.double, range(20), 2, 60, at_once)
    results = pool.results()
    assert [next(results) for _ in range(7)] == [0, 2, 4, 6, 8, 10, 12]
    assert next(results) == Lost("cannot be read: its reader ended with exit code 3")
    assert [next(results) for _ in range(3)] == [16, 18, 20]
    with pytest.raises(KeyError, match="eleven"):
        next(results)
    assert not pool._readers[0].process.is_alive()


def test_memory_is_held_to_a_share_and_then_free_again() -> None:
    with pytest.raises(MemoryError), at_most(100 << 20):
        bytearray(300 << 20)
    with at_most(600 << 20):
        bytearray(300 << 20)
    bytearray(300 << 20)
    assert 1 << 28 < memory() < 1 << 50


ALONE = """
import sys, time
from pathlib import Path
from bench.data.pool import watched
with watched("hangs.png", 0.5):
    time.sleep(60)
"""


def test_where_nothing_else_can_end_it_the_command_ends_by_name() -> None:
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2
    assert done.stderr == (
        "bench: hangs.png has not been read within 0.5 s; remove it, and run again\n"
    )
    assert time.monotonic() - began < 30


ORPHANS = """
import os, sys, time
from bench.data.pool import Pool
import odd_readers
print(os.getpid(), flush=True)
for _ in Pool(odd_readers.napping, [60] * 4, 2, 600).results():
    pass
"""


@pytest.mark.usefixtures("odd")
def test_readers_end_with_a_launcher_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "odd_readers.py").write_text(
        "import os, sys, time\n"
        "def napping(seconds):\n"
        "    open(f'{os.getpid()}.reader', 'w').close()\n"
        "    time.sleep(seconds)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    launcher = subprocess.Popen([sys.executable, "-c", ORPHANS], env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while len(readers := list(tmp_path.glob("*.reader"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        launcher.kill()
        launcher.wait()
    pids = [int(path.stem) for path in readers]
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"
