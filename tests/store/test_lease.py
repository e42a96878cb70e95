from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.store import lease
from bench.store.lease import BusyError, Leases, hold, looks_held
from tests.user import ROOT


def nobody() -> None:
    raise AssertionError("the lease was lost")


def foreign(folder: Path, number: int = 1, beat: int = 0) -> Path:
    """Write the lease of another machine."""
    path = folder / f"lease-{number:06}"
    holder = {"machine": "other", "pid": 1, "started": "1"}
    path.write_text(f"{beat:012}\n{json.dumps(holder)}\n")
    return path


def test_one_alone_holds_a_folder(tmp_path: Path) -> None:
    assert Leases().free(tmp_path) == 0
    with hold(tmp_path, 0, nobody):
        assert Leases().free(tmp_path) is None
        assert looks_held(tmp_path)
        with pytest.raises(BusyError), hold(tmp_path, 0, nobody):
            pass
    assert Leases().free(tmp_path) == 0
    assert not looks_held(tmp_path)


def test_of_many_who_try_at_once_one_gets_it(tmp_path: Path) -> None:
    got, start = [], threading.Barrier(8)

    def attempt(number: int) -> None:
        start.wait()
        try:
            with hold(tmp_path, 0, nobody):
                got.append(number)
                time.sleep(0.3)
        except BusyError:
            pass

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_the_lease_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bench.store.lease import hold\n"
        "with hold(Path(sys.argv[1]), 0, print): print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    assert Leases().free(tmp_path) is None
    holder.kill()
    deadline = time.monotonic() + 10
    while Leases().free(tmp_path) is None:  # also before anybody has waited for it
        assert time.monotonic() < deadline
    assert Leases().free(tmp_path) == 1
    with hold(tmp_path, 1, nobody):
        assert [path.name for path in tmp_path.iterdir()] == ["lease-000002"]
    holder.communicate()


def test_a_process_number_that_is_used_again_is_no_holder(tmp_path: Path) -> None:
    with hold(tmp_path, 0, nobody):
        path = tmp_path / "lease-000001"
        first, second = path.read_text().splitlines()
        path.write_text(f"{first}\n{json.dumps({**json.loads(second), 'started': '12'})}\n")
        assert Leases().free(tmp_path) == 1


def test_another_machines_lease_is_dead_when_it_no_longer_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: clock[0])
    watch = Leases()
    foreign(tmp_path, 4)
    assert watch.free(tmp_path) is None
    clock[0] += lease.STALE_SECONDS - 1
    foreign(tmp_path, 4, beat=1)
    assert watch.free(tmp_path) is None
    clock[0] += lease.STALE_SECONDS - 1
    assert watch.free(tmp_path) is None
    clock[0] += 2
    assert watch.free(tmp_path) == 4
    assert Leases().free(tmp_path) is None  # who has only just looked knows nothing


@pytest.mark.parametrize("when", [0, 4e9])
def test_what_the_clock_says_decides_nothing(tmp_path: Path, when: float) -> None:
    path = foreign(tmp_path)
    os.utime(path, (when, when))
    assert Leases().free(tmp_path) is None


def test_a_holder_that_was_taken_for_dead_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.02)
    lost = threading.Event()
    with hold(tmp_path, 0, lost.set):
        assert not lost.wait(0.2)
        with hold(tmp_path, 1, nobody):
            assert lost.wait(5)


def test_a_holder_shows_that_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.02)
    with hold(tmp_path, 0, nobody):
        before = (tmp_path / "lease-000001").read_text()
        time.sleep(0.3)
        after = (tmp_path / "lease-000001").read_text()
    assert before != after
    assert before[12:] == after[12:]


def test_a_folder_that_was_renamed_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.02)
    work = tmp_path / "cell.part"
    work.mkdir()
    lost = threading.Event()
    with hold(work, 0, lost.set):
        work.rename(tmp_path / "cell")
        assert not lost.wait(0.2)


def test_a_lease_that_was_only_half_written_is_somebodys(tmp_path: Path) -> None:
    (tmp_path / "lease-000001").touch()
    assert Leases().free(tmp_path) is None
