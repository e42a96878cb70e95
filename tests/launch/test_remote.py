"""The launchers of clusters: a real Slurm where one runs, and a Ray that starts here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.spec import installing
from tests.conftest import Once, make_slices
from tests.launch.test_survive import until, words
from tests.user import RESULTS, Bench, call, children, digests, long_profile

Make = Callable[..., Path]
TakeBack = Callable[[subprocess.Popen[str], Path], bool]


LAUNCHERS = [
    pytest.param("slurm", marks=pytest.mark.slurm),
    pytest.param("ray", marks=pytest.mark.long),  # each of its cells starts a server of its own
]


@pytest.fixture(autouse=True)
def _available(request: pytest.FixtureRequest) -> None:
    """Skip what needs a Ray that is not installed, or a Slurm that does not run."""
    if "ray" in request.node.name:
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'verdiff-bench[ray]'")
    if request.node.get_closest_marker("slurm") and not _slurm_answers():
        pytest.skip("no Slurm runs here")


def _slurm_answers() -> bool:
    return bool(shutil.which("sinfo")) and bool(
        subprocess.run(["sinfo", "-h"], capture_output=True).stdout
    )


@pytest.fixture
def matrix(slices: Make, tmp_path: Path) -> tuple[str, ...]:
    """Return the words of a matrix of two cells that take seconds each."""
    return (*words(slices(), long_profile(tmp_path, 60)), "--folds", "2")


@pytest.fixture(scope="module")
def here(once: Once) -> Path:
    """Return the folder in which the same matrix was run by the local launcher."""

    def run(folder: Path) -> None:
        words_here = words(make_slices(folder / "data"), long_profile(folder, 60))
        call(folder, *words_here, "--folds", "2", figures=True)

    return once("here", run)


def arguments(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def workers(launcher: str, run: subprocess.Popen[str], home: Path) -> list[int]:
    """Return the processes that run a cell of a run for a cluster: those that forked its server.

    Ray starts them below the run; Slurm's name the results folder. Other tests have their own.
    """
    if launcher == "ray":
        found = [pid for pid in children(run.pid) if "ray::" in arguments(pid)]
    else:
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        found = [
            pid for pid in pids if "submitit" in arguments(pid) and str(home) in arguments(pid)
        ]
    return [pid for pid in found if any("forkserver" in arguments(c) for c in children(pid))]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_another_launcher_gives_the_same_bytes_though_a_worker_is_killed(
    bench: Bench, matrix: tuple[str, ...], here: Path, launcher: str
) -> None:
    """The killed worker's cell is run again; the other one nobody disturbs."""
    process = bench.start(*matrix, "--out", "there", "--launcher", launcher)
    until(lambda: list((bench.home / "there").rglob("checkpoint-*.pt")))
    until(lambda: workers(launcher, process, bench.home))
    os.kill(workers(launcher, process, bench.home)[0], signal.SIGKILL)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert "2 cells, 2 to run, by " in out
    assert digests(here / "results", *RESULTS) == digests(bench.home / "there", *RESULTS)
    tables = ("table1-*", "figure8-*")
    assert digests(here / "reports", *tables) == digests(bench.home / "reports", *tables)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ctrl_c_takes_the_cells_back(
    bench: Bench, slices: Make, tmp_path: Path, launcher: str
) -> None:
    run = words(slices(), long_profile(tmp_path, 3000), "unet,unet:width=5")
    process = bench.start(*run, "--launcher", launcher)
    until(lambda: list(bench.home.rglob("checkpoint-*.pt")))
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert time.monotonic() - asked < 10
    assert "goes on where this one was" in out
    until(lambda: "running" not in bench("status").splitlines()[0], 30)
    assert not list(bench.home.rglob("error.txt"))


def _requeue(run: subprocess.Popen[str], home: Path) -> bool:
    running = subprocess.run(
        ["squeue", "-h", "-t", "R", "-o", "%i"], capture_output=True, text=True
    ).stdout.split()
    return (
        bool(running)
        and subprocess.run(["scontrol", "requeue", running[0]], capture_output=True).returncode == 0
    )


def _signal(run: subprocess.Popen[str], home: Path) -> bool:
    """Send what Slurm sends 90 s before the end of a task's time."""
    for pid in workers("slurm", run, home)[:1]:
        os.kill(pid, signal.SIGUSR2)
        return True
    return False


@pytest.mark.slurm
@pytest.mark.parametrize("take_back", [_requeue, _signal])
def test_what_slurm_takes_back_is_queued_again_and_goes_on(
    bench: Bench, matrix: tuple[str, ...], here: Path, take_back: TakeBack
) -> None:
    """By a pre-emption, and by the signal that comes before the end of a task's time."""
    process = bench.start(*matrix, "--out", "there", "--launcher", "slurm", "--jobs", "1")
    until(lambda: list((bench.home / "there").rglob("checkpoint-*.pt")))
    until(lambda: take_back(process, bench.home), 30)
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, out
    assert digests(here / "results", *RESULTS) == digests(bench.home / "there", *RESULTS)
    logs = "".join(path.read_text() for path in (bench.home / "there" / "slurm").rglob("*log.out"))
    assert logs.count("Starting with") >= 3


@pytest.mark.slurm
def test_a_partition_that_is_not_there_is_one_line(bench: Bench, slices: Make) -> None:
    out = bench.run(
        slices(), "unet,fcn", "--launcher", "slurm", "--slurm", "partition=nowhere", code=2
    )
    assert "Slurm refused the cells: " in out
    assert "nvalid partition" in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            ("--launcher", "ray", "--address", "127.0.0.1:9"),
            "no Ray answers at --address 127.0.0.1:9",
        ),
        (("--launcher", "ray", "--address", "nowhere"), "expected HOST:PORT"),
        (
            ("--launcher", "ray", "--address", "auto", "--jobs", "2"),
            "--jobs is for a Ray that starts here",
        ),
        pytest.param(
            ("--launcher", "ray", "--device", "cuda", "--gpus", "64"),
            "no node of this Ray has what a cell asks for",
            marks=pytest.mark.long,  # starts a Ray
        ),
        (("--launcher", "slurm", "--slurm", "partition"), "expected KEY=VALUE"),
    ],
)
def test_wrong_use_is_one_line(
    bench: Bench, slices: Make, option: tuple[str, ...], message: str
) -> None:
    if "ray" in option:
        pytest.importorskip("ray", reason="Ray is not installed")
    out = bench.run(slices(), "unet", *option, code=2)
    assert message in out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("launcher", "package", "module"), [("ray", "Ray", "ray"), ("slurm", "submitit", "submitit")]
)
def test_an_extra_that_is_not_installed_is_named(
    bench: Bench,
    slices: Make,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
    package: str,
    module: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    out = bench.run(slices(), "unet", "--launcher", launcher, code=2)
    assert f"--launcher {launcher} needs {package}: {installing.command(launcher)}" in out
