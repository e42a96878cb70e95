"""Scores of cases that others computed: nnU-Net, MONAI, panoptica, MetricsReloaded, any CSV.

All become `CaseScore`, one a method, dataset, run and case. What a file does not say is asked for,
never guessed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from bench.audit import columns, summary
from bench.audit.case_score import NAMES, CaseScore, Reading
from bench.data.readers.walk import case_id
from bench.spec.case import RESERVED
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.names import safe_name

_COMMAS = re.compile(r",(?![^(]*\))")
"""Commas outside brackets: `(1, 2)` is one label, nnU-Net's region."""


def told(path: Path, reading: Reading) -> tuple[str, ...]:
    """Return what to tell of a file that was read."""
    return () if path.suffix.lower() == ".json" else columns.told(path, reading)


def read(path: Path, reading: Reading) -> list[CaseScore]:
    """Read a file of scores; of several classes one score a case and class.

    Raises:
        UsageError: It cannot be read, or it does not say whose scores of which patients they are.
    """
    scores: list[CaseScore] = []
    classes = classes_in(reading.label)
    for name, label in classes.items():
        of_class = _read(path, replace(reading, label=label))
        scores += [replace(score, label=name) for score in of_class]
    return scores if classes else _read(path, reading)


def classes_in(text: str) -> dict[str, str]:
    """Return the classes that `--label` names, with their labels in the file; none of one label.

    Raises:
        UsageError: A part is no name, or a name stands twice.
    """
    parts = _COMMAS.split(text)
    if len(parts) == 1 and "=" not in text:
        return {}
    classes: dict[str, str] = {}
    for part in parts:
        name, _, label = (side.strip() for side in part.partition("="))
        if not name or name.lower() in RESERVED or name in classes:
            raise UsageError(
                f"--label {text}: {name[:40]!r} cannot name a class here; expected names that are "
                "all different, such as vertebra=1,disc=2, and none of "
                f"{', '.join(sorted(RESERVED))}"
            )
        classes[name] = label or name
    return classes


def _read(path: Path, reading: Reading) -> list[CaseScore]:
    """Read a file of scores, of which one label at most is taken."""
    if path.suffix.lower() == ".json":
        scores = list(summary.cases_of(path, reading))
    else:
        scores = list(columns.cases_of(path, reading))
    if not scores:
        raise UsageError(f"{path} holds no score; expected a line for each case")
    return [replace(score, case=_kept(score.case)) for score in scores]


def _kept(case: str) -> str:
    """Return a case's name as results keep it: that of its mask, where it has other letters."""
    try:
        return safe_name(case, "case")
    except UsageError:
        return case_id(case)


def parse_columns(text: str) -> dict[str, str]:
    """Return what `--columns` says: `case=filename,dice=class1`.

    Raises:
        UsageError: A part is no `name=heading`, or the name is unknown.
    """
    headings = {}
    for part in filter(None, text.split(",")):
        name, equals, heading = part.partition("=")
        if not equals or not heading.strip():
            raise UsageError(
                f"--columns {text}: {part!r} is no name=heading, such as case=filename"
            )
        if name.strip() not in NAMES:
            raise UsageError(f"--columns: unknown '{name}'; {did_you_mean(name.strip(), NAMES)}")
        headings[name.strip()] = heading.strip()
    return headings
