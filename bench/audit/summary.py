"""Scores in nnU-Net's `summary.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.audit.case_score import (
    CaseScore,
    Reading,
    case_of,
    exact,
    label_of,
    method_of,
    patient_of,
)
from bench.audit.printed import Printed
from bench.spec import texts
from bench.spec.errors import UsageError

ROUNDED = 0.005
"""Scores of two digits differ by so much from those that they were rounded from."""


def cases_of(path: Path, reading: Reading) -> Iterator[CaseScore]:
    """Yield the cases of nnU-Net's `summary.json`; counts give what it leaves undefined."""
    text, _ = texts.read_text(path)
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is no whole JSON ({error}); write it again") from error
    cases = data.get("metric_per_case") if isinstance(data, dict) else None
    if not isinstance(cases, list):
        raise UsageError(
            f"{path} is no summary.json of nnU-Net 2; expected metric_per_case in it: evaluate the "
            "predictions again, or give the scores as CSV"
        )
    try:
        labels = _labels_of(cases)
        _check_pairs(cases, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: a case of metric_per_case has no {error}; expected metrics and files"
        ) from error
    label = label_of(labels, reading, path)
    for number, case in enumerate(cases, 1):
        at = f"{path} case {number}"
        try:
            name = case_of(str(case["prediction_file"]))
            metrics = case["metrics"][label]
            values, empty = _of_counts(metrics)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{at} has no {error}; expected metrics and files") from error
        _check_same(metrics, values, at)
        yield CaseScore(
            method_of(reading, path),
            reading.dataset,
            "",
            patient_of(name, "", reading, at),
            name,
            values,
            empty=empty,
            at=at,
        )


def _check_pairs(cases: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Refuse predictions that were compared with the references of other cases.

    Raises:
        UsageError: A prediction has the name of another case's reference.
    """
    references = {case_of(str(case.get("reference_file", ""))) for case in cases}
    for number, case in enumerate(cases, 1):
        own = case_of(str(case.get("reference_file", "")))
        name = case_of(str(case["prediction_file"]))
        if own and name != own and name in references:
            raise UsageError(
                f"{path} case {number}: the prediction {name} was compared with the reference "
                f"{own}; expected that of the same case: evaluate the predictions again"
            )


def _check_same(metrics: Mapping[str, Any], values: Mapping[str, Printed], at: str) -> None:
    """Refuse scores that are not those of their counts.

    Raises:
        UsageError: One differs by more than two digits tell.
    """
    for name, own in {"Dice": "dice", "IoU": "iou"}.items():
        written, counted = metrics.get(name), values[own].value
        if not isinstance(written, int | float) or not math.isfinite(written):
            continue  # nnU-Net writes NaN where both masks are empty
        if abs(written - counted) > ROUNDED:
            raise UsageError(
                f"{at}: {name} is {written:g}, but {counted:g} by its TP, FP and FN; expected the "
                "same: evaluate the predictions again, or give the scores as CSV"
            )


def _labels_of(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the labels that the cases of a summary have."""
    labels: set[str] = set()
    for case in cases:
        labels |= set(case["metrics"])
    return sorted(labels)


def _of_counts(metrics: Mapping[str, Any]) -> tuple[dict[str, Printed], str]:
    """Return Dice, IoU, precision and recall from counted pixels, and which mask was empty."""
    tp, fp, fn = (float(metrics[name]) for name in ("TP", "FP", "FN"))
    if tp + fp + fn == 0:  # of several classes it is undefined: see `check`
        best = {"dice": 1.0, "iou": 1.0, "precision": 1.0, "recall": 1.0}
        return {name: exact(value) for name, value in best.items()}, "both"
    values = {"dice": exact(2 * tp / (2 * tp + fp + fn)), "iou": exact(tp / (tp + fp + fn))}
    if tp + fp:
        values["precision"] = exact(tp / (tp + fp))
    if tp + fn:
        values["recall"] = exact(tp / (tp + fn))
    reference_is_empty, prediction_is_empty = not tp + fn, not tp + fp
    if reference_is_empty:
        return values, "truth"
    return values, "prediction" if prediction_is_empty else "none"
