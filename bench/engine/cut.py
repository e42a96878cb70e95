"""The threshold that validation patients prefer, so that no method wins by being cut elsewhere."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.store.record import Cut

CUTS = np.arange(1, 20) / 20
"""The thresholds that are tried: 0.05 to 0.95."""
HALF = 9
"""The place of 0.5 among them."""


def dice_at_cuts(
    probability: NDArray[np.float32], reference: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Return the Dice (19,) of a map (H, W) cut at each of `CUTS`; 1 where both masks are empty."""
    # For each pixel, how many cuts its probability reaches.
    cuts_reached = np.digitize(probability.ravel(), CUTS.astype(np.float32))
    foreground = reference.ravel() > 0
    predicted = _pixels_at_cuts(cuts_reached)
    both = _pixels_at_cuts(cuts_reached[foreground])
    total = predicted + np.count_nonzero(foreground)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)


def _pixels_at_cuts(cuts_reached: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each cut (19,) how many pixels reach it, given how many cuts each one reaches."""
    counts = np.bincount(cuts_reached, minlength=len(CUTS) + 1)
    at_least = counts[::-1].cumsum()[::-1]  # how many pixels reach 0, 1, 2, ... cuts
    return at_least[1:]


@dataclass
class Curve:
    """The Dice at each of `CUTS` over cases of several patients."""

    cases: dict[str, list[NDArray[np.float64]]] = field(default_factory=lambda: defaultdict(list))
    """By patient."""

    def add(
        self, patient: str, probability: NDArray[np.float32], reference: NDArray[np.uint8]
    ) -> None:
        """Include a case: its map (H, W) and its reference (H, W)."""
        self.cases[patient].append(dice_at_cuts(probability, reference))

    def add_at_half(self, patient: str, dice: float) -> None:
        """Include a case that is cut nowhere else, such as one of several classes."""
        self.cases[patient].append(np.full(len(CUTS), dice))

    def mean(self) -> NDArray[np.float64]:
        """Return the mean over patients (19,), each with the mean of its cases.

        Cases without a value, which is NaN, do not count.
        """
        patients = []
        for cases in self.cases.values():
            cases_with_value = [case for case in cases if not np.isnan(case[HALF])]
            if cases_with_value:
                patients.append(np.mean(cases_with_value, axis=0))
        if not patients:
            return np.full(len(CUTS), np.nan)
        return np.asarray(np.mean(patients, axis=0))

    def at_half(self) -> float:
        """Return the mean over patients at the threshold of all tables."""
        return float(self.mean()[HALF])


def chosen(validation: Curve, test: Curve) -> Cut:
    """Return the cut with the highest validation Dice, the nearest to 0.5 of equal ones."""
    on_validation, on_test = validation.mean(), test.mean()
    distance_from_half = np.abs(np.arange(len(CUTS)) - HALF)
    # `lexsort` sorts by its last key first: by falling Dice, then by the distance.
    best = int(np.lexsort((distance_from_half, -on_validation))[0])
    return Cut(
        threshold=float(CUTS[best]),
        validation=float(on_validation[best]),
        validation_at_half=float(on_validation[HALF]),
        test=float(on_test[best]),
        test_at_half=float(on_test[HALF]),
    )
