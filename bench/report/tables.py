"""Table 1: mean ± std of Dice and IoU, methods x datasets, and all that a reader must know to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.config import SEED, load_profile
from bench.data.stream import same_data
from bench.errors import UsageError
from bench.registry import DATASETS, load
from bench.report.latex import escape
from bench.store import Store

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
    """Dataset slugs in order, with their titles."""
    methods: dict[str, str]
    """Method specs in order, with their titles."""
    failed: dict[tuple[str, str], str]
    """Why the cell of (dataset slug, method) has no result."""
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
    cases["column"] = cases.dataset + "@" + cases.source + "-" + cases.digest.str[:8]
    return [
        _table(store, profile, source, [r for r in records if r["source"] == source], cases[cases.source == source])
        for source in ("real", "phantom")
        if (cases.source == source).any()
    ]


def _table(store: Store, profile: str, source: str, records: list[dict[str, Any]], cases: pd.DataFrame) -> Table:
    methods = _methods(records)
    columns = _columns(records)
    mean = cases.groupby(["column", "method", "patient", "case"], sort=False)[list(METRICS)].mean().reset_index()
    failed = {
        (slug, folder.replace(",", ":")): why
        for (slug, folder), why in store.failures(profile).items()
        if f"@{source}-" in slug
    }
    return Table(
        source=source,
        profile=profile,
        summary=_summary(profile),
        cases=mean,
        columns=columns,
        methods={method: method for _, method in failed} | methods,
        failed=failed,
        notes=tuple(_notes(records, mean, columns, methods)),
    )


def _summary(profile: str) -> str:
    try:
        return load_profile(profile).summary
    except UsageError:
        return "a profile of the user's own"


def _methods(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the methods in the order of their names, titled; options are part of the title where given."""
    found: dict[str, str] = {}
    for record in sorted(records, key=lambda r: str(r["spec"]["method"])):
        given = record["spec"]["method"].split(":")[1:]
        found[record["spec"]["method"]] = record["title"] + (f" ({', '.join(given)})" if given else "")
    return found


def _columns(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the datasets; two versions of one dataset carry their digests."""
    found: dict[str, str] = {}
    for record in records:
        data = record["spec"]["dataset"]
        found[f"{data['name']}@{data['source']}-{data['digest'][:8]}"] = data["name"]
    names = list(found.values())
    return {
        slug: _title(name) + (f" {slug.rsplit('-', 1)[1]}" if names.count(name) > 1 else "")
        for slug, name in sorted(found.items())
    }


def _title(name: str) -> str:
    try:
        return str(load(DATASETS, name).title)
    except UsageError:
        return name


def _notes(
    records: Sequence[dict[str, Any]], cases: pd.DataFrame, columns: dict[str, str], methods: dict[str, str]
) -> list[str]:
    """Return what must stand under the table: seeds, folds, certificates, deviations."""
    notes = []
    for slug, title in columns.items():
        part = cases[cases.column == slug]
        counts = part.groupby("method")[["patient", "case"]].nunique()
        span = "; ".join(sorted({f"{c.patient} patients, {c.case} cases" for c in counts.itertuples()}))
        notes.append(f"{title}: {span} tested{_unlike(part)}.")
    runs = {(r["spec"]["folds"], r["spec"]["fold"], r["spec"]["seed"]) for r in records}
    seeds, folds = sorted({run[2] for run in runs}), sorted({run[0] for run in runs})
    notes.append(
        f"Seeds: {', '.join(map(str, seeds))} (augmentation seed {SEED} first); "
        + ("one 70/10/20 split by patient." if folds == [1] else f"folds by patient: {', '.join(map(str, folds))}.")
        + (" One seed speaks of these checkpoints, not of the methods." if len(seeds) == 1 else "")
    )
    notes += _certificates(records, columns)
    for method, title in methods.items():
        deviations = next(r["deviations"] for r in records if r["spec"]["method"] == method)
        options = next(r["spec"]["options"] for r in records if r["spec"]["method"] == method)
        sizes = ", ".join(f"{k}={v}" for k, v in options.items())
        notes.append(f"{title} ({sizes}) differs from its source: {'; '.join(deviations) or 'nothing declared'}.")
    return notes


def _unlike(part: pd.DataFrame) -> str:
    """Say where methods were tested on different cases: their means do not compare."""
    tested = part.groupby("method")["case"].agg(frozenset)
    return "" if tested.nunique() <= 1 else "; NOT the same cases for every method, so its means do not compare"


def _certificates(records: Sequence[dict[str, Any]], columns: dict[str, str]) -> list[str]:
    """Compare every method's certificate with the first one's, for each dataset, fold and seed."""
    differ = []
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        spec = record["spec"]
        data = spec["dataset"]
        key = (f"{data['name']}@{data['source']}-{data['digest'][:8]}", spec["folds"], spec["fold"], spec["seed"])
        groups.setdefault(key, []).append(record)
    for key, group in groups.items():
        for other in group[1:]:
            if not same_data(group[0]["certificate"]["heads"], other["certificate"]["heads"]):
                differ.append(f"{columns[key[0]]}: {other['spec']['method']} and {group[0]['spec']['method']}")
    if differ:
        return [f"Certificates DIFFER, these did not train on the same data: {'; '.join(sorted(set(differ)))}."]
    most = max(len(group) for group in groups.values())
    if most == 1:
        return ["Certificates: one method only, nothing to compare."]
    return ["Certificates: all agree; every method trained on the same augmented data, step by step."]


def cell_text(scores: pd.DataFrame, table: Table, column: str, method: str, metric: str) -> tuple[str, bool]:
    """Return `mean ± std` in percent and whether it is the column's best; failed and missing cells say so."""
    if (column, method) not in scores.index:
        return ("failed" if (column, method) in table.failed else "-"), False
    means, stds = scores[f"{metric}_mean"], scores[f"{metric}_std"]
    mean, std = float(means[column, method]), float(stds[column, method])
    text = f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if std == std else "")
    return text, mean == float(means[column].max())


def caption(table: Table) -> str:
    """Return the sentence above the table."""
    data = "PHANTOM data (simulated)" if table.source == "phantom" else "Real data"
    return (
        f"{data}, profile '{table.profile}': {table.summary}. Dice and IoU in percent, mean ± std over test images "
        "(slice level, as papers print it; descriptive, not tested). Best mean of a column in bold."
    )


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
    lines += ["", *(f"- {note}" for note in table.notes)]
    for (column, method), why in sorted(table.failed.items()):
        lines.append(f"- Failed: {table.columns.get(column, column)}, {method}: {why}")
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
    notes = " ".join(escape(note) for note in table.notes)
    return "\n".join([
        r"% \input this file in a paper that uses booktabs and graphicx, or compile it as it is.",
        r"\expandafter\ifx\csname @nodocument\endcsname\relax\else",
        r"\documentclass[a4paper]{article}\usepackage[margin=15mm]{geometry}",
        r"\usepackage{booktabs,graphicx}\def\benchalone{1}\begin{document}\fi",
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
        rf"\par\medskip\begin{{minipage}}{{\linewidth}}\footnotesize {notes}\end{{minipage}}",
        r"\end{table}",
        r"\expandafter\ifx\csname benchalone\endcsname\relax\else\end{document}\fi",
        "",
    ])  # fmt: skip


def csv(table: Table) -> str:
    """Return the table's numbers as CSV: fractions, one row a method and dataset."""
    scores = table.scores().reset_index()
    scores.insert(0, "source", table.source)
    scores.insert(1, "profile", table.profile)
    return str(
        scores.rename(columns={"column": "dataset"}).to_csv(index=False, lineterminator="\n", float_format="%.9g")
    )
