"""The table as a paper wants it: own names, order, metrics, groups and notes, from a TOML file."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.report.document import Block, Cell, Document, Head, Mark, Note
from bench.report.sections import table1
from bench.report.sections.marks import legend_of_looks
from bench.report.sections.table import Table, data
from bench.spec import plain
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.metrics import (
    INFERRED,
    INSTANCES,
    LOWER,
    METRICS,
    OF_INSTANCES,
    PRINTED,
    SCORES,
    TITLES,
)
from bench.spec.names import safe_name
from bench.stats import intervals
from bench.stats.family import STAR, WEIGHTS
from bench.stats.scores import arrange
from bench.store.scores import CLASS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Spread = Literal["std", "interval", "none"]
Marks = Literal["best", "baseline", "none"]
Notes = Literal["short", "long", "none"]
KNOWN = (*SCORES, *OF_INSTANCES)
"""The metrics that a table may have."""
UNITS = {metric.name: metric.unit for metric in (*METRICS, *INSTANCES)}
POINTS = 100


@dataclass(frozen=True)
class Group:
    """Rows that stand together, with rules between groups."""

    rows: tuple[str, ...]
    """The methods' keys, in order."""
    title: str = ""
    """What stands over them; nothing by default."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a layout file says; every key has a default."""

    source: str = ""
    """`real`, `phantom` or `external`; the first that has results."""
    name: str = "paper"
    """What the files are called."""
    caption: str = ""
    """The sentence above the table; one that says what it is by default."""
    metrics: tuple[str, ...] = PRINTED
    """Metrics, or those of one class: `dice:disc`; `dice:union` is that of all together."""
    datasets: tuple[str, ...] = ()
    """Columns in order, by dataset or key; all by default."""
    groups: tuple[Group, ...] = ()
    """Rows in order; all by default."""
    names: dict[str, str] = field(default_factory=dict)
    """Printed names of methods and datasets, by key."""
    decimals: int = 2
    spread: Spread = "std"
    best: bool = True
    """Whether the best mean is bold."""
    second: bool = True
    """Whether the second best is underlined."""
    marks: Marks = "best"
    """`best`: those of table 1, against the best mean; `baseline`: stars of the declared
    comparisons."""
    mean: bool = False
    """Whether a column holds the mean over datasets."""
    notes: Notes = "short"
    tables: Literal["one", "each"] = "one"
    """One table, or one for each dataset."""


@dataclass(frozen=True)
class Chosen:
    """A table with the rows and columns that a layout names."""

    table: Table
    layout: Layout
    columns: dict[str, str]
    """Keys with their printed names."""
    groups: tuple[Group, ...]
    names: dict[str, str]
    """The rows' keys with their printed names."""

    @property
    def rows(self) -> list[str]:
        """The keys of all rows in order."""
        keys: list[str] = []
        for group in self.groups:
            keys += group.rows
        return keys


def read(path: Path) -> Layout:
    """Read a layout file.

    Raises:
        UsageError: It is not there, is no TOML, or has an unknown key or a wrong value.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"layout {path} cannot be read ({error.strerror}); "
            "bench report --layout-template writes one"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"layout {path} is no TOML: {error}") from error
    known = {one.name for one in fields(Layout)}
    for key in values:
        if key not in known:
            raise UsageError(f"layout {path}: unknown key '{key}'; {did_you_mean(key, known)}")
    try:
        layout = plain.convert(values, Layout)
    except plain.PlainError as error:
        raise UsageError(f"layout {path}: {error}") from error
    _check(layout, path)
    return layout


def _check(layout: Layout, path: Path) -> None:
    safe_name(layout.name, f"layout {path}: name")
    for metric in map(_metric, layout.metrics):
        if metric not in KNOWN:
            hint = did_you_mean(metric, KNOWN)
            raise UsageError(f"layout {path}: unknown metric '{metric}'; {hint}")
        if layout.spread == "interval" and metric not in INFERRED:
            raise UsageError(
                f"layout {path}: {metric} has no interval; intervals are of {', '.join(INFERRED)}"
            )
    if not layout.metrics:
        raise UsageError(f"layout {path}: metrics is empty; name one: {', '.join(KNOWN)}")
    if not 0 <= layout.decimals <= 6:
        raise UsageError(f"layout {path}: decimals = {layout.decimals}; expected 0 to 6")


def _metric(name: str) -> str:
    """Return the metric of a name that may have a class."""
    return name.partition(":")[0]


def _class(name: str) -> str:
    """Return the class of a name, empty where it is the mean over classes."""
    return name.partition(":")[2]


def template(tables: Sequence[Table]) -> str:
    """Return a layout file that gives table 1 as it is, with every key and what it may be."""
    table = tables[0]
    lines = [
        "# The layout of a paper's table: bench report --layout paper.toml",
        f'source = "{table.source}"          # real, phantom or external',
        'name = "paper"             # paper.tex, paper.md, paper.csv, and paper-notes.*',
        'caption = ""               # yours; without, one that says what it is',
        f"metrics = {_list(_printed(table))}  # of {', '.join(KNOWN)}",
        *_of_classes(table),
        "decimals = 2",
        'spread = "std"             # std, interval (95 %, over patients) or none',
        "best = true                # bold",
        "second = true              # underlined",
        'marks = "best"             # best (as table 1), baseline (stars of the declared'
        " comparisons) or none",
        "mean = false               # a column with the mean over datasets",
        'notes = "short"            # short, long or none',
        'tables = "one"             # one, or each: one a dataset',
        "# Columns in order; one that is not named is left out, and the note says so.",
        f"datasets = {_list(list(table.columns))}",
        "",
        "[names]                    # how methods and datasets are printed",
    ]
    for key, title in (*table.columns.items(), *table.methods.items()):
        lines.append(f"{_quoted(key)} = {_quoted(title)}")
    lines += [
        "",
        "# Rows in order, a rule between groups; a row that is in none is left out.",
        "[[groups]]",
        'title = ""',
        f"rows = {_list(list(table.methods))}",
    ]
    return "\n".join(lines) + "\n"


def _printed(table: Table) -> list[str]:
    """Return the metrics of table 1 that a dataset has: scores from outside may be Dice alone."""
    known = set().union(*map(table.metrics, table.columns))
    return [metric for metric in PRINTED if metric in known]


def _of_classes(table: Table) -> list[str]:
    """Return the line that says how to name a class, if there are any."""
    if table.classes is None:
        return []
    names = list(dict.fromkeys(table.classes[CLASS]))
    return [f'# "dice:{names[-1]}" is that of a class, of {", ".join(names)}']


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def documents(tables: Sequence[Table], layout: Layout) -> list[Document]:
    """Return the tables that a layout asks for, and the complete notes.

    Raises:
        UsageError: A row, a column or the source that it names has no result.
    """
    chosen = _chosen(tables, layout)
    parts = [_document(chosen, layout.name)]
    if layout.tables == "each":
        parts = []
        for key, title in chosen.columns.items():
            column = chosen.table.by_key[key]
            alone = replace(chosen, columns={key: title})
            parts.append(_document(alone, f"{layout.name}-{column.folder}"))
    return [*parts, _complete(chosen)]


def _chosen(tables: Sequence[Table], layout: Layout) -> Chosen:
    by_source = {table.source: table for table in tables}
    sources = [str(source) for source in by_source]
    source = layout.source or sources[0]
    if source not in sources:
        raise UsageError(f"source '{source}' has no result; {did_you_mean(source, sources)}")
    table = next(table for table in tables if table.source == source)
    columns: dict[str, str] = {}
    for name in layout.datasets or tuple(table.columns):
        for key in _columns(table, name):
            dataset = table.by_key[key].dataset.name
            own = layout.names.get(key) or layout.names.get(dataset)
            columns[key] = own or table.columns[key]
    groups = layout.groups or (Group(tuple(table.methods)),)
    names: dict[str, str] = {}
    for group in groups:
        for key in group.rows:
            if key not in table.methods:
                hint = did_you_mean(key, table.methods)
                raise UsageError(f"row '{key}' has no result here; {hint}")
            if key in names:
                raise UsageError(f"row '{key}' is named twice; name it once")
            names[key] = layout.names.get(key, table.methods[key])
    known = {*table.methods, *table.columns}
    known.update(column.dataset.name for column in table.by_key.values())
    for key in layout.names:
        if key not in known:
            raise UsageError(f"names: '{key}' is no row or column; {did_you_mean(key, known)}")
    return Chosen(table, layout, columns, groups, names)


def _columns(table: Table, name: str) -> list[str]:
    """Return the columns that a name means: a key, or the name of a dataset."""
    keys = [key for key, column in table.by_key.items() if name in (key, column.dataset.name)]
    if not keys:
        names = {column.dataset.name for column in table.by_key.values()}
        hint = did_you_mean(name, {*table.columns, *names})
        raise UsageError(f"dataset '{name}' has no result here; {hint}")
    return keys


# The numbers


@dataclass(frozen=True)
class Value:
    """A mean with what stands behind it, in the printed unit."""

    mean: float
    spread: tuple[float, ...] = ()
    """A std, or the two ends of an interval."""


def _values(chosen: Chosen, metric: str) -> dict[tuple[str, str], Value]:
    """Return the means by column and row; those over datasets under the column `""`."""
    table, layout = chosen.table, chosen.layout
    factor = POINTS if UNITS[_metric(metric)] == "fraction" else 1
    values: dict[tuple[str, str], Value] = {}
    for column in chosen.columns:
        for key, (mean, *spread) in _measured(table, column, metric, layout.spread).items():
            if key in chosen.names and mean == mean:
                known = tuple(factor * one for one in spread if one == one)
                values[column, key] = Value(factor * mean, known)
    if layout.mean:
        units = {table.units.get(column, "") for column in chosen.columns}
        comparable = UNITS[_metric(metric)] == "fraction" or len(units) == 1
        for key in chosen.rows if comparable else ():
            known_here = [
                values[column, key] for column in chosen.columns if (column, key) in values
            ]
            means = [value.mean for value in known_here]
            if len(means) == len(chosen.columns):
                values["", key] = Value(math.fsum(means) / len(means))
    return values


def _measured(table: Table, column: str, metric: str, spread: Spread) -> dict[str, list[float]]:
    """Return mean and spread of each row on a column, as they were measured."""
    of_class, metric = _class(metric), _metric(metric)
    part, patients = table.images, table.patients
    if of_class:
        part = _rows_of(table, of_class)
        part = part[part.column == column]
        patients = arrange(part) if spread == "interval" else patients
    if part.empty:
        return {}
    if spread == "interval":
        rows = intervals.summarise(patients[column][metric])
        return {row.method: [row.mean, *row.bootstrap] for row in rows}
    part = part[part.column == column]
    if metric not in part:  # no dataset has instances
        return {}
    measured = {}
    for key, scores in part.groupby("method", sort=False, observed=True)[metric]:
        measured[str(key)] = [float(scores.mean())]
        if spread == "std":
            measured[str(key)].append(float(scores.std()))
    return measured


def _rows_of(table: Table, name: str) -> pd.DataFrame:
    """Return the scores of a class.

    Raises:
        UsageError: No dataset has it.
    """
    if table.classes is None:
        raise UsageError(f"metrics: class '{name}' is named, but no dataset here has classes")
    rows = table.classes[table.classes[CLASS] == name]
    if rows.empty:
        hint = did_you_mean(name, set(table.classes[CLASS]))
        raise UsageError(f"metrics: no dataset here has the class '{name}'; {hint}")
    return rows


def _stars(chosen: Chosen) -> dict[tuple[str, str], str]:
    """Return the stars of the declared comparisons by column and row."""
    stars = {}
    for family in chosen.table.families.values():
        for one in family.comparisons:
            stars[family.column, one.pair.second] = one.mark
    return stars


def _places(
    chosen: Chosen, values: Mapping[tuple[str, str], Value], column: str, metric: str
) -> dict[str, int]:
    """Return 0 for the best row of a column, 1 for the second: of those that compete."""
    decimals = chosen.layout.decimals
    rivals = [key for key in chosen.rows if key not in chosen.table.marked]
    shown = {}
    for key in rivals:
        if (column, key) in values:
            shown[key] = round(values[column, key].mean, decimals)
    order = sorted(set(shown.values()), reverse=_metric(metric) not in LOWER)
    return {key: order.index(value) for key, value in shown.items()}


# The documents


def _mark(table: Table, column: str, places: Mapping[str, int], key: str) -> Mark:
    """Return whether the tests tell a row from the best one that is shown."""
    pairs = table.pairs.get(column)
    best = next(one for one, place in places.items() if place == 0)
    if pairs is None or best not in pairs.methods or key not in pairs.methods:
        return ""
    return table1.mark(table, column, best, key)


def _document(chosen: Chosen, name: str) -> Document:
    """Return a table of the chosen rows and columns."""
    layout, table = chosen.layout, chosen.table
    columns = [*chosen.columns.items(), *([("", "Mean")] if layout.mean else [])]
    values = {metric: _values(chosen, metric) for metric in layout.metrics}
    stars = _stars(chosen) if layout.marks == "baseline" else {}
    heads = [Head("Method", "left")]
    cells: dict[str, list[Cell]] = {key: [] for key in chosen.rows}
    compared: list[Cell] = []
    for column, title in columns:
        for metric in layout.metrics:
            heads.append(Head(_title(table, column, metric), "right", title))
            places = _places(chosen, values[metric], column, metric)
            for key in chosen.rows:
                value = values[metric].get((column, key))
                bears = metric == table1.bearer(layout.metrics)
                star = stars.get((column, key), "") if bears else ""
                cell = _cell(value, layout, places.get(key, 2), star)
                if bears and layout.marks == "best" and places.get(key, 0) > 0:
                    cell = replace(cell, mark=_mark(table, column, places, key))
                if bears and column and key not in table.marked:
                    compared.append(cell)
                cells[key].append(cell)
    signs = Signs(table1.marks_of(compared), frozenset(stars.values()))
    rows: list[tuple[Cell, ...]] = []
    rules = []
    for group in chosen.groups:
        rules.append(len(rows))
        if group.title:
            rows.append((Cell(group.title), *(Cell("") for _ in heads[1:])))
        for key in group.rows:
            rows.append((Cell(chosen.names[key]), *cells[key]))
    block = Block(tuple(heads), tuple(rows), rules=tuple(rules[1:]))
    return Document(
        name=name,
        heading=layout.caption or f"{data(table)}: {', '.join(chosen.columns.values())}",
        caption=layout.caption or _caption(chosen),
        blocks=(block,),
        notes=tuple(_notes(chosen, signs)),
        frames={"": _frame(chosen, values)},
    )


def _named(metric: str, between: str = ", ") -> str:
    """Return the title of a metric, with its class where it is that of one."""
    title, of_class = TITLES[_metric(metric)], _class(metric)
    return f"{title}{between}{of_class}" if of_class else title


def _title(table: Table, column: str, metric: str) -> str:
    """Return the heading of a metric, with its class and the unit of a distance."""
    title, metric = _named(metric), _metric(metric)
    if UNITS[metric] == "fraction":
        return title
    units = {table.units[column]} if column else {*table.units.values()}
    return f"{title} ({', '.join(sorted(units))})"


def _cell(value: Value | None, layout: Layout, place: int, star: str) -> Cell:
    """Return a mean with its spread, bold if it is the best, underlined if it is the second."""
    if value is None:
        return Cell("-", number=math.nan)
    digits = layout.decimals
    text = f"{value.mean:.{digits}f}"
    if len(value.spread) == 1:
        text += f" ± {value.spread[0]:.{digits}f}"
    if len(value.spread) == 2:
        text += f" [{value.spread[0]:.{digits}f}, {value.spread[1]:.{digits}f}]"
    best = layout.best and place == 0
    second = layout.second and place == 1
    return Cell(text + star, "best" if best else "", value.mean, second)


def _caption(chosen: Chosen) -> str:
    """Return what the numbers are."""
    layout = chosen.layout
    metrics = dict.fromkeys(map(_metric, layout.metrics))
    percent = [TITLES[name] for name in metrics if UNITS[name] == "fraction"]
    what = f"{', '.join(percent)} in percent. " if percent else ""
    spread = {
        "std": "Mean ± std over the test images of all seeds.",
        "interval": "Mean over patients with its 95 % bootstrap interval.",
        "none": "Mean over the test images of all seeds.",
    }[layout.spread]
    style = [("bold: best", layout.best), ("underlined: second", layout.second)]
    used = [words for words, wanted in style if wanted]
    marked = f" {'; '.join(used).capitalize()}." if used else ""
    return f"{data(chosen.table)}. {what}{spread}{marked}"


@dataclass(frozen=True)
class Signs:
    """What a table has of marks, which is explained, and nothing else."""

    marks: frozenset[Mark]
    """Those of table 1."""
    stars: frozenset[str]
    """Those of the declared comparisons."""


def _notes(chosen: Chosen, signs: Signs) -> Iterator[Note]:
    """Yield the notes that a layout asks for; what makes numbers not compare always stands."""
    layout, table = chosen.layout, chosen.table
    whole = table1.document(table).notes
    left = _left_out(chosen)
    if table.source != "external" and table.profile != "paper":
        yield Note(f"Profile '{table.profile}': {table.summary}.", "data")
    if layout.notes == "long":
        if layout.marks == "best" and table.pairs:
            yield from table1.legend(signs.marks, layout.metrics)
        yield from (note for note in whole if note.kind != "legend")
    else:
        yield from (note for note in whole if note.grave)
    if layout.notes == "short":
        yield Note(_short(chosen, signs))
    if left:
        yield Note(left, "data")


def _short(chosen: Chosen, signs: Signs) -> str:
    """Return one note: patients, what marks mean, and where all else stands."""
    counts = []
    for column, title in chosen.columns.items():
        tested = sorted(set(chosen.table.scores["patients"].xs(column, level="column")))
        counts.append(f"{title} {'-'.join(str(n) for n in dict.fromkeys((tested[0], tested[-1])))}")
    text = f"Patients: {', '.join(counts)}."
    if chosen.layout.marks == "best" and chosen.table.pairs:
        known = {*signs.marks} - {"best", ""}
        for note in table1.legend(known, chosen.layout.metrics):
            text += f" {note.text}"
    if chosen.layout.marks != "none":
        for note in legend_of_looks(chosen.table):
            text += f" {note.text}"
    if chosen.layout.marks == "baseline" and chosen.table.family:
        baseline = chosen.table.family.baseline
        name = chosen.names.get(baseline) or chosen.table.methods.get(baseline, baseline)
        for sign, words in STARS.items():
            if any(sign in star for star in signs.stars):
                text += f" {sign}: {words.format(name)}"
    untested = [metric for metric in chosen.layout.metrics if metric not in PRINTED]
    if untested and chosen.layout.marks != "none":
        titles = dict.fromkeys(_named(metric, " of ") for metric in untested)
        text += f" {', '.join(titles)}: not tested, so without marks."
    return f"{text} Tests, deviations and data: {chosen.layout.name}-notes."


STARS = {
    STAR: "differs from {} (p at most 0.05, corrected).",
    WEIGHTS: "these trained weights differ from those of {} (p at most 0.05, corrected).",
    "(": "in brackets if rare outliers that so few patients do not show could undo it.",
}
"""What the stars of the declared comparisons say."""


def _left_out(chosen: Chosen) -> str:
    """Return what the layout leaves out; nothing where it has all."""
    rows = [title for key, title in chosen.table.methods.items() if key not in chosen.names]
    columns = [title for key, title in chosen.table.columns.items() if key not in chosen.columns]
    parts = []
    if rows:
        parts.append(f"methods {', '.join(rows)}")
    if columns:
        parts.append(f"datasets {', '.join(columns)}")
    return f"Left out of this table: {'; '.join(parts)}." if parts else ""


def _complete(chosen: Chosen) -> Document:
    """Return all notes of table 1 beside the whole table, for a supplement."""
    first = table1.document(chosen.table)
    left = _left_out(chosen)
    notes = (*first.notes, *([Note(left, "data")] if left else []))
    return replace(
        first,
        name=f"{chosen.layout.name}-notes",
        heading=f"Complete table and notes ({chosen.table.source})",
        notes=notes,
        label=f"{chosen.layout.name}-notes",
    )


def _frame(chosen: Chosen, values: Mapping[str, Mapping[tuple[str, str], Value]]) -> pd.DataFrame:
    """Return the numbers of every row and column of the source, those left out included."""
    everything = replace(
        chosen,
        columns=chosen.table.columns,
        groups=(Group(tuple(chosen.table.methods)),),
        names=chosen.table.methods,
    )
    lines: list[dict[str, Any]] = []
    for metric in chosen.layout.metrics:
        for (column, key), value in _values(everything, metric).items():
            low, high = (*value.spread, np.nan, np.nan)[:2]
            lines.append(
                {
                    "dataset": column or "mean",
                    "method": key,
                    "metric": metric,
                    "mean": value.mean,
                    "std" if chosen.layout.spread == "std" else "low": low,
                    "high": high,
                    "shown": key in chosen.names and (not column or column in chosen.columns),
                }
            )
    return pd.DataFrame(lines)
