"""What the patients say, in numbers: intervals, the declared comparisons, ranks, and whether the metrics agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.report.listing import Listing, Number
from bench.report.sections.tables import METRICS, TITLES, Table, data
from bench.spec.errors import UsageError
from bench.stats import family, intervals, ranking
from bench.stats.family import Family
from bench.stats.flips import ALPHA, EXACT, FLIPS
from bench.stats.intervals import Interval
from bench.stats.paired import DECIMALS
from bench.stats.ranking import Ranking
from bench.stats.scores import LOWER, PatientScores

NAMES = {**TITLES, "hd95": "HD95", "nsd": "NSD"}
BOOTSTRAP = (
    "95 % bootstrap interval: BCa over patients; with several seeds, percentiles over seeds and"
    " patients"
)
CORRECTIONS = {"holm": "Holm's correction", "max-t": "max-T by shared sign flips"}


def listings(table: Table) -> list[Listing]:
    """Return a table's inference, each part that its results allow."""
    found = [
        _intervals(table, "intervals", [name for name in NAMES if name not in LOWER]),
        _intervals(table, "distances", [name for name in NAMES if name in LOWER]),
        _comparisons(table),
        _ranks(table),
        _agreement(table),
    ]
    return [each for each in found if len(each.frame)]


def _listing(table: Table, name: str, heading: str, words: str, **parts: Any) -> Listing:
    return Listing(
        name=f"{name}-{table.source}",
        heading=f"{heading} ({table.source})",
        caption=f"{data(table)}, profile '{table.profile}'. {words}",
        **parts,
    )


def _span(name: str, form: str, factor: float) -> Number:
    return Number(form, factor, (f"{name}_low", f"{name}_high"))


def _ends(**spans: Interval) -> dict[str, float]:
    return {
        f"{name}_{end}": value
        for name, ends in spans.items()
        for end, value in zip(("low", "high"), ends, strict=True)
    }


def _ordered(scores: PatientScores, table: Table) -> PatientScores:
    return scores.only([method for method in table.methods if method in scores.methods])


def _intervals(table: Table, name: str, metrics: Sequence[str]) -> Listing:
    """Return mean and median over patients of every method, with their intervals."""
    rows: list[dict[str, Any]] = [
        {
            "column": column,
            "dataset": title,
            "method": each.method,
            "title": table.methods[each.method],
            "metric": metric,
            "score": NAMES[metric] + (f" ({table.units[column]})" if metric in LOWER else ""),
            "patients": each.patients,
            "seeds": each.seeds,
            "mean": each.mean,
            **_ends(bootstrap=each.bootstrap, t=each.t),
            "sd": each.sd,
            "sd_seeds": each.sd_seeds,
            "median": each.median,
            **_ends(of_median=each.median_interval),
            "undefined": each.undefined,
        }
        for column, title in table.columns.items()
        for metric in metrics
        for each in intervals.summarise(_ordered(table.patients[column][metric], table))
        if each.patients
    ]
    few = sorted({row["patients"] for row in rows if row["patients"] < intervals.FEW})
    notes = [
        f"The unit is the patient, whose cases are averaged first. Mean with {BOOTSTRAP}; t: 95 % t"
        " interval over patients; of the median: percentile bootstrap. Undefined: cases without a"
        " value, such as distances to an empty mask, which means leave out."
    ]
    if few:
        notes.append(
            f"Fewer than {intervals.FEW} patients ({', '.join(map(str, few))}): on skewed scores,"
            " intervals of so few hold the truth less often than the 95 % they are named after."
        )
    if {row["seeds"] for row in rows} == {1}:
        notes.append(
            "One seed: the intervals speak of these checkpoints, not of the methods trained again."
        )
    factor, form = (1.0, ".2f") if name == "distances" else (100.0, ".2f")
    words = {
        "intervals": "Means and medians over patients of Dice, IoU and NSD, in percent.",
        "distances": "Means and medians over patients of distances; less is better.",
    }[name]
    point = Number(form, factor)
    return _listing(
        table,
        name,
        name.capitalize(),
        words,
        heads={
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
        },
        numbers={
            "patients": Number(".0f"),
            "mean": point,
            "bootstrap": _span("bootstrap", form, factor),
            "t": _span("t", form, factor),
            "sd": point,
            "sd_seeds": point,
            "median": point,
            "of_median": _span("of_median", form, factor),
            "undefined": Number(".0f"),
        },
        frame=pd.DataFrame(rows),
        notes=tuple(notes),
    )


def families(table: Table) -> list[Family]:
    """Return the declared family on each dataset by each metric; none where none was declared or its reference ran."""
    if table.family is None:
        return []
    reference, found = table.family.reference, []
    for column in table.columns:
        asked = table.family.methods
        others = [
            m
            for m in table.others(column, reference)
            if not asked or m in asked or m in table.extras
        ]
        if reference in table.rivals(column) and others:
            found += [
                family.against(
                    table.patients[column][metric],
                    reference,
                    others,
                    correction=table.family.correction,
                )
                for metric in METRICS
            ]
    return found


def _comparisons(table: Table) -> Listing:
    """Return the declared reference against each other method."""
    declared, rows, found = table.family, [], families(table)
    for each in found:
        for one in each.comparisons:
            pair = one.pair
            rows.append(
                {
                    "column": each.column,
                    "dataset": table.columns[each.column],
                    "metric": each.metric,
                    "score": NAMES[each.metric],
                    "reference": each.baseline,
                    "method": pair.second,
                    "title": table.methods[pair.second],
                    "patients": pair.patients,
                    "seeds": pair.seeds,
                    "mean": pair.mean,
                    **_ends(bootstrap=pair.bootstrap, t=pair.t),
                    "shift": pair.shift,
                    **_ends(of_shift=pair.shift_interval),
                    "superiority": pair.superiority,
                    "zeros": pair.zeros,
                    "wilcoxon": pair.wilcoxon,
                    "p": pair.p,
                    "adjusted": one.adjusted,
                    "star": "*" if one.star else "" if one.possible else "n too small",
                    "verdict": one.verdict,
                }
            )
    reference = declared.reference if declared else ""
    when = (
        ""
        if declared is None
        else (
            "It was declared before any cell was finished."
            if declared.finished == 0
            else (
                f"It was declared when {declared.finished} cells of the profile were FINISHED, so"
                " their results may have been known."
            )
        )
    )
    rope = found[0].rope if found else 0.0
    tests = ", ".join(
        f"{table.columns[each.column]} {NAMES[each.metric]}: {each.tests}" for each in found
    )
    correction = CORRECTIONS[declared.correction] if declared else ""
    lacking = [
        title
        for column, title in table.columns.items()
        if column not in {each.column for each in found}
    ]
    notes = (
        f"The family: {table.methods.get(reference, reference)} against each other method, and"
        f" against its own further rows; per dataset and metric. {when}"
        + (f" Not compared, for lack of a result of it: {', '.join(lacking)}." if lacking else ""),
        (
            "p: two-sided sign-flip permutation test of the mean difference over patients, exact"
            f" up to {EXACT} of them, else {FLIPS:,} flips. Tests that a p is corrected for, by"
            f" {correction}: {tests}; {sum(each.computed for each in found)} p values computed,"
            " Wilcoxon's included."
        ),
        (
            f"*: corrected p up to {ALPHA:g}; no star where so few patients cannot earn one."
            " Better, worse: a star, both 95 % intervals (bootstrap and t) without 0, a mean"
            f" beyond ±{100 * rope:g} points. Equivalent: both 90 % intervals within that region."
            " Undecided: neither."
        ),
        (
            f"Difference with {BOOTSTRAP}. Shift: Hodges and Lehmann's, with the interval of the"
            " signed ranks. Superiority: share of patients on whom the reference is ahead, ties"
            f" half. Wilcoxon: signed ranks of differences rounded to 1e-{DECIMALS}, zeros by"
            " Pratt's rule; a companion, not corrected."
        ),
    )
    points = Number("+.2f", 100)
    return _listing(
        table,
        "comparisons",
        "Comparisons",
        f"{table.methods.get(reference, reference)} less each other method, in points, paired by"
        " patient.",
        heads={
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
        },
        numbers={
            "patients": Number(".0f"),
            "mean": points,
            "bootstrap": _span("bootstrap", "+.2f", 100),
            "shift": points,
            "of_shift": _span("of_shift", "+.2f", 100),
            "superiority": Number(".0f", 100),
            "wilcoxon": Number(".3g"),
            "p": Number(".3g"),
            "adjusted": Number(".3g"),
        },
        frame=pd.DataFrame(rows),
        notes=notes,
    )


def rank(table: Table, metric: str, columns: Sequence[str] = ()) -> Ranking | None:
    """Rank the methods that compete over all datasets of a table, or some; None where there are not two everywhere."""
    chosen = [table.patients[c][metric].only(table.rivals(c)) for c in columns or table.columns]
    try:
        found = ranking.rank(chosen)
    except UsageError:
        return None
    return (
        found if min(found.patients.values()) > 1 else None
    )  # one patient resampled is always the same one


def _ranks(table: Table) -> Listing:
    """Return mean ranks over the datasets, with intervals and the probability of being first."""
    rows: list[dict[str, Any]] = []
    left: list[str] = []
    spans: dict[str, int] = {}
    for metric in METRICS:
        found = rank(table, metric)
        if found is None:
            continue
        left += [table.methods[method] for method in found.left_methods]
        spans = found.patients
        for place in found.mean_ranks.argsort(kind="stable"):
            method = found.methods[place]
            each = {f"on {column}": found.ranks[n, place] for n, column in enumerate(found.columns)}
            rows.append(
                {
                    "metric": metric,
                    "score": NAMES[metric],
                    "method": method,
                    "title": table.methods[method],
                    "rank": found.mean_ranks[place],
                    **_ends(interval=found.intervals[place]),
                    "first": found.probabilities[place, 0],
                    **each,
                }
            )
    frame = pd.DataFrame(rows)
    on = {
        f"on {column}": title for column, title in table.columns.items() if f"on {column}" in frame
    }
    notes = [
        "1 is the best; ranks of the means over patients, averaged over the columns. Intervals and"
        " probabilities: patients (and seeds) are resampled within each dataset, the datasets stay,"
        " so they speak of other patients of these datasets, never of other datasets."
    ]
    notes.append(
        "Patients that all ranked methods have: "
        f"{', '.join(f'{table.columns[column]}: {n}' for column, n in spans.items())}."
    )
    if left:
        notes.append(f"Not ranked, for a dataset lacks them: {', '.join(dict.fromkeys(left))}.")
    return _listing(
        table,
        "ranks",
        "Ranks",
        f"Mean rank over {len(on)} column{'s' * (len(on) != 1)} of table 1.",
        heads={
            "score": "Score",
            "title": "Method",
            "rank": "Mean rank",
            "interval": "95 %",
            "first": "First (%)",
            **on,
        },
        numbers={
            "rank": Number(".2f"),
            "interval": _span("interval", ".2f", 1),
            "first": Number(".0f", 100),
            **dict.fromkeys(on, Number("g")),
        },
        frame=frame,
        notes=tuple(notes),
    )


def _agreement(table: Table) -> Listing:
    """Return Kendall's tau between the rankings by each metric's mean and median."""
    columns = [
        {name: scores.only(table.rivals(column)) for name, scores in table.patients[column].items()}
        for column in table.columns
    ]
    found = ranking.agreement(columns)
    ways = [f"{NAMES[metric]}, {how}" for metric, how in found.ways]
    many = len(found.methods)
    rows = [
        {"way": way, **dict(zip(ways, line, strict=True))}
        for way, line in zip(ways, found.tau.tolist(), strict=True)
    ]
    return _listing(
        table,
        "agreement",
        "Agreement of rankings",
        f"Kendall's tau-b between the rankings of {many} methods by each score's mean and median"
        " over patients, ranks averaged over the datasets: 1 is the same order, 0 none in common,"
        " -1 the reverse.",
        heads={"way": "Ranked by", **{way: way for way in ways}},
        numbers=dict.fromkeys(ways, Number(".2f")),
        frame=pd.DataFrame(rows if many > 2 else []),
        notes=(
            (
                "A dash: a score that not all methods have on a common patient, or that gives no"
                " order."
            ),
        ),
    )
