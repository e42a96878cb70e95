"""`bench` as a user calls it, with a method that fails in every way."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from bench.cli import app as cli
from bench.spec import registry

PLUGIN = '''
import ctypes, os, signal, time
from dataclasses import dataclass
import torch
from torch import nn
from bench.spec.method import Answer, Method
from bench.spec.options import option

@dataclass(frozen=True)
class Faulty(Method):
    """Fails in the way that its option says."""
    in_all = False
    how: str = option(
        "raise",
        "how it fails",
        choices=("raise", "kill", "crash", "hang", "memory", "shape", "rows"),
    )
    calm: bool = option(False, "does nothing")
    title = "Faulty"
    source = "tests"

    def build(self, task):
        if self.how == "raise":
            raise RuntimeError("no such luck")
        return nn.Conv2d(1, 1, 1)

    def loss(self, net, image, mask, rng):
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "crash":
            ctypes.string_at(0)
        if self.how == "hang":
            time.sleep(600)
        if self.how == "memory" and len(image) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().loss(net, image, mask, rng)

    def predict(self, net, image, rng):
        return super().predict(net, image, rng) if self.how == "memory" else image[..., :5]

    extras = ()

    def answer(self, net, image, rng):
        more = {"other": image} if self.how == "rows" else {}
        return Answer(image if more else self.predict(net, image, rng), extras=more)
'''

ROOT = Path(__file__).parents[1]
"""The project."""
SMOKE = (ROOT / "bench" / "spec" / "profiles" / "smoke.toml").read_text()
"""The profile of tests, to be changed."""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that acts as an installed package with a method that fails."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "faulty_plugin.py").write_text(PLUGIN)
    info = folder / "faulty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[verdiff_bench.methods]\nfaulty = faulty_plugin:Faulty\n"
    )
    return folder


def forget() -> None:
    """Have the registry look again at what is installed."""
    registry._installed.cache_clear()
    registry._entries.cache_clear()
    registry.load.cache_clear()


def leave_undrawn(patch: pytest.MonkeyPatch) -> None:
    """Have the report of a run and of a study leave empty files in the place of figures."""

    def undrawn(table: Any, paths: Sequence[Path], *_: Any) -> None:
        for path in paths:
            path.touch()

    for name in ("figure8", "seconds"):
        patch.setattr(f"bench.report.figures.{name}.draw", undrawn)
    patch.setattr("bench.tuning.plots.draw", lambda study, folder: None)


def start(
    home: Path, *words: str, before: Sequence[str] = (), paths: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start `bench` as a process in a folder."""
    # a background job's tests inherit it ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [*before, sys.executable, "-m", "bench.cli", *words],
        cwd=home,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *sys.path])},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def call(home: Path, *words: str, figures: bool = False) -> str:
    """Call `bench` in this process and a folder that tests share; return its output."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(sys, "argv", ["bench", *words])
        patch.setenv("COLUMNS", "200")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        if not figures:
            leave_undrawn(patch)
        with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as left:
            cli.main()
    assert not left.value.code, out.getvalue()
    return out.getvalue()


class Bench:
    """Calls the command line in an empty folder of its own."""

    def __init__(
        self,
        home: Path,
        plugin: Path,
        capsys: pytest.CaptureFixture[str],
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.home, self.plugin, self.capsys, self.patch = home, plugin, capsys, patch

    def start(self, *words: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start the command as a process, to be killed; `before` is a command that starts it."""
        return start(self.home, *words, before=before, paths=[str(self.plugin)])

    def __call__(self, *words: str, code: int = 0) -> str:
        """Call the command in this process; return what it printed, errors last."""
        self.patch.setattr(sys, "argv", ["bench", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = self.capsys.readouterr()
        assert (left.value.code or 0) == code, out + err
        return out if code == 0 else out + err

    def run(self, data: Path, methods: str = "unet", *words: str, code: int = 0) -> str:
        return self(
            "run",
            "--methods",
            methods,
            "--datasets",
            "mr",
            "--data",
            str(data),
            "--profile",
            "smoke",
            *words,
            code=code,
        )

    def cell(self, method: str = "unet", label: str = "f0-s35") -> Path:
        return next((self.home / "results" / "smoke").glob(f"mr@real-*/{method}/{label}"))


@pytest.fixture
def pictures() -> Iterator[None]:
    """Draw figures too: `bench` leaves empty files in their place where a test does not ask.

    Optuna changes the style of all later figures of its process; it ends with the test.
    """
    import matplotlib as mpl

    with mpl.rc_context():
        yield


@pytest.fixture
def bench(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    plugin: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Call `bench` in a folder of its own.

    Cells run in processes that one server forks for the whole session, so PyTorch is loaded once.
    """
    if "pictures" not in request.fixturenames:
        leave_undrawn(monkeypatch)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # results are bit-identical on the CPU alone
    monkeypatch.syspath_prepend(plugin)
    forget()
    yield Bench(home, plugin, capsys, monkeypatch)
    forget()


def digests(root: Path, *patterns: str) -> dict[str, str]:
    files = sorted(path for pattern in patterns for path in root.rglob(pattern) if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


RESULTS = ("cases.csv", "*.png", "model.safetensors", "table1-*")
"""What must be the same to the byte, however a matrix came to its end."""


def long_profile(folder: Path, steps: int = 60) -> Path:
    """Return a profile whose cells take seconds, so that a kill meets them at work."""
    profile = folder / "long.toml"
    profile.write_text(
        SMOKE.replace("steps = 4", f"steps = {steps}")
        .replace("patience = 2", "patience = 999")
        .replace("validate_every = 2", "validate_every = 10")
    )
    return profile


def children(pid: int) -> list[int]:
    """Return the processes below one, the deepest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(words[1]) == pid:
            found += [*children(int(stat.parent.name)), int(stat.parent.name)]
    return found
