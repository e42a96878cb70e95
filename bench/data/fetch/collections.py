"""The datasets that can be fetched, those that are never downloaded, and a server's file list."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rich.filesize import decimal

from bench.spec.errors import UsageError, did_you_mean

MARGIN = 500_000_000
"""Bytes that must stay free on the disk."""
TIMEOUT = 30
"""Seconds without an answer or a byte after which a transfer has failed."""
BLOCK = 1 << 20


@dataclass(frozen=True)
class Collection:
    """A dataset that may be fetched, with its licence."""

    name: str
    title: str
    folder: str
    """Its folder in the data directory, which is also the name of the dataset here."""
    licence: str
    licence_url: str
    cite: str
    home: str
    doi: str = ""
    """The DOI of a Zenodo record."""
    repository: str = ""
    """The repository on the Hugging Face hub."""


@dataclass(frozen=True)
class Owned:
    """A dataset that is never downloaded here, because its owners distribute it themselves."""

    title: str
    folder: str
    owner: str
    terms: str
    where: str


COLLECTIONS = {
    collection.name: collection
    for collection in (
        Collection(
            name="spider",
            title="SPIDER, lumbar spine MR of 218 patients",
            folder="mr",
            licence="CC BY 4.0",
            licence_url="https://creativecommons.org/licenses/by/4.0/",
            cite=(
                "van der Graaf et al., Lumbar spine segmentation in MR images: a dataset and a "
                "public benchmark, Scientific Data 11 (2024), "
                "https://doi.org/10.1038/s41597-024-03090-w"
            ),
            home="https://zenodo.org/records/10159290",
            doi="10.5281/zenodo.10159290",
        ),
        Collection(
            name="ctspine1k",
            title="CTSpine1K, 1005 CT volumes of the spine, from a mirror on the Hugging Face hub",
            folder="ct-verse",
            licence="CC BY-NC-SA",
            # The page names no version of the licence.
            licence_url="https://huggingface.co/datasets/alexanderdann/CTSpine1K",
            cite=(
                "Deng et al., CTSpine1K: a large-scale dataset for spinal vertebrae segmentation "
                "in computed tomography, https://arxiv.org/abs/2105.14711, and the collections "
                "that the volumes are from"
            ),
            home="https://huggingface.co/datasets/alexanderdann/CTSpine1K",
            repository="alexanderdann/CTSpine1K",
        ),
    )
}
OWNED = {
    "mrspineseg": Owned(
        "MRSpineSeg",
        "mr",
        "Southern Medical University",
        "which asks for a signed agreement",
        "https://www.spinesegmentation-challenge.com",
    ),
    "spineweb16": Owned(
        "SpineWeb's dataset 16",
        "xray",
        "SpineWeb",
        "which gives it for research on terms of its own",
        "http://spineweb.digitalimaginggroup.ca",
    ),
    "verse": Owned(
        "VerSe",
        "ct-verse",
        "its authors",
        "who give it under CC BY-SA 4.0 from servers of their own",
        "https://github.com/anjany/verse",
    ),
}


@dataclass(frozen=True)
class File:
    """A file on offer."""

    name: str
    size: int
    digest: str
    """`md5:` or `sha256:` with its hex digits; empty where the server has none."""
    url: str = ""


@dataclass(frozen=True)
class Offer:
    """The files of a collection on its server."""

    revision: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(file.size for file in self.files)


def collection(name: str) -> Collection:
    """Return the collection of this name.

    Raises:
        UsageError: The name is unknown, or its dataset is only given by its owners.
    """
    if name in OWNED:
        own = OWNED[name]
        raise UsageError(
            f"{own.title} is never downloaded here: it belongs to {own.owner}, {own.terms}; "
            f"get it at {own.where} and put it into {own.folder}/ of your data folder "
            "(README.md, 'Your data')"
        )
    if name not in COLLECTIONS:
        raise UsageError(
            f"no dataset '{name}' can be fetched; {did_you_mean(name, [*COLLECTIONS, *OWNED])}"
        )
    return COLLECTIONS[name]


def room(needed: int, to: Path, what: str) -> None:
    """Refuse a transfer that does not fit on the disk.

    Raises:
        UsageError: The disk is too small; the message says what is needed and what is free.
    """
    place = next(p for p in (to.absolute(), *to.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if needed + MARGIN > free:
        raise UsageError(
            f"{to}: {what} needs {decimal(needed + MARGIN)}, {decimal(free)} are free; "
            "make room or choose another --to"
        )


def inside(name: str, home: str) -> PurePosixPath:
    """Return a name as a relative path.

    Raises:
        UsageError: The name leads out of its folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.name or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise UsageError(
            f"{home} holds '{name}', which leads out of its folder; nothing of it was written: "
            "tell its owners"
        )
    return path
