"""`bench import` and `bench compare`: scores that others computed, kept or compared at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli import options
from bench.spec.errors import UsageError
from bench.spec.metrics import SCORES
from bench.spec.words import count
from bench.store.cells import OUTSIDE, Store

if TYPE_CHECKING:
    from bench.audit.case_score import CaseScore, Reading
    from bench.report.document import Document

MEANS = ("Dataset", "Method", "Score", "Patients", "Mean", "95 % bootstrap", "Median", "Undefined")
"""The columns of the intervals that the terminal shows."""
ASIDE = ("Shift", "95 % of the shift", "Superiority (%)", "Wilcoxon's p", "p uncorrected")
"""The columns of the comparisons that the terminal leaves out."""
Files = Annotated[
    list[str], typer.Argument(help="Files of scores, or NAME=FILE where a file names no method.")
]
Columns = Annotated[
    str, typer.Option(help="What the headings are: case=filename,patient=subject,dice=class1.")
]
Pattern = Annotated[
    str,
    typer.Option(
        "--pattern",
        "--patient",  # its name of old
        help=options.PATTERN,
    ),
]
Metric = Annotated[
    str, typer.Option(help="What the numbers are, where each column is a method: dice, iou, ...")
]
Label = Annotated[
    str, typer.Option(help="Which class is taken, where a file has several: 1, or bone=1,disc=2.")
]
Dataset = Annotated[str, typer.Option(help="The dataset's name, where a file has none.")]
Unit = Annotated[str, typer.Option(help="Of distances: mm or px.")]
Percent = Annotated[bool, typer.Option("--percent", help="The scores are percent, not fractions.")]
Missing = Annotated[
    Literal["refuse", "zero"], typer.Option(help="What a case without a score becomes.")
]


def import_scores(
    files: Files,
    columns: Columns = "",
    pattern: Pattern = "",
    metric: Metric = "",
    label: Label = "",
    dataset: Dataset = "scores",
    unit: Unit = "",
    percent: Percent = False,
    missing: Missing = "refuse",
    baseline: options.Baseline = None,
    out: options.Out = Path("results"),
) -> None:
    """Keep scores without masks: a CSV, nnU-Net's summary.json, MONAI's, panoptica's and others.

    A CSV has a line a case (method, dataset, patient, case, dice, iou, hd95, ...), or a column a
    method. They become cells from outside; the tables, figures and statistics: bench report.

    Examples:

        bench import scores.csv

        bench import "nnU-Net=fold_0/validation/summary.json" --pattern '{patient}_*' --label 1

        bench import "nnU-Net=summary.json" --pattern '{patient}_*' --label vertebra=1,disc=2

        bench import "Ours=mean_dice_raw.csv" --pattern '{patient}'

        bench import table.csv --metric dice --columns case=image --percent
    """
    reading = _reading(columns, pattern, metric, label, dataset, unit, percent)
    scores, origins = _read(files, reading, missing)
    store = Store(out)
    store.open_outside()
    _keep(store, scores, origins, baseline)
    cases = len({(score.dataset, score.case) for score in scores})
    patients = count(_patients(scores), "patient")
    options.say(f"{', '.join(origins)}: {count(cases, 'case')} of {patients}")
    options.say(
        f"Results: {store.layout.profile(OUTSIDE).path.resolve()}; "
        f"tables and figures: bench report --out {out} --profile {OUTSIDE}"
    )


def compare(
    files: Files,
    columns: Columns = "",
    pattern: Pattern = "",
    metric: Metric = "",
    label: Label = "",
    dataset: Dataset = "scores",
    unit: Unit = "",
    percent: Percent = False,
    missing: Missing = "refuse",
    baseline: options.Baseline = None,
) -> None:
    """Print the statistics of scores that others computed, and keep nothing.

    Means and intervals over patients; with --baseline each other method less it, else all pairs.
    The files are those of bench import.

    Examples:

        bench compare scores.csv

        bench compare table.csv --metric dice --pattern '{patient}' --baseline Ours
    """
    reading = _reading(columns, pattern, metric, label, dataset, unit, percent)
    scores, origins = _read(files, reading, missing)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.open_outside()
        _keep(store, scores, origins, baseline)
        _print(store)


def _reading(
    columns: str, pattern: str, metric: str, label: str, dataset: str, unit: str, percent: bool
) -> Reading:
    """Return what the user says of all files.

    Raises:
        UsageError: The metric, a column or the unit is unknown.
    """
    from bench.audit.case_score import Reading
    from bench.audit.scores import parse_columns
    from bench.data.readers.patients import PLACE
    from bench.spec.errors import did_you_mean

    if metric and metric not in SCORES:
        raise UsageError(f"--metric: unknown '{metric}'; {did_you_mean(metric, SCORES)}")
    if unit not in ("", "mm", "px"):
        raise UsageError(f"--unit {unit}: expected mm or px")
    return Reading(
        dataset=dataset,
        columns=parse_columns(columns),
        metric=metric,
        label=label,
        pattern=PLACE if pattern == "case" else pattern,  # so it was written of old
        unit=unit,
        percent=percent,
    )


def _read(
    files: Sequence[str], reading: Reading, missing: Missing
) -> tuple[list[CaseScore], dict[str, str]]:
    """Return the scores of all files, and from which file each method is."""
    from dataclasses import replace

    from bench.audit.complete import check
    from bench.audit.scores import read, told
    from bench.spec import texts

    scores: list[CaseScore] = []
    origins: dict[str, str] = {}
    for text in files:
        name, equals, path = text.partition("=")
        if Path(text).is_file() or not equals:  # the name of a file may hold a =
            name, path = "", text
        mine = read(Path(path), replace(reading, method=name.strip()))
        for line in texts.assumed([Path(path)]):
            options.say(line)
        for line in told(Path(path), reading):
            options.say(f"assumed: {line}")
        for score in mine:
            origins.setdefault(score.method, options.shown_path(Path(path)))
        scores += mine
    _check_apart(origins)
    _check_apart(dict.fromkeys(score.dataset for score in scores))
    return check(scores, missing, reading.percent), origins


def _check_apart(titles: Iterable[str]) -> None:
    """Refuse titles of methods or datasets that are one in names of files and in tables.

    Raises:
        UsageError: Two are, as `MR` and `mr`.
    """
    from bench.store.outside import method_key

    keys: dict[str, str] = {}
    for title in titles:
        other = keys.setdefault(method_key(title).lower(), title)
        if other != title:
            raise UsageError(f"{other} and {title} have one name in files; rename one")


def _keep(
    store: Store, scores: Sequence[CaseScore], origins: dict[str, str], baseline: str | None
) -> None:
    """Keep scores as cells from outside, and declare their comparisons."""
    from bench.store.outside import cells_of, keep

    if baseline is not None:
        options.check_baseline(baseline, list(origins))
    remarks: dict[str, None] = {}
    for cell in cells_of(scores, origins):
        keep(store, cell)
        remarks.update(dict.fromkeys(cell.external.remarks))
    for line in remarks:
        options.say(f"assumed: {line}")
    options.declare_outside(store, OUTSIDE, baseline, list(origins))


def _patients(scores: Sequence[CaseScore]) -> int:
    """Return how many patients scores are of."""
    return len({(score.dataset, score.patient) for score in scores})


def _print(store: Store) -> None:
    """Print table 1, the intervals, and the comparisons."""
    from bench.cli.shown import show
    from bench.report.sections import comparisons, intervals, pairs, table1
    from bench.report.sections.table import collect
    from bench.store.results import Results

    (table,) = collect(Results.load(store, OUTSIDE))
    console = options.console()
    show(table1.document(table), console)
    for document in intervals.documents(table):
        show(_measured(document), console, MEANS)
    compared = comparisons.document(table) or pairs.document(table)
    if compared is not None:
        heads = [head.text for head in compared.blocks[0].heads]
        show(compared, console, [head for head in heads if head not in ASIDE])


def _measured(document: Document) -> Document:
    """Return a document of intervals without the metrics that no case of a dataset has."""
    from dataclasses import replace

    (block,) = document.blocks
    heads = [head.text for head in block.heads]
    dataset, score, patients = map(heads.index, ("Dataset", "Score", "Patients"))
    known = set()
    for row in block.rows:
        if row[patients].text != "0":
            known.add((row[dataset].text, row[score].text))
    rows = tuple(row for row in block.rows if (row[dataset].text, row[score].text) in known)
    return replace(document, blocks=(replace(block, rows=rows),))
