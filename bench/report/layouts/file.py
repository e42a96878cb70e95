"""A layout file in TOML: what it may say, and how it is read and begun."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from bench.report.sections.table import Table
from bench.spec import plain
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.metrics import INFERRED, INSTANCES, METRICS, OF_INSTANCES, PRINTED, SCORES
from bench.spec.names import safe_name
from bench.store.scores import CLASS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Spread = Literal["std", "interval", "none"]
"""What stands behind a mean."""

Marks = Literal["best", "baseline", "none"]

Notes = Literal["short", "long", "none"]

Tables = Literal["one", "each"]

CHOICES = {
    "spread": get_args(Spread),
    "marks": get_args(Marks),
    "notes": get_args(Notes),
    "tables": get_args(Tables),
}
"""The words that keys may have."""

KNOWN = (*SCORES, *OF_INSTANCES)
"""The metrics that a table may have."""

UNITS = {metric.name: metric.unit for metric in (*METRICS, *INSTANCES)}
"""Whether each metric is a fraction or a distance."""


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
    tables: Tables = "one"
    """One table, or one for each dataset."""


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
    for key, valid in CHOICES.items():
        value = values.get(key, valid[0])
        if value not in valid:
            hint = did_you_mean(str(value), valid)
            raise UsageError(f"layout {path}: {key}: {value!r} is not allowed; {hint}")
    try:
        layout = plain.convert(values, Layout)
    except plain.PlainError as error:
        raise UsageError(f"layout {path}: {error}") from error
    _check(layout, path)
    return layout


def _check(layout: Layout, path: Path) -> None:
    """Refuse values that the types allow and no table can have.

    Raises:
        UsageError: There is one.
    """
    safe_name(layout.name, f"layout {path}: name")
    for metric in map(metric_of, layout.metrics):
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


def metric_of(name: str) -> str:
    """Return the metric of a name that may have a class."""
    return name.partition(":")[0]


def class_of(name: str) -> str:
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
    """Return a text as TOML writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"
