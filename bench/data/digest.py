"""The digest of a dataset: a SHA-256 over all that a method can depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.spec.case import Case, Dataset


def add(
    digest: hashlib._Hash, case: Case, image: NDArray[np.uint16], mask: NDArray[np.uint8]
) -> None:
    """Add a case to the digest of its dataset: its record and its pixels."""
    values = asdict(case)
    del values["place"]  # nothing that is trained depends on it
    digest.update(repr(values).encode())
    digest.update(as_bytes(image))
    digest.update(as_bytes(mask))


def as_bytes(pixels: NDArray[Any]) -> memoryview:
    """Return pixels as bytes in row order, without a copy where they lie so."""
    return np.ascontiguousarray(pixels).data


def digest_of(dataset: Dataset) -> str:
    """Return the SHA-256 over all that a method can depend on, cases set aside included."""
    digest = hashlib.sha256()
    for index, case in enumerate(dataset.cases):
        add(digest, case, dataset.image(index), dataset.target(index))
    if dataset.classes:
        digest.update(repr(("classes", *dataset.classes)).encode())
    add_set_aside(digest, [dataset.cases[index].id for index in sorted(dataset.set_aside)])
    return digest.hexdigest()


def with_instances(digest: str, dataset: Dataset) -> str:
    """Return the digest of a dataset whose instances are scored too: it is another dataset."""
    with_labels = hashlib.sha256(repr(("instances", digest)).encode())
    for index in range(len(dataset.cases)):
        labels = dataset.instances(index)
        assert labels is not None
        with_labels.update(as_bytes(labels.astype("<u2")))
    return with_labels.hexdigest()


def add_set_aside(digest: hashlib._Hash, names: Sequence[str]) -> None:
    """Add the ids of the cases that the publisher's split leaves out, if there are any."""
    if names:
        digest.update(repr(("set aside", *names)).encode())
