"""Which labels of a dataset name instances, such as vertebrae, and by which number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from bench.spec.case import Census
from bench.spec.errors import UsageError

LARGEST = (1 << 16) - 1
"""The largest number of an instance."""
NUMBER = re.compile(r"(?:[A-Za-z][A-Za-z0-9]*-)?(?P<number>\d+)(?: #.*)?")
"""`20`, `verse-20` of a collection, or `20 #ff0000` of a palette."""


def levels_of(dataset: str, foreground: Sequence[str], census: Census) -> dict[str, int]:
    """Return the number of the instance that each foreground label names.

    A colour has no number of its own: colours are numbered in their order.

    Args:
        dataset: Its name, for errors.
        foreground: The labels that are foreground.
        census: Which labels the masks hold.

    Raises:
        UsageError: No mask holds two of them, so they do not name instances; a number is too
            large, or two labels of a mask have one.
    """
    for held in census.masks:
        if len(set(held) & set(foreground)) > 1:
            break
    else:
        names = ", ".join(foreground[:3]) or "none"
        raise UsageError(
            f"{dataset}: instances=on, but no mask holds two foreground labels (they are: {names}),"
            " so labels do not name instances; expected a label for each, such as 1, 2, 3: leave "
            "instances=on out, or export label maps"
        )
    levels = {}
    for place, label in enumerate(sorted(foreground), 1):
        match = NUMBER.fullmatch(label)
        levels[label] = int(match["number"]) if match else place
        if levels[label] > LARGEST:
            raise UsageError(
                f"{dataset}: instances=on, but label {label} is above {LARGEST}; "
                "number the instances from 1"
            )
    for held, file in census.masks.items():
        numbers = Counter(levels[label] for label in held if label in levels)
        number, times = numbers.most_common(1)[0] if numbers else (0, 0)
        if times > 1:
            raise UsageError(
                f"{file}: instances=on, but {times} of its labels have the number {number}; "
                "expected one label an instance: number them differently"
            )
    return levels


def numbered(labels: Sequence[str], levels: Mapping[str, int]) -> tuple[int, ...]:
    """Return for each label of a dataset the number of its instance; nothing where none are."""
    return tuple(levels.get(label, 0) for label in labels) if levels else ()
