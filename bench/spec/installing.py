"""What is installed: a part of this package only, perhaps; and the command that adds the rest."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.spec.errors import UsageError

OWN = "verdiff-bench"
TRAIN = (
    "diffusers",
    "nnunetv2",
    "optuna",
    "safetensors",
    "segment_anything",
    "segmentation_models_pytorch",
    "timm",
    "torch",
    "torchvision",
)
"""Modules of the extra `train`: statistics, reports and audits do without them."""


def command(extra: str) -> str:
    """Return what installs an extra: from the source where this is a checkout, else by its name."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").is_file():
        return f"pip install '{OWN}[{extra}]'"
    place = "." if Path.cwd() == root else root
    return f"pip install -e '{place}[{extra}]'"


def command_for(wanted: str) -> str:
    """Return what installs a requirement, which may be an extra of this package."""
    extra = wanted.removeprefix(f"{OWN}[").removesuffix("]")
    if wanted == f"{OWN}[{extra}]":
        return command(extra)
    return f"pip install '{wanted}'"


def of_train(module: str | None) -> bool:
    """Return whether a module belongs to the extra `train`, and is not installed."""
    top = (module or "").partition(".")[0]
    return top in TRAIN and find_spec(top) is None


def missing_for_training(module: str) -> str:
    """Return the line that says what a command needs to train or predict."""
    top = module.partition(".")[0]
    return (
        f"this needs {top}, which is not installed, to train or predict: {command('train')} "
        "(reports, statistics and audits do without it)"
    )


def refuse_untrainable(modules: Iterable[str]) -> None:
    """Refuse to train where PyTorch or one of so many modules of the extra `train` is missing.

    Raises:
        UsageError: One is.
    """
    for module in ("torch", *modules):
        if of_train(module):
            raise UsageError(missing_for_training(module))


@contextmanager
def described_without_torch() -> Iterator[None]:
    """Let files of methods be imported where PyTorch is not installed: for what they say of them.

    Their classes say titles, options, rows and whether they compare. Whoever calls anything of
    PyTorch in them gets the ModuleNotFoundError that the import would have raised.
    """
    if find_spec("torch") is not None:
        yield
        return
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
            del sys.modules[name]


class _Absent(type):
    """A name of PyTorch that can be written, and subclassed, but not called."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(name)

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


def _absent(name: str) -> type:
    return _Absent(name, (), {})


class _Module(ModuleType):
    """A module of PyTorch that has every name."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(name)


class _Finder(MetaPathFinder, Loader):
    """Finds PyTorch where nobody else does."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "torch":
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it is: it has every name."""
