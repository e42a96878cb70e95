"""Scores in tables: MONAI's, panoptica's, MetricsReloaded's, and any other CSV, long or wide."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.audit.case_score import (
    BOUNDED,
    NAMES,
    PERCENT,
    CaseScore,
    Reading,
    case_of,
    label_of,
    method_of,
    number_of,
    patient_of,
)
from bench.spec import csvs
from bench.spec.csvs import CsvTable
from bench.spec.errors import UsageError
from bench.spec.metrics import SCORES

MEAN = "mean"
"""MONAI's last column: the mean over classes."""
SUMMARIES = frozenset(
    {
        MEAN,
        "average",
        "avg",
        "count",
        "durchschnitt",
        "media",
        "median",
        "mittel",
        "mittelwert",
        "moyenne",
        "overall",
        "promedio",
        "sd",
        "std",
        "stdev",
        "sum",
        "total",
        "\u5e73\u5747",  # mean in Chinese and Japanese
        "\u5e73\u5747\u503c",
        "\u5747\u503c",
    }
)
"""What programs and people write in the place of a case at the end of a table, in small letters."""
BESIDE = frozenset(
    {"all", "and", "cases", "dev", "deviation", "of", "over", "patients", "standard"}
)
"""Words that may stand beside these."""
_BRACKETS = re.compile(r"[\[(].*?[\])]")
_QUANTILE = re.compile(r"[0-9]+ ?%")


def cases_of(path: Path, reading: Reading) -> Iterator[CaseScore]:
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
        scores = list(_long(table, columns, reading, path))
    else:
        scores = list(_wide(table, columns, reading, path))
    if reading.percent:
        _check_percent(scores, path)
    yield from scores


def _check_percent(scores: Sequence[CaseScore], path: Path) -> None:
    """Refuse fractions that are said to be percent.

    Raises:
        UsageError: No score is above 1 percent, as if all were fractions.
    """
    largest = 0.0
    for score in scores:
        own = [score.values[name].value for name in BOUNDED if name in score.values]
        largest = max(largest, *own, 0.0)
    if 0 < largest <= 1 / PERCENT:
        raise UsageError(
            f"{path}: --percent, but no score is above 1, as where they are fractions; expected "
            "percent: leave --percent out"
        )


def _is_of_patients(table: CsvTable, columns: Mapping[str, str], reading: Reading) -> bool:
    """Return whether each line is a patient of its own, so that a patient is a case."""
    if "patient" not in columns:
        return False
    if any(name in columns for name in SCORES) or "method" in columns:
        return True  # a line twice is refused with the cases
    patients = [table.named(row, columns["patient"]) for row in table.rows]
    return len(set(patients)) == len(patients)


def _columns(table: CsvTable, reading: Reading) -> dict[str, str]:
    """Return the heading of each column that is known."""
    columns = dict(reading.columns)
    headings = {csvs.folded(heading): heading for heading in table.headings if heading}
    headings |= _of_panoptica(headings, reading, table.source)
    taken = {csvs.folded(heading) for heading in columns.values()}
    for name, others in NAMES.items():
        for spelling in (name, *others):
            if name not in columns and spelling in headings and spelling not in taken:
                columns[name] = headings[spelling]
    _check_one_meaning(table, columns, reading)
    return columns


def _check_one_meaning(table: CsvTable, columns: Mapping[str, str], reading: Reading) -> None:
    """Refuse two columns of one score whose values differ, such as `dice` and `DSC`.

    Raises:
        UsageError: There are two, and `--columns` names neither.
    """
    for name in SCORES:
        if name not in columns or name in reading.columns:
            continue
        first = columns[name]
        for heading in table.headings:
            other_name = heading and csvs.folded(heading) in NAMES[name] and heading != first
            if not other_name or heading in columns.values():
                continue
            if any(table.value(r, first) != table.value(r, heading) for r in table.rows):
                raise UsageError(
                    f"{table.source}: the columns {first} and {heading} both mean {name}, and "
                    f"their values differ; say which is meant: --columns '{name}={first}'"
                )


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
    return groups[label_of(sorted(groups), reading, Path(source))]


def _of_monai(
    table: CsvTable, columns: Mapping[str, str], reading: Reading, path: Path
) -> dict[str, str]:
    """Return the column of a MONAI file `METRIC_raw.csv`: a file name, classes, and their mean."""
    last = [heading for heading in table.headings if heading][-1]
    if csvs.folded(last) != MEAN or csvs.folded(columns["case"]) != "filename":
        return {}
    classes = [heading for heading in table.headings if heading and heading != columns["case"]]
    classes.remove(last)
    chosen = label_of(classes, reading, path)
    name = reading.metric or _metric_in(path.stem)
    if not name:
        raise UsageError(f"{path}: of which metric are these numbers? --metric dice, or another")
    return {name: chosen}


def _metric_in(stem: str) -> str:
    """Return the metric that the name of a file means; empty where it is not certain."""
    text = csvs.folded(stem.removesuffix("_raw"))
    for name in SCORES:
        for spelling in (name, *NAMES[name]):
            if spelling in text:
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
        case = _case(table.named(row, columns["case"]), at)
        whose = table.named(row, columns["patient"]) if "patient" in columns else ""
        _check_no_summary(whose, "patient", at)
        values = {}
        for name in metrics:
            column = f"{at}, column {columns[name]}"
            value = number_of(text(row, name), column, name, reading, table.delimiter)
            if value is not None:
                values[name] = value
        yield CaseScore(
            text(row, "method") or method_of(reading, path),
            text(row, "dataset") or reading.dataset,
            text(row, "run"),
            patient_of(case, whose, reading, at),
            case,
            values,
            text(row, "unit") or reading.unit or "unknown",
            at=at,
        )


def _case(text: str, at: str) -> str:
    """Return the case that a line names.

    Raises:
        UsageError: There is none, or the line sums up those above it.
    """
    case = case_of(text)
    if not case:
        raise UsageError(f"{at}: no case is named; fill it in or remove the line")
    _check_no_summary(case, "case", at)
    return case


def _check_no_summary(name: str, what: str, at: str) -> None:
    """Refuse a name that sums up other lines: `mean`, `Mean (n = 8)`, `25%`.

    Raises:
        UsageError: It does.
    """
    text = _BRACKETS.sub("", csvs.folded(name))
    words = set(re.findall(r"[^\W\d_]+", text))
    named = words & SUMMARIES and words <= SUMMARIES | BESIDE
    if _QUANTILE.fullmatch(text) or (named and not re.search("[0-9]", text)):
        raise UsageError(
            f"{at}: {name!r} sums up other lines; expected a {what}: remove the line, or give the "
            f"{what} another name"
        )


def _lines_of_label(
    table: CsvTable, columns: Mapping[str, str], reading: Reading, path: Path
) -> Callable[[csvs.CsvRow], bool]:
    """Return which lines are of the wanted label, where a table has a line for each."""
    headings = [name for name in ("label", "class") if table.has(name)]
    used = list(map(csvs.folded, columns.values()))
    heading = next((name for name in headings if name not in used), "")
    if not heading:
        return lambda row: True
    labels = sorted({_whole(table.value(row, heading)) for row in table.rows})
    wanted = label_of(labels, reading, path)
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
        case = _case(table.named(row, columns["case"]), at)
        named_patient = table.named(row, columns["patient"]) if "patient" in columns else ""
        _check_no_summary(named_patient, "patient", at)
        dataset = table.value(row, columns["dataset"]) if "dataset" in columns else ""
        patient = patient_of(case, named_patient, reading, at)
        for method in methods:
            text = table.value(row, method)
            column = f"{at}, column {method}"
            value = number_of(text, column, reading.metric, reading, table.delimiter)
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
