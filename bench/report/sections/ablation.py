"""Table 2: a method's modules on and off, what each does, and what it costs; from the store alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.audit import published
from bench.data.splits import Scheme, key
from bench.report.latex import escape, notes_under, standalone
from bench.report.sections import notes
from bench.report.sections.tables import METRICS, TITLES
from bench.spec.config import DatasetRef
from bench.spec.errors import UsageError
from bench.spec.options import shown
from bench.stats.ablation import Arm, Effect, Scores, effect, shared_weights
from bench.store.store import Store

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of table 2: an arm's answer, or a further row of the same weights."""

    arm: Arm
    name: str
    """Empty for the answer, `prior` for that row."""
    means: dict[str, float]
    stds: dict[str, float]
    parameters: int
    seconds: float
    """Per image, sampling included; NaN for a further row, which costs nothing beside the
    answer."""


@dataclass(frozen=True)
class Ablation:
    """The arms of one dataset under one profile."""

    dataset: DatasetRef
    way: str
    """How it was split, if not 70/10/20."""
    profile: str
    summary: str
    title: str
    factors: tuple[str, ...]
    rows: tuple[Row, ...]
    effects: dict[str, list[Effect]]
    """By metric: main effects, interactions, and what each arm's answer gains over its further
    rows."""
    notes: tuple[str, ...]
    folders: dict[Arm, Path]
    """Each arm's cell of the first seed and fold."""

    @property
    def slug(self) -> str:
        """How its files are called."""
        method = self.rows[-1].arm.spec.replace(":", ",")
        return "-".join(filter(None, (self.dataset.slug, self.way, method, *self.factors)))


def collect(
    store: Store,
    profile: str,
    dataset: DatasetRef,
    arms: Sequence[Arm],
    factors: tuple[str, ...],
    seeds: Sequence[int],
    scheme: Scheme,
) -> Ablation:
    """Return what the store holds of an ablation.

    Raises:
        UsageError: An arm has no result.
    """
    cells: dict[Arm, list[tuple[Record, Path]]] = {arm: [] for arm in arms}
    by_spec = {arm.spec: arm for arm in arms}
    way = key(scheme.count, scheme.name)
    for record, folder in store.records(profile):
        spec = record["spec"]
        here = (
            spec["dataset"]["digest"] == dataset.digest
            and key(spec["folds"], spec["scheme"]) == way
        )
        if here and spec["seed"] in seeds and spec["method"] in by_spec:
            cells[by_spec[spec["method"]]].append((record, folder))
    missing = [arm.spec for arm in arms if len(cells[arm]) != len(seeds) * scheme.count]
    if missing:
        raise UsageError(
            f"no result of {', '.join(missing)} on {dataset.slug}; see its error.txt, then run"
            " again"
        )
    cases = store.cases(profile)
    cases = cases[(cases.digest == dataset.digest) & (cases.scheme == way) & cases.seed.isin(seeds)]
    records = [record for each in cells.values() for record, _ in each]
    extras = records[0]["extras"]
    rows = tuple(
        _row(arm, name, cases, [r for r, _ in cells[arm]]) for arm in arms for name in ("", *extras)
    )
    effects = {metric: _effects(arms, factors, cases, metric, extras) for metric in METRICS}
    return Ablation(
        dataset=dataset,
        way=way,
        profile=profile,
        summary=records[0]["summary"],
        title=records[0]["title"],
        factors=factors,
        rows=rows,
        effects=effects,
        notes=tuple(_notes(store, cells, factors, cases)),
        folders={arm: each[0][1] for arm, each in cells.items()},
    )


def _row(arm: Arm, name: str, cases: pd.DataFrame, records: Sequence[Record]) -> Row:
    mine = cases[cases.method == (f"{arm.spec}:{name}" if name else arm.spec)]
    each = mine.groupby(["patient", "case"])[list(METRICS)].mean()  # seeds averaged, as in table 1
    seconds = (
        float("nan")
        if name
        else float(np.mean([r["timings"]["predict_seconds_per_case"] for r in records]))
    )
    means, stds = ({m: float(values[m]) for m in METRICS} for values in (each.mean(), each.std()))
    return Row(arm, name, means, stds, records[0]["parameters"], seconds)


def _effects(
    arms: Sequence[Arm],
    factors: tuple[str, ...],
    cases: pd.DataFrame,
    metric: str,
    extras: Sequence[str],
) -> list[Effect]:
    answers = Scores.of(arms, factors, cases, metric, "")
    found = answers.effects()
    for name in extras:
        further = Scores.of(arms, factors, cases, metric, name)
        for number, arm in enumerate(arms):
            gain = answers.values[number] - further.values[number]
            found.append(effect(f"answer over {name}, {_ticks(arm, factors)}", gain))
    return found


def _ticks(arm: Arm, factors: tuple[str, ...]) -> str:
    return ", ".join(
        f"{name} {'on' if on else 'off'}" for name, on in zip(factors, arm.switches, strict=True)
    )


def _published(
    arms: Sequence[Arm], factors: tuple[str, ...], dataset: str, source: str
) -> list[str]:
    """Return what Verdiff-Net's paper printed for these arms, where its table 2 has all of them."""
    printed = published.table2()
    if (
        set(factors) != {"msfm", "nsa"}
        or arms[-1].spec != "verdiff"
        or set(printed.dataset) != {dataset}
    ):
        return []
    cells = "; ".join(
        f"{row['title']}: Dice {100 * row['dice_mean']:.2f}, IoU {100 * row['iou_mean']:.2f}"
        for row in printed.to_dict("records")
    )
    simulated = (
        " These here are PHANTOMS, which say nothing about it." if source == "phantom" else ""
    )
    return [
        f"Published, on a private dataset of its own and without a std: {cells}"
        f" ({published.SOURCE}, table 2). For reading beside these, compared with"
        f" nothing.{simulated}"
    ]


def _notes(
    store: Store,
    cells: dict[Arm, list[tuple[Record, Path]]],
    factors: tuple[str, ...],
    cases: pd.DataFrame,
) -> list[str]:
    """Return what must stand under the table."""
    records = [record for each in cells.values() for record, _ in each]
    verdict, differ = notes.certificates(records)
    seeds = sorted({record["spec"]["seed"] for record in records})
    groups: dict[tuple[int, int], list[dict[str, str]]] = {}
    for each in cells.values():
        for record, folder in each:
            groups.setdefault((record["spec"]["fold"], record["spec"]["seed"]), []).append(
                store.initial(folder)
            )
    counts = [shared_weights(group) for group in groups.values()]
    shared, same = min(counts, key=lambda count: count[1] - count[0])
    start = (
        f"Before training, all {shared} tensors of modules that arms share were the same under each"
        " seed"
        if shared == same
        else (
            f"Before training, only {same} of {shared} tensors of modules that arms share were the"
            " SAME"
        )
    )
    tested = cases[cases.method.isin([arm.spec for arm in cells])]
    last = records[-1]["spec"]["options"]
    declared = {arm.spec: each[0][0]["deviations"] for arm, each in cells.items()}
    common_to_all = [
        line
        for line in next(iter(declared.values()))
        if all(line in lines for lines in declared.values())
    ]
    own = {
        spec: [line for line in lines if line not in common_to_all]
        for spec, lines in declared.items()
    }
    return [
        f"{cases.patient.nunique()} patients, {cases.case.nunique()} cases tested; "
        f"seeds {', '.join(map(str, seeds))}"
        + (
            "; one seed speaks of these checkpoints, not of the modules."
            if len(seeds) == 1
            else "."
        ),
        (
            "Certificates: all arms were given the same augmented data, step by step."
            if verdict == "agree"
            else f"Certificates DIFFER: {', '.join(differ)}."
        ),
        f"{start}.",
        *(f"{warning}." for warning in notes.unlike(tested, records)),
        (
            "Time an image: prediction with all samples, on the device below; parameters: those"
            " that are trained. The prior comes from the same weights as the answer."
        ),
        notes.made_on(records),
        f"Every arm differs from its source: {'; '.join(common_to_all) or 'nothing declared'}.",
        *_published(
            list(cells), factors, records[0]["spec"]["dataset"]["name"], records[0]["source"]
        ),
        (
            "Options of the last arm:"
            f" {', '.join(f'{key}={shown(value)}' for key, value in last.items())}."
        ),
        *(f"{spec} also: {'; '.join(lines)}." for spec, lines in own.items() if lines),
    ]


def caption(table: Ablation) -> str:
    """Return the sentence above the table."""
    data = "PHANTOM data (simulated)" if table.dataset.source == "phantom" else "Real data"
    return (
        f"{data}, {table.dataset.name}, profile '{table.profile}': {table.summary}. Dice and IoU in"
        " percent, mean ± std over test images, seeds averaged first."
    )


def _cells(row: Row, tick: str, cross: str) -> list[str]:
    scores = [
        f"{100 * row.means[m]:.2f}"
        + (f" ± {100 * row.stds[m]:.2f}" if row.stds[m] == row.stds[m] else "")
        for m in METRICS
    ]
    cost = ["", ""] if row.name else [f"{row.parameters:,}", f"{row.seconds:.3g}"]
    return [
        *(tick if on else cross for on in row.arm.switches),
        row.name or "answer",
        *scores,
        *cost,
    ]


def _effect_cells(table: Ablation) -> list[list[str]]:
    """Return a line an effect: its name, and per metric the mean with its interval, in points."""
    lines = []
    for number, first in enumerate(table.effects[METRICS[0]]):
        line = [first.name]
        for metric in METRICS:
            each = table.effects[metric][number]
            line += [f"{100 * each.mean:+.2f} {_interval(each.patients)}", _interval(each.seeds)]
        lines.append(line)
    return lines


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"[{100 * low:+.2f}, {100 * high:+.2f}]" if low == low else "-"


_EFFECTS = (
    "Effects in points, paired by patient, with 95 % t intervals: over patients, for these seeds;"
    " over seeds where there are several, for these patients. A main effect is on less off; an"
    " interaction, what two do beyond their sum."
)


def markdown(table: Ablation) -> str:
    """Return table 2 as Markdown, with its effects and notes."""
    heads = [
        *(name.upper() for name in table.factors),
        "Row",
        *(TITLES[m] for m in METRICS),
        "Parameters",
        "s / image",
    ]
    lines = [
        f"# Table 2: {table.title} ({table.dataset.source})",
        "",
        caption(table),
        "",
        f"| {' | '.join(heads)} |",
        (
            f"|{'|'.join([' :-: '] * len(table.factors) + [' --- '] + [' ---: '] * (len(METRICS) + 2))}|"
        ),
    ]
    lines += [f"| {' | '.join(_cells(row, '✓', ' '))} |" for row in table.rows]
    heads = [
        "Effect",
        *(text for m in METRICS for text in (f"{TITLES[m]} [patients]", f"{TITLES[m]} [seeds]")),
    ]
    lines += [
        "",
        _EFFECTS,
        "",
        f"| {' | '.join(heads)} |",
        f"|{'|'.join([' --- '] + [' ---: '] * (len(heads) - 1))}|",
    ]
    lines += [f"| {' | '.join(line)} |" for line in _effect_cells(table)]
    return "\n".join([*lines, "", *(f"- {note}" for note in table.notes)]) + "\n"


def latex(table: Ablation) -> str:
    r"""Return table 2 as LaTeX that compiles as it is, and that a paper may \input as well."""
    names = " & ".join(escape(name.upper()) for name in table.factors)
    body = []
    for row in table.rows:
        ticks = [r"$\checkmark$" if on else "" for on in row.arm.switches]
        texts = [escape(text) for text in _cells(row, "", "")[len(ticks) :]]
        body.append(rf"{' & '.join([*ticks, *texts])} \\")
    effects = [rf"{' & '.join(escape(text) for text in line)} \\" for line in _effect_cells(table)]
    metrics = " & ".join(rf"{TITLES[m]}, patients & {TITLES[m]}, seeds" for m in METRICS)
    return standalone(
        [
            r"\begin{table}[t]\centering",
            rf"\caption{{{escape(caption(table))}}}",
            rf"\label{{tab:bench-ablation-{re.sub('[^A-Za-z0-9]+', '-', table.slug)}}}",
            rf"\begin{{tabular}}{{{'c' * len(table.factors)}lrrrr}}",
            rf"\toprule {names} & Row & Dice & IoU & Parameters & s / image \\ \midrule",
            *body,
            r"\bottomrule\end{tabular}",
            r"\par\medskip\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{l{'rr' * len(METRICS)}}}\toprule Effect & {metrics} \\ \midrule",
            *effects,
            r"\bottomrule\end{tabular}}",
            r"\end{table}",
            *notes_under([_EFFECTS, *table.notes]),
        ]
    )


def csv(table: Ablation) -> str:
    """Return the rows as CSV: fractions, factors as 0 and 1."""
    rows = [
        {
            "dataset": table.dataset.slug,
            "source": table.dataset.source,
            "profile": table.profile,
            "method": row.arm.spec,
            **dict(zip(table.factors, map(int, row.arm.switches), strict=True)),
            "row": row.name or "answer",
            **{
                f"{m}_{what}": values[m]
                for m in METRICS
                for what, values in (("mean", row.means), ("std", row.stds))
            },
            "parameters": row.parameters,
            "seconds_per_image": row.seconds,
        }
        for row in table.rows
    ]
    return str(pd.DataFrame(rows).to_csv(index=False, lineterminator="\n", float_format="%.9g"))


def effects_csv(table: Ablation) -> str:
    """Return the effects as CSV: fractions."""
    rows = [
        {
            "metric": metric,
            "effect": each.name,
            "mean": each.mean,
            "patients_low": each.patients[0],
            "patients_high": each.patients[1],
            "seeds_low": each.seeds[0],
            "seeds_high": each.seeds[1],
        }
        for metric, effects in table.effects.items()
        for each in effects
    ]
    return str(pd.DataFrame(rows).to_csv(index=False, lineterminator="\n", float_format="%.9g"))


def write(table: Ablation, folder: Path) -> list[Path]:
    """Write table 2 as Markdown, LaTeX and CSV, and the effects as CSV; return the files."""
    texts = {
        ".md": markdown(table),
        ".tex": latex(table),
        ".csv": csv(table),
        "-effects.csv": effects_csv(table),
    }
    paths = {folder / f"table2-{table.slug}{suffix}": text for suffix, text in texts.items()}
    for path, text in paths.items():
        path.write_text(text, encoding="utf-8")
    return list(paths)
