"""The metrics, one row each: what they are called, which way is better, what empty masks score.

To add one, add a row here and a function of the same name in `bench.engine.metrics`. Those of
instances are values of `bench.engine.instances.Scored`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

TOLERANCE = 1.0
"""Largest distance that NSD accepts, in the unit of the distances: 1 mm or 1 pixel."""
_NAN = math.nan


@dataclass(frozen=True)
class Metric:
    """A score of one case.

    Two empty masks agree, so they score best. Where one mask alone is empty, precision or recall is
    0 / 0 and a distance does not exist: such a score is NaN in cases.csv; see `WORST`.
    """

    name: str
    """The column in cases.csv."""
    title: str
    better: Literal["higher", "lower"]
    unit: Literal["fraction", "distance"]
    """A distance is in mm where the spacing is known, else in pixels."""
    both: float
    """The score where both masks are empty."""
    reference: float
    """The score where the reference alone is empty."""
    prediction: float
    """The score where the prediction alone is empty."""
    inferred: bool = True
    """Whether the report gives its intervals and tests."""
    of_distances: bool = False
    """Whether it depends on the unit of distances, so that cases of two units have no mean."""
    printed: bool = False
    """Whether tables 1 and 2 print it, in percent: it is a fraction, and inferred."""


# The three numbers of a row are its scores where both masks, only the reference or only the
# prediction is empty.
METRICS = (
    Metric("dice", "Dice", "higher", "fraction", 1.0, 0.0, 0.0, printed=True),
    Metric("iou", "IoU", "higher", "fraction", 1.0, 0.0, 0.0, printed=True),
    Metric("precision", "Precision", "higher", "fraction", 1.0, 0.0, _NAN, inferred=False),
    Metric("recall", "Recall", "higher", "fraction", 1.0, _NAN, 0.0, inferred=False),
    Metric("hd95", "HD95", "lower", "distance", 0.0, _NAN, _NAN, of_distances=True),
    Metric("assd", "ASSD", "lower", "distance", 0.0, _NAN, _NAN, inferred=False, of_distances=True),
    Metric("nsd", "NSD", "higher", "fraction", 1.0, 0.0, 0.0, of_distances=True),
)
INSTANCES = (
    Metric("pq", "PQ", "higher", "fraction", _NAN, 0.0, 0.0, inferred=False),
    Metric("rq", "RQ", "higher", "fraction", _NAN, 0.0, 0.0, inferred=False),
    Metric("sq", "SQ", "higher", "fraction", _NAN, 0.0, 0.0, inferred=False),
    Metric("matched_dice", "Dice of matches", "higher", "fraction", _NAN, 0.0, 0.0, inferred=False),
    Metric(
        "identified",
        "Identification rate",
        "higher",
        "fraction",
        _NAN,
        _NAN,
        0.0,
        inferred=False,
        of_distances=True,
    ),
    Metric(
        "pq_of_reference",
        "PQ of the reference",
        "higher",
        "fraction",
        _NAN,
        _NAN,
        1.0,
        inferred=False,
    ),
    Metric(
        "localisation",
        "Localisation",
        "lower",
        "distance",
        _NAN,
        _NAN,
        _NAN,
        inferred=False,
        of_distances=True,
    ),
)
"""Of instances: cases.csv has them where the dataset's labels name instances. They are exploratory:
no declared comparison is about them. The diagonal stands for none of them."""
INSTANCE_COUNTS = ("instances", "predicted", "matched", "shifted", "joined", "split", "missed")
"""Counts beside them: instances of the reference and of the prediction, and what became of the
reference's (`bench.engine.instances.State`; those that are shifted are matched too)."""
SCORES = tuple(metric.name for metric in METRICS)
"""The names of the metrics of masks, as columns of cases.csv."""
OF_INSTANCES = tuple(metric.name for metric in INSTANCES)
"""The names of the metrics of instances."""
OF_DISTANCES = tuple(metric.name for metric in METRICS if metric.of_distances)
"""The metrics of masks that cases of two units have no mean of."""
INSTANCES_OF_DISTANCES = tuple(metric.name for metric in INSTANCES if metric.of_distances)
"""The same of instances."""
INFERRED = tuple(metric.name for metric in METRICS if metric.inferred)
"""The metrics that the report gives intervals and tests of."""
PRINTED = tuple(metric.name for metric in METRICS if metric.printed)
"""The metrics of tables 1 and 2."""
LOWER = frozenset(metric.name for metric in (*METRICS, *INSTANCES) if metric.better == "lower")
"""The metrics of which less is better."""
WORST = tuple(metric.name for metric in METRICS if metric.unit == "distance")
"""The metrics that do not exist where one mask alone is empty; in means, ranks and comparisons the
image's diagonal stands for them, so that an empty prediction helps no method."""
DIAGONAL, FILLED = "diagonal", "filled"
"""Columns of the scores: the image's diagonal, and whether it stands for the distances."""
ABSENT = ("undefined", "best", "worst")
"""What a class scores that neither the reference nor the prediction of a case has. Undefined ones
are left out of means and counted, which is the default, as in Metrics Reloaded (Maier-Hein et al.,
Nature Methods 2024); `best` is that of two empty masks, `worst` that of an empty prediction."""
TITLES = {metric.name: metric.title for metric in (*METRICS, *INSTANCES)}
"""The titles of all metrics by name."""


def listed(names: Sequence[str]) -> str:
    """Return the titles of some metrics as a sentence names them: `Dice, IoU and NSD`."""
    *first, last = [TITLES[name] for name in names]
    return f"{', '.join(first)} and {last}" if first else last
