"""The cases to score against: those of a folder, or of a prepared dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.data.levels import levels_of
from bench.data.readers import labels, masks
from bench.data.readers.classes import Classes
from bench.data.readers.masks import Drawn, Labels, UnfitError
from bench.data.readers.pairing import Side
from bench.data.readers.picture import Picture
from bench.data.readers.walk import case_id, stem
from bench.data.twins import doubted
from bench.engine.metrics import Mask
from bench.spec import machine
from bench.spec.case import VOID, Dataset, Decision
from bench.spec.errors import UsageError, short_list
from bench.spec.metrics import TOLERANCE

Missing = Literal["refuse", "zero"]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Rules:
    """How masks are read, and what becomes of a case without a prediction."""

    foreground: str = ""
    """Labels that are foreground: `1+2`, `#ff0000` or `>127`; empty where masks are binary."""
    of_predictions: str = ""
    """The same for predictions, where they are drawn otherwise than the references."""
    classes: Classes | None = None
    """Which labels are which class; None where there is one foreground."""
    classes_of_predictions: Classes | None = None
    """The same for predictions, where they are numbered otherwise."""
    threshold: float | None = None
    """Probability from which on a pixel is foreground; None refuses probabilities."""
    missing: Missing = "refuse"
    ending: str = ""
    """Ending of the predictions' names, which their references' names lack."""
    instances: bool = False
    """Whether what each label of a reference names is an instance."""
    tolerance: float = TOLERANCE
    """Largest distance that NSD accepts."""


@dataclass(frozen=True)
class Target:
    """A case to score against."""

    case: str
    patient: str
    file: Path
    """Named in errors."""
    drawn: Callable[[], Drawn]
    """Reads its reference."""
    instances: Callable[[], NDArray[np.uint16] | None] = lambda: None
    """Returns the numbers of its instances, where its dataset has them."""


@dataclass(frozen=True)
class References:
    """Cases with their references, and which labels are foreground in them."""

    targets: Mapping[str, Target]
    """By the name that predictions are paired by."""
    read: Mapping[str, Labels]
    grids: Mapping[str, Drawn]
    """Size and place of each reference, without its pixels."""
    decision: Decision
    """Which labels are foreground, or of which class."""
    remarks: tuple[str, ...]
    """What was assumed."""
    levels: Mapping[str, int] = field(default_factory=dict)
    """The number of the instance that each label names, where a folder's labels do."""
    class_levels: tuple[int, ...] = ()
    """The number of the instance that each class is, 0 of a class of several."""

    def instances(self, key: str) -> NDArray[np.uint16] | None:
        """Return the numbers of a reference's instances, None where none are asked for."""
        if self.levels:
            return self.read[key].numbered(self.levels)
        return self.targets[key].instances()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; none where there is one foreground."""
        return tuple(name for name, _ in self.decision.classes)

    def mask(self, key: str) -> Mask:
        """Return a case's reference: foreground, or numbers of classes and `VOID`."""
        return as_decided(self.read[key], self.decision, self.classes)

    @property
    def digest(self) -> str:
        """SHA-256 over every case's id, patient, spacing and reference."""
        digest = hashlib.sha256()
        for key, target in sorted(self.targets.items()):
            about = (target.case, target.patient, self.read[key].spacing)
            digest.update(repr(about).encode())
            digest.update(identity(self.mask(key)))
            if self.levels:
                digest.update(self.read[key].numbered(self.levels).astype("<u2").tobytes())
        if self.classes:
            digest.update(repr(("classes", *self.classes)).encode())
        return digest.hexdigest()


def as_decided(labels: Labels, decision: Decision, classes: Sequence[str]) -> Mask:
    """Return a mask as a decision says: foreground, or the numbers of classes and `VOID`."""
    if not classes:
        return labels.mask(decision.foreground)
    # One class that is named without void labels is decided as foreground.
    labels_of = dict(decision.classes) or {classes[0]: decision.foreground}
    numbers = {name: number for number, name in enumerate(classes, 1)}
    table = np.zeros(256, np.uint8)  # for each code of the mask the number of its class
    for code, label in enumerate(labels.names):
        for name, number in numbers.items():
            if label in labels_of[name]:
                table[code] = number
        if label in decision.void:
            table[code] = VOID
    return table.take(labels.codes)


def identity(mask: Mask) -> memoryview:
    """Return the bytes of a mask by which it is known again, eight pixels each of foreground."""
    if mask.dtype == np.bool_:
        return np.packbits(mask).data
    return np.ascontiguousarray(mask).data


def shown(reference: Mask) -> int:
    """Return the slice of a volume that shows most of the reference; 0 of an image."""
    if reference.ndim == 2:
        return 0
    foreground = (reference > 0) & (reference != VOID)
    return int(foreground.sum(axis=(1, 2)).argmax())


def of_folder(side: Side, patient_of: Callable[[Path], str]) -> dict[str, Target]:
    """Return the cases of a folder of references.

    Raises:
        UsageError: The patient of a reference is unknown, or two cases have one id.
    """
    targets: dict[str, Target] = {}
    unknown = []
    ids: dict[str, str] = {}
    for key, path in side.by_key.items():
        folders = path.relative_to(side.folder).parts[:-1]
        patient, case = patient_of(path), case_id("_".join((*folders, stem(path))))
        if not patient:
            unknown.append(path.name)
        other = ids.setdefault(case.lower(), key)
        if other != key:
            raise UsageError(f"{other} and {key} would both be case {case}; rename one")
        targets[key] = Target(case, patient, path, partial(masks.read, path))
    if unknown:
        raise UsageError(
            f"{side.folder}: no patient is known for {short_list(unknown, what='reference')}; "
            "add them to the table, or correct the pattern"
        )
    return targets


def of_dataset(dataset: Dataset, indexes: Sequence[int]) -> dict[str, Target]:
    """Return cases of a prepared dataset, with their native references."""

    def drawn(index: int) -> Drawn:
        """Return a case's reference as if it had been read from a file."""
        mask = np.asarray(dataset.target(index))
        spacing = dataset.cases[index].spacing
        return Drawn(Picture(mask, spacing=spacing), (*mask.shape,), spacing)

    targets = {}
    for index in indexes:
        case = dataset.cases[index]
        key = case.id.lower()
        targets[key] = Target(
            case.id,
            case.patient,
            Path(case.id),
            partial(drawn, index),
            partial(dataset.instances, index),
        )
    return targets


def read_references(
    targets: Mapping[str, Target], rules: Rules, where: str, *, partial: bool = False
) -> References:
    """Read all references, and decide which of their labels are foreground.

    Args:
        targets: The cases.
        rules: How masks are read.
        where: What they are, for errors.
        partial: Whether a class may occur in none of them, as in the test side of a dataset.

    Raises:
        UsageError: One cannot be read as a mask, or the user must choose the foreground.
    """

    def one(target: Target) -> tuple[Labels, Drawn] | str:
        try:
            drawn = target.drawn()
            return masks.decoded(drawn, target.file), drawn.grid
        except (UsageError, UnfitError) as error:
            return str(error)

    results = together(one, list(targets.values()))
    read: dict[str, Labels] = {}
    grids: dict[str, Drawn] = {}
    bad = []
    for key, result in zip(targets, results, strict=True):
        if isinstance(result, str):
            bad.append((targets[key].file.name, result))
        else:
            read[key], grids[key] = result
    if bad:
        names = short_list([name for name, _ in bad], what="reference")
        _, first_reason = bad[0]
        raise UsageError(f"{where}: {names} cannot be read as masks; the first: {first_reason}")
    census = masks.census((mask, targets[key].file) for key, mask in read.items())
    if rules.classes:
        decision = rules.classes.decide(census, partial=partial)
    else:
        decision = labels.choose(census, rules.foreground)
    remarks = dict.fromkeys(line.removeprefix("assumed: ") for line in decision.how)
    for mask in read.values():
        remarks.update(dict.fromkeys(mask.remarks))
    remarks.update(dict.fromkeys(doubted([target.patient for target in targets.values()])))
    references = References(targets, read, grids, decision, tuple(remarks))
    if not rules.instances:
        return references
    levels = levels_of(where, sorted(decision.foreground), census)
    # A class of a single label is one instance, which has the number of this label.
    class_levels = [
        levels[min(members)] if len(members) == 1 else 0 for _, members in decision.classes
    ]
    return replace(references, levels=levels, class_levels=tuple(class_levels))


def together(work: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
    """Return the results of tasks in their order, computed in as many threads as there are cores.

    Threads are enough: decoders of pictures do not hold Python's lock.
    """
    with ThreadPoolExecutor(machine.cores()) as pool:
        return list(pool.map(work, tasks))
