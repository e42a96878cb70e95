"""What must stand under a table for a reader to believe it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import pandas as pd

from bench.report.document import Note
from bench.spec.case import UNION
from bench.spec.errors import short_list
from bench.spec.metrics import OF_DISTANCES, listed
from bench.spec.plain import canonical
from bench.spec.profile import Augmentation
from bench.spec.words import count
from bench.store.record import SET_ASIDE, Head, Record
from bench.store.scores import CLASS

Verdict = Literal["agree", "differ", "single"]
EQUAL = (0.8, 1.25)
"""Sizes, with U-Net's as 1, that are called equal."""
FULL = "full"
"""The scale of a profile whose networks are as published."""


@dataclass(frozen=True)
class Certificates:
    """Whether the cells of a column were given the same data."""

    verdict: Verdict
    """`single` where no two cells share a fold and a seed, so that there is nothing to compare."""
    differ: tuple[str, ...] = ()
    """The methods that differ from another, each with it."""


def mark(records: Sequence[Record]) -> str:
    """Return what is said beside a method's name where its row compares with no other, or badly.

    Args:
        records: All of the method, at least one.
    """
    record = records[-1]
    if record.oracle:
        return " [oracle: told the reference's box]"
    if record.own_training:
        if record.outside:
            return " [trained by its own program]"
        return " [trained on data of its own making]"
    if record.outside and record.source != "external":  # there, all rows are
        return " [from outside]"
    return _mark_of_size(records)


def _mark_of_size(records: Sequence[Record]) -> str:
    """Return the least and the greatest size of a method's cells, where one is unequal."""
    if not any(map(_is_unequal, records)):
        return ""
    sizes = [record.size for record in records if record.size is not None]
    least, greatest = (f"{round(size, 2):g}" for size in (min(sizes), max(sizes)))
    return f" [size {least}]" if least == greatest else f" [size {least} to {greatest}]"


def _is_unequal(record: Record) -> bool:
    """Return whether a network that was scaled down costs much less or more than U-Net."""
    low, high = EQUAL
    scaled = record.spec.profile.get("scale", FULL) != FULL
    return scaled and record.size is not None and not low <= record.size <= high


def collect(
    records: Sequence[Record],
    cases: pd.DataFrame,
    columns: Mapping[str, str],
    methods: Mapping[str, str],
    certificates: Mapping[str, Certificates],
    units: Mapping[str, str],
) -> list[Note]:
    """Return the notes: what was tested, splits and seeds, certificates, machine, differences."""
    notes = [
        _coverage(records, cases[cases.column == column], column, title, units[column])
        for column, title in columns.items()
    ]
    trained = [record for record in records if not record.outside]
    if trained:
        notes.append(Note(_splits(trained), "data"))
        notes += _augmentation(trained)
        trained_by_themselves = dict.fromkeys(
            record.method.key for record in trained if record.own_training
        )
        notes.append(_certificate_note(columns, certificates, list(trained_by_themselves)))
        notes += _sizes(trained)
        notes.append(Note(made_on(trained), "machine"))
    notes += _outside(records, methods)
    first: dict[str, Record] = {}
    for record in trained:
        first.setdefault(record.method.key, record)
    for method, title in methods.items():
        if method in first:  # a further row is told with its method
            notes.append(Note(_difference(title, first[method]), "difference"))
    return notes


def of_classes(classes: pd.DataFrame, columns: Mapping[str, str], absent: str) -> list[Note]:
    """Return a note for each column of several classes: which, and what their means leave out."""
    notes = []
    for column, title in columns.items():
        part = classes[(classes.column == column) & (classes[CLASS] != UNION)]
        if part.empty:
            continue
        names = list(dict.fromkeys(part[CLASS]))
        missing = int(part["absent"].sum())
        rule = {"undefined": "left out", "best": "scored 1", "worst": "scored 0"}[absent]
        text = (
            f"{title}: scores of a case are means over its classes ({', '.join(names)}); "
            f"a class that neither mask has is {rule}: {missing} of {len(part)}"
        )
        notes.append(Note(f"{text}. Each class: table classes.", "data"))
    return notes


def _spanned(patients: int, cases: int) -> str:
    """Return numbers of patients and cases in words."""
    return f"{count(patients, 'patient')}, {count(cases, 'case')}"


def _coverage(
    records: Sequence[Record], cases: pd.DataFrame, column: str, title: str, unit: str
) -> Note:
    """Return what was tested on a column, and in what its methods were not treated alike."""
    of_column = [record for record in records if record.column.key == column]
    counts = cases.groupby("method")[["patient", "case"]].nunique()
    spans = sorted({_spanned(*pair) for pair in counts.to_numpy(int).tolist()})
    text = f"{title}: {'; '.join(spans)} tested"
    text += _ceiling(of_column)
    assumed: dict[str, None] = {}
    for record in of_column:
        assumed.update(dict.fromkeys(record.assumed))
    if assumed:
        text += f"; assumed in reading it: {'; '.join(assumed)}"
    left_out = max(record.left_out for record in of_column)
    if left_out:
        text += f"; {count(left_out, 'file')} of the dataset left out as unusable"
    if aside := max(record.cases.get(SET_ASIDE, 0) for record in of_column):
        text += (
            f"; unused: {count(aside, 'case')}, since the publisher tests their patients by others"
        )
    warnings = unlike(cases, of_column)
    pairs = dict.fromkeys(chain.from_iterable(record.twins for record in of_column))
    if pairs:
        warnings.append(
            f"identical images of two patients, who may be one: "
            f"{short_list(list(pairs), what='pair')}"
        )
    if " and " in unit:
        warnings.append(
            f"distances of its cases are in {unit}, so {listed(OF_DISTANCES)} have no mean: "
            "give all cases a spacing"
        )
    for warning in warnings:
        text += f"; {warning}"
    return Note(f"{text}.", "data", grave=bool(warnings))


def _outside(records: Sequence[Record], methods: Mapping[str, str]) -> list[Note]:
    """Return which rows are from outside, from where, and which of their cases are missing."""
    rows: dict[str, dict[str, None]] = {}
    lacking: dict[str, dict[str, None]] = {}
    remarks: dict[str, None] = {}
    for record in records:
        if record.external is None or record.external.kind == "program":
            continue
        title = methods[record.method.key]
        what = "masks" if record.external.kind == "masks" else "scores that others computed"
        rows.setdefault(f"{what} from {record.external.origin}", {})[title] = None
        if record.external.missing:
            lacking.setdefault(title, {}).update(dict.fromkeys(record.external.missing))
        remarks.update(dict.fromkeys(record.external.remarks))
    by_program = _by_programs(records, methods)
    if not rows:
        return by_program
    listed_rows = [f"{', '.join(titles)}: {words}" for words, titles in rows.items()]
    notes = [
        *by_program,
        Note(
            f"From outside, not trained here: {'; '.join(listed_rows)}. Seeds, training, data, "
            "size and cost of these rows are unknown, and whether they saw the tested patients.",
            "data",
        ),
    ]
    for title, cases in lacking.items():
        text = f"{title}: {short_list(list(cases))} have no prediction and score zero."
        notes.append(Note(text, "data", grave=True))
    if remarks:
        notes.append(Note(f"Assumed of files from outside: {'; '.join(remarks)}.", "data"))
    return notes


def _by_programs(records: Sequence[Record], methods: Mapping[str, str]) -> list[Note]:
    """Return which rows were trained by their methods' own programs."""
    titles: dict[str, None] = {}
    for record in records:
        if record.external and record.external.kind == "program":
            titles[methods[record.method.key]] = None
    if not titles:
        return []
    text = (
        "Trained by their own programs on the training side of the same split, not on the shared "
        f"stream, and in no comparison: {', '.join(titles)}."
    )
    return [Note(text, "data")]


def _sizes(records: Sequence[Record]) -> list[Note]:
    """Return what the mark of a size means, if a row has it."""
    if not any(map(_is_unequal, records)):
        return []
    low, high = EQUAL
    text = (
        "[size S]: a case costs the network S times the multiply-adds of U-Net in training; S to T "
        "are its least and its greatest where datasets differ; of the rows that compete, those "
        f"without this mark lie within {low:g} and {high:g} on each dataset"
    )
    unknown = [one for one in records if one.competes and one.size is None]
    names = dict.fromkeys(record.method.title(record.title) for record in unknown)
    if names:
        text += f", but for {', '.join(names)}, of unknown size"
    return [Note(f"{text}.", "legend")]


def _augmentation(records: Sequence[Record]) -> list[Note]:
    """Return a note where a profile's augmentation is not the paper's."""
    paper = Augmentation().words
    ways = dict.fromkeys(record.spec.augmentation.words for record in records)
    if list(ways) == [paper]:
        return []
    return [Note(f"Augmentation of the profile: {'; '.join(ways)} (paper: {paper}).", "data")]


def _ceiling(records: Sequence[Record]) -> str:
    """Return how well the best possible answer on the network's grid would score."""
    ceilings = [record.ceiling for record in records if record.ceiling is not None]
    if not ceilings or min(ceilings) == 1:
        return ""
    best = 100 * sum(ceilings) / len(ceilings)
    return (
        f"; the network's grid allows about {best:.2f} % Dice: the reference itself has that after "
        "resampling to the grid and back"
    )


def _splits(records: Sequence[Record]) -> str:
    """Return the seeds, and how patients were split."""
    seeds = sorted({record.spec.seed for record in records})
    ways = sorted({record.scheme.words(record.official_test) for record in records})
    text = (
        f"Seed{'s' * (len(seeds) > 1)}: {', '.join(map(str, seeds))}, for the initial weights and "
        f"the augmentation of every method; {'; '.join(ways)}."
    )
    if len(seeds) == 1:
        text += " One seed speaks of these trained weights, not of the methods."
    return text


def _difference(title: str, record: Record) -> str:
    """Return a method's options, and how it differs from its source."""
    options = []
    for key, value in record.spec.options.items():
        if key in record.without_effect:
            continue
        if key not in ("lr", "tuned") or value:
            options.append(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}")
    differs = "; ".join(record.deviations) or "nothing declared"
    name = f"{title} ({', '.join(options)})" if options else title
    text = f"{name} differs from its source: {differs}."
    for extra in record.extras:
        text += f" Its {extra} comes from the same trained weights."
    had = []
    for name, advantage in record.advantages.items():
        if advantage not in ("none", "unknown"):
            had.append(f"{name}: {advantage}")
    if had:
        text += f" It has what others lack ({'; '.join(had)})."
    return text


def unlike(cases: pd.DataFrame, records: Sequence[Record]) -> list[str]:
    """Return warnings where the methods of a column were not treated alike."""
    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record.method.key, []).append(record)

    def differ(what: Callable[[Record], Any], of_outside: bool = False) -> bool:
        """Return whether methods have other values; of cells from outside some are unknown."""
        kinds = set()
        for of_method in by_method.values():
            if of_method[0].outside and not of_outside:
                continue
            kinds.add(canonical(sorted({canonical(what(record)) for record in of_method})))
        return len(kinds) > 1

    warnings = []
    if cases.groupby("method")["case"].agg(frozenset).nunique() > 1:
        warnings.append("NOT the same cases for every method, so its means do not compare")
    if differ(lambda record: [record.spec.fold, record.spec.seed], of_outside=True):
        warnings.append("NOT the same folds and seeds for every method")
    if differ(lambda record: record.spec.profile):
        warnings.append(
            "NOT the same protocol for every method: the profile was edited between runs"
        )
    if differ(lambda record: [record.device, record.versions["torch"], record.spec.precision]):
        warnings.append("NOT the same device, precision or PyTorch for every method")
    return warnings


def _how(record: Record) -> str:
    """Return how a device computed."""
    words = [record.spec.precision]
    if record.peak_device_memory_bytes is not None and record.spec.profile.get("tf32"):
        words.append("TF32")
    if record.spec.deterministic:
        words.append("deterministic")
    return ", ".join(words)


def made_on(records: Sequence[Record]) -> str:
    """Return devices, PyTorch and revisions, so that a mixture is seen."""
    devices = sorted({f"{record.device} ({_how(record)})" for record in records})
    torch = sorted({record.versions["torch"] for record in records})
    revisions = sorted({_revision(record) for record in records})
    return (
        f"Made on {', '.join(devices)}; PyTorch {', '.join(torch)}; "
        f"revision {', '.join(revisions)}."
    )


def _revision(record: Record) -> str:
    """Return the revision of the source that made a record, or of a wheel its version.

    Of a revision its first ten characters, and whether files differed from it.
    """
    revision = record.revision
    if revision is None:
        version = record.versions.get("verdiff-bench")
        return f"unknown (verdiff-bench {version})" if version else "unknown"
    dirty = "+dirty" if revision.endswith("+dirty") else ""
    return revision[:10] + dirty


def certificates(records: Sequence[Record]) -> Certificates:
    """Compare the certificates of a column's cells at all steps that two have in common.

    A method that trained on data of its own making has none, and nothing is known from outside.
    """
    differ: list[str] = []
    compared = False
    groups: dict[tuple[int, int], list[Record]] = {}
    for record in records:
        if record.certificate is not None and not record.own_training:
            groups.setdefault((record.spec.fold, record.spec.seed), []).append(record)
    for group in groups.values():
        # For each number of steps, the first head of the chains there, and whose it is.
        seen: dict[int, tuple[Head, str]] = {}
        for record in group:
            method = record.method.key
            for head in _heads(record):
                first, first_method = seen.setdefault(head.steps, (head, method))
                compared |= first_method != method
                if first != head and f"{method} and {first_method}" not in differ:
                    differ.append(f"{method} and {first_method}")
        if len(group) > 1:
            alone = [record for record in group if not _shares_a_step(record, group)]
            differ += [f"{record.method} (no step in common)" for record in alone]
    if differ:
        return Certificates("differ", tuple(differ))
    return Certificates("agree" if compared else "single")


def _heads(record: Record) -> tuple[Head, ...]:
    """Return the chains of a record's certificate; none from outside."""
    return record.certificate.heads if record.certificate else ()


def _shares_a_step(record: Record, group: Sequence[Record]) -> bool:
    """Return whether a record's chains can be compared with those of another one."""
    steps = {head.steps for head in _heads(record)}
    for other in group:
        if other is not record and steps & {head.steps for head in _heads(other)}:
            return True
    return False


def _certificate_note(
    columns: Mapping[str, str], certificates: Mapping[str, Certificates], own: Sequence[str]
) -> Note:
    """Return whether all methods were given the same data.

    Args:
        columns: Titles by key.
        certificates: What was found, by key.
        own: The methods that trained on data of their own making.
    """
    differ, single = [], []
    for column, proof in certificates.items():
        if proof.differ:
            differ.append(f"{columns[column]}: {', '.join(proof.differ)}")
        if proof.verdict == "single":
            single.append(columns[column])
    if differ:
        text = f"these did not train on the same data: {'; '.join(differ)}."
        return Note(f"Certificates DIFFER, {text}", "data", grave=True)
    if len(single) == len(certificates):
        beside = ""
        if own:
            beside = f", beside {', '.join(own)}, which trained on data of its own making"
        return Note(f"Certificates: one method only{beside}, nothing to compare.", "data")
    every = f"every method but {', '.join(own)}" if own else "every method"
    rest = ""
    if single:
        rest = f" ({', '.join(single)}: one method only, nothing to compare)"
    return Note(
        f"Certificates: all agree; {every} was given the same augmented data, step by step{rest}.",
        "data",
    )
