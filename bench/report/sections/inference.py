"""What the patients say: intervals, the declared comparisons, ranks, agreement of the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.report.document import Document, Note, Number, block
from bench.report.sections.table1 import Table, data
from bench.spec.errors import UsageError
from bench.spec.metrics import INFERRED, LOWER, PRINTED, TITLES, listed
from bench.stats import family, intervals, ranking
from bench.stats.family import STAR, WEIGHTS, Family
from bench.stats.flips import ALPHA, EXACT, FLIPS
from bench.stats.intervals import Interval
from bench.stats.paired import DECIMALS, EQUIVALENT_FROM
from bench.stats.ranking import Ranking
from bench.stats.scores import PatientScores

BOOTSTRAP = (
    "95 % bootstrap interval: BCa over patients; with several seeds, percentiles over seeds and "
    "patients"
)
CORRECTIONS = {"holm": "Holm's correction", "max-t": "max-T by shared sign flips"}
COUNT = Number(".0f")
OF_WEIGHTS = " (these weights)"
"""Behind a verdict of one seed."""


def documents(table: Table) -> list[Document]:
    """Return a table's inference, each part that its results allow."""
    higher = [name for name in INFERRED if name not in LOWER]
    lower = [name for name in INFERRED if name in LOWER]
    parts = [
        _intervals(
            table,
            "intervals",
            higher,
            f"Means and medians over patients of {listed(higher)}, in percent.",
            Number(".2f", 100.0),
        ),
        _intervals(
            table,
            "distances",
            lower,
            "Means and medians over patients of distances; less is better.",
            Number(".2f", 1.0),
        ),
        _comparisons(table),
        _ranks(table),
        _agreement(table),
    ]
    return [part for part in parts if part is not None]


def _document(
    table: Table,
    name: str,
    heading: str,
    words: str,
    heads: dict[str, str],
    numbers: dict[str, Number],
    rows: Sequence[dict[str, Any]],
    notes: Sequence[str],
) -> Document | None:
    """Return a document of rows; None where there are none."""
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    return Document(
        name=f"{name}-{table.source}",
        heading=f"{heading} ({table.source})",
        caption=f"{data(table)}, profile '{table.profile}'. {words}",
        blocks=(block(frame, heads, numbers),),
        notes=tuple(Note(text) for text in notes),
        frames={"": frame},
        wide=True,
    )


def _span(name: str, like: Number) -> Number:
    """Return how the interval whose ends are `<name>_low` and `<name>_high` is printed."""
    return Number(like.form, like.factor, (f"{name}_low", f"{name}_high"))


def _ends(name: str, interval: Interval) -> dict[str, float]:
    low, high = interval
    return {f"{name}_low": low, f"{name}_high": high}


def _ordered(scores: PatientScores, table: Table) -> PatientScores:
    return scores.only([key for key in table.methods if key in scores.methods])


def _intervals(
    table: Table, name: str, metrics: Sequence[str], words: str, point: Number
) -> Document | None:
    """Return mean and median over patients of every method, with their intervals."""
    rows = []
    for column in table.columns:
        for metric in metrics:
            scores = _ordered(table.patients[column][metric], table)
            for summary in intervals.summarise(scores):
                rows.append(_interval_row(table, column, metric, summary))
    if not any(row["patients"] for row in rows):
        return None
    few = sorted({row["patients"] for row in rows if 0 < row["patients"] < intervals.FEW})
    notes = [
        f"The unit is the patient, whose cases are averaged first. Mean with {BOOTSTRAP}; t: 95 % "
        "t interval over patients; of the median: percentile bootstrap. Undefined: cases without a "
        "value, such as distances to an empty mask, which means leave out."
    ]
    if few:
        notes.append(
            f"Fewer than {intervals.FEW} patients ({', '.join(map(str, few))}): on skewed scores, "
            "intervals of so few hold the truth less often than the 95 % they are named after."
        )
    if {row["seeds"] for row in rows if row["patients"]} == {1}:
        notes.append(
            "One seed: the intervals speak of these checkpoints, not of the methods trained again."
        )
    heads = {
        "dataset": "Dataset",
        "title": "Method",
        "score": "Score",
        "patients": "Patients",
        "mean": "Mean",
        "bootstrap": "bootstrap",
        "t": "t",
        "sd": "SD of patients",
        "sd_seeds": "SD of seeds",
        "median": "Median",
        "of_median": "of the median",
        "undefined": "Undefined",
    }
    numbers = {
        "patients": COUNT,
        "mean": point,
        "bootstrap": _span("bootstrap", point),
        "t": _span("t", point),
        "sd": point,
        "sd_seeds": point,
        "median": point,
        "of_median": _span("of_median", point),
        "undefined": COUNT,
    }
    return _document(table, name, name.capitalize(), words, heads, numbers, rows, notes)


def _interval_row(
    table: Table, column: str, metric: str, summary: intervals.Summary
) -> dict[str, Any]:
    score = TITLES[metric]
    if metric in LOWER:
        score += f" ({table.units[column]})"
    return {
        "column": column,
        "dataset": table.columns[column],
        "method": summary.method,
        "title": table.methods[summary.method],
        "metric": metric,
        "score": score,
        "patients": summary.patients,
        "seeds": summary.seeds,
        "mean": summary.mean,
        **_ends("bootstrap", summary.bootstrap),
        **_ends("t", summary.t),
        "sd": summary.sd,
        "sd_seeds": summary.sd_seeds,
        "median": summary.median,
        **_ends("of_median", summary.median_interval),
        "undefined": summary.undefined,
    }


def families(table: Table) -> list[Family]:
    """Return the declared family on each dataset by each metric; none where none was declared."""
    declared = table.family
    if declared is None:
        return []
    families = []
    for column in table.columns:
        others = []
        for key in table.others(column, declared.baseline):
            if table.rows[key].extra or declared.compares(table.rows[key]):
                others.append(key)
        if declared.baseline not in table.rivals(column) or not others:
            continue
        missing = len(table.missing(column))
        for metric in PRINTED:
            families.append(
                family.against(
                    table.patients[column][metric],
                    declared.baseline,
                    others,
                    correction=declared.correction,
                    missing=missing,
                )
            )
    return families


def _comparisons(table: Table) -> Document | None:
    """Return the declared baseline against each other method."""
    declared = table.family
    compared = families(table)
    if declared is None or not compared:
        return None
    rows = []
    for one in compared:
        rows += [_comparison_row(table, one, comparison) for comparison in one.comparisons]
    name = table.methods.get(declared.baseline, declared.baseline)
    points = Number("+.2f", 100)
    heads = {
        "dataset": "Dataset",
        "score": "Score",
        "title": "Against",
        "patients": "Patients",
        "mean": "Difference",
        "bootstrap": "bootstrap",
        "shift": "Shift",
        "of_shift": "of the shift",
        "superiority": "Superiority (%)",
        "wilcoxon": "Wilcoxon",
        "p": "p",
        "adjusted": "p corrected",
        "star": "",
        "verdict": "Verdict",
    }
    p = Number(".3g")
    numbers = {
        "patients": COUNT,
        "mean": points,
        "bootstrap": _span("bootstrap", points),
        "shift": points,
        "of_shift": _span("of_shift", points),
        "superiority": Number(".0f", 100),
        "wilcoxon": p,
        "p": p,
        "adjusted": p,
    }
    return _document(
        table,
        "comparisons",
        "Comparisons",
        f"{name} less each other method, in points, paired by patient.",
        heads,
        numbers,
        rows,
        _comparison_notes(table, name, compared),
    )


def _comparison_row(table: Table, one: Family, comparison: family.Comparison) -> dict[str, Any]:
    pair = comparison.pair
    mark = comparison.mark
    if not comparison.possible:
        mark = "n too small"
    of = "" if comparison.of_methods else OF_WEIGHTS
    return {
        "column": one.column,
        "dataset": table.columns[one.column],
        "metric": one.metric,
        "score": TITLES[one.metric],
        "reference": one.baseline,
        "method": pair.second,
        "title": table.methods[pair.second],
        "patients": pair.patients,
        "seeds": pair.seeds,
        "mean": pair.mean,
        **_ends("bootstrap", pair.bootstrap),
        **_ends("t", pair.t),
        "shift": pair.shift,
        **_ends("of_shift", pair.shift_interval),
        "superiority": pair.superiority,
        "zeros": pair.zeros,
        "wilcoxon": pair.wilcoxon,
        "p": pair.p,
        "adjusted": comparison.adjusted,
        "star": mark,
        "verdict": comparison.verdict + of,
    }


def _comparison_notes(table: Table, name: str, compared: Sequence[Family]) -> list[str]:
    """Return what the family is, when it was declared, and how it was tested."""
    declared = table.family
    assert declared is not None
    date = f"on {declared.date}, " if declared.date else ""
    when = f"It was declared {date}before any cell was finished"
    if declared.finished:
        when = (
            f"It was declared {date}when {declared.finished} cells of the profile were FINISHED, "
            "so their results may have been known"
        )
    when += f" (declaration {declared.hash})."
    scope = (
        f"The family: {name} against each other method, and against its own further rows; "
        f"per dataset and metric. {when}"
    )
    with_result = dict.fromkeys(one.column for one in compared)
    lacking = [title for column, title in table.columns.items() if column not in with_result]
    if lacking:
        scope += f" Not compared, for lack of a result of it: {', '.join(lacking)}."
    for column in with_result:
        missing = table.missing(column)
        if missing:
            scope += (
                f" {table.columns[column]}: {', '.join(missing)} was declared and has no result; "
                "its test counts."
            )
    counts = []
    for one in compared:
        counts.append(f"{table.columns[one.column]} {TITLES[one.metric]}: {one.tests}")
    return [
        scope,
        "p: two-sided sign-flip permutation test of the mean difference over patients, exact up to "
        f"{EXACT} of them, else {FLIPS:,} flips. With several seeds, the largest p of it, of a t "
        "test over the seeds' means, and of a two-way analysis of variance with patients and seeds "
        f"random. Tests that a p is corrected for, by {_corrections(compared)}: "
        f"{', '.join(counts)}; {sum(one.computed for one in compared)} p values computed, "
        "Wilcoxon's included.",
        f"{STAR}: corrected p up to {ALPHA:g}, over several seeds: a difference of the methods. "
        f"{WEIGHTS}: the same with one seed: a difference of these weights; another run of the "
        "same methods may differ as much, and bench run --seeds 3 would tell. No mark where so few "
        "patients cannot earn one. Better, worse: a mark, both 95 % intervals (bootstrap and t) "
        f"without 0, a mean beyond ±{100 * compared[0].rope:g} points. Equivalent: at least "
        f"{EQUIVALENT_FROM} patients, and both intervals, corrected for the number of comparisons, "
        "within that region. Undecided: neither.",
        f"Difference with {BOOTSTRAP}. Shift: Hodges and Lehmann's, with the interval of the "
        "signed ranks. Superiority: share of patients on whom the reference is ahead, ties half. "
        f"Wilcoxon: signed ranks of differences rounded to 1e-{DECIMALS}, zeros by Pratt's rule; "
        "a companion, not corrected.",
    ]


def _corrections(compared: Sequence[Family]) -> str:
    """Return by what p was corrected, in words."""
    return " and ".join(dict.fromkeys(CORRECTIONS[one.correction] for one in compared))


def rank(table: Table, metric: str, columns: Sequence[str] = ()) -> Ranking | None:
    """Rank the methods that compete over a table's datasets, or some of them.

    Returns:
        None where no two methods share two patients on every dataset.
    """
    chosen = []
    for column in columns or table.columns:
        chosen.append(table.patients[column][metric].only(table.rivals(column)))
    try:
        ranks = ranking.rank(chosen)
    except UsageError:
        return None
    if min(ranks.patients.values()) < 2:
        return None  # one patient, resampled, is always the same one
    return ranks


def _ranks(table: Table) -> Document | None:
    """Return mean ranks over the datasets, with intervals and the probability of being first."""
    rows: list[dict[str, Any]] = []
    left: list[str] = []
    patients: dict[str, int] = {}
    for metric in PRINTED:
        ranks = rank(table, metric)
        if ranks is None:
            continue
        left += [table.methods[key] for key in ranks.left_methods]
        patients = ranks.patients
        rows += _rank_rows(table, metric, ranks)
    if not rows:
        return None
    on = {}
    for column, title in table.columns.items():
        if f"on {column}" in rows[0]:
            on[f"on {column}"] = title
    spans = ", ".join(f"{table.columns[column]}: {count}" for column, count in patients.items())
    notes = [
        "1 is the best; ranks of the means over patients, averaged over the columns. Intervals and "
        "probabilities: patients (and seeds) are resampled within each dataset, the datasets stay, "
        "so they speak of other patients of these datasets, never of other datasets.",
        f"Patients that all ranked methods have: {spans}.",
    ]
    if left:
        names = ", ".join(dict.fromkeys(left))
        notes.append(f"Not ranked, for a dataset lacks them: {names}.")
    heads = {
        "score": "Score",
        "title": "Method",
        "rank": "Mean rank",
        "interval": "95 %",
        "first": "First (%)",
        **on,
    }
    place = Number(".2f")
    numbers = {
        "rank": place,
        "interval": _span("interval", place),
        "first": Number(".0f", 100),
        **dict.fromkeys(on, Number("g")),
    }
    plural = "s" if len(on) != 1 else ""
    words = f"Mean rank over {len(on)} column{plural} of table 1."
    return _document(table, "ranks", "Ranks", words, heads, numbers, rows, notes)


def _rank_rows(table: Table, metric: str, ranks: Ranking) -> list[dict[str, Any]]:
    """Return a row for each ranked method, the best first."""
    rows = []
    for place in ranks.mean_ranks.argsort(kind="stable"):
        key = ranks.methods[place]
        row = {
            "metric": metric,
            "score": TITLES[metric],
            "method": key,
            "title": table.methods[key],
            "rank": ranks.mean_ranks[place],
            **_ends("interval", ranks.intervals[place]),
            "first": ranks.probabilities[place, 0],
        }
        for number, column in enumerate(ranks.columns):
            row[f"on {column}"] = ranks.ranks[number, place]
        rows.append(row)
    return rows


def _agreement(table: Table) -> Document | None:
    """Return Kendall's tau between the rankings by each metric's mean and median."""
    columns = []
    for column in table.columns:
        rivals = table.rivals(column)
        by_metric = table.patients[column]
        columns.append({name: scores.only(rivals) for name, scores in by_metric.items()})
    agreement = ranking.agreement(columns)
    ways = [f"{TITLES[metric]}, {how}" for metric, how in agreement.ways]
    many = len(agreement.methods)
    rows = []
    if many > 2:
        for way, line in zip(ways, agreement.tau.tolist(), strict=True):
            rows.append({"way": way, **dict(zip(ways, line, strict=True))})
    return _document(
        table,
        "agreement",
        "Agreement of rankings",
        f"Kendall's tau-b between the rankings of {many} methods by each score's mean and median "
        "over patients, ranks averaged over the datasets: 1 is the same order, 0 none in common, "
        "-1 the reverse.",
        {"way": "Ranked by", **{way: way for way in ways}},
        dict.fromkeys(ways, Number(".2f")),
        rows,
        ["A dash: a score that not all methods have on a common patient, or that gives no order."],
    )
