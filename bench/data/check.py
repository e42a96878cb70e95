"""What to look at in a prepared dataset before believing a result: damage, twins, odd masks, flipped cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.data import cache
from bench.spec.case import Dataset

NEAR = 4
"""Bits of 64 by which the perceptual hashes of two images may differ and still be called nearly
identical."""
SMALL = (32, 32)
"""(height, width) at which orientations are compared."""
TOLD = 0.15
"""Correlation that a flip must cost the median case, or orientation cannot be told on this
dataset."""


@dataclass(frozen=True)
class Finding:
    """One thing to look at."""

    kind: str
    cases: tuple[str, ...]
    text: str
    grave: bool = False
    """Whether results on this dataset cannot be believed before it is mended."""


def check(folder: Path) -> list[Finding]:
    """Return what is found in a prepared dataset, the gravest first."""
    dataset = cache.load(folder)
    found = [
        *_damage(folder, dataset),
        *_sides(folder),
        *_twins(dataset),
        *_masks(dataset),
        *_flips(dataset),
    ]
    left_out = [Finding("left out", (), line) for line in dataset.left_out]
    return sorted([*found, *left_out], key=lambda each: not each.grave)


def _damage(folder: Path, dataset: Dataset) -> Iterator[Finding]:
    """Compare the pixels with the digest that results are named by."""
    digest = hashlib.sha256()
    for index, case in enumerate(dataset.cases):
        digest.update(cache.identity(case, dataset.image(index), dataset.mask(index)))
    if digest.hexdigest() != json.loads((folder / "manifest.json").read_text())["digest"]:
        yield Finding(
            "damage",
            (),
            f"{folder} is not what was prepared: remove the folder and prepare again",
            grave=True,
        )


def _sides(folder: Path) -> Iterator[Finding]:
    """Find patients on both sides of the publisher's split, and say where patients are a reading of names."""
    manifest = json.loads((folder / "manifest.json").read_text())
    if both := manifest.get("on_both_official_sides", []):
        yield Finding(
            "patient on two sides",
            (),
            f"{len(both)} patients lie on the publisher's test side and others "
            f"({_few(both)}): here all of their cases are tested",
        )
    if reading := manifest["rules"].get("reading"):
        yield Finding("reading", (), reading)


def _twins(dataset: Dataset) -> Iterator[Finding]:
    """Find images of two patients that are the same, or nearly: one patient under two names may be on two sides."""
    import imagehash
    from PIL import Image

    cases = dataset.cases
    films = (Image.fromarray((dataset.image(i) >> 8).astype(np.uint8)) for i in range(len(cases)))
    bits = np.array([imagehash.phash(film).hash.ravel() for film in films])
    for first in range(len(cases)):
        near = np.flatnonzero((bits[first + 1 :] != bits[first]).sum(1) <= NEAR) + first + 1
        for second in near.tolist():
            if cases[first].patient == cases[second].patient:
                continue
            one, other = dataset.image(first), dataset.image(second)
            same = one.shape == other.shape and bool((one == other).all())
            how = "identical" if same else "nearly identical"
            names = (cases[first].id, cases[second].id)
            yield Finding(
                how,
                names,
                f"{names[0]} (patient {cases[first].patient}) and {names[1]} (patient "
                f"{cases[second].patient}) are {how}: is it one patient?",
                grave=same,
            )


def _masks(dataset: Dataset) -> Iterator[Finding]:
    """Find masks without foreground, and masks that the image's edge cuts."""
    for kind, text in (
        ("empty mask", "no foreground"),
        ("cut mask", "foreground at the image's edge"),
    ):
        names = [case.id for i, case in enumerate(dataset.cases) if _is(kind, dataset.mask(i))]
        if names:
            yield Finding(
                kind,
                tuple(names),
                f"{len(names)} of {len(dataset.cases)} cases have {text}: {_few(names)}",
            )


def _is(kind: str, mask: NDArray[np.uint8]) -> bool:
    if kind == "empty mask":
        return not mask.any()
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def _flips(dataset: Dataset) -> Iterator[Finding]:
    """Find cases that resemble the others more when they are turned: orientations that disagree within the set."""
    small = np.stack([_features(dataset, i) for i in range(len(dataset.cases))])
    mean = _unit(np.median(small, axis=0))
    for kind, axes in (("left-right", (2,)), ("up-down", (1,)), ("turned by 180 degrees", (1, 2))):
        turned = np.flip(small, axes)
        gain = (_unit(turned) * mean).sum((1, 2)) - (_unit(small) * mean).sum((1, 2))
        cost = -float(np.median(gain))
        names = (
            [dataset.cases[i].id for i in np.flatnonzero(gain > cost / 2).tolist()]
            if cost > TOLD
            else []
        )
        if names and len(names) < len(dataset.cases) / 2:
            yield Finding(
                "flip", tuple(names), f"{len(names)} cases may be flipped ({kind}): {_few(names)}"
            )


def _features(dataset: Dataset, index: int) -> NDArray[np.float64]:
    """Return a case at one small size, image and mask together, its mean taken off."""
    height, width = SMALL
    image, mask = (
        dataset.image(index).astype(np.float32) / 65535,
        dataset.mask(index).astype(np.float32),
    )
    both = [
        cv2.resize(np.ascontiguousarray(each), (width, height), interpolation=cv2.INTER_AREA)
        for each in (image, mask)
    ]
    centred: NDArray[np.float64] = _unit(both[0] - both[0].mean()) + _unit(both[1] - both[1].mean())
    return centred


def _unit(values: NDArray[Any]) -> NDArray[np.float64]:
    norm = np.sqrt((values**2).sum((-2, -1), keepdims=True))
    out: NDArray[np.float64] = values / np.maximum(norm, 1e-9)
    return out


def _few(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
