"""Scores in tables: MONAI's, panoptica's, MetricsReloaded's, and any other CSV, long or wide."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.audit import headings
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
from bench.audit.summaries import check_case, check_cases
from bench.spec import csvs
from bench.spec.csvs import CsvTable
from bench.spec.errors import UsageError
from bench.spec.metrics import SCORES

MEAN = "mean"
"""MONAI's last column: the mean over classes."""
_DECIMAL = re.compile(r"[0-9]*[.,][0-9]+ ?%?")
_GROUPED = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")
MOST_TOLD = 6
"""Columns that are told as not read."""


def cases_of(path: Path, reading: Reading) -> Iterator[CaseScore]:
    """Yield the cases of a table of any form."""
    table, columns = _opened(path, reading)
    percent = _in_percent(columns, reading)
    if _is_long(columns):
        scores = list(_long(table, columns, reading, path, percent))
    else:
        scores = list(_wide(table, columns, reading, path))
    check_cases([(score.case, score.at) for score in scores])
    _check_percent(scores, table, columns, percent, reading)
    yield from scores


def told(path: Path, reading: Reading) -> tuple[str, ...]:
    """Return what to tell of a table: the columns that are not read."""
    table, columns = _opened(path, reading)
    used = {*columns.values(), _heading_of_label(table, columns)}
    if not _is_long(columns):
        used.update(_methods(table, columns, reading))
    spare = [heading for heading in table.headings if heading and heading not in used]
    spare = [heading for heading in spare if not heading.startswith("Unnamed: ")]
    if not spare:
        return ()
    more = f" and {len(spare) - MOST_TOLD} more" if len(spare) > MOST_TOLD else ""
    return (f"columns of {path.name} that are not read: {', '.join(spare[:MOST_TOLD])}{more}",)


def _opened(path: Path, reading: Reading) -> tuple[CsvTable, dict[str, str]]:
    """Return a table, and the heading of each column that is read."""
    table = csvs.read(path, tuple(reading.columns.values()), SCORES)
    table.require(*reading.columns.values())
    columns = _columns(table, reading)
    _check_sides(table, columns)
    _check_tidy(table, columns)
    if "case" not in columns and _is_of_patients(table, columns, reading):
        columns["case"] = columns["patient"]
    if "case" not in columns:
        _check_headings(path, table.headings)
        raise UsageError(
            f"{path} has no column of cases; its columns are {', '.join(table.headings)}; "
            f"name it: --columns case=HEADING{table.guess}"
        )
    if not _is_long(columns):
        columns |= _of_monai(table, columns, reading, path)
    used = [columns[name] for name in SCORES if name in columns]
    used += [] if used or not reading.metric else _methods(table, columns, reading)
    _check_headings(path, used)
    for name in ("method", "dataset", "run"):
        if name in columns:
            _check_filled(table, columns[name])
    _check_points(table, used)
    return table, columns


def _check_headings(path: Path, headings: Iterable[str]) -> None:
    """Refuse a number as a heading: it is the first line of a table without headings.

    Raises:
        UsageError: There is one.
    """
    for heading in headings:
        if _DECIMAL.fullmatch(heading):
            raise UsageError(
                f"{path}: its first line holds {heading!r}, a number; expected headings, such as "
                "case and dice: write them above"
            )


def _check_points(table: CsvTable, numbers: Sequence[str]) -> None:
    """Refuse `1.234` where decimals are behind commas, and the reverse: it may be 1234.

    Args:
        table: Of scores.
        numbers: The headings of the columns that are read as numbers.

    Raises:
        UsageError: A number may be two.
    """
    if table.delimiter == ",":
        return  # each such number is refused by itself
    values = []
    for row in table.rows:
        values += [(row, heading, table.value(row, heading)) for heading in numbers]
    for mark, other in (".,", ",."):
        if not any(other in value and _DECIMAL.fullmatch(value) for _, _, value in values):
            continue
        for row, heading, value in values:
            if mark in value and _GROUPED.fullmatch(value):
                point, bare = value.replace(",", "."), value.replace(mark, "")
                raise UsageError(
                    f"{table.at(row)}, column {heading}: '{value}' may be {point} or {bare}, for "
                    f"other numbers have '{other}' before their decimals; write all numbers with "
                    "one of them"
                )


def _is_long(columns: Mapping[str, str]) -> bool:
    """Return whether a table has a line for each score of a method and case."""
    return any(name in columns for name in SCORES)


def _check_filled(table: CsvTable, heading: str) -> None:
    """Refuse a column that some lines alone have, as where cells were joined.

    Raises:
        UsageError: A line has none.
    """
    values = [table.value(row, heading) for row in table.rows]
    if not any(values) or all(values):
        return
    row = table.rows[values.index("")]
    raise UsageError(
        f"{table.at(row)}, column {heading}: nothing is there, but other lines have it; fill it in "
        "in each line (spreadsheets leave it out where cells were merged)"
    )


def _check_sides(table: CsvTable, columns: Mapping[str, str]) -> None:
    """Refuse lines of cases that were trained on, beside others.

    Raises:
        UsageError: A column such as `split` says so.
    """
    for heading in table.headings:
        if csvs.folded(heading) not in headings.SIDES or heading in columns.values():
            continue
        sides = [csvs.folded(table.value(row, heading)) for row in table.rows]
        trained = [place for place, side in enumerate(sides) if side in headings.TRAINED]
        if trained and len(trained) < len(sides):
            raise UsageError(
                f"{table.at(table.rows[trained[0]])}: {heading} is "
                f"{table.value(table.rows[trained[0]], heading)!r}, of other lines it is not; "
                "expected cases of the test side alone: remove such lines, or the column if it "
                "says something else"
            )


def _check_tidy(table: CsvTable, columns: Mapping[str, str]) -> None:
    """Refuse a table with a line for each metric, unless all are of the one that is read.

    Raises:
        UsageError: It is one.
    """
    read = {name for name in SCORES if name in columns}
    for heading in table.headings:
        if csvs.folded(heading) not in headings.TIDY or heading in columns.values():
            continue
        named = {headings.meaning(table.value(row, heading))[0] for row in table.rows}
        if named and "" not in named and named != read:
            raise UsageError(
                f"{table.source} has a line for each metric (column {heading}: "
                f"{', '.join(sorted(named))}); expected a column for each, such as dice: spread "
                "them (a pivot table, or pivot of pandas)"
            )


def _in_percent(columns: Mapping[str, str], reading: Reading) -> frozenset[str]:
    """Return the metrics that are percent by the user's word, or by their headings."""
    if reading.percent:
        return frozenset(BOUNDED)
    units = {name: headings.unit_of(columns[name]) for name in BOUNDED if name in columns}
    return frozenset(name for name, unit in units.items() if unit == "%")


def _check_percent(
    scores: Sequence[CaseScore],
    table: CsvTable,
    columns: Mapping[str, str],
    percent: frozenset[str],
    reading: Reading,
) -> None:
    """Refuse fractions that are said to be percent.

    Raises:
        UsageError: No score of a method is above 1 percent, as if all were fractions.
    """
    if not percent:
        return
    largest: dict[str, float] = {}
    for score in scores:
        own = [score.values[name].value for name in percent if name in score.values]
        largest[score.method] = max(largest.get(score.method, 0.0), *own, 0.0)
    small = [method for method, value in largest.items() if 0 < value <= 1 / PERCENT]
    if not small or _has_signs(table):
        return
    if len(small) == sum(value > 0 for value in largest.values()):
        first = min(percent & columns.keys(), default="")
        said, remedy = "--percent", "leave --percent out"
        if not reading.percent:
            said, remedy = f"{columns[first]} says %", "correct the heading"
        raise UsageError(
            f"{table.source}: {said}, but no score is above 1, as where they are fractions; "
            f"expected percent: {remedy}"
        )
    raise UsageError(
        f"{table.source}: no score of {', '.join(small)} is above 1, as where they are fractions, "
        "but others are percent; expected percent of all: multiply them by 100, or write % behind "
        "them if they are so small"
    )


def _has_signs(table: CsvTable) -> bool:
    """Return whether numbers have their sign of percent themselves."""
    return any(any(value.endswith("%") for value in row.values) for row in table.rows)


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
    known = {csvs.folded(heading): heading for heading in table.headings if heading}
    known |= _of_panoptica(known, reading, table.source)
    taken = {csvs.folded(heading) for heading in columns.values()}
    for name, others in NAMES.items():
        for spelling in (name, *others):
            if name not in columns and spelling in known and spelling not in taken:
                columns[name] = known[spelling]
    _of_units(table, columns)
    _check_one_meaning(table, columns, reading)
    return columns


def _of_units(table: CsvTable, columns: dict[str, str]) -> None:
    """Add the columns whose headings have a unit, such as `HD95 (mm)`."""
    for heading in table.headings:
        name, _ = headings.meaning(heading)
        if name and name not in columns and heading not in columns.values():
            columns[name] = heading


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
            same = headings.meaning(heading)[0] == name or headings.is_copy(heading, first)
            if not same or heading in columns.values():
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


def _unit(columns: Mapping[str, str], reading: Reading, source: str) -> str:
    """Return the unit of distances by the user's word or by their headings; empty if unknown.

    Raises:
        UsageError: There are two.
    """
    units = {reading.unit: "--unit"} if reading.unit else {}
    for name in SCORES:
        unit = headings.unit_of(columns[name]) if name in columns else ""
        if name not in BOUNDED and unit:
            units[unit] = columns[name]
    if "%" in units:
        raise UsageError(
            f"{source}: {units['%']} says that distances are in %; expected mm or px: "
            "convert them, or correct the heading"
        )
    if len(units) > 1:
        raise UsageError(
            f"{source}: {' and '.join(units.values())} say two units of distances "
            f"({', '.join(units)}); expected one: name other columns by --columns, or leave out "
            "--unit"
        )
    return next(iter(units), "")


def _long(
    table: CsvTable,
    columns: Mapping[str, str],
    reading: Reading,
    path: Path,
    percent: frozenset[str],
) -> Iterator[CaseScore]:
    """Yield the cases of a table with a line for each."""
    wanted = _lines_of_label(table, columns, reading, path)
    metrics = [name for name in SCORES if name in columns]
    unit = _unit(columns, reading, table.source)
    if "method" not in columns and not reading.method:
        raise UsageError(
            f"{path} does not say whose scores it has; its columns are "
            f"{', '.join(table.headings)}; name that of the methods: --columns method=HEADING, or "
            f'the one method: "NAME={path}"'
        )

    def text(row: csvs.CsvRow, name: str) -> str:
        return table.value(row, columns[name]) if name in columns else ""

    for row in table.rows:
        if not wanted(row):
            continue
        at = table.at(row)
        case = _case(table.named(row, columns["case"]), at)
        whose = table.named(row, columns["patient"]) if "patient" in columns else ""
        check_case(whose, "patient", at)
        values = {}
        for name in metrics:
            column = f"{at}, column {columns[name]}"
            value = number_of(text(row, name), column, name, name in percent, table.delimiter)
            if value is not None:
                values[name] = value
        yield CaseScore(
            text(row, "method") or method_of(reading, path),
            text(row, "dataset") or reading.dataset,
            text(row, "run"),
            patient_of(case, whose, reading, at),
            case,
            values,
            _known_unit(text(row, "unit"), at) or unit or "unknown",
            at=at,
        )


def _known_unit(text: str, at: str) -> str:
    """Return a unit of distances as results have it.

    Raises:
        UsageError: It is another.
    """
    unit = headings.UNITS.get(text.casefold(), text)
    if unit not in ("", "mm", "px", "unknown"):
        raise UsageError(f"{at}: unit {text!r}, expected mm or px: convert the distances")
    return unit


def _case(text: str, at: str) -> str:
    """Return the case that a line names.

    Raises:
        UsageError: There is none, or the line sums up those above it.
    """
    case = case_of(text)
    if not case:
        raise UsageError(f"{at}: no case is named; fill it in or remove the line")
    check_case(case, "case", at)
    return case


def _lines_of_label(
    table: CsvTable, columns: Mapping[str, str], reading: Reading, path: Path
) -> Callable[[csvs.CsvRow], bool]:
    """Return which lines are of the wanted label, where a table has a line for each."""
    heading = _heading_of_label(table, columns)
    if not heading:
        return lambda row: True
    labels = sorted({_whole(table.value(row, heading)) for row in table.rows})
    wanted = label_of(labels, reading, path)
    return lambda row: _whole(table.value(row, heading)) == wanted


def _heading_of_label(table: CsvTable, columns: Mapping[str, str]) -> str:
    """Return the heading of the column of labels; empty where there is none."""
    used = list(map(csvs.folded, columns.values()))
    for heading in table.headings:
        if csvs.folded(heading) in ("label", "class") and csvs.folded(heading) not in used:
            return heading
    return ""


def _methods(table: CsvTable, columns: Mapping[str, str], reading: Reading) -> list[str]:
    """Return the headings that are of methods, in a table with a column for each.

    Raises:
        UsageError: A method has a column of another metric too.
    """
    spare = [heading for heading in table.headings if heading not in columns.values()]
    methods = [heading for heading in spare if heading and headings.is_method(heading)]
    metrics_of: dict[str, set[str]] = {}
    for heading in methods:
        method, metric = headings.apart(heading)
        metrics_of.setdefault(method, set()).add(metric)
    for method, metrics in metrics_of.items():
        if len(metrics) > 1:
            raise UsageError(
                f"{table.source}: {method} has columns of several metrics "
                f"({', '.join(sorted(metrics))}); expected those of --metric "
                f"{reading.metric or 'dice'} alone: remove the others"
            )
    return methods


def _whole(text: str) -> str:
    """Return a label without the decimals that pandas gives it."""
    return text.removesuffix(".0")


def _wide(
    table: CsvTable, columns: Mapping[str, str], reading: Reading, path: Path
) -> Iterator[CaseScore]:
    """Yield the cases of a table with a column for each method."""
    methods = _methods(table, columns, reading) if reading.metric else []
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
        check_case(named_patient, "patient", at)
        dataset = table.value(row, columns["dataset"]) if "dataset" in columns else ""
        patient = patient_of(case, named_patient, reading, at)
        for method in methods:
            text = table.value(row, method)
            column = f"{at}, column {method}"
            value = number_of(text, column, reading.metric, reading.percent, table.delimiter)
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
