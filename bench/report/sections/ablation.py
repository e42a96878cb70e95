"""Table 2: a method's modules on and off, what each does, and what it costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.audit import published
from bench.report.document import Block, Cell, Document, Head, Note, mean_and_std, rounded
from bench.report.sections import notes
from bench.report.sections.listing import ends
from bench.report.sections.table import factor_of
from bench.spec import plain
from bench.spec.arms import Arm
from bench.spec.caveat import described
from bench.spec.errors import UsageError
from bench.spec.metrics import PRINTED, TITLES
from bench.spec.names import Column, Row, Spec
from bench.spec.options import shown
from bench.spec.words import count
from bench.stats.ablation import Effect, Scores, effects, shared_weights
from bench.stats.flips import ALPHA
from bench.store.record import Record
from bench.store.results import Finished, Results

ANSWER = "answer"
"""What the row of a method's own prediction is called."""


@dataclass(frozen=True)
class Line:
    """One line of table 2: an arm's prediction, or a further row of the same weights."""

    arm: Arm
    extra: str
    """Empty for the prediction, `prior` for that row."""
    means: dict[str, float]
    stds: dict[str, float]
    parameters: int
    seconds: float
    """Per image, sampling included; NaN for a further row, which costs nothing beside it."""

    @property
    def name(self) -> str:
        """What the line is called."""
        return self.extra or ANSWER


@dataclass(frozen=True)
class Ablation:
    """The arms of one column under one profile."""

    column: Column
    profile: str
    summary: str
    title: str
    factors: tuple[str, ...]
    lines: tuple[Line, ...]
    effects: dict[str, list[Effect]]
    """By metric: main effects, interactions, and what each arm gains over its further rows."""
    notes: tuple[Note, ...]
    cells: Mapping[Arm, Mapping[int, Finished]]
    """Each arm's cells of the first seed, by fold."""
    cases: pd.DataFrame
    """The scores of the arms' cases."""

    @property
    def name(self) -> str:
        """What its files are called."""
        method = self.lines[-1].arm.spec.folder
        return "-".join((self.column.folder, method, *self.factors))


def collect(
    results: Results,
    column: Column,
    arms: Sequence[Arm],
    factors: tuple[str, ...],
    seeds: Sequence[int],
) -> Ablation:
    """Return what the results hold of an ablation.

    Raises:
        UsageError: An arm has no result.
    """
    cells: dict[Arm, list[Finished]] = {arm: [] for arm in arms}
    by_spec = {arm.spec: arm for arm in arms}
    for cell in results.cells:
        record = cell.record
        here = record.column == column and record.spec.seed in seeds
        here = here and not record.outside
        if here and record.method in by_spec:
            cells[by_spec[record.method]].append(cell)
    wanted = len(seeds) * column.scheme.folds
    missing = [arm.spec.key for arm in arms if len(cells[arm]) != wanted]
    if missing:
        raise UsageError(
            f"no result of {', '.join(missing)} on {column.dataset.key}; "
            "see its error.txt, then run again"
        )
    cases = results.cases
    cases = cases[(cases.column == column.key) & cases.seed.isin(seeds)]
    first = cells[arms[0]][0].record
    lines = []
    for arm in arms:
        for extra in ("", *first.extras):
            lines.append(_line(arm, extra, cases, [cell.record for cell in cells[arm]]))
    looks = factor_of(results.looks, results.family, column.key)
    tested = {}
    for metric in PRINTED:
        contrasts = _contrasts(arms, factors, cases, metric, first.extras)
        tested[metric] = effects(contrasts, looks)
    return Ablation(
        column=column,
        profile=results.profile,
        summary=described(results.profile, first.summary, first.spec.profile),
        title=first.title,
        factors=factors,
        lines=tuple(lines),
        effects=tested,
        notes=(*_of_looks(looks), *_notes(cells, factors, cases)),
        cells={arm: _of_first_seed(of_arm) for arm, of_arm in cells.items()},
        cases=cases,
    )


def _of_first_seed(cells: Sequence[Finished]) -> dict[int, Finished]:
    """Return an arm's cells of its first seed, by fold."""
    first = min(cell.record.spec.seed for cell in cells)
    return {cell.record.spec.fold: cell for cell in cells if cell.record.spec.seed == first}


def _line(arm: Arm, extra: str, cases: pd.DataFrame, records: Sequence[Record]) -> Line:
    """Return the line of an arm's prediction, or of a further row of its weights."""
    of_line = cases[cases.method == Row(arm.spec, extra).key]
    # Seeds are averaged first, as in table 1.
    scores = of_line.groupby(["patient", "case"], observed=True)[list(PRINTED)].mean()
    means, stds = scores.mean(), scores.std()
    seconds = float("nan")
    parameters = records[0].parameters
    assert parameters is not None, "the arms of an ablation are trained here"
    if not extra:
        timings_there = [record.timings for record in records if record.timings]
        seconds = float(np.mean([timings.predict_seconds_per_case for timings in timings_there]))
    return Line(
        arm=arm,
        extra=extra,
        means={metric: float(means[metric]) for metric in PRINTED},
        stds={metric: float(stds[metric]) for metric in PRINTED},
        parameters=parameters,
        seconds=seconds,
    )


def _contrasts(
    arms: Sequence[Arm],
    factors: tuple[str, ...],
    cases: pd.DataFrame,
    metric: str,
    extras: Sequence[str],
) -> dict[str, NDArray[np.float64]]:
    """Return by name what is tested, (seed, patient): effects, and gains over further rows."""
    answers = Scores.of(arms, factors, cases, metric, "")
    contrasts = answers.contrasts()
    for extra in extras:
        further = Scores.of(arms, factors, cases, metric, extra)
        for number, arm in enumerate(arms):
            gain = answers.values[number] - further.values[number]
            contrasts[f"{ANSWER} over {extra}, {_ticks(arm, factors)}"] = gain
    return contrasts


def _ticks(arm: Arm, factors: tuple[str, ...]) -> str:
    """Return an arm in words: `msfm on, nsa off`."""
    ticks = []
    for name, on in zip(factors, arm.switches, strict=True):
        ticks.append(f"{name} {'on' if on else 'off'}")
    return ", ".join(ticks)


def _published(
    arms: Sequence[Arm], factors: tuple[str, ...], dataset: str, source: str
) -> list[str]:
    """Return what the paper printed for these arms, where its table 2 has all of them."""
    printed = published.table2()
    is_published = set(factors) == {"msfm", "nsa"} and set(printed.dataset) == {dataset}
    if not is_published or arms[-1].spec.key != "verdiff":
        return []
    cells = []
    for row in printed.to_dict("records"):
        scores = f"Dice {100 * row['dice_mean']:.2f}, IoU {100 * row['iou_mean']:.2f}"
        cells.append(f"{row['title']}: {scores}")
    simulated = ""
    if source == "phantom":
        simulated = " These here are PHANTOMS, which say nothing about it."
    return [
        "Published, on a private dataset of its own and without a std: "
        f"{'; '.join(cells)} ({published.SOURCE}, table 2). "
        f"For reading beside these, compared with nothing.{simulated}"
    ]


def _notes(
    cells: Mapping[Arm, Sequence[Finished]], factors: tuple[str, ...], cases: pd.DataFrame
) -> list[Note]:
    """Return what must stand under the table."""
    everywhere = list(chain.from_iterable(cells.values()))
    records = [cell.record for cell in everywhere]
    certificates = notes.certificates(records)
    agree = certificates.verdict == "agree"
    data = "Certificates: all arms were given the same augmented data, step by step."
    if not agree:
        data = f"Certificates DIFFER: {', '.join(certificates.differ)}."
    tested = cases[cases.method.isin([arm.spec.key for arm in cells])]
    options = records[-1].spec.options.items()
    last = ", ".join(f"{key}={shown(value)}" for key, value in options)
    common, of_single_arms = _deviations(cells)
    source = records[0].source
    printed = _published(list(cells), factors, records[0].spec.dataset.name, source)
    return [
        Note(_coverage(records, cases), "data"),
        Note(data, "data", grave=not agree),
        _start(everywhere),
        *(Note(f"{line}.", "data", grave=True) for line in notes.unlike(tested, records)),
        Note(
            "Time an image: prediction with all samples, on the device below; parameters: those "
            "that are trained. The prior comes from the same weights as the answer."
        ),
        Note(notes.made_on(records), "machine"),
        Note(
            f"Every arm differs from its source: {'; '.join(common) or 'nothing declared'}.",
            "difference",
        ),
        *(Note(line) for line in printed),
        Note(f"Options of the last arm: {last}."),
        *(
            Note(f"{arm} also: {'; '.join(lines)}.", "difference")
            for arm, lines in of_single_arms.items()
        ),
    ]


def _of_looks(looks: int) -> list[Note]:
    """Return by what p is multiplied for the looks, where it is."""
    if looks == 1:
        return []
    return [
        Note(f"p is multiplied by {looks} for the looks at results of several seeds.", "legend")
    ]


def _coverage(records: Sequence[Record], cases: pd.DataFrame) -> str:
    """Return how many patients and cases were tested, and under which seeds."""
    seeds = sorted({record.spec.seed for record in records})
    patients = count(cases.patient.nunique(), "patient")
    text = (
        f"{patients}, {count(cases.case.nunique(), 'case')} tested; "
        f"seeds {', '.join(map(str, seeds))}"
    )
    if len(seeds) == 1:
        return f"{text}; one seed speaks of these trained weights, not of the modules."
    return f"{text}."


def _start(cells: Sequence[Finished]) -> Note:
    """Return whether the arms started from the same weights."""
    groups: dict[tuple[int, int], list[dict[str, str]]] = {}
    for cell in cells:
        place = (cell.record.spec.fold, cell.record.spec.seed)
        groups.setdefault(place, []).append(cell.initial())
    counts = [shared_weights(group) for group in groups.values()]
    # The group of which the most shared tensors are not the same: `same` less `shared` is lowest.
    shared, same = min(counts, key=lambda count: count[1] - count[0])
    if shared == same:
        text = f"all {shared} tensors of modules that arms share were the same under each seed"
    else:
        text = f"only {same} of {shared} tensors of modules that arms share were the SAME"
    return Note(f"Before training, {text}.", "data", grave=shared != same)


def _deviations(
    cells: Mapping[Arm, Sequence[Finished]],
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the differences from the source that all arms have, and each arm's own."""
    declared = {arm.spec.key: of_arm[0].record.deviations for arm, of_arm in cells.items()}
    common = []
    for line in next(iter(declared.values())):
        if all(line in lines for lines in declared.values()):
            common.append(line)
    of_single_arms = {}
    for arm, lines in declared.items():
        rest = [line for line in lines if line not in common]
        if rest:
            of_single_arms[arm] = rest
    return common, of_single_arms


_EFFECTS = (
    "Effects in points, paired by patient, with 95 % t intervals: over patients, for these seeds; "
    "over seeds where there are several, for these patients. A main effect is on less off; an "
    "interaction, what two do beyond their sum. Verdict, on Dice: helps or harms where p is at "
    "most 0.05. p is that of the stars: over patients, and over seeds where there are several, "
    "corrected by Holm for all effects of the table and for the looks; with one seed it speaks of "
    "these weights."
)


def documents(results: Results, source: str) -> list[Document]:
    """Return table 2 of each ablation whose arms are all among the results of a source."""
    tables = []
    for column in results.columns.values():
        if column.dataset.source != source:
            continue
        for factors, arms in _combinations(results, column):
            seeds = _common_seeds(results, column, arms)
            if not seeds:
                continue
            try:
                tables.append(document(collect(results, column, arms, factors, seeds)))
            except UsageError:  # an arm lacks a fold
                continue
    return tables


def _combinations(results: Results, column: Column) -> list[tuple[tuple[str, ...], list[Arm]]]:
    """Return factors with their arms: on/off options that were run in all combinations."""
    # Methods that differ in on/off options alone are a group: their specs by the switches, and the
    # switches' names.
    groups: dict[str, dict[tuple[bool, ...], Spec]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for record in results.records:
        if record.column != column:
            continue
        switches = {}
        for key, value in record.spec.options.items():
            if isinstance(value, bool) and key != "tuned":
                switches[key] = value
        others = {key: value for key, value in record.spec.options.items() if key not in switches}
        group = plain.canonical([record.method.name, sorted(switches), others])
        names[group] = tuple(switches)
        groups.setdefault(group, {})[tuple(switches.values())] = record.method
    complete = []
    for group, combinations in groups.items():
        varying = [len(set(values)) > 1 for values in zip(*combinations, strict=True)]
        has_all_combinations = len(combinations) == 2 ** sum(varying)
        if sum(varying) == 0 or not has_all_combinations:
            continue
        arms = []
        for values, spec in combinations.items():
            arms.append(Arm(spec, tuple(compress(values, varying))))
        arms.sort(key=lambda arm: arm.switches[::-1])  # the first factor changes fastest
        complete.append((tuple(compress(names[group], varying)), arms))
    return complete


def _common_seeds(results: Results, column: Column, arms: Sequence[Arm]) -> list[int]:
    """Return the seeds under which every arm has a result."""
    common: set[int] | None = None
    for arm in arms:
        seeds = set()
        for record in results.records:
            if record.column == column and record.method == arm.spec:
                seeds.add(record.spec.seed)
        common = seeds if common is None else common & seeds
    return sorted(common or ())


def document(table: Ablation) -> Document:
    """Return table 2 with its effects and notes."""
    dataset = table.column.dataset
    data = "PHANTOM data (simulated)" if dataset.source == "phantom" else "Real data"
    return Document(
        name=f"table2-{table.name}",
        heading=f"Table 2: {table.title} ({dataset.source})",
        caption=(
            f"{data}, {dataset.name}, profile '{table.profile}': {table.summary}. Dice and IoU in "
            "percent, mean ± std over test images, seeds averaged first."
        ),
        blocks=(_arms_block(table), _effects_block(table)),
        notes=table.notes,
        frames={"": _numbers(table), "-effects": _effect_numbers(table)},
        label=f"ablation-{re.sub('[^A-Za-z0-9]+', '-', table.name)}",
    )


def _arms_block(table: Ablation) -> Block:
    """Return a row for each line: the switches, the scores, and what it costs."""
    heads = [Head(name.upper(), "centre") for name in table.factors]
    heads.append(Head("Row", "left"))
    heads += [Head(TITLES[metric]) for metric in PRINTED]
    heads += [Head("Parameters"), Head("s / image")]
    rows = []
    for line in table.lines:
        cells = [Cell("✓" if on else " ") for on in line.arm.switches]
        cells.append(Cell(line.name))
        cells += [_score(line, metric) for metric in PRINTED]
        if line.extra:
            cells += [Cell(""), Cell("")]
        else:
            cells += [
                Cell(f"{line.parameters:,}", number=line.parameters),
                Cell(f"{line.seconds:.3g}", number=line.seconds),
            ]
        rows.append(tuple(cells))
    return Block(tuple(heads), tuple(rows))


def _score(line: Line, metric: str) -> Cell:
    """Return a line's mean and std in percent; no std of a single case."""
    mean, std = line.means[metric], line.stds[metric]
    return Cell(mean_and_std(mean, std), number=mean)


def _effects_block(table: Ablation) -> Block:
    """Return a row an effect: its name, and for each metric the mean with its intervals."""
    heads = [Head("Effect", "left"), Head("Verdict", "left"), Head("p")]
    for metric in PRINTED:
        title = TITLES[metric]
        heads.append(Head(f"{title} [patients]", tex=f"{title}, patients"))
        heads.append(Head(f"{title} [seeds]", tex=f"{title}, seeds"))
    rows = []
    for number, on_dice in enumerate(table.effects[PRINTED[0]]):
        p = Cell(f"{on_dice.p:.3g}", number=on_dice.p)
        cells = [Cell(on_dice.name), Cell(_verdict(on_dice)), p]
        for metric in PRINTED:
            effect = table.effects[metric][number]
            text = f"{rounded(100 * effect.mean, '+.2f')} {_interval(effect.patients)}"
            cells += [Cell(text, number=effect.mean), Cell(_interval(effect.seeds))]
        rows.append(tuple(cells))
    return Block(tuple(heads), tuple(rows), _EFFECTS)


def _verdict(effect: Effect) -> str:
    """Return what an effect on Dice is."""
    low, _high = effect.seeds
    one_seed = math.isnan(low)
    weights = " (these weights)" if one_seed else ""
    if not effect.p <= ALPHA:
        return "undecided"
    return f"{'helps' if effect.mean > 0 else 'harms'}{weights}"


def _interval(interval: tuple[float, float]) -> str:
    """Return an interval in points; a dash where there is none."""
    low, high = interval
    if math.isnan(low):
        return "-"
    return f"[{rounded(100 * low, '+.2f')}, {rounded(100 * high, '+.2f')}]"


def _numbers(table: Ablation) -> pd.DataFrame:
    """Return the lines: fractions, factors as 0 and 1."""
    rows = []
    for line in table.lines:
        row: dict[str, Any] = {
            "dataset": table.column.dataset.key,
            "source": table.column.dataset.source,
            "profile": table.profile,
            "method": line.arm.spec.key,
        }
        row |= dict(zip(table.factors, map(int, line.arm.switches), strict=True))
        row["row"] = line.name
        for metric in PRINTED:
            row[f"{metric}_mean"] = line.means[metric]
            row[f"{metric}_std"] = line.stds[metric]
        row["parameters"] = line.parameters
        row["seconds_per_image"] = line.seconds
        rows.append(row)
    return pd.DataFrame(rows)


def _effect_numbers(table: Ablation) -> pd.DataFrame:
    """Return the effects: fractions."""
    rows = []
    for metric, tested in table.effects.items():
        for effect in tested:
            row = {
                "metric": metric,
                "effect": effect.name,
                "mean": effect.mean,
                **ends("patients", effect.patients),
                **ends("seeds", effect.seeds),
                "p": effect.p,
            }
            rows.append(row)
    return pd.DataFrame(rows)
