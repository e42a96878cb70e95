"""What a run is made of: profiles, cells and their content hashes. No torch here."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from bench.spec.errors import UsageError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SEED = 35
"""The paper's random state: the first seed of every run."""

PROTOCOL = 3
"""Raise it whenever code changes what a cell computes, so that no old result passes for a new
one."""

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=,@:-]*")


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no blanks, shortest floats; NaN is refused."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def content_hash(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def safe_name(name: str, what: str) -> str:
    """Return `name` if it can be part of a path, of HTML and of LaTeX's input; raise UsageError otherwise."""
    if not _SAFE.fullmatch(name) or ".." in name or len(name) > 150:
        raise UsageError(
            f"{what} {name[:80]!r} cannot be used: expected letters, digits and ._+=,@:- (150 at"
            " most, a letter or digit first); rename it"
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A protocol: how large images and networks are and how long everyone trains; the same for all methods."""

    name: str
    summary: str
    scale: str
    """Which of a method's sizes is built: `full`, `small` or `tiny`."""
    pixels: int
    """Pixels of the network grid that every case is mapped to; 0 keeps each case's native size."""
    steps: int
    """Optimiser steps at most."""
    batch: int
    lr: float
    """Adam's learning rate, for methods that bring no optimiser of their own."""
    validate_every: int
    patience: int
    """Validations without a lower validation loss before training stops."""
    validation_cases: int
    """Validation cases at most, spread over the validation patients; 0 takes all."""
    threads: int
    """Threads of one cell on the CPU: part of the protocol, for it may change the last bits of a
    result."""
    phantom_patients: dict[str, int]
    """Simulated patients of each phantom."""
    phantom_slices: dict[str, int]
    """Cases of each simulated patient."""

    def __post_init__(self) -> None:
        """Refuse a protocol that cannot train."""
        kinds: dict[str, tuple[type, ...]] = {
            "str": (str,),
            "int": (int,),
            "float": (int, float),
            "dict[str, int]": (dict,),
        }
        for each in fields(self):
            value, kind = getattr(self, each.name), str(each.type)
            if not isinstance(value, kinds[kind]) or isinstance(value, bool):
                raise UsageError(
                    f"profile '{self.name}': {each.name} is {value!r}, expected {kind}"
                )
        if self.phantom_patients.keys() != self.phantom_slices.keys() or not all(
            type(count) is int and count >= 1
            for each in (self.phantom_patients, self.phantom_slices)
            for count in each.values()
        ):
            raise UsageError(
                f"profile '{self.name}': phantom_patients and phantom_slices must name the same"
                " datasets, each with a whole number of at least 1"
            )
        for name in ("steps", "batch", "validate_every", "patience", "threads"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"profile '{self.name}': {name} is {getattr(self, name)}, expected at least 1"
                )
        if self.pixels < 0 or self.lr <= 0 or self.validation_cases < 0:
            raise UsageError(
                f"profile '{self.name}': pixels, lr and validation_cases must not be negative"
            )
        if self.scale not in ("full", "small", "tiny"):
            raise UsageError(
                f"profile '{self.name}': scale is '{self.scale}', expected full, small or tiny"
            )

    def protocol(self) -> dict[str, Any]:
        """Return what may change a result, as plain data; a dataset's digest covers its phantoms."""
        left_out = ("summary", "phantom_patients", "phantom_slices")
        return {name: value for name, value in asdict(self).items() if name not in left_out}


def profiles() -> list[str]:
    """Return the names of the profiles that ship with the package."""
    return sorted(
        p.name[:-5]
        for p in resources.files("bench.spec.profiles").iterdir()
        if p.name.endswith(".toml")
    )


def load_profile(name: str) -> Profile:
    """Read a profile by its name, or from a `.toml` file of the user's own.

    Raises:
        UsageError: The profile is unknown, is no TOML, or lacks or adds a key.
    """
    path = Path(name)
    if name.endswith(".toml"):
        if not path.is_file():
            raise UsageError(
                f"profile file {name} is not there; shipped profiles: {', '.join(profiles())}"
            )
        name, text = (
            safe_name(path.stem, "profile"),
            path.read_text(encoding="utf-8", errors="replace"),
        )
    elif name in profiles():
        text = (resources.files("bench.spec.profiles") / f"{name}.toml").read_text(encoding="utf-8")
    else:
        raise UsageError(f"unknown profile '{name}'; {did_you_mean(name, profiles())}")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"profile {path} is no TOML: {error}") from error
    expected = {f.name for f in fields(Profile)} - {"name"}
    if set(values) != expected:
        wrong = ", ".join(sorted(set(values) ^ expected))
        raise UsageError(
            f"profile {path}: missing or unknown keys: {wrong}; copy bench/spec/profiles/cpu.toml"
        )
    return Profile(name=name, **values)


@dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """A prepared dataset as a cell knows it: name, whether it is real, and its content digest."""

    name: str
    source: str
    """`real` or `phantom`."""
    digest: str
    cache: str = field(compare=False)
    """Folder of the prepared pixels on this machine; no part of the identity."""

    @property
    def slug(self) -> str:
        """Folder name, so that real and phantom, or two versions of one dataset, never meet."""
        return f"{self.name}@{self.source}-{self.digest[:8]}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One place of the matrix: dataset x method x fold x seed under a profile."""

    profile: Profile
    dataset: DatasetRef
    method: str
    """Canonical method spec, options included: `unet:width=32`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Every option's value, defaults included: a default that changes is another cell."""
    seed: int
    fold: int = 0
    folds: int = 1
    """1 is a single split; K > 1 is K-fold cross-validation."""
    split: str = ""
    """Content hash of the split that the cell uses."""
    scheme: str = ""
    """Name of the way it was split, beside the number of folds: `own-1f2e3d4c`, `fraction0.25`;
    empty is ours."""
    tuning: dict[str, Any] = field(default_factory=dict)
    """How the options of a tuned method were found: trials, steps, values, Dice; empty where they
    were not."""
    precision: str = "float32"
    """`float32`, or `bfloat16` where a device and the method allow autocast."""
    protocol: int = PROTOCOL

    @property
    def label(self) -> str:
        """`f0-s35`, `f2of5-s35` in a cross-validation, `f0-s35-fraction0.25` under another scheme."""
        of = f"of{self.folds}" if self.folds > 1 else ""
        return f"f{self.fold}{of}-s{self.seed}" + (f"-{self.scheme}" if self.scheme else "")

    @property
    def title(self) -> str:
        """How progress and errors name the cell."""
        return f"{self.dataset.name}/{self.method}/{self.label}"

    def spec(self) -> dict[str, Any]:
        """Return everything that may change a result, as plain data."""
        spec = {**asdict(self), "profile": self.profile.protocol()}
        del spec["dataset"]["cache"]
        return spec

    @property
    def hash(self) -> str:
        """Content hash of the spec."""
        return content_hash(self.spec())

    def to_json(self) -> str:
        """Return the cell as JSON for the process that runs it."""
        return canonical(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """Read a cell back from `to_json`."""
        data = json.loads(text)
        data["profile"] = Profile(**data["profile"])
        data["dataset"] = DatasetRef(**data["dataset"])
        return cls(**data)
