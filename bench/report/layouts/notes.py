"""What stands around a layout's table: its caption, and what its signs mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.report.document import Mark, Note
from bench.report.layouts.file import UNITS, class_of, metric_of
from bench.report.layouts.values import Chosen, lacking, left_out
from bench.report.sections import table1
from bench.report.sections.marks import legend_of_looks
from bench.report.sections.table import data
from bench.spec.metrics import PRINTED, TITLES
from bench.spec.words import count
from bench.stats.family import STAR, WEIGHTS


def titled(metric: str, between: str = ", ") -> str:
    """Return the title of a metric, with its class where it is that of one."""
    title, of_class = TITLES[metric_of(metric)], class_of(metric)
    return f"{title}{between}{of_class}" if of_class else title


def caption_of(chosen: Chosen) -> str:
    """Return what the numbers are."""
    layout = chosen.layout
    metrics = dict.fromkeys(map(metric_of, layout.metrics))
    percent = [TITLES[name] for name in metrics if UNITS[name] == "fraction"]
    in_percent = f"{', '.join(percent)} in percent. " if percent else ""
    spread = {
        "std": "Mean ± std over the test images of all seeds.",
        "interval": "Mean over patients with its 95 % bootstrap interval.",
        "none": "Mean over the test images of all seeds.",
    }[layout.spread]
    style = [("bold: best", layout.best), ("underlined: second", layout.second)]
    used = [words for words, wanted in style if wanted]
    marked = f" {'; '.join(used).capitalize()}." if used else ""
    return f"{data(chosen.table)}. {in_percent}{spread}{marked}"


@dataclass(frozen=True)
class Signs:
    """What a table has of marks, which is explained, and nothing else."""

    marks: frozenset[Mark]
    """Those of table 1."""
    stars: frozenset[str]
    """Those of the declared comparisons."""


def notes_of(chosen: Chosen, signs: Signs) -> Iterator[Note]:
    """Yield the notes that a layout asks for; what makes numbers not compare always stands."""
    layout, table = chosen.layout, chosen.table
    all_notes = table1.document(table).notes
    words_of_left_out = left_out(chosen)
    if table.source != "external" and table.profile != "paper":
        yield Note(f"Profile '{table.profile}': {table.summary}.", "data")
    if layout.notes == "long":
        if layout.marks == "best" and table.pairs:
            yield from table1.legend(signs.marks, layout.metrics)
        yield from (note for note in all_notes if note.kind != "legend")
    else:
        yield from (note for note in all_notes if note.grave)
    if layout.notes == "short":
        yield Note(_short(chosen, signs))
    if words_of_left_out:
        yield Note(words_of_left_out, "data")
    for metric in layout.metrics:
        words_of_lacking = _without_number(chosen, metric)
        if words_of_lacking:
            yield Note(words_of_lacking, "data", grave=True)


def _without_number(chosen: Chosen, metric: str) -> str:
    """Return which cases are left out of the means of a metric; nothing where none is."""
    parts = []
    for column, title in chosen.columns.items():
        for key, number in lacking(chosen, column, metric).items():
            parts.append(f"{chosen.names[key]} on {title} {count(number, 'case')}")
    if not parts:
        return ""
    return (
        f"{titled(metric)}: cases without a number are left out of the mean, which may help a "
        f"method: {', '.join(parts)}. Such means do not compare, so none is bold or underlined."
    )


def _short(chosen: Chosen, signs: Signs) -> str:
    """Return one note: patients, what marks mean, and where all else stands."""
    counts = []
    for column, title in chosen.columns.items():
        tested = sorted(set(chosen.table.scores["patients"].xs(column, level="column")))
        least_and_most = dict.fromkeys((tested[0], tested[-1]))  # one number where all are equal
        counts.append(f"{title} {'-'.join(map(str, least_and_most))}")
    text = f"Patients: {', '.join(counts)}."
    if chosen.layout.marks == "best" and chosen.table.pairs:
        occurring = {*signs.marks} - {"best", ""}
        for note in table1.legend(occurring, chosen.layout.metrics):
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
        titles = dict.fromkeys(titled(metric, " of ") for metric in untested)
        text += f" {', '.join(titles)}: not tested, so without marks."
    return f"{text} Tests, deviations and data: {chosen.layout.name}-notes."


STARS = {
    STAR: "differs from {} (p at most 0.05, corrected).",
    WEIGHTS: "these trained weights differ from those of {} (p at most 0.05, corrected).",
    "(": "in brackets if rare outliers that so few patients do not show could undo it.",
}
"""What the stars of the declared comparisons say."""
