"""Score masks from outside: a folder of predictions beside references, 2D or in 3D."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.data.levels import levels_of
from bench.data.readers import labels, masks, pairing
from bench.data.readers.classes import Classes
from bench.data.readers.masks import Drawn, Kind, Labels, UnfitError
from bench.data.readers.pairing import USUAL, Side
from bench.data.readers.picture import Picture
from bench.data.readers.walk import case_id, stem
from bench.engine import instances
from bench.engine.instances import Parts
from bench.engine.metrics import EMPTY_POLICY, Mask, Score, score, score_classes
from bench.spec import machine
from bench.spec.case import BACKGROUND, UNION, VOID, Dataset, Decision
from bench.spec.errors import SeveralError, UsageError, short_list
from bench.spec.metrics import TOLERANCE
from bench.store.cells import keep_labels
from bench.store.layout import CellFolder
from bench.store.outside import write_mask
from bench.store.scores import CLASS, MISSING

Missing = Literal["refuse", "zero"]
Row = Mapping[str, float | int | str]
T = TypeVar("T")
R = TypeVar("R")
WRONG: Mapping[Kind, str] = {
    "grid": "have another size, spacing or place than their reference",
    "probabilities": "hold probabilities, expected masks: --threshold 0.5 cuts them there",
    "unreadable": "cannot be read as masks",
}
"""What is wrong with predictions, by kind."""
GREYS = (
    "hold {count} grey values, as probabilities in 8 bits do, expected masks: "
    "--foreground-predictions '>127' cuts them there"
)


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
        return _drawn(self.read[key], self.decision, self.classes)

    @property
    def digest(self) -> str:
        """SHA-256 over every case's id, patient, spacing and reference."""
        digest = hashlib.sha256()
        for key, target in sorted(self.targets.items()):
            about = (target.case, target.patient, self.read[key].spacing)
            digest.update(repr(about).encode())
            digest.update(_bytes(self.mask(key)))
            if self.levels:
                digest.update(self.read[key].numbered(self.levels).astype("<u2").tobytes())
        if self.classes:
            digest.update(repr(("classes", *self.classes)).encode())
        return digest.hexdigest()


def _drawn(labels: Labels, decision: Decision, classes: Sequence[str]) -> Mask:
    """Return a mask as a decision says: foreground, or the numbers of classes and `VOID`."""
    if not classes:
        return labels.mask(decision.foreground)
    # One class that is named without void labels is decided as foreground.
    own = dict(decision.classes) or {classes[0]: decision.foreground}
    numbers = {name: number for number, name in enumerate(classes, 1)}
    table = np.zeros(256, np.uint8)
    for code, label in enumerate(labels.names):
        for name, number in numbers.items():
            if label in own[name]:
                table[code] = number
        if label in decision.void:
            table[code] = VOID
    return table.take(labels.codes)


def _bytes(mask: Mask) -> memoryview:
    """Return the bytes of a mask by which it is known again, eight pixels each of foreground."""
    if mask.dtype == np.bool_:
        return np.packbits(mask).data
    return np.ascontiguousarray(mask).data


@dataclass(frozen=True)
class Scored:
    """A folder of predictions, scored."""

    rows: Mapping[str, Sequence[Row]]
    """The lines of `cases.csv` of each case, by the name that predictions are paired by."""
    read: Mapping[str, Labels]
    decision: Decision
    classes: tuple[str, ...]
    """The references' classes, in their order."""
    missing: tuple[str, ...]
    """Cases without a prediction."""
    remarks: tuple[str, ...]
    """What was assumed."""
    levels: Mapping[str, int] = field(default_factory=dict)
    """The number of the instance that each label of predictions names; empty where their instances
    are components or classes, or are not asked for."""
    class_levels: tuple[int, ...] = ()
    """The number of the instance that each class is, 0 of a class of several."""

    @property
    def named(self) -> bool:
        """Whether the instances of predictions have names."""
        return bool(self.levels) or (bool(self.class_levels) and all(self.class_levels))

    def parts(self, key: str, references: References) -> Parts:
        """Return the instances of a prediction: what its labels name, its classes, components."""
        if self.levels:
            return instances.of_labels(self.read[key].numbered(self.levels))
        return instances.of_mask(self.mask(key), references.mask(key), self.class_levels)

    def mask(self, key: str) -> Mask:
        """Return a prediction: foreground, or numbers of classes."""
        mask = _drawn(self.read[key], self.decision, self.classes)
        if self.classes:
            mask[mask == VOID] = 0
        return mask

    def lines(self, keys: Iterable[str]) -> list[Row]:
        """Return the lines of `cases.csv` of some cases."""
        lines: list[Row] = []
        for key in keys:
            lines += self.rows[key]
        return lines

    def digest(self, keys: Iterable[str]) -> str:
        """Return the SHA-256 over the masks of some cases."""
        digest = hashlib.sha256()
        for key in sorted(keys):
            digest.update(key.encode())
            if key in self.read:
                digest.update(_bytes(self.mask(key)))
                if self.levels:
                    digest.update(self.read[key].numbered(self.levels).astype("<u2").tobytes())
        return digest.hexdigest()

    def write(self, keys: Iterable[str], references: References, work: CellFolder) -> None:
        """Write the predicted masks of some cases into a cell's folder."""

        def one(key: str) -> None:
            case = references.targets[key].case
            write_mask(work, case, self.mask(key), shown(references.mask(key)))
            if self.named:
                path = work.instances() / f"{case}.png"
                keep_labels(path, self.parts(key, references).codes.astype(np.uint16))

        work.predictions().mkdir()
        together(one, [key for key in keys if key in self.read])


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
        raise UsageError(f"{where}: {names} cannot be read as masks; the first: {bad[0][1]}")
    census = masks.census((mask, targets[key].file) for key, mask in read.items())
    if rules.classes:
        decision = rules.classes.decide(census, partial=partial)
    else:
        decision = labels.choose(census, rules.foreground)
    remarks = dict.fromkeys(line.removeprefix("assumed: ") for line in decision.how)
    for mask in read.values():
        remarks.update(dict.fromkeys(mask.remarks))
    references = References(targets, read, grids, decision, tuple(remarks))
    if not rules.instances:
        return references
    levels = levels_of(where, sorted(decision.foreground), census)
    alone = [levels[min(own)] if len(own) == 1 else 0 for _, own in decision.classes]
    return replace(references, levels=levels, class_levels=tuple(alone))


def score_folder(
    name: str,
    side: Side,
    references: References,
    rules: Rules,
    others: Iterable[str] = (),
) -> Scored:
    """Score a folder of predictions.

    Args:
        name: The method's, for errors.
        side: The predictions by name.
        references: What they are scored against.
        rules: How they are read.
        others: Names of cases that are not scored here; predictions of them are left aside.

    Raises:
        UsageError: A line for each thing that is wrong: predictions missing, of no case, twice,
            of another grid, of no mask. Nothing is left out in silence.
    """
    side = pairing.without(side, rules.ending)
    known = Side(Path(), {key: target.file for key, target in references.targets.items()})
    aside = Side(Path(), {key: Path(key) for key in others if key not in known.by_key})
    paired, _, spare = pairing.pairs(Side(Path(), known.by_key | aside.by_key), side)
    files = {pair.key: pair.mask for pair in paired if pair.key in known.by_key}
    lacking = [key for key in known.by_key if key not in files]
    wrong = _names(name, side, lacking, spare, references, rules)
    read, unfit = _read(files, references, rules)
    wrong += [_line(name, kind, problems) for kind, problems in unfit.items()]
    decision = Decision(frozenset())
    if read and not unfit:
        decision, why = _decided(name, read, files, references, rules)
        wrong += why
    if wrong:
        raise SeveralError(wrong)
    remarks = dict.fromkeys(pair.how.removeprefix("assumed: ") for pair in paired if pair.how)
    for mask in read.values():
        remarks.update(dict.fromkeys(mask.remarks))
    cases = tuple(references.targets[key].case for key in lacking)
    levels = _levels(name, read, files, references, decision)
    if levels:
        remarks[f"the instances of {name} are its labels, by their numbers"] = None
    elif _are_alone(read, references, decision):
        remarks[f"the instances of {name} are components, for no mask holds two labels"] = None
    scored = Scored(
        {},
        read,
        decision,
        references.classes,
        cases,
        tuple(remarks),
        levels,
        references.class_levels,
    )
    return replace(scored, rows=_rows(references, scored, rules.tolerance))


def _levels(
    name: str,
    read: Mapping[str, Labels],
    files: Mapping[str, Path],
    references: References,
    decision: Decision,
) -> dict[str, int]:
    """Return the numbers of the instances that labels of predictions name.

    There are none where no prediction holds two labels, where these are numbers of classes, or
    where no instances are asked for.

    Raises:
        UsageError: Two labels of a prediction have one number.
    """
    first = next(iter(references.targets))
    held = (set(mask.names) & decision.foreground for mask in read.values())
    if references.classes or references.instances(first) is None:
        return {}
    if not any(len(own) > 1 for own in held):
        return {}
    census = masks.census((mask, files[key]) for key, mask in read.items())
    return levels_of(name, sorted(decision.foreground), census)


def _are_alone(read: Mapping[str, Labels], references: References, decision: Decision) -> bool:
    """Return whether predictions that hold one label each are cut into components.

    The labels of a binary mask, such as 1 and 255, need no word.
    """
    first = next(iter(references.targets))
    if references.classes or references.instances(first) is None:
        return False
    held: set[str] = set()
    for mask in read.values():
        held |= set(mask.names) & decision.foreground
    return bool(held - set(labels.BINARY))


def _names(
    name: str,
    side: Side,
    lacking: Sequence[str],
    spare: Sequence[Path],
    references: References,
    rules: Rules,
) -> list[str]:
    """Return a line for each thing that is wrong with the names of predictions."""
    lines = []
    bare = {USUAL.sub("", key) for key in references.targets}
    twice: list[str] = []
    alone: list[str] = []
    for path in spare:
        fits = USUAL.sub("", pairing.key_of(path, side.folder)) in bare
        (twice if fits else alone).append(path.name)
    if twice:
        lines.append(
            f"{name}: {short_list(twice, what='prediction')} are second ones of a case; "
            "expected one a case: remove the others"
        )
    if alone:
        lines.append(
            f"{name}: {short_list(alone, what='prediction')} of a case that has no reference; "
            "remove them, add the references, or name an ending of their names: --ending _pred"
        )
    if lacking and rules.missing == "refuse":
        cases = [references.targets[key].case for key in lacking]
        lines.append(
            f"{name}: {short_list(cases)} of {len(references.targets)} have no prediction; "
            "add them, or --missing zero scores them as failures"
        )
    return lines


def _read(
    files: Mapping[str, Path], references: References, rules: Rules
) -> tuple[dict[str, Labels], dict[Kind, list[tuple[str, str]]]]:
    """Return the predictions on their references' grids, and what is wrong by kind."""

    def one(key: str) -> Labels | UnfitError:
        target = references.targets[key]
        try:
            drawn = masks.fitted(
                references.grids[key], masks.read(files[key]), target.file, files[key]
            )
            return masks.decoded(drawn, files[key], rules.threshold)
        except UnfitError as error:
            return error
        except UsageError as error:
            return UnfitError("unreadable", str(error))

    read: dict[str, Labels] = {}
    unfit: dict[Kind, list[tuple[str, str]]] = {}
    for key, result in zip(files, together(one, list(files)), strict=True):
        if isinstance(result, UnfitError):
            unfit.setdefault(result.kind, []).append((files[key].name, str(result)))
        else:
            read[key] = result
    return read, unfit


def _line(name: str, kind: Kind, problems: Sequence[tuple[str, str]]) -> str:
    """Return the line on predictions that cannot be compared."""
    names = short_list([file for file, _ in problems], what="prediction")
    return f"{name}: {names} {WRONG[kind]}; the first: {problems[0][1]}"


def _decided(
    name: str,
    read: Mapping[str, Labels],
    files: Mapping[str, Path],
    references: References,
    rules: Rules,
) -> tuple[Decision, list[str]]:
    """Return which labels of predictions are foreground, and a line where that is not known.

    Without a choice of their own they are drawn as the references are: their labels are counted
    together.
    """
    mine = [(mask, files[key]) for key, mask in read.items()]
    classes = rules.classes_of_predictions or rules.classes
    if classes:
        several = references.classes or len(classes.names) > 1
        if several and set(classes.names) != set(references.classes):
            wanted = ", ".join(references.classes) or "one foreground"
            return Decision(frozenset()), [
                f"{name}: --labels-predictions names {', '.join(classes.names)}; expected the "
                f"references' classes: {wanted}"
            ]
        try:
            decision = classes.decide(masks.census(mine), partial=True)
        except UsageError as error:
            return Decision(frozenset()), [
                f"{name}: {error} (for predictions alone: --labels-predictions)"
            ]
        if decision.void and not decision.foreground:
            return decision, [
                f"{name}: predictions hold {', '.join(sorted(decision.void))} alone, which is void "
                "and no class; expected the labels of classes: --labels-predictions says what "
                "theirs are"
            ]
        return decision, []
    if not rules.of_predictions and not rules.foreground:
        grey = [file.name for mask, file in mine if len(mask.names) > labels.MANY]
        if grey:
            most = max(len(mask.names) for mask, _ in mine)
            names = short_list(grey, what="prediction")
            return Decision(frozenset()), [f"{name}: {names} {GREYS.format(count=most)}"]
    option = rules.of_predictions
    if all(set(mask.names) <= {BACKGROUND} for mask, _ in mine):
        return Decision(frozenset()), []  # nothing was predicted, whatever foreground would be
    if not option:
        option = rules.foreground
        mine += [(mask, references.targets[key].file) for key, mask in references.read.items()]
    try:
        return labels.choose(masks.census(mine), option), []
    except UsageError as error:
        return Decision(frozenset()), [
            f"{name}: {error} (for predictions alone: --foreground-predictions)"
        ]


def _rows(references: References, scored: Scored, tolerance: float) -> dict[str, list[Row]]:
    """Return the lines of `cases.csv` of each case; a missing prediction scores zero."""
    classes = references.classes

    def one(key: str) -> list[Row]:
        target = references.targets[key]
        reference, spacing = references.mask(key), references.read[key].spacing
        about = {"case": target.case, "patient": target.patient}
        mask = scored.mask(key) if key in scored.read else None
        own = _instances(references, scored, key)
        if not classes:
            foreground = np.asarray(reference, np.bool_)
            alone = zero(foreground, spacing)
            if mask is not None:
                alone = score(mask, foreground, spacing, tolerance)
            return [{**about, **alone.row(), **(own[0] if own else {})}]
        numbers = np.asarray(reference, np.uint8)
        several = zero_classes(numbers, classes, spacing)
        if mask is not None:
            known = np.asarray(mask, np.uint8)
            several = score_classes(known, numbers, classes, spacing, tolerance)
        lines: list[Row] = []
        for place, (name, values) in enumerate(several.items()):
            columns = own[place] if own else {}
            lines.append({**about, CLASS: name, **values.row(), **columns})
        return lines

    keys = list(references.targets)
    return dict(zip(keys, together(one, keys), strict=True))


def _instances(references: References, scored: Scored, key: str) -> list[dict[str, int | float]]:
    """Return the columns that the instances of a case add: of all, and of each class.

    There are none where none are asked for.
    """
    labels = references.instances(key)
    if labels is None:
        return []
    parts = instances.nothing(labels.shape, scored.named)
    if key in scored.read:
        parts = scored.parts(key, references)
    several, spacing = len(references.classes), references.read[key].spacing
    return instances.rows(parts, labels, references.mask(key), several, spacing)


def zero(reference: NDArray[np.bool_], spacing: tuple[float, ...] | None) -> Score:
    """Return the score of a case without a prediction: that of an empty one.

    Dice is 0 also where the reference is empty, for nothing was answered.
    """
    empty = score(np.zeros_like(reference), reference, spacing)
    values = EMPTY_POLICY["prediction"]
    return replace(empty, values=values, empty=MISSING)


def zero_classes(
    reference: NDArray[np.uint8], classes: Sequence[str], spacing: tuple[float, ...] | None
) -> dict[str, Score]:
    """Return the scores of a case without a prediction, of its classes and all together.

    A class that the reference has not is undefined, as with a prediction.
    """
    scores = score_classes(np.zeros_like(reference), reference, classes, spacing)
    values = EMPTY_POLICY["prediction"]
    for name, one in scores.items():
        if one.empty != "both" or name == UNION:
            scores[name] = replace(one, values=values, empty=MISSING)
    return scores


def together(work: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
    """Do tasks in as many threads as there are cores; the decoders run beside each other."""
    with ThreadPoolExecutor(machine.cores()) as pool:
        return list(pool.map(work, tasks))
