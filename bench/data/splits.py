"""Patient splits: 70/10/20 or K folds, from a fixed seed, written down as plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from bench.config import SEED
from bench.data.case import SIDES, Side, Split
from bench.errors import UsageError


def make_splits(patients: Sequence[str], folds: int = 1, official: Collection[str] = ()) -> list[Split]:
    """Split patients once (70 % train, 10 % validation, 20 % test), or into K folds.

    In a cross-validation each patient is tested once, and an eighth of the others validate. The order of
    `patients` does not matter.

    Args:
        patients: All of them.
        folds: 1 for a single split.
        official: The test side of a single split, where whoever published the dataset chose one.

    Raises:
        UsageError: Too few patients for every side to have one.
    """
    names = sorted(set(patients))
    needed = {1: 3, 2: 4}.get(folds, folds)
    if len(names) < needed or folds < 1:
        raise UsageError(f"{len(names)} patients cannot be split: expected at least {needed} (folds={folds})")
    generator = np.random.Generator(np.random.Philox(SEED))
    order = [names[i] for i in generator.permutation(len(names))]
    if folds == 1 and official:
        return [_assign(order, [name for name in order if name in official])]
    if folds == 1:
        return [_assign(order, order[: max(1, round(0.2 * len(order)))])]
    return [_assign(order, order[fold::folds]) for fold in range(folds)]


def _assign(order: list[str], test: list[str]) -> Split:
    rest = [name for name in order if name not in set(test)]
    validation = rest[: max(1, round(len(rest) / 8))]
    sides: dict[str, Side] = {name: "train" for name in rest}
    sides.update({name: "validation" for name in validation})
    sides.update({name: "test" for name in test})
    return Split({name: sides[name] for name in sorted(sides)})


def write_splits(splits: Sequence[Split]) -> str:
    """Return splits as CSV text: fold, patient, side."""
    rows = [f"{fold},{patient},{side}" for fold, split in enumerate(splits) for patient, side in split.sides.items()]
    return "\n".join(["fold,patient,side", *rows, ""])


def read_splits(path: Path, patients: Sequence[str]) -> list[Split]:
    """Read splits back and check them against the dataset's patients.

    Raises:
        UsageError: The file is damaged, puts a patient on two sides, or does not fit the patients.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    folds: dict[int, dict[str, Side]] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            fold, rest = line.split(",", 1)
            patient, side = rest.rsplit(",", 1)
            sides = folds.setdefault(int(fold), {})
        except ValueError:
            raise UsageError(f"{path} line {number}: {line!r}, expected fold,patient,side") from None
        if side not in SIDES:
            raise UsageError(f"{path} line {number}: side '{side}', expected one of {', '.join(SIDES)}")
        if patient in sides:
            raise UsageError(f"{path} line {number}: patient {patient} is on two sides of fold {fold}")
        sides[patient] = side
    if lines[:1] != ["fold,patient,side"] or list(folds) != list(range(len(folds))) or not folds:
        raise UsageError(f"{path} is no split file: expected the header fold,patient,side and folds from 0")
    for fold_sides in folds.values():
        odd = sorted(set(fold_sides) ^ set(patients))
        if odd:
            raise UsageError(f"{path} does not fit the dataset: patient {odd[0]} is in one of them only")
        if set(fold_sides.values()) != set(SIDES):
            raise UsageError(f"{path}: a side has no patient; expected one at least in {', '.join(SIDES)}")
    return [Split(sides) for sides in folds.values()]
