"""Check a prepared dataset: damage, duplicate images, odd masks, flipped cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data import cache, manifest, twins
from bench.data.digest import digest_of, with_instances
from bench.data.splits import make_splits
from bench.spec.case import Case, Dataset
from bench.spec.errors import UsageError
from bench.spec.words import count

READING = "reading"
"""The kind of findings that say how files were read; nothing is wrong with them."""
ONE_PATIENT = "is it one patient?"
SMALL = (32, 32)
"""(height, width) at which orientations are compared."""
MOSTLY = 0.5
"""A mask with a larger share of foreground may be inverted, where most others have a smaller."""
RECOGNISED = 0.15
"""A flip must lower the correlation of cases with the typical case by more than this (median over
the cases). Otherwise the orientation cannot be recognised in this dataset."""


FAR = 4.0
"""A flipped case must lie so many standard deviations from the usual one. The deviation is
estimated by the median absolute one, which a few flipped cases do not widen."""
MAD_TO_STD = 1.4826
"""The standard deviation of normal values, divided by their median absolute deviation."""


@dataclass(frozen=True)
class Finding:
    """One thing that the user should look at."""

    kind: str
    cases: tuple[str, ...]
    text: str
    grave: bool = False
    """Whether results on this dataset are invalid until it is repaired."""


def check(folder: Path) -> list[Finding]:
    """Return the findings in a prepared dataset, the grave ones first."""
    dataset = cache.load(folder)
    findings = [
        *_damage(folder, dataset),
        _patients(dataset),
        *_reading(folder),
        *_too_few(dataset),
        *_twins(dataset),
        *_masks(dataset),
        *_flips(dataset),
    ]
    findings += [Finding("left out", (), line) for line in dataset.left_out]
    return sorted(findings, key=lambda finding: not finding.grave)


def _damage(folder: Path, dataset: Dataset) -> Iterator[Finding]:
    """Compare the pixels with the dataset's digest, which is part of the names of all results."""
    digest = digest_of(dataset)
    if dataset.levels:  # instances are scored too
        digest = with_instances(digest, dataset)
    if digest != dataset.digest:
        # The manifest lies in `folder`, the pixels one folder above it.
        text = f"{folder.parent} is not what was prepared: remove the folder and prepare again"
        yield Finding("damage", (), text, grave=True)


def _patients(dataset: Dataset) -> Finding:
    """Say which patients were read from the files, for all tests are over patients."""
    names = list(dict.fromkeys(case.patient for case in dataset.cases))
    shown = ", ".join([*names[:3], *(["..."] if len(names) > 3 else [])])
    text = f"patients: {len(names)} ({shown}), with {count(len(dataset.cases), 'case')}"
    return Finding(READING, (), text)


def _reading(folder: Path) -> Iterator[Finding]:
    """Say how the files were read, with what was assumed."""
    for line in manifest.read(folder).lines:
        yield Finding(READING, (), line)


def _too_few(dataset: Dataset) -> Iterator[Finding]:
    """Say where there are too few patients to train, validate and test on."""
    try:
        make_splits([case.patient for case in dataset.cases])
    except UsageError as error:
        yield Finding("patients", (), str(error), grave=True)


def _twins(dataset: Dataset) -> Iterator[Finding]:
    """Find identical or nearly identical images of two patients.

    The two may be one patient under two names, who may then be on two sides of a split.
    """
    texts = twins.described(dataset, sides={})
    for ids, text in zip(dataset.twins, texts, strict=True):
        yield Finding("identical", ids, f"{text} are identical: {ONE_PATIENT}", grave=True)
    for first, second in twins.near(dataset):
        one, other = dataset.cases[first], dataset.cases[second]
        text = f"{one.id} (patient {one.patient}) and {other.id} (patient {other.patient})"
        line = f"{text} are nearly identical: {ONE_PATIENT}"
        yield Finding("nearly identical", (one.id, other.id), line)


def _masks(dataset: Dataset) -> Iterator[Finding]:
    """Find masks without foreground, inverted ones, and such that are cut by the image's edge."""
    empty, cut, full = [], [], []
    alike: dict[bytes, list[Case]] = {}
    for index, case in enumerate(dataset.cases):
        mask = dataset.mask(index)
        if not mask.any():
            empty.append(case.id)
        else:
            mark = sha256(repr(mask.shape).encode() + mask.tobytes()).digest()
            alike.setdefault(mark, []).append(case)
        if mask.mean() > MOSTLY:
            full.append(case.id)
        if mask[[0, -1]].any() or mask[:, [0, -1]].any():
            cut.append(case.id)
    total = len(dataset.cases)
    if empty:
        text = f"without foreground: {len(empty)} of {count(total, 'case')}: {_few(empty)}"
        yield Finding("empty mask", tuple(empty), text, grave=len(empty) == total)
    for cases in alike.values():
        if len({case.patient for case in cases}) > 1:
            ids = tuple(case.id for case in cases)
            text = f"images of several patients have one mask: {_few(ids)}"
            yield Finding("one mask", ids, text)
    if 0 < len(full) < total / 2:
        text = f"mostly foreground, maybe inverted: {len(full)} of {count(total, 'case')}"
        yield Finding("inverted mask", tuple(full), f"{text}: {_few(full)}")
    if cut:
        text = f"cut by the image's edge: {len(cut)} of {count(total, 'case')}: {_few(cut)}"
        yield Finding("cut mask", tuple(cut), text)


def _flips(dataset: Dataset) -> Iterator[Finding]:
    """Find cases that resemble the others more when they are flipped or turned."""
    small = np.stack([_features(dataset, i) for i in range(len(dataset.cases))])
    typical = _unit(np.median(small, axis=0))
    for kind, axes in (("left-right", (2,)), ("up-down", (1,)), ("turned by 180 degrees", (1, 2))):
        turned = np.flip(small, axes)
        gain = (_unit(turned) * typical).sum((1, 2)) - (_unit(small) * typical).sum((1, 2))
        cost = -float(np.median(gain))  # what a flip costs the usual case
        if cost <= RECOGNISED:
            continue
        # A flipped case gains about as much as a usual one loses; noise may take half of it.
        gains_enough = gain > cost / 2
        deviation = MAD_TO_STD * float(np.median(np.abs(gain + cost)))
        is_far = gain + cost > FAR * deviation
        ids = [dataset.cases[i].id for i in np.flatnonzero(gains_enough & is_far).tolist()]
        if ids and len(ids) < len(dataset.cases) / 2:
            text = f"{count(len(ids), 'case')} may be flipped ({kind}): {_few(ids)}"
            yield Finding("flip", tuple(ids), text)


def _features(dataset: Dataset, index: int) -> NDArray[np.float64]:
    """Return the sum of a case's image and mask at the size `SMALL`.

    Each is first centred and divided by its norm.
    """
    image = _small(dataset.image(index).astype(np.float32))
    mask = _small(dataset.mask(index).astype(np.float32))
    return _unit(image - image.mean()) + _unit(mask - mask.mean())


def _small(values: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = SMALL
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA))


def _unit(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return maps (..., H, W), each divided by its Euclidean norm."""
    norm = np.sqrt((values**2).sum((-2, -1), keepdims=True))
    out: NDArray[np.float64] = values / np.maximum(norm, 1e-9)
    return out


def _few(names: Sequence[str], most: int = 4) -> str:
    """Return the first `most` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
