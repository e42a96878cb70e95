"""What is installed: its names, what works without PyTorch, and the versions that were tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.spec import installing, registry
from bench.spec.errors import UsageError
from tests import constraints
from tests.user import ROOT
from tests.written import DICE, failed, finished

WITHOUT_TORCH = """
import contextlib, importlib.machinery, importlib.metadata, io, sys
look = importlib.machinery.PathFinder.find_spec
def blocked(name, path=None, target=None):
    return None if name.partition(".")[0] in {train} else look(name, path, target)
importlib.machinery.PathFinder.find_spec = staticmethod(blocked)
version = importlib.metadata.version
def installed(name):
    if name.replace("-", "_") in {train}:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = installed
from bench.cli.app import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["bench", *line.split()]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main()
    except SystemExit as left:
        print(f"<{{left.code or 0}}> {{line}}")
    print(out.getvalue())
assert not any(name.partition(".")[0] in {train} for name in sys.modules)
"""


def without_torch(folder: Path, *commands: str) -> dict[str, str]:
    """Return what each command says and its exit code where nothing of `train` is installed."""
    code = WITHOUT_TORCH.format(train=installing.TRAIN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join(commands),
        cwd=folder,
        env={
            "PYTHONPATH": str(ROOT),
            "BENCH_CACHE": str(folder / "cache"),
            "PATH": "",
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = {}
    for part in done.stdout.split("\n<"):
        code, _, rest = part.removeprefix("<").partition("> ")
        command, _, words = rest.partition("\n")
        said[command] = f"{code} {words}"
    return said


def test_reports_statistics_and_audits_need_no_torch(tmp_path: Path) -> None:
    """A folder `methods/` of the user's, which lies first on the path, is left alone too."""
    own = tmp_path / "methods"
    own.mkdir()
    (own / "__init__.py").write_text("raise RuntimeError('not the methods that are meant')")
    for method, dice in DICE.items():
        finished(tmp_path / "results", method, dice)
    failed(tmp_path / "results", "unet:width=9", "no luck")
    (tmp_path / "scores.csv").write_text(
        "method,case,patient,dice\n"
        + "".join(f"{name},c{n},p{n},0.{8 + n % 2}\n" for name in "ab" for n in range(6))
    )
    commands = [
        "--help",
        "report --no-pictures",
        "compare scores.csv --baseline a",
        "import scores.csv --out mine",
        "report --out mine --no-pictures",
        "audit --paper",
        "verify results",
        "doctor",
        "methods --json",
        "plan --methods unet,verdiff --datasets mr --profile smoke",
        "run --methods unet --datasets mr --profile smoke",
        "tune --methods unet --datasets mr --profile smoke",
    ]
    said = without_torch(tmp_path, *commands)
    assert [command for command in commands[:8] if said[command][0] not in "01"] == []
    assert "unet" in said["report --no-pictures"].lower()
    for command in commands[8:]:
        assert said[command].startswith("2 bench: this needs torch, which is not installed")
        assert said[command].strip().count("\n") == 0
        assert f"pip install -e '{ROOT}[train]'" in said[command]


def test_an_install_is_named_as_it_works_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert installing.command("slurm") == f"pip install -e '{ROOT}[slurm]'"
    assert installing.command_for("another[extra]") == "pip install 'another[extra]'"
    monkeypatch.chdir(ROOT)
    assert installing.command_for("verdiff-bench[monai]") == "pip install -e '.[monai]'"
    monkeypatch.setattr(installing, "__file__", str(tmp_path / "bench" / "spec" / "installing.py"))
    assert installing.command("slurm") == "pip install 'verdiff-bench[slurm]'"


def test_training_without_one_of_its_packages_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installing, "find_spec", lambda name: None if name == "timm" else name)
    installing.refuse_untrainable(["verdiff"])
    with pytest.raises(UsageError, match=r"this needs timm, which is not installed.*\[train\]"):
        installing.refuse_untrainable(["verdiff", "timm.layers"])


def test_no_name_on_the_top_level_is_one_that_users_have() -> None:
    for name in registry.names(registry.METHODS):
        assert registry.load(registry.METHODS, name).__module__.startswith("verdiff_bench_methods.")
    assert (ROOT / "verdiff_bench_methods").resolve() == ROOT / "methods"


def test_every_dependency_has_a_tested_version_within_its_bound() -> None:
    pins = constraints.pinned()
    wanted = constraints.declared()
    assert len(wanted) > 40
    outside = [one for one in wanted if not one.specifier.contains(pins[one.name.lower()])]
    assert outside == []
    assert list(pins) == sorted(pins)


@pytest.mark.long
def test_the_wheel_has_three_packages(tmp_path: Path) -> None:
    words = ["wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *words], check=True)
    [wheel] = tmp_path.glob("*.whl")
    names = subprocess.run(
        [sys.executable, "-m", "zipfile", "--list", str(wheel)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[1:]
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "bench",
        "verdiff",
        "verdiff_bench_methods",
    }
    assert any(name.startswith("verdiff_bench_methods/unet.py") for name in names)
