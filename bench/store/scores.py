"""The scores of test cases, `cases.csv`: how they are read, and what they cannot say."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bench.spec import files, formulas
from bench.spec.case import UNION
from bench.spec.metrics import (
    DIAGONAL,
    FILLED,
    INSTANCE_COUNTS,
    INSTANCES,
    METRICS,
    OF_INSTANCES,
    PRINTED,
    SCORES,
    WORST,
    Metric,
)
from bench.store.damage import DamagedError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

KEYS = ("case", "patient")
"""The columns that every file of scores has, as text."""
CLASS = "class"
"""The column that says of which class a line is, where there are several: first `UNION`, then each.
Without it, a case has one line."""
COUNTS = ("tp", "fp", "fn")
"""Pixels by which Dice and IoU are checked; made-up results may lack them."""
WORDS = ("unit", "empty")
"""Columns of a handful of words."""
MISSING, UNKNOWN = "missing", "unknown"
"""What `empty` says where there is no prediction, which then scores zero; and of scores that
others computed, whose `unit` may be unknown too."""
ONE_EMPTY = ("truth", "prediction", MISSING)
"""What `empty` says where distances do not exist."""
EMPTY = ("none", "both", UNKNOWN, *ONE_EMPTY)
UNITS = ("mm", "px", UNKNOWN)
"""What the columns `empty` and `unit` may say."""
SLICES = "slices"
"""The column of volumes.csv that names the cases of a volume, with blanks between them."""
TOLERANCE = 2e-6
"""Largest error of a score that was rounded to six digits or more."""
LINE = 4096
"""Bytes that a line of the file has at most."""
SPACING = "spacing"
"""The column of the sides of a case's pixel or voxel in mm, with blanks between them."""
MOST_BYTES = 2**30
"""Bytes of a file of scores that are read."""
RARE = (*OF_INSTANCES, *INSTANCE_COUNTS)
"""Columns that cases.csv has only where instances are scored."""
NUMBERS = (*SCORES, DIAGONAL, *COUNTS, *RARE)
"""Columns of numbers."""
COLUMNS = (*KEYS, CLASS, *WORDS, *NUMBERS)
"""All columns that are read."""


def read_scores(path: Path) -> pd.DataFrame:
    """Read a file of scores: case, patient, `SCORES` and unit; what it lacks is missing.

    Where one mask alone is empty, the image's diagonal stands for the distances (`WORST`). Of
    several classes a case's scores are their means.

    Raises:
        UsageError: The file is damaged.
    """
    try:
        content = files.read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise DamagedError(path, files.reason(error)) from error
    frame = parse(content, path)
    if CLASS not in frame:
        return filled(frame)
    return over_classes(filled(frame), frame[CLASS])


def read_spacing(path: Path, case: str) -> tuple[float, float] | None:
    """Return mm per pixel (row, column) of a case in a file of scores.

    None of a volume, and where it is unknown, as in files of older versions.

    Raises:
        OSError: The file cannot be read.
    """
    text_of_file = files.read_bytes(path, MOST_BYTES).decode("utf-8", errors="replace")
    for line in csv.DictReader(io.StringIO(text_of_file, newline="")):
        if line["case"] != case:
            continue
        try:
            sides = tuple(map(float, (line.get(SPACING) or "").split()))
        except ValueError:
            return None
        return (sides[0], sides[1]) if len(sides) == 2 else None
    return None


def parse(content: bytes, path: Path) -> pd.DataFrame:
    """Return the columns of a file of scores that it has, as they are written.

    Raises:
        DamagedError: It is no such file.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            usecols=lambda name: name in COLUMNS,
            dtype={**dict.fromkeys((*KEYS, CLASS, *WORDS), str), **dict.fromkeys(NUMBERS, float)},
            keep_default_na=False,
            na_values={name: [""] for name in NUMBERS},
        )
    except (ValueError, OverflowError) as error:
        raise DamagedError(path, str(error).splitlines()[0]) from error
    for name in KEYS:
        if b"'" in content and name in frame:
            frame[name] = frame[name].map(formulas.as_it_was).astype(frame[name].dtype)
    for name in (*KEYS, PRINTED[0]):
        if name not in frame:
            raise DamagedError(path, f"no column {name}")
    return frame


def parse_all(files: Sequence[tuple[bytes, Path]]) -> list[pd.DataFrame | DamagedError]:
    """Return what `parse` returns, or raises, for each of some files.

    Files of plain lines and one heading are parsed together; if that fails, each alone.
    """
    by_heading: dict[bytes, list[int]] = {}
    for number, (content, _) in enumerate(files):
        heading = content.partition(b"\n")[0] if _is_plain(content) else b""
        by_heading.setdefault(heading, []).append(number)
    parsed: dict[int, pd.DataFrame | DamagedError] = {}
    for heading, numbers in by_heading.items():
        of_heading = [files[number] for number in numbers]
        together = _together(heading, of_heading) if heading else None
        parsed |= zip(numbers, together or map(_alone, of_heading), strict=True)
    return [parsed[number] for number in range(len(files))]


def _is_plain(content: bytes) -> bool:
    """Return whether each line of a file has as many commas as its heading, and nothing quoted.

    More commas in one line and fewer in another are not noticed here: the first line apart.
    """
    lines = content.count(b"\n")
    heading, first = (*content.split(b"\n", 2), b"")[:2]  # "" where there is no further line
    commas = heading.count(b",")
    return (
        content.endswith(b"\n")
        and b'"' not in content
        and b"\r" not in content
        and b"\n\n" not in content
        and commas > 0
        and first.count(b",") == commas
        and content.count(b",") == commas * lines
    )


def _together(
    heading: bytes, files: Sequence[tuple[bytes, Path]]
) -> list[pd.DataFrame | DamagedError] | None:
    """Return the tables of plain files of one heading; None where they must be parsed alone."""
    bodies = [content[len(heading) + 1 :] for content, _ in files]
    try:
        joined_table = parse(b"\n".join((heading, b"".join(bodies))), files[0][1])
    except DamagedError:
        return None
    ends = list(accumulate(body.count(b"\n") for body in bodies))
    if len(joined_table) != ends[-1]:
        return None
    return [joined_table.iloc[start:end] for start, end in pairwise((0, *ends))]


def _alone(file: tuple[bytes, Path]) -> pd.DataFrame | DamagedError:
    try:
        return parse(*file)
    except DamagedError as error:
        return error


def write_scores(path: Path, rows: Sequence[Mapping[str, float | int | str]]) -> None:
    """Write a file of scores: floats with nine digits, and NaN as an empty text."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: text(value) for name, value in row.items()})


def text(value: float | int | str) -> str:
    """Return a value as the file has it."""
    if not isinstance(value, float):
        return formulas.harmless(str(value))
    if math.isnan(value):
        return ""
    return f"{value:.9g}"


def filled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return scores in which the diagonal stands for distances that do not exist."""
    first_count = INSTANCE_COUNTS[0]
    has_instances = first_count in frame and bool(frame[first_count].notna().any())
    of_instances = RARE if has_instances else ()
    ordered = frame.reindex(columns=[*KEYS, *SCORES, *WORDS, DIAGONAL, *of_instances])
    no_distance = ordered["empty"].isin(ONE_EMPTY) & ordered[DIAGONAL].notna()
    for name in WORST:
        ordered[name] = ordered[name].where(~no_distance, ordered[DIAGONAL])
    return ordered.drop(columns=["empty", DIAGONAL]).assign(**{FILLED: no_distance})


def over_classes(scores: pd.DataFrame, classes: pd.Series[str]) -> pd.DataFrame:
    """Return one row a case: its scores, or the means over its classes without undefined ones.

    Counts of instances are those of all classes together.

    Args:
        scores: `filled` ones; the lines of a case's classes follow that of `UNION`.
        classes: The class of each row, missing where the case has one row.
    """
    import numpy as np

    begins_case = (classes.isna() | classes.eq(UNION)).to_numpy()
    if begins_case.all():
        return scores
    of_class = ~begins_case
    case_number = np.cumsum(begins_case)[of_class]  # from 1
    grouped = scores[of_class].groupby(case_number)
    averaged = [name for name in (*SCORES, *OF_INSTANCES) if name in scores]
    means = grouped[averaged].mean()
    cases = scores[begins_case].reset_index(drop=True)
    places = means.index.to_numpy() - 1
    cases.loc[places, averaged] = means.to_numpy()
    cases.loc[places, FILLED] = grouped[FILLED].any().to_numpy()
    return cases


def absent_classes(frame: pd.DataFrame) -> Bools:
    """Return the rows of classes that neither mask has."""
    import numpy as np

    rows = np.asarray(_of_class(frame), np.bool_)
    if rows.any():  # most files have no classes
        rows = rows & frame["empty"].eq("both").to_numpy(np.bool_)
    return rows


def _of_class(frame: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows are of a single class, and not of a case or of all classes together."""
    return frame[CLASS].notna() & frame[CLASS].ne(UNION)


def defined(frame: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Return rows in which classes that neither mask has score as one of `ABSENT` says."""
    rows = absent_classes(frame)
    if rule == "undefined" or not rows.any():
        return frame
    frame = frame.copy()
    for metric in METRICS:
        value = metric.both  # as if two empty masks agreed
        if rule == "worst":
            value = metric.reference  # as if the prediction were wrong
        if rule == "worst" and metric.name in WORST:
            frame.loc[rows, metric.name] = frame.loc[rows, DIAGONAL]
        else:
            frame.loc[rows, metric.name] = value
    return frame


def impossible(frame: pd.DataFrame, lacking: Mapping[str, Bools]) -> Iterator[tuple[Bools, str]]:
    """Yield for each rule that scores must keep which rows break it, and what the rule is.

    Args:
        frame: Rows of any number of files, `parse`d, with every column; of `RARE` those that any
            file has.
        lacking: For each column, the rows whose file has no such column.
    """
    import numpy as np

    values = {name: frame[name].to_numpy(np.float64) for name in NUMBERS if name in frame}
    # Categories are compared by small numbers, which is faster than texts.
    frame = frame.assign(**{name: frame[name].astype("category") for name in WORDS})
    tp, fp, fn = (values[name] for name in COUNTS)
    unanswered = frame["empty"].eq(MISSING).to_numpy()
    computed_elsewhere = frame["empty"].eq(UNKNOWN).to_numpy()
    uncounted = lacking["tp"] | lacking["fp"] | lacking["fn"] | unanswered
    are_counts = np.ones(len(frame), np.bool_)
    for count in (tp, fp, fn):
        are_counts &= (count >= 0) & (count == np.floor(count)) & (count < 2**53)
    yield ~(are_counts | uncounted), "tp, fp and fn must be counts of pixels"
    for metric in METRICS:
        score = values[metric.name]
        undefined = lacking[metric.name] | (np.isnan(score) & _may_lack(frame, metric.name))
        yield ~(_inside(score, metric) | undefined), _said(metric)
    yield from _impossible_instances(values, lacking)
    dice, iou = values["dice"], values["iou"]
    absent = absent_classes(frame)
    dice_of_both_empty = np.where(absent, np.nan, 1.0)
    yield absent & ~np.isnan(dice), "a class that neither mask has must have no score"
    with np.errstate(invalid="ignore", divide="ignore"):
        # Scores that others computed may be rounded; bench import compared them by their digits.
        iou_differs = _apart(iou, dice / (2 - dice))
        yield iou_differs & ~computed_elsewhere, "IoU must be Dice / (2 - Dice)"
        yield unanswered & (dice != 0), "a case without a prediction must score zero"
        dice_of_counts = 2 * tp / (2 * tp + fp + fn)
        for name, by_counts in (
            ("dice", np.where(tp + fp + fn == 0, dice_of_both_empty, dice_of_counts)),
            ("precision", tp / (tp + fp)),
            ("recall", tp / (tp + fn)),
        ):
            wrong = _apart(values[name], by_counts) & ~uncounted
            yield wrong, f"{name} must agree with tp, fp and fn"
    diagonal = values[DIAGONAL]
    for name in WORST:
        yield values[name] > diagonal * (1 + TOLERANCE), f"{name} must not exceed the diagonal"
    units, kinds = frame["unit"], frame["empty"]
    yield ~(units.isin(UNITS).to_numpy() | lacking["unit"]), "the unit must be mm or px"
    known = kinds.isin(EMPTY).to_numpy() | lacking["empty"]
    yield ~known, f"empty must be one of {', '.join(EMPTY)}"
    counted = ~(uncounted | lacking["empty"])
    reference_differs = (tp + fn == 0) != kinds.isin(("truth", "both")).to_numpy()
    prediction_differs = (tp + fp == 0) != kinds.isin(("prediction", "both")).to_numpy()
    differs = reference_differs | prediction_differs
    yield differs & counted, "empty must agree with tp, fp and fn"


def _inside(score: Floats, metric: Metric) -> Bools:
    """Return where a score lies in the range of its metric."""
    import numpy as np

    most = 1.0 if metric.unit == "fraction" else np.inf
    return (score >= 0) & (score <= most) & np.isfinite(score)


def _said(metric: Metric) -> str:
    """Return the rule of a metric's range."""
    if metric.unit == "distance":
        return f"{metric.title} must be a distance"
    return f"{metric.title} must lie in [0, 1]"


def _impossible_instances(
    values: Mapping[str, Floats], lacking: Mapping[str, Bools]
) -> Iterator[tuple[Bools, str]]:
    """Yield the rules of scores of instances, as `impossible` does."""
    import numpy as np

    without = np.logical_and.reduce([lacking[name] for name in RARE])
    if without.all():
        return
    partly = ~without & np.logical_or.reduce([lacking[name] for name in RARE])
    yield partly, "scores of instances must be complete"
    if not values.keys() >= set(RARE):
        return
    counts = np.stack([values[name] for name in INSTANCE_COUNTS])
    in_reference, predicted, matched, shifted, joined, split, missed = counts
    older = ~without & np.isnan(counts).all(0)
    yield older, "each class must have scores of its instances, which older versions did not write"
    with np.errstate(invalid="ignore", divide="ignore"):
        are_counts = ((counts >= 0) & (counts == np.floor(counts))).all(0)
        agree = (matched + joined + split + missed == in_reference) & (shifted <= matched)
        yield (
            ~(are_counts & agree & (matched <= predicted) | without),
            "counts of instances must agree",
        )
        for metric in INSTANCES:
            score = values[metric.name]
            may_lack = in_reference + predicted == 0
            if metric.name == "pq_of_reference":
                may_lack = in_reference == 0
            if metric.name in ("localisation", "identified"):  # undefined without names
                may_lack = np.ones_like(may_lack)
            fits = _inside(score, metric) | (np.isnan(score) & may_lack)
            yield ~(fits | without), _said(metric)
        has_instances = in_reference + predicted > 0
        rq, expected = values["rq"], 2 * matched / (in_reference + predicted)
        yield (
            _apart(rq, expected) & has_instances & ~without,
            "RQ must agree with the counts of instances",
        )
        wrong = _apart(values["pq"], rq * values["sq"])
        yield wrong & has_instances & ~without, "PQ must be RQ x SQ"


def _may_lack(frame: pd.DataFrame, name: str) -> Bools:
    """Return the rows whose masks leave a metric undefined."""
    import numpy as np

    if name in PRINTED:
        # Of all classes together, scores that others computed say nothing.
        together = frame[CLASS].eq(UNION).to_numpy(np.bool_)
        if together.any():
            together = together & frame["empty"].eq(UNKNOWN).to_numpy(np.bool_)
        return absent_classes(frame) | together
    return frame["empty"].isin((*ONE_EMPTY, "both", UNKNOWN)).to_numpy()


def _apart(values: Floats, others: Floats) -> Bools:
    """Return where two numbers differ by more than rounding; what is missing differs from none."""
    import numpy as np

    return np.abs(values - others) > TOLERANCE
