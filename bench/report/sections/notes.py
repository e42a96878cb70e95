"""What must stand under a table for a reader to believe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from bench.data.splits import words
from bench.spec.config import SEED, canonical
from bench.store.store import column_of

Record = dict[str, Any]
Verdict = tuple[str, list[str]]
"""`agree`, `differ` or `single`, and the methods that differ from another."""


def mark(record: Record) -> str:
    """Return what is said beside a method's name where its row compares with no other."""
    if record["oracle"]:
        return " [oracle: told the reference's box]"
    return " [trained on data of its own making]" if record["own_training"] else ""


def collect(
    records: Sequence[Record],
    cases: pd.DataFrame,
    columns: dict[str, str],
    methods: dict[str, str],
    verdicts: dict[str, Verdict],
) -> list[str]:
    """Return the notes: what was tested, on which splits and seeds, certificates, machine, deviations."""
    notes = []
    for column, title in columns.items():
        part = cases[cases.column == column]
        mine = [record for record in records if column_of(record) == column]
        counts = part.groupby("method")[["patient", "case"]].nunique()
        span = "; ".join(
            sorted({f"{c.patient} patients, {c.case} cases" for c in counts.itertuples()})
        )
        left_out = max(record["left_out"] for record in mine)
        missing = (
            f"; {left_out} files of the dataset could not be used and were left out"
            if left_out
            else ""
        )
        notes.append(
            f"{title}: {span} tested{missing}{''.join(f'; {each}' for each in unlike(part, mine))}."
        )
    notes.append(_splits(records))
    own = dict.fromkeys(r["spec"]["method"] for r in records if r["own_training"])
    notes.append(_certificate_note(columns, verdicts, list(own)))
    notes.append(made_on(records))
    for method, title in methods.items():
        record = next((r for r in records if r["spec"]["method"] == method), None)
        if record is None:  # a further row, told with its method
            continue
        chosen = {
            key: value
            for key, value in record["spec"]["options"].items()
            if key not in ("lr", "tuned") or value
        }
        sizes = ", ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in chosen.items()
        )
        differs = "; ".join(record["deviations"]) or "nothing declared"
        rows = "".join(
            f" Its {row} comes from the same trained weights." for row in record["extras"]
        )
        had = "; ".join(
            f"{name}: {what}"
            for name, what in record["advantages"].items()
            if what not in ("none", "unknown")
        )
        beyond = f" It has what others lack ({had})." if had else ""
        notes.append(f"{title} ({sizes}) differs from its source: {differs}.{rows}{beyond}")
    return notes


def _splits(records: Sequence[Record]) -> str:
    seeds = sorted({r["spec"]["seed"] for r in records})
    ways = sorted(
        {words(r["spec"]["folds"], r["spec"]["scheme"], r["official_test"]) for r in records}
    )
    alone = " One seed speaks of these checkpoints, not of the methods." if len(seeds) == 1 else ""
    return (
        f"Seeds: {', '.join(map(str, seeds))} (augmentation seed {SEED} first);"
        f" {'; '.join(ways)}.{alone}"
    )


def unlike(part: pd.DataFrame, records: Sequence[Record]) -> list[str]:
    """Return warnings where the methods of a column were not treated alike."""
    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record["spec"]["method"], []).append(record)

    def differ(what: Callable[[Record], object]) -> bool:
        return (
            len(
                {
                    canonical(sorted({canonical(what(r)) for r in each}))
                    for each in by_method.values()
                }
            )
            > 1
        )

    warnings = []
    if part.groupby("method")["case"].agg(frozenset).nunique() > 1:
        warnings.append("NOT the same cases for every method, so its means do not compare")
    if differ(lambda r: [r["spec"]["fold"], r["spec"]["seed"]]):
        warnings.append("NOT the same folds and seeds for every method")
    if differ(lambda r: r["spec"]["profile"]):
        warnings.append(
            "NOT the same protocol for every method: the profile was edited between runs"
        )
    if differ(lambda r: [r["device"], r["versions"]["torch"], r["spec"]["precision"]]):
        warnings.append("NOT the same device, precision or PyTorch for every method")
    return warnings


def made_on(records: Sequence[Record]) -> str:
    """Return devices, PyTorch and revisions, so that a mixture is seen."""
    devices = sorted({f"{r['device']} ({r['spec']['precision']})" for r in records})
    torch = sorted({r["versions"]["torch"] for r in records})
    revisions = sorted(
        {
            (r["revision"] or "unknown")[:10] + "+dirty" * (r["revision"] or "").endswith("+dirty")
            for r in records
        }
    )
    return (
        f"Made on {', '.join(devices)}; PyTorch {', '.join(torch)}; revision"
        f" {', '.join(revisions)}."
    )


def certificates(records: Sequence[Record]) -> Verdict:
    """Compare the certificates of a column's cells, each with every other, at all steps that two have in common.

    A method that trained on data of its own making has none.

    Returns:
        `agree`, `differ`, or `single` where no two cells share a fold and a seed; and who differs
            from whom.
    """
    differ: list[str] = []
    compared = False
    groups: dict[tuple[int, int], list[Record]] = {}
    for record in (r for r in records if not r["own_training"]):
        groups.setdefault((record["spec"]["fold"], record["spec"]["seed"]), []).append(record)
    for group in groups.values():
        seen: dict[int, tuple[Any, str]] = {}
        for record in group:
            method = record["spec"]["method"]
            for head in record["certificate"]["heads"]:
                first, by = seen.setdefault(head["steps"], (head, method))
                compared |= by != method
                if first != head and f"{method} and {by}" not in differ:
                    differ.append(f"{method} and {by}")
        unmatched = [r for r in group if len(group) > 1 and not _shares_a_step(r, group)]
        differ += [f"{r['spec']['method']} (no step in common)" for r in unmatched]
    return ("differ" if differ else "agree" if compared else "single"), differ


def _shares_a_step(record: Record, group: Sequence[Record]) -> bool:
    mine = {head["steps"] for head in record["certificate"]["heads"]}
    return any(
        mine & {head["steps"] for head in r["certificate"]["heads"]}
        for r in group
        if r is not record
    )


def _certificate_note(
    columns: dict[str, str], verdicts: dict[str, Verdict], own: Sequence[str]
) -> str:
    differ = [
        f"{columns[column]}: {', '.join(who)}" for column, (verdict, who) in verdicts.items() if who
    ]
    single = [columns[column] for column, (verdict, _) in verdicts.items() if verdict == "single"]
    if differ:
        return f"Certificates DIFFER, these did not train on the same data: {'; '.join(differ)}."
    if len(single) == len(verdicts):
        beside = (
            f", beside {', '.join(own)}, which trained on data of its own making" if own else ""
        )
        return f"Certificates: one method only{beside}, nothing to compare."
    rest = f" ({', '.join(single)}: one method only, nothing to compare)" if single else ""
    every = f"every method but {', '.join(own)}" if own else "every method"
    return (
        f"Certificates: all agree; {every} was given the same augmented data, step by step{rest}."
    )
