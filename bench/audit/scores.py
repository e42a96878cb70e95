"""Scores of cases that others computed: nnU-Net, MONAI, panoptica, MetricsReloaded, any CSV.

All become `CaseScore`, one a method, dataset, run and case. What a file does not say is asked for,
never guessed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from bench.audit.printed import MISSING, Printed
from bench.spec import csvs
from bench.spec.case import RESERVED
from bench.spec.csvs import CsvTable
from bench.spec.errors import SeveralError, UsageError, did_you_mean, short_list
from bench.spec.metrics import METRICS, PRINTED, SCORES

NAMES: Mapping[str, tuple[str, ...]] = {
    "method": ("model", "algorithm"),
    "dataset": (),
    "run": ("seed",),
    "patient": ("patient id", "patientid", "subject", "subject id"),
    "case": ("case id", "caseid", "filename", "file", "image", "subject name", "reference"),
    "unit": (),
    "dice": ("dsc", "dice score", "dice coefficient", "global bin dsc"),
    "iou": ("jaccard", "jaccard index", "global bin iou"),
    "precision": ("ppv",),
    "recall": ("sensitivity",),
    "hd95": ("hd 95", "hausdorff95", "hausdorff distance 95", "global bin hd95"),
    "assd": ("global bin assd",),
    "nsd": ("surface dice", "normalized surface dice", "global bin nsd"),
}
"""What a column may be, with other headings that mean it for certain."""
SUFFIX = re.compile(r"\.(nii|nii\.gz|mha|mhd|nrrd|png|jpg|jpeg|tif|tiff|bmp|npy|npz|dcm)$", re.I)
MEAN = "mean"
"""MONAI's last column: the mean over classes."""
BOUNDED = tuple(metric.name for metric in METRICS if metric.unit == "fraction")
PERCENT = 100.0


@dataclass(frozen=True)
class CaseScore:
    """The scores of one case as somebody else computed them."""

    method: str
    dataset: str
    run: str
    patient: str
    case: str
    values: Mapping[str, Printed]
    """By metric, as fractions or in the file's unit of distances; what is missing is not there."""
    unit: str = "unknown"
    """`mm`, `px` or `unknown`."""
    empty: str = "unknown"
    """Which mask was empty: none, truth, prediction, both; missing without a prediction."""
    at: str = ""
    """File and line."""
    label: str = ""
    """The class, where several are taken."""

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """What only one score may have: method, dataset, run, case and class."""
        return self.method, self.dataset, self.run, self.case, self.label


@dataclass(frozen=True)
class Reading:
    """What a user says of a file."""

    method: str = ""
    """Whose scores they are, where the file does not say it."""
    dataset: str = "scores"
    columns: Mapping[str, str] = field(default_factory=dict)
    """The file's heading of each column that is named otherwise."""
    metric: str = ""
    """What a wide table's numbers are."""
    label: str = ""
    """Which class or label is taken, where a file has several: `1`; or several: `bone=1,disc=2`."""
    patient: str = ""
    """`case` where each case is a patient, or a pattern of a case's name: `{patient}_*`."""
    unit: str = ""
    percent: bool = False


def read(path: Path, reading: Reading) -> list[CaseScore]:
    """Read a file of scores; of several classes one score a case and class.

    Raises:
        UsageError: It cannot be read, or it does not say whose scores of which patients they are.
    """
    scores: list[CaseScore] = []
    classes = classes_in(reading.label)
    for name, label in classes.items():
        of_class = _read(path, replace(reading, label=label))
        scores += [replace(score, label=name) for score in of_class]
    return scores if classes else _read(path, reading)


def classes_in(text: str) -> dict[str, str]:
    """Return the classes that `--label` names, with their labels in the file; none of one label.

    Raises:
        UsageError: A part is no name, or a name stands twice.
    """
    if "," not in text and "=" not in text:
        return {}
    classes: dict[str, str] = {}
    for part in text.split(","):
        name, _, label = (side.strip() for side in part.partition("="))
        if not name or name.lower() in RESERVED or name in classes:
            raise UsageError(
                f"--label {text}: {name[:40]!r} cannot name a class here; expected names that are "
                f"all different, such as vertebra=1,disc=2, and none of {', '.join(RESERVED)}"
            )
        classes[name] = label or name
    return classes


def _read(path: Path, reading: Reading) -> list[CaseScore]:
    if path.suffix.lower() == ".json":
        scores = list(_nnunet(path, reading))
    else:
        scores = list(_table(path, reading))
    if not scores:
        raise UsageError(f"{path} holds no score; expected a line for each case")
    return scores


def parse_columns(text: str) -> dict[str, str]:
    """Return what `--columns` says: `case=filename,dice=class1`.

    Raises:
        UsageError: A part is no `name=heading`, or the name is unknown.
    """
    columns = {}
    for part in filter(None, text.split(",")):
        name, equals, heading = part.partition("=")
        if not equals or not heading.strip():
            raise UsageError(
                f"--columns {text}: {part!r} is no name=heading, such as case=filename"
            )
        if name.strip() not in NAMES:
            raise UsageError(f"--columns: unknown '{name}'; {did_you_mean(name.strip(), NAMES)}")
        columns[name.strip()] = heading.strip()
    return columns


# nnU-Net


def _nnunet(path: Path, reading: Reading) -> Iterator[CaseScore]:
    """Yield the cases of nnU-Net's `summary.json`; counts give what it leaves undefined."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        cases = data["metric_per_case"]
        labels = _labels_of(cases)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is no summary.json of nnU-Net ({type(error).__name__}: {error}); "
            "expected metric_per_case in it"
        ) from error
    label = _label(labels, reading, path)
    for number, case in enumerate(cases, 1):
        at = f"{path} case {number}"
        try:
            name = _case_of(str(case["prediction_file"]))
            values, empty = _of_counts(case["metrics"][label])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{at} has no {error}; expected metrics and files") from error
        yield CaseScore(
            _method(reading, path),
            reading.dataset,
            "",
            _patient(name, "", reading, at),
            name,
            values,
            empty=empty,
            at=at,
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
        return {name: _exact(value) for name, value in best.items()}, "both"
    values = {"dice": _exact(2 * tp / (2 * tp + fp + fn)), "iou": _exact(tp / (tp + fp + fn))}
    if tp + fp:
        values["precision"] = _exact(tp / (tp + fp))
    if tp + fn:
        values["recall"] = _exact(tp / (tp + fn))
    if not tp + fn:
        return values, "truth"
    return values, "none" if tp + fp else "prediction"


def _exact(value: float) -> Printed:
    return Printed(value, 15)


def _label(labels: Sequence[str], reading: Reading, path: Path) -> str:
    """Return the label that is taken."""
    if reading.label:
        if reading.label not in labels:
            raise UsageError(
                f"{path} has no label '{reading.label}'; {did_you_mean(reading.label, labels)}"
            )
        return reading.label
    if len(labels) != 1:
        raise UsageError(
            f"{path} has {len(labels)} labels ({', '.join(labels[:6])}); "
            f"say which one is meant: --label {labels[0] if labels else 1}"
        )
    return labels[0]


# Tables


def _table(path: Path, reading: Reading) -> Iterator[CaseScore]:
    """Yield the cases of a table of any form."""
    table = csvs.read(path, tuple(reading.columns.values()), SCORES)
    table.require(*reading.columns.values())
    columns = _columns(table, reading)
    if "case" not in columns and _is_of_patients(table, columns, reading):
        columns["case"] = columns["patient"]
    if "case" not in columns:
        raise UsageError(
            f"{path} has no column of cases; its columns are {', '.join(table.headings)}; "
            "name it: --columns case=HEADING"
        )
    if not any(name in columns for name in SCORES):
        columns |= _of_monai(table, columns, reading, path)
    if any(name in columns for name in SCORES):
        yield from _long(table, columns, reading, path)
    else:
        yield from _wide(table, columns, reading, path)


def _is_of_patients(table: CsvTable, columns: Mapping[str, str], reading: Reading) -> bool:
    """Return whether each line is a patient of its own, so that a patient is a case."""
    if "patient" not in columns:
        return False
    if any(name in columns for name in SCORES) or "method" in columns:
        return True  # a line twice is refused with the cases
    patients = [table.value(row, columns["patient"]) for row in table.rows]
    return len(set(patients)) == len(patients)


def _columns(table: CsvTable, reading: Reading) -> dict[str, str]:
    """Return the heading of each column that is known."""
    columns = dict(reading.columns)
    headings = {csvs.folded(heading): heading for heading in table.headings if heading}
    headings |= _of_panoptica(headings, reading, table.source)
    taken = {csvs.folded(heading) for heading in columns.values()}
    for name, others in NAMES.items():
        for known in (name, *others):
            if name not in columns and known in headings and known not in taken:
                columns[name] = headings[known]
    return columns


def _of_panoptica(headings: Mapping[str, str], reading: Reading, source: str) -> dict[str, str]:
    """Return panoptica's columns `GROUP-METRIC` of one group, by their metrics."""
    if "subject name" not in headings:
        return {}
    groups: dict[str, dict[str, str]] = {}
    for heading in headings.values():
        group, dash, metric = heading.rpartition("-")
        if dash and csvs.folded(metric).startswith("global bin"):
            groups.setdefault(group, {})[csvs.folded(metric)] = heading
    if not groups:
        return {}
    return groups[_label(sorted(groups), reading, Path(source))]


def _of_monai(
    table: CsvTable, columns: Mapping[str, str], reading: Reading, path: Path
) -> dict[str, str]:
    """Return the column of a MONAI file `METRIC_raw.csv`: a file name, classes, and their mean."""
    last = [heading for heading in table.headings if heading][-1]
    if csvs.folded(last) != MEAN or csvs.folded(columns["case"]) != "filename":
        return {}
    classes = [heading for heading in table.headings if heading and heading != columns["case"]]
    classes.remove(last)
    chosen = _label(classes, reading, path)
    name = reading.metric or _metric_in(path.stem)
    if not name:
        raise UsageError(f"{path}: of which metric are these numbers? --metric dice, or another")
    return {name: chosen}


def _metric_in(stem: str) -> str:
    """Return the metric that the name of a file means; empty where it is not certain."""
    text = csvs.folded(stem.removesuffix("_raw"))
    for name in SCORES:
        for known in (name, *NAMES[name]):
            if known in text.split(" ") or known in text:
                return name
    return ""


def _long(
    table: CsvTable, columns: Mapping[str, str], reading: Reading, path: Path
) -> Iterator[CaseScore]:
    """Yield the cases of a table with a line for each."""
    wanted = _lines_of_label(table, columns, reading, path)
    metrics = [name for name in SCORES if name in columns]

    def text(row: csvs.CsvRow, name: str) -> str:
        return table.value(row, columns[name]) if name in columns else ""

    for row in table.rows:
        if not wanted(row):
            continue
        at = table.at(row)
        case = _case_of(text(row, "case"))
        if not case:
            raise UsageError(f"{at}: no case is named; fill it in or remove the line")
        values = {}
        for name in metrics:
            value = _number(text(row, name), f"{at}, column {columns[name]}", name, reading)
            if value is not None:
                values[name] = value
        yield CaseScore(
            text(row, "method") or _method(reading, path),
            text(row, "dataset") or reading.dataset,
            text(row, "run"),
            _patient(case, text(row, "patient"), reading, at),
            case,
            values,
            text(row, "unit") or reading.unit or "unknown",
            at=at,
        )


def _lines_of_label(
    table: CsvTable, columns: Mapping[str, str], reading: Reading, path: Path
) -> Callable[[csvs.CsvRow], bool]:
    """Return which lines are of the wanted label, where a table has a line for each."""
    headings = [name for name in ("label", "class") if table.has(name)]
    taken = list(map(csvs.folded, columns.values()))
    heading = next((name for name in headings if name not in taken), "")
    if not heading:
        return lambda row: True
    labels = sorted({_whole(table.value(row, heading)) for row in table.rows})
    wanted = _label(labels, reading, path)
    return lambda row: _whole(table.value(row, heading)) == wanted


def _whole(text: str) -> str:
    """Return a label without the decimals that pandas gives it."""
    return text.removesuffix(".0")


def _wide(
    table: CsvTable, columns: Mapping[str, str], reading: Reading, path: Path
) -> Iterator[CaseScore]:
    """Yield the cases of a table with a column for each method."""
    methods = [heading for heading in table.headings if heading not in columns.values()]
    methods = [heading for heading in methods if heading]
    if not reading.metric or not methods:
        raise UsageError(
            f"{path} has no column of a metric ({', '.join(SCORES)}); its columns are "
            f"{', '.join(table.headings)}; name one: --columns dice=HEADING, or, where each column "
            "is a method, say of what the numbers are: --metric dice"
        )
    for row in table.rows:
        at = table.at(row)
        case = _case_of(table.value(row, columns["case"]))
        known = table.value(row, columns["patient"]) if "patient" in columns else ""
        dataset = table.value(row, columns["dataset"]) if "dataset" in columns else ""
        patient = _patient(case, known, reading, at)
        for method in methods:
            text = table.value(row, method)
            value = _number(text, f"{at}, column {method}", reading.metric, reading)
            values = {} if value is None else {reading.metric: value}
            yield CaseScore(
                method,
                dataset or reading.dataset,
                "",
                patient,
                case,
                values,
                reading.unit or "unknown",
                at=at,
            )


def _case_of(text: str) -> str:
    """Return a case's name; of a path, that of its file without suffix."""
    if "/" in text or "\\" in text or SUFFIX.search(text):
        return SUFFIX.sub("", SUFFIX.sub("", PurePosixPath(text.replace("\\", "/")).name))
    return text


def _method(reading: Reading, path: Path) -> str:
    if not reading.method:
        raise UsageError(f'{path} does not say whose scores it has; name the method: "NAME={path}"')
    return reading.method


def _patient(case: str, known: str, reading: Reading, at: str) -> str:
    """Return the patient of a case.

    Raises:
        UsageError: Nothing says who it is.
    """
    if reading.patient == "case":
        return case
    if reading.patient:
        expression = re.escape(reading.patient).replace(r"\{patient\}", "(?P<patient>.+?)")
        match = re.fullmatch(expression.replace(r"\*", ".*"), case)
        if match is None or "patient" not in match.groupdict():
            raise UsageError(
                f"{at}: {case} does not fit --patient {reading.patient}; "
                "expected a pattern that holds {patient} once, such as '{patient}_*'"
            )
        return match["patient"]
    if not known:
        raise UsageError(
            f"{at}: no patient is known; name their column: --columns patient=HEADING, or a "
            "pattern: --patient '{patient}_*', or say that each case is a patient: --patient case"
        )
    return known


def _number(text: str, at: str, metric: str, reading: Reading) -> Printed | None:
    """Return a score; None where it is missing, or is infinite as a distance to nothing."""
    bare = text.strip().lower().removesuffix("%").rstrip()
    if bare in MISSING or bare in ("inf", "-inf", "infinity"):
        return None
    try:
        value = csvs.number(bare)
    except ValueError as error:
        raise UsageError(f"{at}: {error}") from None
    decimals = max(0, -int(value.as_tuple().exponent))
    if metric in BOUNDED:
        if reading.percent or bare != text.strip().lower():
            return Printed(float(value) / PERCENT, decimals)
        return Printed(float(value), decimals - 2)
    return Printed(float(value), decimals)


# What all files must keep


def check(scores: Sequence[CaseScore], missing: str) -> list[CaseScore]:
    """Return scores that are one for each method and case, all possible.

    Args:
        scores: Of one or several files.
        missing: `refuse` or `zero`: what becomes of a case that has no score.

    Raises:
        UsageError: A line for each thing that is wrong, with its number and first cases.
    """
    scores = [_without_absent(score) for score in scores]
    lines = [*_twice(scores), *_two_patients(scores), *_out_of_range(scores)]
    lines += [*_contradictions(scores), *_without_dice(scores)]
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
    owners: dict[tuple[str, str], set[str]] = {}
    for score in scores:
        owners.setdefault((score.dataset, score.case), set()).add(score.patient)
    shared = [case for (_, case), patients in owners.items() if len(patients) > 1]
    if not shared:
        return []
    return [f"{short_list(shared)} have two patients; expected one: correct the table"]


def _without_dice(scores: Iterable[CaseScore]) -> list[str]:
    """Return a line for each method that has Dice of no case."""
    known: dict[str, bool] = {}
    for score in scores:
        known[score.method] = known.get(score.method, False) or PRINTED[0] in score.values
    return [
        f"{method}: no case has a Dice; expected it, for every table begins with it"
        for method, has in known.items()
        if not has
    ]


def _out_of_range(scores: Sequence[CaseScore]) -> list[str]:
    """Return a line for each metric that has values which it cannot have."""
    wrong: dict[str, list[str]] = {}
    largest = 0.0
    for score in scores:
        for name, value in score.values.items():
            top = 1.0 if name in BOUNDED else math.inf
            if not 0 <= value.value <= top:
                wrong.setdefault(name, []).append(f"{score.method} {score.case}")
                largest = max(largest, value.value if name in BOUNDED else 0)
    lines = []
    for name, cases in wrong.items():
        expected = "0 to 1" if name in BOUNDED else "0 or more"
        hint = "; if they are percent: --percent" if 1 < largest <= PERCENT else ""
        lines.append(f"{name}: {short_list(cases)} outside its range, expected {expected}{hint}")
    return lines


def contradicts(dice: Printed, iou: Printed) -> bool:
    """Return whether no single mask has this Dice and this IoU, which is D / (2 - D).

    Digits may be rounded or cut, as `bench audit` allows.
    """
    low, high = min(dice.low, 1.0), min(dice.high, 1.0)
    return iou.high < low / (2 - low) or iou.low > high / (2 - high)


def _contradictions(scores: Iterable[CaseScore]) -> list[str]:
    wrong: dict[str, list[str]] = {}
    for score in scores:
        dice, iou = score.values.get("dice"), score.values.get("iou")
        if dice is not None and iou is not None and contradicts(dice, iou):
            wrong.setdefault(score.method, []).append(score.case)
    return [
        f"{method}: Dice and IoU of {short_list(cases)} contradict each other; expected "
        "IoU = Dice / (2 - Dice) of one mask, means over classes are none: import one label"
        for method, cases in wrong.items()
    ]


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
            scored.add(score.place[:4])
    whole: list[CaseScore] = []
    lines = []
    for (method, dataset, run_of, label), known in by_run.items():
        has: set[str] = set()
        for score in known.values():
            has |= score.values.keys() & {*BOUNDED}
        some = next(iter(known.values()))
        zero = dict.fromkeys(has, _exact(0.0))
        lacking = []
        for case, patient in cases[dataset].items():
            if case in known and has & {*PRINTED} <= known[case].values.keys():
                whole.append(known[case])
                continue
            if label and case in known and (method, dataset, run_of, case) in scored:
                whole.append(replace(known[case], values={}, empty="both"))  # no such class here
                continue
            lacking.append(f"{case} of {patient}")
            failed = replace(some, patient=patient, case=case, values=zero, empty="missing", at="")
            whole.append(failed)
        if lacking:
            lines.append(
                f"{method} on {dataset}: {short_list(lacking)} have no score; add them, or "
                "--missing zero counts them as failures"
            )
    return whole, lines
