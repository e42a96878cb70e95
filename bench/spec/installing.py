"""What is installed: a part of this package only, perhaps; and the command that adds the rest."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from bench.spec.errors import UsageError

OWN = "verdiff-bench"
"""The name of this package, as pip knows it."""
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
        f"this needs {top}, which is not installed: {command('train')} "
        "(reports, statistics and audits do without it)"
    )


def refuse_without(error: BaseException) -> None:
    """Say what is to be installed, if an import failed since a module of `train` is missing.

    Raises:
        UsageError: It did.
    """
    if isinstance(error, ModuleNotFoundError) and of_train(error.name):
        raise UsageError(missing_for_training(error.name or "")) from error


def refuse_untrainable(modules: Iterable[str]) -> None:
    """Refuse to train where PyTorch or one of so many modules of the extra `train` is missing.

    Raises:
        UsageError: One is.
    """
    for module in ("torch", *modules):
        if of_train(module):
            raise UsageError(missing_for_training(module))
