"""All results of one source under one profile, as every section of a report reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import pandas as pd

from bench.report.document import Note
from bench.report.sections import notes
from bench.spec.case import UNION
from bench.spec.caveat import described
from bench.spec.errors import UsageError
from bench.spec.metrics import INSTANCE_COUNTS, OF_INSTANCES, PRINTED, SCORES
from bench.spec.names import Column, Row, Source
from bench.spec.registry import DATASETS, FOLDER, load
from bench.stats.family import AllPairs, against, all_pairs
from bench.stats.family import Family as Comparisons
from bench.stats.scores import PatientScores, arrange
from bench.store.looks import Look
from bench.store.plan import Family
from bench.store.record import Record
from bench.store.results import Failure, Finished, Results
from bench.store.scores import CLASS

ENDPOINT = PRINTED[0]
"""What is tested: Dice. IoU of an image is a function of it, so Dice decides for both, and their
marks cannot contradict each other."""
SOURCES: tuple[Source, ...] = ("real", "phantom", "external")
DATA: dict[Source, str] = {
    "real": "Real data",
    "phantom": "PHANTOM data (simulated)",
    "external": "Data from outside (not prepared here)",
}
"""What a table's data are, as captions begin."""


def factor_of(reports: Sequence[Look], family: Family | None, column: str, further: int = 0) -> int:
    """Return the factor of p for the looks at a column and so many further ones.

    See `Table.looks`.
    """
    seen = sum(look.column == column for look in reports) + further
    planned = family.looks if family else 1
    return factor_beyond(planned, max(0, seen - planned))


def factor_beyond(planned: int, beyond: int) -> int:
    """Return the factor of p for so many declared looks and so many beyond them.

    The first look beyond them costs four times the declared ones, each further one twice as much
    (`tests/stats/CALIBRATION.md`).
    """
    return planned * 2 ** (beyond + 1) if beyond else planned


@dataclass(frozen=True)
class Table:
    """All results of one source (real, phantom or external) under one profile."""

    source: Source
    profile: str
    summary: str
    cells: tuple[Finished, ...]
    cases: pd.DataFrame
    """One row a case: column, method, patient, case, dice, iou; seeds averaged."""
    images: pd.DataFrame
    """One row a case and seed with all metrics: what means and stds of tables are over."""
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
    reports: tuple[Look, ...]
    """The reports of several seeds so far."""
    volumes: dict[str, dict[str, PatientScores]]
    """Scores in 3D by column and metric, of the columns whose slices were stacked."""
    volume_counts: dict[tuple[str, str], int]
    """How many volumes were scored, by column and method."""
    volume_units: dict[str, str]
    """The unit of each column's distances in 3D, as `units`."""
    instances: dict[str, dict[str, PatientScores]]
    """Scores of instances by metric, of the columns whose labels name instances."""
    instance_counts: dict[tuple[str, str], dict[str, int]]
    """Sums of `INSTANCE_COUNTS` over all seeds, by (column, method), of the same columns."""
    classes: pd.DataFrame | None = None
    """The scores of every class of every case; None where there is one foreground everywhere. All
    else holds their means over a case's classes."""
    absent: str = "undefined"
    """What a class scored that neither mask has, one of `ABSENT`."""

    @cached_property
    def pairs(self) -> dict[str, AllPairs]:
        """All pairs of rows that compete, by column; none where there are not two.

        They are tested by `ENDPOINT` alone. Declared ones have the p of their family, so that a
        pair has one p in the whole report.
        """
        pairs = {}
        for column, by_metric in self.patients.items():
            rivals = self.rivals(column)
            if len(rivals) < 2:
                continue
            every = all_pairs(by_metric[ENDPOINT].only(rivals), looks=self.looks(column))
            family = self.families.get(column)
            pairs[column] = every.with_declared(family) if family else every
        return pairs

    @cached_property
    def families(self) -> dict[str, Comparisons]:
        """The declared comparisons by column, of `ENDPOINT`; none where none can be made."""
        declared = self.family
        if declared is None:
            return {}
        families = {}
        for column in self.columns:
            others, _ = self.compared(column, declared.baseline)
            if declared.baseline not in self.rivals(column) or not others:
                continue
            families[column] = against(
                self.patients[column][ENDPOINT],
                declared.baseline,
                others,
                correction=declared.correction,
                missing=len(self.missing(column)),
                looks=self.looks(column),
            )
        return families

    def classes_of(self, column: str) -> list[str]:
        """Return the classes of a column, none where it has one foreground."""
        if self.classes is None:
            return []
        names = self.classes[CLASS][self.classes.column == column]
        return [name for name in dict.fromkeys(names) if name != UNION]

    def looks(self, column: str) -> int:
        """Return the factor of p for the looks: their declared number, or more if there were more.

        A look that nobody declared can't take back the stars of those before it, so it costs more,
        see `factor_beyond`.
        """
        return factor_of(self.reports, self.family, column)

    def looks_with_another(self, column: str) -> int:
        """Return the factor of p for the looks once results of more seeds are reported."""
        return factor_of(self.reports, self.family, column, further=1)

    def rivals(self, column: str) -> list[str]:
        """Return the rows that were tested on a column and compete, in the table's order."""
        tested = self.patients[column][PRINTED[0]].methods
        return [key for key in self.methods if key in tested and key not in self.marked]

    def has_scores(self, column: str) -> bool:
        """Return whether any case of a column has a Dice: none has where no mask has any class."""
        return bool(self.scores[f"{PRINTED[0]}_mean"][column].notna().any())

    @cached_property
    def uneven(self) -> frozenset[str]:
        """The columns whose rows, of those that compete, were not tested on the same cases.

        Their means do not compare, so none is bold. Rows may have different numbers of seeds, if
        each seed has all cases.
        """
        competing = self.cases[~self.cases.method.isin(self.marked)]
        cases = competing.groupby("column")["case"].nunique()
        return frozenset(key for key in cases.index if not self._is_even(key, int(cases[key])))

    def _is_even(self, column: str, cases: int) -> bool:
        """Return whether each row that competes has so many cases under each of its seeds.

        Rows that all lack the same folds of a seed are even too.
        """
        rivals = self.rivals(column)
        sizes = self.scores.loc[[(column, key) for key in rivals]]
        if (sizes.cases != cases).any():
            return False
        cells: dict[str, set[tuple[int, int]]] = {key: set() for key in rivals}
        for cell in self.cells:
            spec = cell.record.spec
            for row in cell.record.rows if cell.record.column.key == column else ():
                if row.key in cells:
                    cells[row.key].add((spec.seed, spec.fold))
        seeds = [len({seed for seed, _ in cells[key]}) for key in rivals]
        if (sizes.n.to_numpy() == cases * np.array(seeds)).all():
            return True
        return sizes.n.nunique() == 1 and len({frozenset(own) for own in cells.values()}) == 1

    def shared(self, column: str) -> PatientScores:
        """Return Dice of the patients and seeds that all rows have that compete."""
        return self.patients[column][ENDPOINT].only(self.rivals(column)).complete()

    def best(self, column: str) -> str:
        """Return the row with the best mean Dice of those that compete, of all if none does.

        In an uneven column the mean is over the patients that all have, and the row is empty where
        there are none.
        """
        rivals = self.rivals(column)
        if column in self.uneven:
            shared = self.shared(column)
            if not shared.patients:
                return ""
            return shared.methods[int(shared.means.mean(0).argmax())]
        means = self.scores[f"{PRINTED[0]}_mean"][column]
        return str((means.loc[rivals] if rivals else means).idxmax())

    def folds(self, column: str) -> tuple[int, int]:
        """Return how many folds of a column have a result, and of how many."""
        records = [cell.record for cell in self.cells]
        finished = {one.spec.fold for one in records if one.column.key == column}
        return len(finished), self.by_key[column].scheme.folds

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

    def compared(self, column: str, baseline: str) -> tuple[list[str], list[str]]:
        """Return what is compared with a declared baseline, and the rows that were not declared."""
        declared: list[str] = []
        added: list[str] = []
        for key in self.others(column, baseline):
            row = self.rows[key]
            is_declared = row.extra or self.family is None or self.family.compares(row)
            (declared if is_declared else added).append(key)
        return declared, added

    @property
    def extras(self) -> frozenset[str]:
        """Further rows of a method, such as its prior alone."""
        return frozenset(key for key, row in self.rows.items() if row.extra)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Mean and std (n - 1) over the test cases of all seeds, by (column, method), fractions.

        `n` is their number. If seeds were averaged first, Dice and IoU would no longer bound each
        other, and the audit would call honest cells impossible.
        """
        grouped = self.images.groupby(["column", "method"], sort=False, observed=True)
        out = grouped[list(PRINTED)].agg(["mean", "std"])
        out.columns = pd.Index(["_".join(column) for column in out.columns.to_list()])
        counts = {name: grouped[name].nunique() for name in ("patient", "case")}
        return out.assign(patients=counts["patient"], cases=counts["case"], n=grouped.size())

    def metrics(self, column: str) -> Sequence[str]:
        """Return the printed metrics of a column: scores from outside may be Dice alone."""
        with_scores = []
        for metric in PRINTED:
            means = self.scores[f"{metric}_mean"]
            if means[means.index.get_level_values("column") == column].notna().any():
                with_scores.append(metric)
        return with_scores or PRINTED

    def was_tested(self, column: str, key: str) -> bool:
        """Return whether a row has scores on a column."""
        return (column, key) in self.scores.index


def collect(results: Results) -> list[Table]:
    """Return the tables of a profile's results, one a source, real data first."""
    tables = []
    for source in SOURCES:
        cells = tuple(cell for cell in results.cells if cell.record.source == source)
        if cells:
            tables.append(_table(results, source, cells))
    return tables


def _table(results: Results, source: Source, cells: tuple[Finished, ...]) -> Table:
    """Return the table of one source, of which the cells are."""
    records = [cell.record for cell in cells]
    trained = [record for record in records if not record.outside]
    cases = results.cases[results.cases.source == source]
    failures = _latest([failure for failure in results.failures if failure.source == source])
    rows = {row.key: row for row in chain.from_iterable(record.rows for record in records)}
    in_no_comparison = [record.rows for record in records if not record.competes]
    columns = {record.column.key: record.column for record in records}
    titles = _column_titles(columns)
    methods = _row_titles(records, failures)
    keys = ["column", "method", "patient", "case"]
    over_seeds = cases.groupby(keys, sort=False, observed=True)[list(PRINTED)].mean()
    over_seeds = over_seeds.reset_index().astype({"column": str, "method": str})
    of_instances = [name for name in OF_INSTANCES if name in cases]
    images = cases[[*keys, *SCORES, *of_instances]].astype({"column": str, "method": str})
    certificates = {}
    for column in titles:
        of_column = [record for record in records if record.column.key == column]
        certificates[column] = notes.certificates(of_column)
    units = _units(cases)
    in_3d = cases[:0]
    if results.volumes is not None:
        in_3d = results.volumes[results.volumes.source == source]
    named = cases[:0]
    if of_instances:
        named = cases[cases[INSTANCE_COUNTS[0]].notna()]
    classes = results.classes
    if classes is not None:
        classes = classes[classes.source == source].astype({"column": str, "method": str})
        classes = None if classes.empty else classes
    last = (trained or records)[-1]
    about = notes.collect(records, over_seeds, titles, methods, certificates, units)
    if classes is not None:
        about += notes.of_classes(classes, titles, results.absent)
    return Table(
        source=source,
        profile=results.profile,
        summary=described(results.profile, last.summary, last.spec.profile),
        cells=cells,
        cases=over_seeds,
        images=images,
        columns=titles,
        by_key=columns,
        methods=methods,
        rows=rows,
        marked=frozenset(row.key for row in chain.from_iterable(in_no_comparison)),
        failures=tuple(failures),
        certificates=certificates,
        notes=tuple(about),
        patients=arrange(cases),
        units=units,
        family=results.family,
        reports=results.looks,
        volumes=arrange(in_3d, _metrics_of(in_3d)),
        volume_counts=_numbers_of(in_3d),
        volume_units=_units(in_3d),
        instances=arrange(named, of_instances),
        instance_counts=sums(named),
        classes=classes,
        absent=results.absent,
    )


def _units(cases: pd.DataFrame) -> dict[str, str]:
    """Return the unit of each column's distances: `mm`, `px`, or both."""
    units = {}
    for column, part in cases.groupby("column", observed=True)["unit"]:
        units[str(column)] = " and ".join(sorted(part.dropna().unique()))
    return units


def _metrics_of(cases: pd.DataFrame) -> list[str]:
    """Return the metrics that scores have, those of instances only where there are any."""
    return [name for name in (*SCORES, *OF_INSTANCES) if name in cases]


def _numbers_of(cases: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Return the number of cases by column and method."""
    grouped = cases.groupby(["column", "method"], observed=True)["case"].nunique()
    places = [(str(column), str(method)) for column, method in grouped.index.to_list()]
    return dict(zip(places, grouped.to_numpy(int).tolist(), strict=True))


def sums(cases: pd.DataFrame) -> dict[tuple[str, str], dict[str, int]]:
    """Return how many instances there are, and what became of them, by column and method."""
    counted = {}
    for (column, method), part in cases.groupby(["column", "method"], observed=True):
        totals = part[list(INSTANCE_COUNTS)].sum().to_numpy(int).tolist()
        counted[str(column), str(method)] = dict(zip(INSTANCE_COUNTS, totals, strict=True))
    return counted


def _latest(failures: Sequence[Failure]) -> list[Failure]:
    """Return one failure for each method on a column, in order of columns and methods."""
    latest = {(failure.column, failure.method.key): failure for failure in failures}
    return [latest[place] for place in sorted(latest)]


def _row_titles(records: Sequence[Record], failures: Sequence[Failure]) -> dict[str, str]:
    """Return the rows in the order of their methods' keys, with titles that are all different.

    A method that failed everywhere has its place too, so no other row moves or changes colour.
    """
    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record.method.key, []).append(record)
    failed = {failure.method.key for failure in failures}
    titles: dict[str, str] = {}
    for method in sorted({*by_method, *failed}):
        if method not in by_method:
            titles[method] = method
            continue
        record = by_method[method][-1]
        name = record.method.title(record.title) + notes.mark(by_method[method])
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


def data(table: Table) -> str:
    """Return what a table's data are, as captions begin."""
    return DATA[table.source]
