"""A folder of predictions, scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np

from bench.data.readers import pairing
from bench.data.readers.masks import Labels
from bench.data.readers.pairing import Side
from bench.engine import instances
from bench.engine.metrics import Mask, score, score_classes
from bench.engine.outside import predictions
from bench.engine.outside.missing import zero, zero_classes
from bench.engine.outside.references import References, Rules, as_decided, identity, shown, together
from bench.engine.parts import Parts, no_parts, of_labels, of_mask
from bench.spec.case import VOID, Decision
from bench.spec.errors import SeveralError
from bench.store.cells import keep_labels
from bench.store.layout import CellFolder
from bench.store.outside import write_mask
from bench.store.scores import CLASS

Row = Mapping[str, float | int | str]


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
            return of_labels(self.read[key].numbered(self.levels))
        return of_mask(self.mask(key), references.mask(key), self.class_levels)

    def mask(self, key: str) -> Mask:
        """Return a prediction: foreground, or numbers of classes."""
        mask = as_decided(self.read[key], self.decision, self.classes)
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
                digest.update(identity(self.mask(key)))
                if self.levels:
                    digest.update(self.read[key].numbered(self.levels).astype("<u2").tobytes())
        return digest.hexdigest()

    def write(self, keys: Iterable[str], references: References, work: CellFolder) -> None:
        """Write the predicted masks of some cases into a cell's folder."""

        def write_case(key: str) -> None:
            case = references.targets[key].case
            write_mask(work, case, self.mask(key), shown(references.mask(key)))
            if self.named:
                path = work.instances() / f"{case}.png"
                keep_labels(path, self.parts(key, references).codes.astype(np.uint16))

        work.predictions().mkdir()
        together(write_case, [key for key in keys if key in self.read])


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
    reference_files = {key: target.file for key, target in references.targets.items()}
    # Cases that are not scored here take part in the pairing, so that a prediction of one of them
    # is neither given to another case nor called one of no case.
    left_aside = {key: Path(key) for key in others if key not in reference_files}
    paired, _, spare = pairing.pairs(Side(Path(), reference_files | left_aside), side)
    files = {pair.key: pair.mask for pair in paired if pair.key in reference_files}
    lacking = [key for key in reference_files if key not in files]
    wrong = predictions.wrong_names(name, side, lacking, spare, references, rules)
    read, unfit = predictions.read_all(files, references, rules)
    wrong += [predictions.line_of(name, kind, problems) for kind, problems in unfit.items()]
    decision = Decision(frozenset())
    if read and not unfit:
        decision, why = predictions.decided(name, read, files, references, rules)
        wrong += why
    if wrong:
        raise SeveralError(wrong)
    remarks = dict.fromkeys(pair.how.removeprefix("assumed: ") for pair in paired if pair.how)
    for mask in read.values():
        remarks.update(dict.fromkeys(mask.remarks))
    cases = tuple(references.targets[key].case for key in lacking)
    levels = predictions.levels(name, read, files, references, decision)
    if levels:
        remarks[f"the instances of {name} are its labels, by their numbers"] = None
    elif predictions.are_alone(read, references, decision):
        remarks[f"the instances of {name} are components, for no mask holds two labels"] = None
    if doubt := predictions.doubt(name, read, references, decision):
        remarks[doubt] = None
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
    rows = _rows(references, scored, rules.tolerance)
    dice = [float(row["dice"]) for row in chain.from_iterable(rows.values())]
    if 1.0 in dice and not any(value < 1 for value in dice):  # NaN: a class that neither has
        remarks[f"all masks of {name} equal their references, which may be given twice"] = None
    return replace(scored, rows=rows, remarks=tuple(remarks))


def _rows(references: References, scored: Scored, tolerance: float) -> dict[str, list[Row]]:
    """Return the lines of `cases.csv` of each case; a missing prediction scores zero."""
    classes = references.classes

    def lines_of_case(key: str) -> list[Row]:
        target = references.targets[key]
        reference, spacing = references.mask(key), references.read[key].spacing
        about = {"case": target.case, "patient": target.patient}
        mask = scored.mask(key) if key in scored.read else None
        of_instances = _instances(references, scored, key)
        if not classes:
            foreground = np.asarray(reference, np.bool_)
            alone = zero(foreground, spacing)
            if mask is not None:
                alone = score(mask, foreground, spacing, tolerance)
            return [{**about, **alone.row(), **(of_instances[0] if of_instances else {})}]
        numbers = np.asarray(reference, np.uint8)
        several = zero_classes(numbers, classes, spacing)
        if mask is not None:
            predicted_numbers = np.asarray(mask, np.uint8)
            several = score_classes(predicted_numbers, numbers, classes, spacing, tolerance)
        lines: list[Row] = []
        for place, (name, values) in enumerate(several.items()):
            columns = of_instances[place] if of_instances else {}
            lines.append({**about, CLASS: name, **values.row(), **columns})
        return lines

    keys = list(references.targets)
    return dict(zip(keys, together(lines_of_case, keys), strict=True))


def _instances(references: References, scored: Scored, key: str) -> list[dict[str, int | float]]:
    """Return the columns that the instances of a case add: of all, and of each class.

    There are none where none are asked for.
    """
    labels = references.instances(key)
    if labels is None:
        return []
    parts = no_parts(labels.shape, scored.named)
    if key in scored.read:
        parts = scored.parts(key, references)
    several, spacing = len(references.classes), references.read[key].spacing
    return instances.rows(parts, labels, references.mask(key), several, spacing)
