"""Table 1: mean ± std of Dice and IoU, methods x datasets, and all that a reader must know to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.data.splits import heading, key
from bench.errors import UsageError
from bench.registry import DATASETS, load
from bench.report import notes
from bench.report.latex import escape, notes_under, standalone
from bench.store import Store

Record = dict[str, Any]
METRICS = ("dice", "iou")
TITLES = {"dice": "Dice", "iou": "IoU"}


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
    """Methods that are in no comparison: oracles, and those that trained on data of their own making."""
    failed: dict[tuple[str, str], str]
    """Why a cell of (dataset slug, method) has no result."""
    certificates: dict[str, str]
    """For each column `agree`, `differ`, or `single` where there is nothing to compare."""
    notes: tuple[str, ...]

    def scores(self) -> pd.DataFrame:
        """Return mean, std (n - 1) and n over the test cases, by (column, method), fractions."""
        grouped = self.cases.groupby(["column", "method"], sort=False)
        out = grouped[list(METRICS)].agg(["mean", "std"])
        out.columns = pd.Index(["_".join(column) for column in out.columns.to_list()])
        return out.assign(patients=grouped["patient"].nunique(), cases=grouped["case"].nunique())


def collect(store: Store, profile: str) -> list[Table]:
    """Return the tables of a profile, real data first."""
    records = [record for record, _ in store.records(profile)]
    cases = store.cases(profile)
    schemes = cases.scheme.map(lambda way: f"/{way}" if way else "")
    cases["column"] = cases.dataset + "@" + cases.source + "-" + cases.digest.str[:8] + schemes
    return [
        _table(store, profile, source, [r for r in records if r["source"] == source], cases[cases.source == source])
        for source in ("real", "phantom")
        if (cases.source == source).any()
    ]


def _table(store: Store, profile: str, source: str, records: list[Record], cases: pd.DataFrame) -> Table:
    methods, columns = _methods(records), _columns(records)
    mean = cases.groupby(["column", "method", "patient", "case"], sort=False)[list(METRICS)].mean().reset_index()
    failed = {place: why for place, why in store.failures(profile).items() if f"@{source}-" in place[0]}
    verdicts = {column: notes.certificates([r for r in records if notes.column_of(r) == column]) for column in columns}
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
            for row in (r["spec"]["method"], *(f"{r['spec']['method']}:{extra}" for extra in r["extras"]))
        ),
        failed=failed,
        certificates={column: verdict for column, (verdict, _) in verdicts.items()},
        notes=tuple(notes.collect(records, mean, columns, methods, verdicts)),
    )


def _methods(records: Sequence[Record]) -> dict[str, str]:
    """Return the methods in the order of their names, titled; options are part of the title where given."""
    found: dict[str, str] = {}
    for record in sorted(records, key=lambda r: str(r["spec"]["method"])):
        given = record["spec"]["method"].split(":")[1:]
        title = record["title"] + (f" ({', '.join(given)})" if given else "") + notes.mark(record)
        found[record["spec"]["method"]] = title
        found |= {f"{record['spec']['method']}:{row}": f"{title}, {row} alone" for row in record["extras"]}
    return found


def _columns(records: Sequence[Record]) -> dict[str, str]:
    """Return the columns; two versions of one dataset carry their digests, other ways of splitting their names."""
    found = {notes.column_of(record): record["spec"] for record in records}
    names = [(spec["dataset"]["name"], key(spec["folds"], spec["scheme"])) for spec in found.values()]
    titles = {}
    for column, spec in sorted(found.items()):
        name, way = spec["dataset"]["name"], key(spec["folds"], spec["scheme"])
        version = f" {spec['dataset']['digest'][:8]}" if names.count((name, way)) > 1 else ""
        titles[column] = f"{_title(name)}{version} {heading(spec['folds'], spec['scheme'])}".rstrip()
    return titles


def _title(name: str) -> str:
    try:
        return str(load(DATASETS, name).title)
    except UsageError:
        return name


def cell_text(scores: pd.DataFrame, table: Table, column: str, method: str, metric: str) -> tuple[str, bool]:
    """Return `mean ± std` in percent and whether it is the column's best; failed and missing cells say so."""
    if (column, method) not in scores.index:
        cell = method if "=" in method.rpartition(":")[2] else method.partition(":")[0]  # a further row's own cell
        return (
            "failed" if {(column.split("/")[0], name) for name in (method, cell)} & table.failed.keys() else "-"
        ), False
    means, stds = scores[f"{metric}_mean"], scores[f"{metric}_std"]
    mean, std = float(means[column, method]), float(stds[column, method])
    text = f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if std == std else "")
    rivals = means[column].drop(labels=table.marked, errors="ignore")
    return text, method not in table.marked and mean == float(rivals.max())


def caption(table: Table) -> str:
    """Return the sentence above the table."""
    data = "PHANTOM data (simulated)" if table.source == "phantom" else "Real data"
    return (
        f"{data}, profile '{table.profile}': {table.summary}. Dice and IoU in percent, mean ± std over test images "
        "(slice level, as papers print it; descriptive, not tested). Best mean of a column in bold; a method's further "
        "rows, such as its prior alone, are from the same weights and compete too."
    )


def failures(table: Table) -> list[str]:
    """Return a note for each failed cell."""
    return [
        f"Failed: {table.columns.get(column, column)}, {method}: {why}"
        for (column, method), why in sorted(table.failed.items())
    ]


def _rows(table: Table) -> list[tuple[str, list[tuple[str, bool]]]]:
    scores = table.scores()
    return [
        (title, [cell_text(scores, table, c, method, m) for c in table.columns for m in METRICS])
        for method, title in table.methods.items()
    ]


def markdown(table: Table) -> str:
    """Return the table as Markdown, with its notes."""
    heads = ["Method", *(f"{title} {TITLES[m]}" for title in table.columns.values() for m in METRICS)]
    lines = [f"# Table 1 ({table.source})", "", caption(table), "", f"| {' | '.join(heads)} |",
             f"|{'|'.join([' --- '] + [' ---: '] * (len(heads) - 1))}|"]  # fmt: skip
    for title, cells in _rows(table):
        lines.append(f"| {' | '.join([title, *(f'**{text}**' if best else text for text, best in cells)])} |")
    lines += ["", *(f"- {note}" for note in [*table.notes, *failures(table)])]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    r"""Return the table as LaTeX that compiles as it is, and that a paper may \input as well."""
    groups = " & ".join(rf"\multicolumn{{2}}{{c}}{{{escape(title)}}}" for title in table.columns.values())
    rules = "".join(rf"\cmidrule(lr){{{2 * i + 2}-{2 * i + 3}}}" for i in range(len(table.columns)))
    heads = " & ".join(TITLES[m] for _ in table.columns for m in METRICS)
    body = []
    for title, cells in _rows(table):
        texts = [rf"\textbf{{{escape(text)}}}" if best else escape(text) for text, best in cells]
        body.append(rf"{escape(title)} & {' & '.join(texts)} \\")
    return standalone([
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
        *notes_under([*table.notes, *failures(table)]),
    ])  # fmt: skip


def csv(table: Table) -> str:
    """Return the table's numbers as CSV: fractions, one row a method and dataset."""
    scores = table.scores().reset_index()
    scores.insert(0, "source", table.source)
    scores.insert(1, "profile", table.profile)
    scores["compares"] = ~scores.method.isin(table.marked)
    scores["certificates"] = scores.column.map(table.certificates)
    return str(
        scores.rename(columns={"column": "dataset"}).to_csv(index=False, lineterminator="\n", float_format="%.9g")
    )
