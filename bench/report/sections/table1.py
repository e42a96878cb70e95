"""Table 1: mean ± std of Dice and IoU, methods x datasets, and what must stand under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import pandas as pd

from bench.report.document import (
    DAGGER,
    DOUBLE_DAGGER,
    Block,
    Cell,
    Document,
    Head,
    Mark,
    Note,
)
from bench.report.sections import notes
from bench.spec.errors import UsageError
from bench.spec.metrics import PRINTED, TITLES, listed
from bench.spec.names import Column, Row, Source
from bench.spec.registry import DATASETS, FOLDER, load
from bench.stats import power
from bench.stats.family import MAP_FLIPS, AllPairs, all_pairs
from bench.stats.flips import ALPHA, EXACT, FLIPS
from bench.stats.scores import PatientScores, arrange
from bench.store.plan import Family
from bench.store.record import Record
from bench.store.results import Failure, Finished, Results

SOURCES: tuple[Source, ...] = ("real", "phantom")


@dataclass(frozen=True)
class Table:
    """All results of one source (real or phantom) under one profile."""

    source: Source
    profile: str
    summary: str
    cells: tuple[Finished, ...]
    cases: pd.DataFrame
    """One row a case: column, method, patient, case, dice, iou; seeds averaged."""
    images: pd.DataFrame
    """The same, one row a case and run: what means and stds of table 1 are over."""
    columns: dict[str, str]
    """Keys of the columns in order, with their titles."""
    by_key: dict[str, Column]
    """The columns by key."""
    methods: dict[str, str]
    """Keys of the rows in order, with their titles."""
    rows: dict[str, Row]
    """The rows by key."""
    marked: frozenset[str]
    """Rows that are in no comparison: oracles, and methods that made their own training data."""
    failures: tuple[Failure, ...]
    """Cells that have no result, one for each method on a column."""
    certificates: dict[str, notes.Certificates]
    """For each column, whether its cells were given the same data."""
    notes: tuple[Note, ...]
    patients: dict[str, dict[str, PatientScores]]
    """Each column's scores of patients by metric, distances included: what is tested."""
    units: dict[str, str]
    """The unit of each column's distances: `mm`, `px`, or both."""
    family: Family | None
    """The comparisons that were declared in the run."""

    @cached_property
    def pairs(self) -> dict[tuple[str, str], AllPairs]:
        """All pairs of rows that compete, by (column, metric); none where there are not two."""
        pairs = {}
        for column, by_metric in self.patients.items():
            for metric in PRINTED:
                rivals = self.rivals(column)
                if len(rivals) > 1:
                    pairs[column, metric] = all_pairs(by_metric[metric].only(rivals))
        return pairs

    def rivals(self, column: str) -> list[str]:
        """Return the rows that were tested on a column and compete, in the table's order."""
        tested = self.patients[column][PRINTED[0]].methods
        return [key for key in self.methods if key in tested and key not in self.marked]

    def missing(self, column: str) -> tuple[str, ...]:
        """Return the methods that the family declared and that have no result on a column."""
        if self.family is None:
            return ()
        return self.family.missing(self.patients[column][PRINTED[0]].methods)

    def others(self, column: str, baseline: str) -> list[str]:
        """Return what a family compares a baseline with: the other methods, and its own rows."""
        method = Row.parse(baseline).spec
        others = []
        for key in self.rivals(column):
            row = self.rows[key]
            if key != baseline and (not row.extra or row.spec == method):
                others.append(key)
        return others

    @property
    def extras(self) -> frozenset[str]:
        """Further rows of a method, such as its prior alone."""
        return frozenset(key for key, row in self.rows.items() if row.extra)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Mean and std (n - 1) over the test cases of all runs, by (column, method), fractions.

        `n` is their number. If seeds were averaged first, Dice and IoU would no longer bound each
        other, and the audit would call honest cells impossible.
        """
        grouped = self.images.groupby(["column", "method"], sort=False, observed=True)
        out = grouped[list(PRINTED)].agg(["mean", "std"])
        out.columns = pd.Index(["_".join(column) for column in out.columns.to_list()])
        counts = {name: grouped[name].nunique() for name in ("patient", "case")}
        return out.assign(patients=counts["patient"], cases=counts["case"], n=grouped.size())

    def was_tested(self, column: str, key: str) -> bool:
        """Return whether a row has scores on a column."""
        return (column, key) in self.scores.index


def collect(results: Results) -> list[Table]:
    """Return the tables of a profile's results, real data first."""
    tables = []
    for source in SOURCES:
        cells = tuple(cell for cell in results.cells if cell.record.source == source)
        if cells:
            tables.append(_table(results, source, cells))
    return tables


def _table(results: Results, source: Source, cells: tuple[Finished, ...]) -> Table:
    records = [cell.record for cell in cells]
    cases = results.cases[results.cases.source == source]
    failures = _latest([failure for failure in results.failures if failure.source == source])
    rows = {row.key: row for row in chain.from_iterable(record.rows for record in records)}
    alone = [record.rows for record in records if not record.competes]
    columns = {record.column.key: record.column for record in records}
    titles = _column_titles(columns)
    methods = _row_titles(records, failures)
    keys = ["column", "method", "patient", "case"]
    mean = cases.groupby(keys, sort=False, observed=True)[list(PRINTED)].mean()
    mean = mean.reset_index().astype({"column": str, "method": str})
    images = cases[[*keys, *PRINTED]].astype({"column": str, "method": str})
    certificates = {}
    for column in titles:
        mine = [record for record in records if record.column.key == column]
        certificates[column] = notes.certificates(mine)
    units = {
        str(column): " and ".join(sorted(set(part.dropna())))
        for column, part in cases.groupby("column", observed=True)["unit"]
    }
    return Table(
        source=source,
        profile=results.profile,
        summary=records[-1].summary,
        cells=cells,
        cases=mean,
        images=images,
        columns=titles,
        by_key=columns,
        methods=methods,
        rows=rows,
        marked=frozenset(row.key for row in chain.from_iterable(alone)),
        failures=tuple(failures),
        certificates=certificates,
        notes=tuple(notes.collect(records, mean, titles, methods, certificates, units)),
        patients=arrange(cases),
        units=units,
        family=results.family,
    )


def _latest(failures: Sequence[Failure]) -> list[Failure]:
    """Return one failure for each method on a column, in order of columns and methods."""
    latest = {(failure.column, failure.method.key): failure for failure in failures}
    return [latest[place] for place in sorted(latest)]


def _row_titles(records: Sequence[Record], failures: Sequence[Failure]) -> dict[str, str]:
    """Return the rows in the order of their methods' keys, with titles that are all different.

    A method that failed everywhere has its place too, so no other row moves or changes colour.
    """
    by_method = {record.method.key: record for record in records}
    failed = {failure.method.key for failure in failures}
    titles: dict[str, str] = {}
    for method in sorted({*by_method, *failed}):
        record = by_method.get(method)
        if record is None:
            titles[method] = method
            continue
        name = record.method.title(record.title) + notes.mark(record)
        for row in record.rows:
            titles[row.key] = f"{name}, {row.extra} alone" if row.extra else name
    shown = list(titles.values())
    for key, title in titles.items():
        if shown.count(title) > 1:
            titles[key] = f"{title} [{key}]"
    return titles


def _column_titles(columns: dict[str, Column]) -> dict[str, str]:
    """Return the columns in order with their titles; two versions of a dataset carry digests."""
    names = [(column.dataset.name, column.scheme) for column in columns.values()]
    titles = {}
    for key, column in sorted(columns.items()):
        several = names.count((column.dataset.name, column.scheme)) > 1
        titles[key] = column.title(_printed_name(column.dataset.name), version=several)
    return titles


def _printed_name(dataset: str) -> str:
    """Return a registered dataset's title; a folder is printed by its own name."""
    if dataset == FOLDER:  # a folder whose name has no letter that is safe in a path
        return dataset
    try:
        return str(load(DATASETS, dataset).title)
    except UsageError:
        return dataset


def entry(table: Table, column: str, key: str, metric: str) -> Cell:
    """Return what the table says of a row on a column: `mean ± std` in percent, `failed` or `-`."""
    if not table.was_tested(column, key):
        return Cell("failed" if _failed(table, column, key) else "-", number=float("nan"))
    means, stds = table.scores[f"{metric}_mean"], table.scores[f"{metric}_std"]
    mean, std = float(means[column, key]), float(stds[column, key])
    if np.isnan(mean):  # the metric is newer than the result
        return Cell("-", number=mean)
    text = f"{100 * mean:.2f}"
    if std == std:
        text += f" ± {100 * std:.2f}"
    if key in table.marked:
        return Cell(text, number=mean)
    best = str(means[column].drop(labels=table.marked, errors="ignore").idxmax())
    if mean == float(means[column, best]):
        return Cell(text, "best", mean)
    pairs = table.pairs[column, metric]
    mark: Mark = ""
    if key in pairs.not_below(best):
        mark = "like" if pairs.seeds > 1 else "weights"
    return Cell(text, mark, mean)


def _failed(table: Table, column: str, key: str) -> bool:
    """Return whether the cell that a row comes from has failed on a column."""
    method = table.rows[key].spec if key in table.rows else Row.parse(key).spec
    return any(one.column == column and one.method == method for one in table.failures)


def data(table: Table) -> str:
    """Return what a table's data are, as captions begin."""
    return "PHANTOM data (simulated)" if table.source == "phantom" else "Real data"


def caption(table: Table) -> str:
    """Return the sentence above the table."""
    return (
        f"{data(table)}, profile '{table.profile}': {table.summary}. {listed(PRINTED)} in percent, "
        "mean ± std over the test images of all runs (slice level, as papers print it; "
        "descriptive, not tested). "
        f"Best mean of a column in bold; {DAGGER}: not told from the best, over patients and runs; "
        f"{DOUBLE_DAGGER}: nor by one run of each, which speaks of these weights alone. A "
        "method's further rows, such as its prior alone, are from the same weights and compete too."
    )


SEVERAL = (
    "Several seeds: a difference must hold over patients (sign flips of the patients' means, all "
    f"or {FLIPS:,}), over the runs (t test of the seeds' means), and over both at once (two-way "
    "analysis of variance, both random, Satterthwaite's degrees of freedom); its p is the largest."
)
ONE = (
    f"One seed: the sign-flip test over patients, exact up to {EXACT} of them, else {MAP_FLIPS:,} "
    f"flips by max-T, {FLIPS:,} by Holm. It tells these weights apart, not the methods: another "
    "run of the same method would differ too. bench run --seeds 3 lets the table speak of the "
    "methods."
)


def footnotes(table: Table) -> list[Note]:
    """Return how the marks were found: test, unit, n, correction; and what so few cannot show."""
    if not table.pairs:
        return []
    places = []
    for column, title in table.columns.items():
        here = [
            table.pairs[column, metric] for metric in PRINTED if (column, metric) in table.pairs
        ]
        if here:
            places.append(f"{title}: {_tested(here[0])}")
    computed = sum(pairs.tests for pairs in table.pairs.values())
    declared = (
        "No family of comparisons was declared: bench run --reference METHOD declares one, "
        "before the results."
    )
    if table.family is not None:
        declared = (
            f"Declared: {table.family.baseline} against each other method; "
            "bench report writes the comparisons."
        )
    several = any(pairs.seeds > 1 for pairs in table.pairs.values())
    one = any(pairs.seeds == 1 for pairs in table.pairs.values())
    marks = [
        "Marks: a mean that is not told from the best of its column at "
        f"{100 * ALPHA:g} %, by two-sided paired tests; the unit is the patient, whose cases are "
        f"averaged first; corrected for all pairs of methods that compete. {'; '.join(places)}. "
        f"{computed} tests in all. No mark is no proof of a difference that matters, and a mark no "
        "proof of equality."
    ]
    if several:
        marks.append(f"{DAGGER} {SEVERAL}")
    if one:
        marks.append(f"{DOUBLE_DAGGER} {ONE}")
    return [*(Note(text, "marks") for text in marks), Note(declared, "marks")]


def suitability_notes(table: Table) -> list[Note]:
    """Return for each column whether its runs vary little enough to rank methods by."""
    notes = []
    for column, title in table.columns.items():
        scores = table.patients[column][PRINTED[0]].only(table.rivals(column))
        ratio = power.suitability(scores)
        if np.isnan(ratio):
            continue
        text = (
            f"{title}: the variance of {TITLES[PRINTED[0]]} between methods is {ratio:.3g} times "
            "that between the runs of a method."
        )
        if ratio < 1:
            text += " Under 1, one run of each method cannot rank them on this dataset."
        notes.append(Note(text, "data", grave=ratio < 1))
    return notes


def _tested(pairs: AllPairs) -> str:
    """Return over how many patients a column's pairs were tested, and how p was corrected."""
    corrections = {
        "max-t": "by max-T (shared sign flips)",
        "holm": "by Holm",
    }
    shared = pairs.patients[~np.eye(len(pairs.methods), dtype=bool)]
    counts = dict.fromkeys((int(shared.min()), int(shared.max())))
    patients = "-".join(str(count) for count in counts)
    runs = "1 seed" if pairs.seeds == 1 else f"{pairs.seeds} seeds"
    few = ""
    if not pairs.possible:
        few = ", too few to tell any two apart at this level, so every method is marked"
    return (
        f"{patients} patients{few}, {runs}, {pairs.tests} pairs by each metric, "
        f"{corrections[pairs.correction]}"
    )


def failure_notes(table: Table) -> list[Note]:
    """Return a note for each failed cell."""
    lines = []
    for failure in table.failures:
        column = table.columns.get(failure.column, failure.column)
        text = f"Failed: {column}, {failure.method}: {failure.why}"
        lines.append(Note(text, "failure", grave=True))
    return lines


def document(table: Table) -> Document:
    """Return table 1 with all that stands under it."""
    heads = [Head("Method", "left")]
    for title in table.columns.values():
        heads += [Head(TITLES[metric], group=title) for metric in PRINTED]
    rows = []
    for key, title in table.methods.items():
        cells = [Cell(title)]
        for column in table.columns:
            cells += [entry(table, column, key, metric) for metric in PRINTED]
        rows.append(tuple(cells))
    return Document(
        name=f"table1-{table.source}",
        heading=f"Table 1 ({table.source})",
        caption=caption(table),
        blocks=(Block(tuple(heads), tuple(rows)),),
        notes=(
            *footnotes(table),
            *suitability_notes(table),
            *table.notes,
            *failure_notes(table),
        ),
        frames={"": _numbers(table)},
        label=table.source,
    )


def _numbers(table: Table) -> pd.DataFrame:
    """Return the table's numbers: fractions, one row a method and dataset."""
    scores = table.scores.reset_index()
    scores.insert(0, "source", table.source)
    scores.insert(1, "profile", table.profile)
    scores["compares"] = ~scores.method.isin(table.marked)
    for metric in PRINTED:
        marks = []
        for column, key in zip(scores.column, scores.method, strict=True):
            marks.append(entry(table, column, key, metric).mark)
        scores[f"{metric}_best"] = [mark == "best" for mark in marks]
        scores[f"{metric}_like_best"] = [mark != "" for mark in marks]
    verdicts = {column: proof.verdict for column, proof in table.certificates.items()}
    scores["certificates"] = scores.column.map(verdicts)
    return scores.rename(columns={"column": "dataset"})
