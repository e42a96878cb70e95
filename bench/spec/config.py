"""What a run is made of: prepared datasets, cells, and their content hashes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from bench.spec import plain
from bench.spec.names import Column, DatasetId, Label, Scheme, Spec
from bench.spec.profile import Profile

SEED = 35
"""The paper's random state: the first seed of every run."""

PROTOCOL = 4
"""Raised when code changes what a cell computes, so that no old result passes for a new one."""


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
    volumes: bool = False
    """Whether the slices of a volume are stacked and scored in 3D too."""
    protocol: int = PROTOCOL
    source: str = ""
    """Digest of the source of a method of another package; an own method's `revision`."""

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
        if self.volumes:
            spec["volumes"] = True
        if self.source:
            spec["source"] = self.source
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
