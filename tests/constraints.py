"""`make lock`: write constraints.txt, the versions that the tests ran with, from this environment.

What PyTorch chooses itself (CUDA's libraries) is left out: it is another set on another machine.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
FILE = ROOT / "constraints.txt"
OWN = "verdiff-bench"
EXTRAS = ("train", "test", "lint", "slurm", "ray", "tensorboard", "monai")
"""What the tested environment has; the other extras are tried by nobody but their users."""
OF_TORCH = re.compile("nvidia-|cuda-|triton$")
HEAD = """\
# The versions that the tests ran with, on one Python; another one takes what pyproject.toml allows.
# `make lock` writes this file from .venv; do not edit it.
# pip install -c constraints.txt -e '.[train]'
"""


def declared(extras: Sequence[str] = EXTRAS) -> list[Requirement]:
    """Return what pyproject.toml asks for, with some extras, where its markers hold here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    wanted = map(Requirement, lines)
    return [one for one in wanted if one.name != OWN and (not one.marker or one.marker.evaluate())]


def pinned() -> dict[str, Version]:
    """Return the versions in constraints.txt by name."""
    pins = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            [one] = pin.specifier
            pins[pin.name] = Version(one.version)
    return pins


def closure() -> dict[str, str]:
    """Return the installed version of everything that is needed, by name."""
    versions: dict[str, str] = {}
    waiting = declared()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if OF_TORCH.match(name) or (name in versions and not wanted.extras):
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed; run make lock, which installs what is asked for")
        versions[name] = Version(installed.version).public  # 2.9.0+cpu is 2.9.0 on another machine
        waiting += _needed(installed.requires or (), wanted.extras)
    return versions


def _needed(lines: Sequence[str], extras: set[str]) -> Iterator[Requirement]:
    for line in lines:
        wanted = Requirement(line)
        choices = [{"extra": extra} for extra in ("", *sorted(extras))]
        if wanted.marker is None or any(map(wanted.marker.evaluate, choices)):
            yield wanted


if __name__ == "__main__":
    here = f'python_version == "{sys.version_info.major}.{sys.version_info.minor}"'
    lines = [f"{name}=={version} ; {here}\n" for name, version in sorted(closure().items())]
    FILE.write_text(HEAD + "".join(lines), encoding="utf-8")
    print(f"{FILE.name}: {len(lines)} versions")
