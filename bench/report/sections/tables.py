"""Table 1: mean ± std of Dice and IoU, methods x datasets, and all that a reader must know to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.data.splits import heading, key
from bench.report.latex import escape, notes_under, standalone
from bench.report.sections import notes
from bench.spec.errors import UsageError
from bench.spec.metrics import titles
from bench.spec.registry import DATASETS, load
from bench.stats.family import MAP_FLIPS, Matrix, matrix
from bench.stats.flips import ALPHA, EXACT, FLIPS
from bench.stats.scores import METRICS as MEASURED
from bench.stats.scores import PatientScores, arrange
from bench.store.store import Declared, Store, column_of

Record = dict[str, Any]
METRICS = ("dice", "iou")
TITLES = titles(METRICS)


@dataclass(frozen=True)
class Table:
    """One table: all results of one source (real or phantom) under one profile."""

    source: str
    profile: str
    summary: str
    cases: pd.DataFrame
    """One row a case: column, method, patient, case, dice, iou; seeds averaged."""
    columns: dict[str, str]
    """Keys of the columns (dataset and splitting) in order, with their titles."""
    methods: dict[str, str]
    """Method specs in order, with their titles."""
    marked: frozenset[str]
    """Methods that are in no comparison: oracles, and those that trained on data of their own
    making."""
    extras: frozenset[str]
    """Further rows of a method, such as its prior alone."""
    failed: dict[tuple[str, str], str]
    """Why a cell of (dataset slug, method) has no result."""
    certificates: dict[str, str]
    """For each column `agree`, `differ`, or `single` where there is nothing to compare."""
    notes: tuple[str, ...]
    patients: dict[str, dict[str, PatientScores]]
    """Each column's scores of patients by metric, distances included: what is tested."""
    units: dict[str, str]
    """The unit of each column's distances."""
    family: Declared | None
    """The comparisons that were declared in the run."""

    @cached_property
    def pairs(self) -> dict[tuple[str, str], Matrix]:
        """All pairs of methods that compete, by (column, metric); none where there are not two."""
        found = {}
        for column, by_metric in self.patients.items():
            for metric in METRICS:
                rivals = self.rivals(column)
                if len(rivals) > 1:
                    found[column, metric] = matrix(by_metric[metric].only(rivals))
        return found

    def rivals(self, column: str) -> list[str]:
        """Return the methods that were tested on a column and compete, in the table's order."""
        tested = self.patients[column][METRICS[0]].methods
        return [method for method in self.methods if method in tested and method not in self.marked]

    def others(self, column: str, reference: str) -> list[str]:
        """Return whom a family about one method compares it with: the other methods, and its own further rows."""
        rivals = (method for method in self.rivals(column) if method != reference)
        return [m for m in rivals if m not in self.extras or m.rpartition(":")[0] == reference]

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Mean, std (n - 1) and n over the test cases, by (column, method), fractions."""
        grouped = self.cases.groupby(["column", "method"], sort=False)
        out = grouped[list(METRICS)].agg(["mean", "std"])
        out.columns = pd.Index(["_".join(column) for column in out.columns.to_list()])
        return out.assign(patients=grouped["patient"].nunique(), cases=grouped["case"].nunique())


def collect(store: Store, profile: str) -> list[Table]:
    """Return the tables of a profile, real data first."""
    records = [record for record, _ in store.records(profile)]
    cases = store.cases(profile, ("case", "patient", *MEASURED, "unit"))
    return [
        _table(
            store,
            profile,
            source,
            [r for r in records if r["source"] == source],
            cases[cases.source == source],
        )
        for source in ("real", "phantom")
        if (cases.source == source).any()
    ]


def _table(
    store: Store, profile: str, source: str, records: list[Record], cases: pd.DataFrame
) -> Table:
    methods, columns = _methods(records), _columns(records)
    mean = cases.groupby(["column", "method", "patient", "case"], sort=False, observed=True)[
        list(METRICS)
    ].mean()
    mean = mean.reset_index().astype({"column": str, "method": str})
    failed = {
        place: why for place, why in store.failures(profile).items() if f"@{source}-" in place[0]
    }
    verdicts = {
        column: notes.certificates([r for r in records if column_of(r) == column])
        for column in columns
    }
    units = cases.groupby("column", observed=True)["unit"].first()
    return Table(
        source=source,
        profile=profile,
        summary=records[-1]["summary"],
        cases=mean,
        columns=columns,
        methods={method: method for _, method in failed} | methods,
        marked=frozenset(
            row
            for r in records
            if notes.mark(r)
            for row in (
                r["spec"]["method"],
                *(f"{r['spec']['method']}:{extra}" for extra in r["extras"]),
            )
        ),
        extras=frozenset(
            f"{r['spec']['method']}:{extra}" for r in records for extra in r["extras"]
        ),
        failed=failed,
        certificates={column: verdict for column, (verdict, _) in verdicts.items()},
        notes=tuple(notes.collect(records, mean, columns, methods, verdicts)),
        patients=arrange(cases, MEASURED),
        units={column: str(units[column]) for column in columns},
        family=store.declared(profile),
    )


def _methods(records: Sequence[Record]) -> dict[str, str]:
    """Return the methods in the order of their names, titled; options are part of the title where given."""
    found: dict[str, str] = {}
    for record in sorted(records, key=lambda r: str(r["spec"]["method"])):
        given = record["spec"]["method"].split(":")[1:]
        title = record["title"] + (f" ({', '.join(given)})" if given else "") + notes.mark(record)
        found[record["spec"]["method"]] = title
        found |= {
            f"{record['spec']['method']}:{row}": f"{title}, {row} alone" for row in record["extras"]
        }
    titles = list(found.values())
    return {
        method: f"{title} [{method}]" if titles.count(title) > 1 else title
        for method, title in found.items()
    }


def _columns(records: Sequence[Record]) -> dict[str, str]:
    """Return the columns; two versions of one dataset carry their digests, other ways of splitting their names."""
    found = {column_of(record): record["spec"] for record in records}
    names = [
        (spec["dataset"]["name"], key(spec["folds"], spec["scheme"])) for spec in found.values()
    ]
    titles = {}
    for column, spec in sorted(found.items()):
        name, way = spec["dataset"]["name"], key(spec["folds"], spec["scheme"])
        version = f" {spec['dataset']['digest'][:8]}" if names.count((name, way)) > 1 else ""
        titles[column] = (
            f"{_title(name)}{version} {heading(spec['folds'], spec['scheme'])}".rstrip()
        )
    return titles


def _title(name: str) -> str:
    try:
        return str(load(DATASETS, name).title)
    except UsageError:
        return name


class Entry(NamedTuple):
    """What table 1 says in one place."""

    text: str
    """`mean ± std` in percent; `failed` or `-` where there is none."""
    best: bool = False
    """Whether its mean is the column's best."""
    like: bool = False
    """Whether the patients do not tell it from the column's best."""


MARK = "†"
"""Stands behind what is not told from the best."""


def entry(table: Table, column: str, method: str, metric: str) -> Entry:
    """Return what the table says of a method on a column."""
    if (column, method) not in table.scores.index:
        cell = (
            method if "=" in method.rpartition(":")[2] else method.partition(":")[0]
        )  # a further row's own cell
        return Entry(
            "failed"
            if {(column.split("/")[0], name) for name in (method, cell)} & table.failed.keys()
            else "-"
        )
    means, stds = table.scores[f"{metric}_mean"], table.scores[f"{metric}_std"]
    mean, std = float(means[column, method]), float(stds[column, method])
    if np.isnan(mean):  # the metric is newer than the result
        return Entry("-")
    text = f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if std == std else "")
    if method in table.marked:
        return Entry(text)
    best = str(means[column].drop(labels=table.marked, errors="ignore").idxmax())
    if mean == float(means[column, best]):
        return Entry(text, best=True)
    return Entry(text, like=method in table.pairs[column, metric].not_below(best))


def data(table: Table) -> str:
    """Return what a table's data are, as captions begin."""
    return "PHANTOM data (simulated)" if table.source == "phantom" else "Real data"


def caption(table: Table) -> str:
    """Return the sentence above the table."""
    return (
        f"{data(table)}, profile '{table.profile}': {table.summary}. Dice and IoU in percent, mean"
        " ± std over test images (slice level, as papers print it; descriptive, not tested). Best"
        f" mean of a column in bold; {MARK}: not told from the best by its patients. A method's"
        " further rows, such as its prior alone, are from the same weights and compete too."
    )


def footnotes(table: Table) -> list[str]:
    """Return how the marks were found: test, unit, n, correction; and what so few patients cannot show."""
    if not table.pairs:
        return []
    corrections = {
        "max-t": "by max-T (shared sign flips)",
        "holm": "by Holm (methods differ in patients or seeds)",
    }
    places = []
    for column, title in table.columns.items():
        here = [
            table.pairs[column, metric] for metric in METRICS if (column, metric) in table.pairs
        ]
        if here:
            first = here[0]
            shared = first.patients[~np.eye(len(first.methods), dtype=bool)]
            n = "-".join(str(n) for n in dict.fromkeys((int(shared.min()), int(shared.max()))))
            few = (
                ""
                if first.possible
                else ", too few to tell any two apart at this level, so every method is marked"
            )
            places.append(
                f"{title}: {n} patients{few}, {first.tests} pairs by each metric, "
                f"{corrections[first.correction]}"
            )
    computed = sum(each.tests for each in table.pairs.values())
    declared = (
        "No family of comparisons was declared: bench run --reference METHOD declares one, before"
        " the results."
        if table.family is None
        else (
            f"Declared: {table.family.reference} against each other method; bench report writes the"
            " comparisons."
        )
    )
    return [
        (
            f"{MARK} Not told from the best mean of its column at {100 * ALPHA:g} %: two-sided"
            f" sign-flip permutation test of the mean paired difference (exact up to {EXACT}"
            f" patients, else {MAP_FLIPS:,} flips by max-T, {FLIPS:,} by Holm); the unit is the"
            " patient, whose cases (and seeds) are averaged first; corrected for all pairs of"
            f" methods that compete. {'; '.join(places)}. {computed} tests in all. No mark is no"
            " proof of a difference that matters, and a mark no proof of equality."
        ),
        declared,
    ]


def failures(table: Table) -> list[str]:
    """Return a note for each failed cell."""
    return [
        f"Failed: {table.columns.get(column, column)}, {method}: {why}"
        for (column, method), why in sorted(table.failed.items())
    ]


def _rows(table: Table) -> list[tuple[str, list[Entry]]]:
    return [
        (
            title,
            [
                entry(table, column, method, metric)
                for column in table.columns
                for metric in METRICS
            ],
        )
        for method, title in table.methods.items()
    ]


def below(table: Table) -> list[str]:
    """Return all that stands under the table."""
    return [*footnotes(table), *table.notes, *failures(table)]


def markdown(table: Table) -> str:
    """Return the table as Markdown, with its notes."""
    heads = [
        "Method",
        *(f"{title} {TITLES[m]}" for title in table.columns.values() for m in METRICS),
    ]
    lines = [
        f"# Table 1 ({table.source})",
        "",
        caption(table),
        "",
        f"| {' | '.join(heads)} |",
        f"|{'|'.join([' --- '] + [' ---: '] * (len(heads) - 1))}|",
    ]
    for title, cells in _rows(table):
        lines.append(f"| {' | '.join([title.replace('|', '&#124;'), *map(_marked, cells)])} |")
    lines += ["", *(f"- {note}" for note in below(table))]
    return "\n".join(lines) + "\n"


def _marked(cell: Entry) -> str:
    return f"**{cell.text}**" if cell.best else cell.text + MARK * cell.like


def tex(cell: Entry) -> str:
    """Return an entry as LaTeX, marks included."""
    return (
        rf"\textbf{{{escape(cell.text)}}}"
        if cell.best
        else escape(cell.text) + escape(MARK) * cell.like
    )


def latex(table: Table) -> str:
    r"""Return the table as LaTeX that compiles as it is, and that a paper may \input as well."""
    groups = " & ".join(
        rf"\multicolumn{{2}}{{c}}{{{escape(title)}}}" for title in table.columns.values()
    )
    rules = "".join(rf"\cmidrule(lr){{{2 * i + 2}-{2 * i + 3}}}" for i in range(len(table.columns)))
    heads = " & ".join(TITLES[m] for _ in table.columns for m in METRICS)
    body = []
    for title, cells in _rows(table):
        body.append(rf"{escape(title)} & {' & '.join(map(tex, cells))} \\")
    return standalone(
        [
            r"\begin{table}[t]\centering",
            rf"\caption{{{escape(caption(table))}}}",
            rf"\label{{tab:bench-{table.source}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{l{'rr' * len(table.columns)}}}",
            rf"\toprule & {groups} \\",
            rules,
            rf"Method & {heads} \\ \midrule",
            *body,
            r"\bottomrule\end{tabular}}",
            r"\end{table}",
            *notes_under(below(table)),
        ]
    )


def csv(table: Table) -> str:
    """Return the table's numbers as CSV: fractions, one row a method and dataset."""
    scores = table.scores.reset_index()
    scores.insert(0, "source", table.source)
    scores.insert(1, "profile", table.profile)
    scores["compares"] = ~scores.method.isin(table.marked)
    for metric in METRICS:
        cells = [
            entry(table, column, method, metric)
            for column, method in zip(scores.column, scores.method, strict=True)
        ]
        scores[f"{metric}_best"] = [cell.best for cell in cells]
        scores[f"{metric}_like_best"] = [cell.best or cell.like for cell in cells]
    scores["certificates"] = scores.column.map(table.certificates)
    return str(
        scores.rename(columns={"column": "dataset"}).to_csv(
            index=False, lineterminator="\n", float_format="%.9g"
        )
    )
