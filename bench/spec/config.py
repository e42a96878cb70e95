"""What a run is made of: profiles, prepared datasets, cells, and their content hashes."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from bench.spec import plain
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.names import Column, DatasetId, Label, Scheme, Spec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SEED = 35
"""The paper's random state: the first seed of every run."""

PROTOCOL = 3
"""Raised when code changes what a cell computes, so that no old result passes for a new one."""

Count = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=sys.float_info.max)]
Scale = Literal["full", "small", "tiny"]

_EXAMPLE = "bench/spec/profiles/cpu.toml"
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=,@:-]*")


def safe_name(name: str, what: str) -> str:
    """Return a name if it can be part of a path, of HTML and of LaTeX.

    Raises:
        UsageError: It holds other characters, or is too long.
    """
    if not _SAFE.fullmatch(name) or ".." in name or len(name) > 150:
        raise UsageError(
            f"{what} {name[:80]!r} cannot be used: expected letters, digits and ._+=,@:- "
            "(150 at most, a letter or digit first); rename it"
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A protocol that all methods share: sizes of images and networks, and length of training."""

    name: str
    summary: str
    scale: Scale
    """Which of a method's sizes is built."""
    pixels: Natural
    """Pixels of the network grid that every case is mapped to; 0 keeps each case's native size."""
    steps: Count
    """Optimiser steps at most."""
    batch: Count
    lr: Rate
    """Adam's learning rate, for methods that bring no optimiser of their own."""
    validate_every: Count
    patience: Count
    """Validations without a lower validation loss before training stops."""
    validation_cases: Natural
    """Validation cases at most, spread over the validation patients; 0 takes all."""
    threads: Count
    """Threads of one cell on the CPU. Their number may change the last bits of a result."""
    phantom_patients: dict[str, Count]
    """Simulated patients of each phantom."""
    phantom_slices: dict[str, Count]
    """Cases of each simulated patient."""

    def protocol(self) -> dict[str, Any]:
        """Return what may change a result, as plain data.

        Sizes of phantoms are left out, because the digest of a dataset covers them.
        """
        values = asdict(self)
        for name in ("summary", "phantom_patients", "phantom_slices"):
            del values[name]
        return values


def profiles() -> list[str]:
    """Return the names of the profiles that ship with the package."""
    files = resources.files("bench.spec.profiles").iterdir()
    return sorted(file.name[:-5] for file in files if file.name.endswith(".toml"))


def load_profile(name: str) -> Profile:
    """Read a profile by its name, or from a `.toml` file of the user's own.

    Raises:
        UsageError: The profile is unknown, is no TOML, lacks or adds a key, or a value is wrong.
    """
    path = Path(name)
    if name.endswith(".toml"):
        if not path.is_file():
            known = ", ".join(profiles())
            raise UsageError(f"profile file {name} is not there; shipped profiles: {known}")
        name = safe_name(path.stem, "profile")
        text = path.read_text(encoding="utf-8", errors="replace")
    elif name in profiles():
        file = resources.files("bench.spec.profiles") / f"{name}.toml"
        text = file.read_text(encoding="utf-8")
    else:
        raise UsageError(f"unknown profile '{name}'; {did_you_mean(name, profiles())}")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"profile {path} is no TOML: {error}") from error
    return _checked(values, name, path)


def _checked(values: dict[str, Any], name: str, path: Path) -> Profile:
    """Return the values of a profile's file as a profile."""
    expected = {field.name for field in fields(Profile)} - {"name"}
    wrong = sorted(set(values) ^ expected)
    if wrong:
        raise UsageError(
            f"profile {path}: missing or unknown keys: {', '.join(wrong)}; copy {_EXAMPLE}"
        )
    try:
        profile = plain.convert({"name": name, **values}, Profile)
    except plain.PlainError as error:
        raise UsageError(f"profile {path}: {error}; see {_EXAMPLE}") from error
    if profile.phantom_patients.keys() != profile.phantom_slices.keys():
        raise UsageError(
            f"profile {path}: phantom_patients and phantom_slices must name the same datasets"
        )
    return profile


@dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """A prepared dataset as a cell knows it: which one, and where its pixels lie."""

    id: DatasetId
    cache: str = field(compare=False)
    """Folder of the prepared pixels on this machine; no part of the identity."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One place of the matrix: dataset x method x fold x seed under a profile."""

    profile: Profile
    dataset: DatasetRef
    method: Spec
    options: dict[str, Any] = field(default_factory=dict)
    """Every option's value, defaults included: a default that changes is another cell."""
    seed: int
    fold: int = 0
    scheme: Scheme = Scheme()
    split: str = ""
    """Content hash of the split that the cell uses."""
    tuning: dict[str, Any] = field(default_factory=dict)
    """How the options of a tuned method were found: trials, steps, values, Dice; else empty."""
    precision: str = "float32"
    """`float32`, or `bfloat16` where a device and the method allow autocast."""
    deterministic: bool = False
    """Whether a GPU may use only operations that give the same bits each time. On the CPU every
    operation does."""
    protocol: int = PROTOCOL

    @property
    def column(self) -> Column:
        """The column of the tables that the cell belongs to."""
        return Column(self.dataset.id, self.scheme)

    @property
    def label(self) -> Label:
        """Which run of the method on the dataset it is."""
        return Label(self.fold, self.seed, self.scheme)

    @property
    def title(self) -> str:
        """The name of the cell in progress and errors."""
        return f"{self.dataset.id.name}/{self.method}/{self.label.key}"

    def spec(self) -> dict[str, Any]:
        """Return everything that may change a result, as plain data."""
        spec = {
            "profile": self.profile.protocol(),
            "dataset": asdict(self.dataset.id),
            "method": self.method.key,
            "options": self.options,
            "seed": self.seed,
            "fold": self.fold,
            "folds": self.scheme.folds,
            "split": self.split,
            "scheme": self.scheme.name,
            "tuning": self.tuning,
            "precision": self.precision,
            "protocol": self.protocol,
        }
        if self.deterministic:  # older cells do not have the key
            spec["deterministic"] = True
        return spec

    @property
    def hash(self) -> str:
        """Content hash of the spec."""
        return plain.content_hash(self.spec())

    def to_json(self) -> str:
        """Return the cell as JSON for the process that runs it."""
        return plain.canonical(plain.builtins(self))

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """Read a cell back from `to_json`."""
        return plain.decode(text, cls)
