"""The scores of a case without a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.engine.metrics import EMPTY_POLICY, Score, score, score_classes
from bench.spec.case import UNION
from bench.store.scores import MISSING


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
    for name, score_of_class in scores.items():
        if score_of_class.empty != "both" or name == UNION:
            scores[name] = replace(score_of_class, values=values, empty=MISSING)
    return scores
