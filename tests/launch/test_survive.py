"""What a matrix survives: kills, signals, crashes, hangs, a full disk, other runs beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Once, make_slices
from tests.user import RESULTS, Bench, call, children, digests, long_profile, start

Make = Callable[..., Path]


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.02)


def words(data: Path, profile: Path | str, methods: str = "unet") -> tuple[str, ...]:
    return (
        "run",
        "--methods",
        methods,
        "--datasets",
        "mr",
        "--data",
        str(data),
        "--profile",
        str(profile),
    )


@pytest.fixture(scope="module")
def whole(once: Once) -> Path:
    """Return the results of a cell that nobody disturbed."""

    def run(folder: Path) -> None:
        data = make_slices(folder / "data")
        call(folder, *words(data, long_profile(folder)))

    return once("whole", run) / "results"


@pytest.fixture(scope="module")
def killed(once: Once) -> Path:
    """Return what was left of the same cell, which was killed with its launcher at work."""

    def run(folder: Path) -> None:
        data = make_slices(folder / "data")
        kill(start(folder, *words(data, long_profile(folder))), folder, cells=True)

    return once("killed", run) / "results"


def kill(process: subprocess.Popen[str], folder: Path, *, cells: bool) -> None:
    """Kill a run, and its cells too, as soon as there is a checkpoint."""
    until(lambda: list(folder.rglob("checkpoint-*.pt")))
    for pid in [*(children(process.pid) if cells else []), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert not list(folder.rglob("cell.json"))


def test_a_run_killed_in_the_middle_goes_on_to_the_same_bytes(
    bench: Bench, slices: Make, tmp_path: Path, whole: Path, killed: Path
) -> None:
    shutil.copytree(killed, bench.home / "killed")
    bench(*words(slices(), long_profile(tmp_path)), "--out", "killed")
    assert digests(whole, *RESULTS) == digests(bench.home / "killed", *RESULTS)


def test_a_run_whose_launcher_alone_is_killed_goes_on_to_the_same_bytes(
    bench: Bench, slices: Make, tmp_path: Path, whole: Path
) -> None:
    run = words(slices(), long_profile(tmp_path))
    kill(bench.start(*run, "--out", "killed"), bench.home, cells=False)
    bench(*run, "--out", "killed")
    assert digests(whole, *RESULTS) == digests(bench.home / "killed", *RESULTS)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_ctrl_c_and_sigterm_checkpoint_and_leave_within_ten_seconds(
    bench: Bench, slices: Make, tmp_path: Path, number: int
) -> None:
    run = words(slices(), long_profile(tmp_path, 3000))
    process = bench.start(*run)
    until(lambda: json.loads(_note(bench)).get("step", 0) > 20)
    asked = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert time.monotonic() - asked < 10
    assert process.returncode == 130, out
    assert "goes on where this one was" in out
    assert "Traceback" not in out
    assert int(max(bench.home.rglob("checkpoint-*.pt")).name.split("-")[1]) > 20
    assert "1 cell: 1 stopped" in bench("status")


def _note(bench: Bench) -> str:
    notes = list(bench.home.rglob("status.json"))
    return notes[0].read_text() if notes else "{}"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", "RuntimeError: no such luck"),
        ("kill", "killed by SIGKILL"),
        ("crash", "crashed in native code (SIGSEGV); its stack is in log.txt"),
        ("shape", "predict gave shape"),
        ("rows", "predict gave the rows ['other'], declared are []"),
    ],
)
def test_a_failing_cell_keeps_its_reason_and_the_rest_goes_on(
    bench: Bench, slices: Make, how: str, reason: str
) -> None:
    data = slices()
    out = bench.run(data, f"faulty:how={how},unet", code=1)
    assert reason in out
    assert "| U-Net |" in out
    assert "| failed |" in out
    kept = bench.cell(f"faulty,how={how}", "f0-s35.part")
    assert reason in (kept / "error.txt").read_text()
    assert reason in bench("status").replace("\n", "")
    if how == "crash":
        assert "Fatal Python error" in (kept / "log.txt").read_text()


def test_what_failed_is_run_again_on_request_alone(bench: Bench, slices: Make) -> None:
    data = slices()
    bench.run(data, "faulty:how=raise,unet", code=1)
    out = bench.run(data, "faulty:how=raise,unet", code=1)
    assert "1 cell failed before and stayed so; --retry-failed runs what failed again" in out
    assert "nothing to run" in out
    assert "1 to run" in bench.run(data, "faulty:how=raise,unet", "--retry-failed", code=1)


def test_a_cell_that_hangs_is_killed_and_the_rest_goes_on(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "faulty:how=hang,unet", "--timeout", "9", code=1)
    assert "no sign of progress for 9 s (--timeout), so it was killed" in out
    assert "| U-Net |" in out
    told = bench("status")
    assert "2 cells: 1 done, 1 failed" in told
    assert "no sign of progress for 9 s" in told


def test_a_device_without_room_for_a_batch_trains_it_in_parts(bench: Bench, slices: Make) -> None:
    out = bench.run(slices(), "faulty:how=memory")
    record = json.loads((bench.cell("faulty,how=memory") / "cell.json").read_text())
    assert record["training"]["parts"] == [[0, 2]]
    assert "from step 1, a batch of 2 in 2 parts whose gradients were added up" in out


@pytest.mark.long  # that of two machines asks for more, and is in the suite
def test_two_runs_share_one_folder(bench: Bench, slices: Make, tmp_path: Path) -> None:
    run = (
        *words(slices(), long_profile(tmp_path, 60)),
        "--folds",
        "2",
        "--jobs",
        "1",
        "--out",
        "shared",
    )
    other = bench.start(*run, "--report", "report-1")
    until(lambda: list((bench.home / "shared").rglob("lease-*")))
    told = [bench(*run, "--report", "report-2"), other.communicate(timeout=300)[0]]
    assert other.returncode == 0, told
    logs = [path.read_text() for path in (bench.home / "shared").rglob("log.txt")]
    assert len(logs) == 2
    assert digests(bench.home / "report-1", "table1-*") == digests(
        bench.home / "report-2", "table1-*"
    )
    began = [line for text in told for line in text.splitlines() if line.startswith("done")]
    assert len(began) == 4  # each of the runs tells of every cell, whoever ran it
    assert not list((bench.home / "shared").rglob("lease-*"))


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of its own with room for 3 MB, or as much as a test says."""
    size = getattr(request, "param", "3m")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_the_cell_and_says_so(
    bench: Bench, slices: Make, small_disk: Path
) -> None:
    out = bench.run(slices(), "unet:width=40", "--out", str(small_disk), code=1)
    assert "No space left on device" in out
    assert "Traceback" not in out
    assert "No space left on device" in bench("status", "--out", str(small_disk))
    assert not list(small_disk.rglob("cell.json"))


def test_a_disk_that_cannot_be_written_is_one_line(
    bench: Bench, slices: Make, small_disk: Path
) -> None:
    data = slices()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    out = bench.run(data, "unet", "--out", str(small_disk / "results"), code=2)
    assert "cannot be written (Read-only file system); choose another with --out" in out


def _as_older_versions_wrote(results: Path) -> None:
    """Take out of every record what older versions did not write: digests and the seal."""
    for path in results.rglob("cell.json"):
        record = json.loads(path.read_text())
        for name in ("digests", "references", "seal"):
            del record[name]
        path.write_text(json.dumps(record))


@pytest.mark.parametrize(("number", "age"), [(1, "an older"), (999, "a newer")])
def test_results_of_another_format_are_left_alone(
    bench: Bench, slices: Make, number: int, age: str
) -> None:
    data = slices()
    bench.run(data)
    path = bench.home / "results" / "smoke" / "profile.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": number}))
    before = digests(bench.home / "results", "*")
    assert f"was written by {age} verdiff-bench" in bench.run(data, "unet,fcn", code=2)
    path.unlink()
    if age == "an older":
        _as_older_versions_wrote(bench.home / "results")
        before = digests(bench.home / "results", "*")
        assert "was written by an older verdiff-bench" in bench.run(data, "unet,fcn", code=2)
    assert {name: before[name] for name in before if name != "smoke/profile.json"} == digests(
        bench.home / "results", "*"
    )


def test_a_clock_that_goes_backwards_changes_nothing(
    bench: Bench, slices: Make, tmp_path: Path, whole: Path, killed: Path
) -> None:
    shutil.copytree(killed, bench.home / "killed")
    for path in (bench.home / "killed").rglob("*"):
        os.utime(path, (4e9, 4e9))  # all was written in the year 2096
    assert "stopped" in bench("status", "--out", "killed")
    bench(*words(slices(), long_profile(tmp_path)), "--out", "killed")
    assert digests(whole, *RESULTS) == digests(bench.home / "killed", *RESULTS)


def test_two_machines_share_one_folder(bench: Bench, slices: Make, tmp_path: Path) -> None:
    """The second has its own host name and process numbers, so neither sees the other's."""
    apart = [
        "unshare",
        "--uts",
        "--pid",
        "--fork",
        "--mount-proc",
        "sh",
        "-c",
        'hostname other && exec "$@"',
        "sh",
    ]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("a host name of its own can be made by root alone")
    run = (
        *words(slices(), long_profile(tmp_path, 30)),
        "--folds",
        "2",
        "--jobs",
        "1",
        "--out",
        "shared",
    )
    other = bench.start(*run, "--report", "report-2", before=apart)
    until(lambda: list((bench.home / "shared").rglob("lease-*")))
    bench(*run, "--report", "report-1")
    told, _ = other.communicate(timeout=300)
    assert other.returncode == 0, told
    assert len(list((bench.home / "shared").rglob("cell.json"))) == 2
    assert digests(bench.home / "report-1", "table1-*") == digests(
        bench.home / "report-2", "table1-*"
    )


@pytest.mark.parametrize("small_disk", ["130k"], indirect=True)
def test_a_study_on_a_full_disk_ends_with_a_line(
    bench: Bench, slices: Make, small_disk: Path
) -> None:
    words = ("--methods", "unet", "--datasets", "mr", "--data", str(slices()))
    out = bench("tune", *words, "--profile", "smoke", "--out", str(small_disk / "r"), code=1)
    assert "bench: the studies in sqlite:///" in out
    assert "cannot be used (database or disk is full); see its path" in out
    assert "Traceback" not in out


@pytest.mark.long
def test_nothing_is_left_of_a_study_whose_launcher_was_killed(
    bench: Bench, slices: Make, tmp_path: Path
) -> None:
    words = ("--methods", "unet", "--datasets", "mr", "--data", str(slices()))
    run = ("tune", *words, "--profile", str(long_profile(tmp_path, 3000)), "--jobs", "2")
    process = bench.start(*run)
    until(lambda: len(children(process.pid)) >= 4)
    time.sleep(3)
    left = children(process.pid)
    process.kill()
    process.communicate()
    assert left
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), 15)


@pytest.mark.long
def test_a_run_that_was_stopped_and_continued_is_as_it_was(
    bench: Bench, slices: Make, tmp_path: Path, whole: Path
) -> None:
    """`--timeout` counts no time in which nothing could run."""
    run = words(slices(), long_profile(tmp_path))
    process = bench.start(*run, "--out", "stopped", "--timeout", "4")
    until(lambda: list(bench.home.rglob("checkpoint-*.pt")))
    everyone = [process.pid, *children(process.pid)]
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(8)
    for pid in reversed(everyone):
        os.kill(pid, signal.SIGCONT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert digests(whole, *RESULTS) == digests(bench.home / "stopped", *RESULTS)
