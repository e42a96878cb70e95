"""What the headings of a table of scores say beside their names: units, sides, other things."""

from __future__ import annotations

import re

from bench.audit.case_score import BOUNDED, NAMES
from bench.audit.summaries import sums_up
from bench.spec import csvs
from bench.spec.metrics import SCORES

UNITS = {
    "mm": "mm",
    "millimeter": "mm",
    "millimetre": "mm",
    **dict.fromkeys(("px", "pixel", "pixels", "vx", "vox", "voxel", "voxels"), "px"),
    **dict.fromkeys(("%", "percent", "pct"), "%"),
}
"""Units of scores, and their short names."""
SIDES = tuple(name for name in csvs.SPLITS if name != "fold")
"""Headings of columns that say on which side of a split a case is."""
TRAINED = ("train", "training", "tr")
"""What such a column says of cases that were trained on."""
TIDY = ("metric", "metrics", "measure", "score", "variable", "name")
"""Headings of the column of metrics in a table with a line for each."""
NO_METHODS = frozenset(
    {
        *("age", "sex", "gender", "height", "weight", "bmi", "date", "year", "time"),
        *("fold", *SIDES, "seed", "run", "index", "idx", "id", "no", "nr", "unnamed"),
        *("label", "class", "site", "center", "centre", "hospital", "scanner", "vendor"),
        *("cohort", "group", "volume", "vol", "area", "n", "slices", "voxels", "pixels"),
        *("comment", "comments", "note", "notes", "remark", "remarks", "excluded"),
        *("diff", "difference", "delta", "gain", "improvement", "p", "value", "pval"),
        *("rank", "best", "worst", "winner"),
    }
)
"""Words of which headings consist that name no method."""
OF_MEASURES = frozenset({"ml", "mm", "cm", "kg", "y", "years", "s", "ms"})
"""Units that may stand beside them."""
_UNIT = re.compile(r"(.+?)\s*[\[(]?\s*([a-z]+|%)\s*[\])]?")
_BRACKET = re.compile(r"[\[(]\s*([a-z]+|%)\s*[\])]$")
_COPY = re.compile(r"(.+)\.[1-9][0-9]*")
"""What pandas makes of a second column of one name: `dice.1`."""


def meaning(heading: str) -> tuple[str, str]:
    """Return the metric that a heading means for certain, and its unit; empty where it has none.

    `HD95 (mm)` is hd95 in mm, and `Dice [%]` is dice in %. No distance is in %: `HD95%` is
    hd95, and `HD95 (%)` is nothing for certain.
    """
    text = csvs.folded(heading)
    if metric := _metric(text):
        return metric, ""
    match = _UNIT.fullmatch(text)
    if not match or match[2] not in UNITS:
        return "", ""
    metric, unit = _metric(csvs.folded(match[1])), UNITS[match[2]]
    if unit == "%" and metric not in BOUNDED:
        return (metric, "") if text.endswith("%") else ("", "")
    return metric, unit if metric else ""


def unit_of(heading: str) -> str:
    """Return the unit of a column that is read, empty where its heading has none.

    A heading that no metric is known by has it in brackets: `Score [%]`.
    """
    metric, unit = meaning(heading)
    bracket = _BRACKET.search(csvs.folded(heading))
    if metric or not bracket:
        return unit
    return UNITS.get(bracket[1], "")


def is_copy(heading: str, first: str) -> bool:
    """Return whether pandas made a heading of a second column of another's name."""
    match = _COPY.fullmatch(heading)
    return match is not None and match[1] == first


def is_method(heading: str) -> bool:
    """Return whether a column of numbers may be of a method, not of age, fold or mean."""
    words = set(re.findall(r"[^\W\d_]+", csvs.folded(heading)))
    other = words & NO_METHODS and words <= NO_METHODS | OF_MEASURES
    return not other and not sums_up(heading)


def apart(heading: str) -> tuple[str, str]:
    """Return a heading without the metric at an end, and that metric: `A_iou` is A and iou."""
    words = csvs.folded(heading).split(" ")
    if len(words) < 2:
        return heading, ""
    if metric := _metric(words[-1]):
        return " ".join(words[:-1]), metric
    if metric := _metric(words[0]):
        return " ".join(words[1:]), metric
    return heading, ""


def _metric(text: str) -> str:
    """Return the metric that a folded text means for certain, or an empty text."""
    for name in SCORES:
        if text == name or text in NAMES[name]:
            return name
    return ""
