"""What scores of all files must keep: one for each method and case, all possible."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from bench.audit.case_score import BOUNDED, PERCENT, CaseScore, exact
from bench.audit.printed import Printed
from bench.data.twins import look_alike
from bench.spec.errors import SeveralError, short_list
from bench.spec.metrics import PRINTED


def check(scores: Sequence[CaseScore], missing: str, percent: bool = False) -> list[CaseScore]:
    """Return scores that are one for each method and case, all possible.

    Args:
        scores: Of one or several files.
        missing: `refuse` or `zero`: what becomes of a case that has no score.
        percent: Whether the user said that they are percent.

    Raises:
        UsageError: A line for each thing that is wrong, with its number and first cases.
    """
    scores = [_without_absent(score) for score in scores]
    lines = [*_twice(scores), *_two_patients(scores), *_out_of_range(scores, percent)]
    if not lines:
        lines += _contradictions(scores)
    lines += _without_dice(scores)
    if lines:
        raise SeveralError(lines)
    whole, lacking = _completed(scores)
    if lacking and missing == "refuse":
        raise SeveralError(lacking)
    return whole


def _without_absent(score: CaseScore) -> CaseScore:
    """Return a score without values where it is of a class that neither mask has."""
    return replace(score, values={}) if score.label and score.empty == "both" else score


def _twice(scores: Sequence[CaseScore]) -> list[str]:
    """Return a line for each method and dataset of which a case has several scores."""
    counts = Counter(score.place for score in scores)
    twice: dict[str, list[str]] = {}
    for (method, dataset, _, case, _), count in counts.items():
        if count > 1:
            twice.setdefault(f"{method} on {dataset}", []).append(case)
    return [
        f"{who}: {short_list(cases)} have several scores; expected one: remove the others, or "
        "name the column of runs: --columns run=HEADING"
        for who, cases in twice.items()
    ]


def _two_patients(scores: Sequence[CaseScore]) -> list[str]:
    """Return a line on the cases that belong to two patients, if there are any."""
    owners: dict[tuple[str, str], set[str]] = {}
    for score in scores:
        owners.setdefault((score.dataset, score.case), set()).add(score.patient)
    shared = [case for (_, case), patients in owners.items() if len(patients) > 1]
    if not shared:
        return []
    return [
        f"{short_list(shared)} have two patients; expected one: correct the table, or give cases "
        f"that lie in two folders names of their own, such as FOLDER_{shared[0]}"
    ]


def _without_dice(scores: Iterable[CaseScore]) -> list[str]:
    """Return a line for each method that has Dice of no case."""
    has_dice: dict[str, bool] = {}
    for score in scores:
        has_dice[score.method] = has_dice.get(score.method, False) or PRINTED[0] in score.values
    return [
        f"{method}: no case has a Dice; expected it, for every table begins with it"
        for method, has in has_dice.items()
        if not has
    ]


def _out_of_range(scores: Sequence[CaseScore], percent: bool) -> list[str]:
    """Return a line for each metric that has values which it cannot have."""
    wrong: dict[str, list[str]] = {}
    largest = 0.0
    for score in scores:
        for name, value in score.values.items():
            highest = 1.0 if name in BOUNDED else math.inf
            if not 0 <= value.value <= highest:
                wrong.setdefault(name, []).append(f"{score.method} {score.case}")
                largest = max(largest, value.value if name in BOUNDED else 0)
    lines = []
    for name, cases in wrong.items():
        expected = "0 to 1" if name in BOUNDED else "0 or more"
        hint = "; if they are percent: --percent" if 1 < largest <= PERCENT and not percent else ""
        lines.append(f"{name}: {short_list(cases)} outside its range, expected {expected}{hint}")
    return lines


def contradicts(dice: Printed, iou: Printed) -> bool:
    """Return whether no single mask has this Dice and this IoU, which is D / (2 - D).

    Digits may be rounded or cut, as `bench audit` allows.
    """
    low, high = min(dice.low, 1.0), min(dice.high, 1.0)
    return iou.high < low / (2 - low) or iou.low > high / (2 - high)


def _contradictions(scores: Iterable[CaseScore]) -> list[str]:
    """Return a line for each method that has cases whose Dice and IoU contradict each other."""
    wrong: dict[str, list[str]] = {}
    lower: dict[str, bool] = {}  # whether some of these IoU are below their Dice
    for score in scores:
        dice, iou = score.values.get("dice"), score.values.get("iou")
        if dice is not None and iou is not None and contradicts(dice, iou):
            wrong.setdefault(score.method, []).append(score.case)
            lower[score.method] = lower.get(score.method, False) or iou.value < dice.value
    lines = []
    for method, cases in wrong.items():
        remedy = "means over classes are none: import one label"
        if not lower[method]:
            remedy = "but every such IoU is above its Dice: are the columns swapped?"
        lines.append(
            f"{method}: Dice and IoU of {short_list(cases)} contradict each other; expected "
            f"IoU = Dice / (2 - Dice) of one mask, {remedy}"
        )
    return lines


def _completed(scores: Sequence[CaseScore]) -> tuple[list[CaseScore], list[str]]:
    """Return scores in which every method has every case of a dataset, and who lacks which.

    What is missing scores zero. A metric that a method has of no case stays unknown.
    """
    cases: dict[str, dict[str, str]] = {}
    by_run: dict[tuple[str, str, str, str], dict[str, CaseScore]] = {}
    scored: set[tuple[str, str, str, str]] = set()
    for score in scores:
        cases.setdefault(score.dataset, {}).setdefault(score.case, score.patient)
        run = (score.method, score.dataset, score.run, score.label)
        by_run.setdefault(run, {})[score.case] = score
        if PRINTED[0] in score.values:
            scored.add(score.place[:4])  # all but the class
    complete_scores: list[CaseScore] = []
    lines = []
    for (method, dataset, run_name, label), score_by_case in by_run.items():
        metrics: set[str] = set()  # the fractions that the run has of any case
        for score in score_by_case.values():
            metrics |= score.values.keys() & {*BOUNDED}
        any_score = next(iter(score_by_case.values()))
        zero = dict.fromkeys(metrics, exact(0.0))
        lacking: dict[str, str] = {}
        for case, patient in cases[dataset].items():
            if case in score_by_case and metrics & {*PRINTED} <= score_by_case[case].values.keys():
                complete_scores.append(score_by_case[case])
                continue
            other_class_is_scored = (method, dataset, run_name, case) in scored
            if label and case in score_by_case and other_class_is_scored:
                no_such_class = replace(score_by_case[case], values={}, empty="both")
                complete_scores.append(no_such_class)
                continue
            lacking[f"{case} of {patient}"] = case
            failed = replace(
                any_score, patient=patient, case=case, values=zero, empty="missing", at=""
            )
            complete_scores.append(failed)
        if lacking:
            lines.append(
                f"{method} on {dataset}: {short_list(list(lacking))} have no score; "
                f"{_remedy(lacking.values(), score_by_case)}"
            )
    return complete_scores, lines


def _remedy(lacking: Iterable[str], own: Iterable[str]) -> str:
    """Return what to do where a method lacks cases: they may be its own by other names."""
    alike = look_alike([*lacking, *own], "cases")
    if alike:
        return f"{alike[0]}, in all methods"
    return "add them, or --missing zero counts them as failures"
