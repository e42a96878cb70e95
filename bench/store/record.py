"""The record of a finished cell, `cell.json`, as a type: read once, older formats included.

Fields that a newer version added are ignored; those that an older one lacks take their defaults.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any, Literal

import msgspec

from bench.spec import files, plain
from bench.spec.errors import UsageError
from bench.spec.metrics import TOLERANCE
from bench.spec.names import Column, DatasetId, Row, Scheme, Source, Spec
from bench.spec.profile import Augmentation
from bench.store.damage import DamagedError
from bench.store.layout import CellFolder

SET_ASIDE = "set_aside"
"""Beside the sides in `Record.cases`: cases that nothing sees, though their patients are tested."""

ADVANTAGES = ("pretraining", "prompt", "ensembling", "augmentation")
"""What a record says of what its method had."""
UNUSUAL = ("deterministic", "source", "volumes")
"""Fields of a spec that are part of its hash only where they say something."""
WORDS = {
    "protocol": "protocol",
    "source": "source of the method (edited, or changed by a newer version)",
    "options": "set of options (a newer version may have other defaults)",
    "split": "split",
    "tuning": "tuning",
    "precision": "device or precision",
    "deterministic": "choice of --deterministic",
    "volumes": "choice of --score",
}
"""How errors name the fields of a spec in which a cell and the one that is asked for differ."""
_SEAL = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n}\n')
"""How the text of a record ends: the SHA-256 of all that stands before it."""


def _unknown() -> dict[str, str]:
    """Return what older records say of a method's advantages."""
    return dict.fromkeys(ADVANTAGES, "unknown")


class CellSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the result, as `Cell.spec` returns it."""

    profile: dict[str, Any]
    dataset: DatasetId
    method: str
    options: dict[str, Any]
    seed: int
    fold: int
    folds: int
    split: str
    scheme: str = ""
    tuning: dict[str, Any] = {}
    precision: str
    deterministic: bool = False
    volumes: bool = False
    """Whether the slices of a volume were scored in 3D too."""
    protocol: int
    source: str = ""
    """Digest of the source of a method of another package."""

    @property
    def nsd_tolerance(self) -> float:
        """The largest distance that NSD accepts; the usual one where the profile names none.

        Raises:
            UsageError: The record was changed: it is no number above 0.
        """
        value = self.profile.get("nsd_tolerance", TOLERANCE)
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise UsageError(
                f"a record of {self.method} has the nsd_tolerance {value!r}; expected a number "
                "above 0: run its cell again"
            )
        return float(value)

    @property
    def augmentation(self) -> Augmentation:
        """The augmentation of the profile; that of the paper in older results.

        Raises:
            UsageError: The record was changed: it is none.
        """
        values = self.profile.get("augmentation", {})
        try:
            return plain.convert(values, Augmentation)
        except plain.PlainError as error:
            raise UsageError(
                f"a record of {self.method} has the augmentation {values} ({error}); "
                "run its cell again"
            ) from error


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate's two chains after some steps."""

    steps: int
    draws: str
    pixels: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Proof of the data that a cell was trained on."""

    seed: int
    heads: tuple[Head, ...]


class TrainingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How the training went."""

    steps: int
    best_step: int
    best_loss: float | None
    parts: tuple[tuple[int, int], ...] = ()
    """From which step a batch went in how many parts, where memory was too small."""


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A row's Dice if its probabilities are cut where validation patients prefer, not at 0.5."""

    threshold: float
    validation: float
    """Mean over validation patients at this threshold."""
    validation_at_half: float
    test: float
    """Mean over test patients at this threshold."""
    test_at_half: float


class External(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a cell whose predictions or scores are from outside."""

    kind: Literal["masks", "scores", "program"]
    """Masks, which were scored here; scores, which somebody else computed; or masks of the method's
    own program, which ran in this cell."""
    origin: str
    """The folder or file as the user named it."""
    digest: str
    """SHA-256 of the masks' pixels, or of the scores as they were read."""
    missing: tuple[str, ...] = ()
    """Cases without a prediction, which score zero because the user said so."""
    remarks: tuple[str, ...] = ()
    """What was assumed when the files were read."""


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, beside whatever else ran on the machine."""

    train_seconds: float
    train_seconds_per_step: float
    """`train_seconds` over the number of steps, so validations are in it."""
    predict_seconds_per_case: float
    total_seconds_of_last_attempt: float


class Joules(msgspec.Struct, frozen=True, kw_only=True):
    """Energy of all attempts; None where a counter is missing."""

    gpu: float | None = None
    processor: float | None = None


class _Hashed(msgspec.Struct):
    """A cell's spec as it was hashed, and the hash."""

    hash: str
    spec: dict[str, Any]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a finished cell beside its scores, predictions and weights."""

    spec: CellSpec
    hash: str
    source: Source
    title: str
    summary: str
    deviations: tuple[str, ...]
    advantages: dict[str, str] = msgspec.field(default_factory=_unknown)
    own_training: bool = False
    oracle: bool = False
    without_effect: tuple[str, ...] = ()
    """Options of the spec that have no effect beside the others; empty in older records."""
    network: dict[str, Any] = {}
    grid: tuple[int, int] | str
    """(height, width) of the network grid, or `native`."""
    external: External | None = None
    """Where predictions or scores from outside are from; None of cells that were trained here."""
    certificate: Certificate | None
    """None from outside, as all that follows and is not known of such a cell."""
    training: TrainingRecord | None
    parameters: int | None
    idle_parameters: int | float | None = math.nan
    extras: tuple[str, ...] = ()
    trials: int = 0
    cuts: dict[str, Cut] = {}
    """By the name of the row; the method's own is empty."""
    cases: dict[str, int]
    """Cases of each side, and of `SET_ASIDE` if there are any."""
    patients: dict[str, int]
    classes: tuple[str, ...] = ()
    """The classes that are told apart; none where there is one foreground."""
    void: bool = False
    """Whether masks have void pixels, which are left out of training and scores."""
    left_out: int = 0
    twins: tuple[str, ...] = ()
    """Cases of two patients whose images are the same, a pair each, with patients and sides."""
    assumed: tuple[str, ...] = ()
    """What was assumed when the dataset was read, a line each; empty in older records."""
    official_test: bool = False
    versions: dict[str, str]
    revision: str | None
    device: str
    peak_memory_bytes: int | None
    peak_device_memory_bytes: int | None
    multiply_adds: int | float | None = math.nan
    size: float | None = None
    """Multiply-adds of a training case's loss, divided by U-Net's; None if it trains itself."""
    ceiling: float | None = None
    """Dice that the test references reach through the network's grid and back; None if unknown."""
    energy_joules: Joules = Joules()
    timings: Timings | None
    digests: dict[str, str] = {}
    """SHA-256 of each file of the cell (`CellFolder.kept`), by its path in the cell's folder with
    slashes; empty in older records."""
    references: dict[str, str] = {}
    """SHA-256 of the images and references of the test cases, by the names of their files, which
    the cells of a dataset share; empty in older records."""

    def __post_init__(self) -> None:
        """Refuse a trained cell of which something is unknown that is measured in every run.

        Raises:
            ValueError: A field is null.
        """
        for name in ("certificate", "training", "parameters", "peak_memory_bytes", "timings"):
            if self.external is None and getattr(self, name) is None:
                raise ValueError(f"{name}: null, though the cell was trained here")

    @property
    def method(self) -> Spec:
        """The method with its options."""
        return Spec.parse(self.spec.method)

    @property
    def scheme(self) -> Scheme:
        """How the patients were split."""
        return Scheme(self.spec.folds, self.spec.scheme)

    @property
    def column(self) -> Column:
        """The column of the tables that the cell belongs to."""
        return Column(self.spec.dataset, self.scheme)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the tables that the cell fills: its prediction's, then the further ones."""
        return tuple(Row(self.method, extra) for extra in ("", *self.extras))

    @property
    def outside(self) -> bool:
        """Whether its predictions or scores are from outside: nothing was trained here."""
        return self.external is not None

    @property
    def competes(self) -> bool:
        """Whether the cell is compared with others: it saw no reference and no data of its own."""
        return not (self.oracle or self.own_training)

    def to_json(self) -> str:
        """Return the text of `cell.json`; its last field is the digest of what stands before."""
        data = plain.builtins(self)
        if not self.classes:  # records of one foreground are as they were
            del data["classes"], data["void"]
        if not self.spec.volumes:
            del data["spec"]["volumes"]
        if not self.without_effect:
            del data["without_effect"]
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
        before = text.removesuffix("\n}")
        seal = hashlib.sha256(before.encode()).hexdigest()
        return f'{before},\n "seal": "{seal}"\n}}\n'


def read(folder: CellFolder) -> Record:
    """Read the record of a finished cell.

    Raises:
        DamagedError: It is damaged.
    """
    text = _text(folder)
    try:
        record = plain.decode(text, Record)
        _check_seal(text, record)
        if not record.digests:  # an older one, without a seal
            _check_hash(text)
        return record
    except plain.PlainError as error:
        raise DamagedError(folder.record, str(error)) from error


def _text(folder: CellFolder) -> bytes:
    """Return the bytes of a record.

    Raises:
        DamagedError: It is missing, or cannot be read.
    """
    try:
        return files.read_bytes(folder.record)
    except OSError as error:
        raise DamagedError(folder.record, files.reason(error)) from error


def _check_hash(text: bytes) -> None:
    """Refuse a record whose hash is not that of its spec.

    Raises:
        PlainError: It is not.
    """
    said = plain.decode(text, _Hashed)
    if said.hash != plain.content_hash(hashed(said.spec)):
        raise plain.PlainError("its hash is not that of its spec: it was changed")


def hashed(spec: dict[str, Any]) -> dict[str, Any]:
    """Return what of a spec is hashed: `Cell.spec` leaves out what is usual of these."""
    return {key: value for key, value in spec.items() if value or key not in UNUSUAL}


def _check_seal(text: bytes, record: Record) -> None:
    """Refuse a record that was changed after the end of its cell; older ones have no seal.

    Raises:
        PlainError: The seal is missing, or is not that of the text before it.
    """
    before, seal_begins, _ = text.rpartition(b',\n "seal": ')
    if not seal_begins and not record.digests:  # an older one
        return
    seal = _SEAL.fullmatch(text[len(before) :])
    if seal is None or seal[1].decode() != hashlib.sha256(before).hexdigest():
        raise plain.PlainError("its seal is not that of its text: it was changed")


def read_hash(folder: CellFolder) -> str:
    """Read the hash of a finished cell.

    Raises:
        FileNotFoundError: The cell is not finished.
        DamagedError: Its record is damaged, or is missing where the cell's folder is.
    """
    return _said(folder).hash


def differences(folder: CellFolder, spec: dict[str, Any]) -> list[str]:
    """Return in what the spec of a finished cell differs from another, in words.

    Raises:
        FileNotFoundError: The cell is not finished.
        DamagedError: Its record is damaged.
    """
    own_spec = hashed(_said(folder).spec)
    differ = [key for key in (*WORDS, *own_spec) if own_spec.get(key) != spec.get(key)]
    return [WORDS.get(key, key) for key in dict.fromkeys(differ)]


def _said(folder: CellFolder) -> _Hashed:
    if not folder.finished and not folder.path.exists():
        raise FileNotFoundError(folder.record)
    try:
        return plain.decode(_text(folder), _Hashed)
    except plain.PlainError as error:
        raise DamagedError(folder.record, str(error)) from error
