"""One archive for a repository: records, scores, splits and masks, with what they are (RO-Crate).

Unpacked anywhere it is a results folder, which `bench report --out` and `bench verify` read.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.spec import files
from bench.spec.errors import UsageError
from bench.store import check
from bench.store.cells import Store
from bench.store.layout import CRATE, MANIFEST
from bench.store.merge import kept
from bench.store.results import finished_profiles

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file, so that the same results give the same archive."""
README = """# Results of verdiff-bench

`manifest.csv` has the SHA-256 of every file, `ro-crate-metadata.json` what they are and how data
and methods are to be cited. Unpacked, this folder is read by

    bench verify THIS_FOLDER
    bench report --out THIS_FOLDER --to reports
"""
Terms = Mapping[str, tuple[str, str]]
"""Licence and citation of datasets, by their names."""


def pack(
    root: Path, target: Path, weights: bool, datasets: Terms, methods: Mapping[str, str]
) -> list[str]:
    """Write the finished cells of all profiles into a zip file.

    Args:
        root: The results folder.
        target: The file; it must not be there.
        weights: Whether trained weights go with it.
        datasets: Licence and citation of the datasets that are known.
        methods: Where methods are published, by their names.

    Returns:
        The names of the packed files.

    Raises:
        UsageError: Something is damaged, nothing is finished, or the file is there already.
    """
    if target.exists():
        raise UsageError(f"--to {target} is there already; choose another name")
    store = Store(root)
    contents: dict[str, Path] = {}
    titles: dict[str, str] = {}
    used: dict[str, str] = {}
    profiles = sorted(finished_profiles(store))
    if not profiles:
        raise UsageError(f"{root} has no finished cell; expected a results folder")
    for profile in profiles:
        folder = store.layout.profile(profile)
        for path in kept(folder, weights):
            contents[path.relative_to(root).as_posix()] = path
        for record in check.records(folder).cells.values():
            titles[record.spec.method] = record.title
            used[record.spec.dataset.name] = record.spec.dataset.source
    names = sorted(contents)
    manifest = _manifest({name: contents[name] for name in names})
    crate = _crate(names, weights, used, titles, datasets, methods)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.part")
    with zipfile.ZipFile(beside, "w") as archive:
        for name, text in ((CRATE, crate), (MANIFEST, manifest), ("README.md", README)):
            _write(archive, name, text.encode())
        for name in names:
            _write(archive, name, contents[name].read_bytes())
    beside.replace(target)
    return names


def unlike_manifest(root: Path) -> list[str]:
    """Return a line for each file of an unpacked archive that is not what its manifest says."""
    path = root / MANIFEST
    if not path.is_file():
        return []
    lines = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(row["sha256"], row["file"]) for row in csv.DictReader(file)]
    except (KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        return [f"{path} is damaged ({error}); unpack the archive again"]
    for digest, name in rows:
        file_path = root / name
        if not file_path.is_file():
            lines.append(f"{file_path} is missing, though {path} names it")
        elif files.digest(file_path) != digest:
            lines.append(f"{file_path} is not what {path} says")
    return lines


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file whose time and rights are always the same, so that the archive is too."""
    about = zipfile.ZipInfo(name, EPOCH)
    about.external_attr = 0o644 << 16  # the upper 16 bits are the Unix rights
    archive.writestr(about, content, zipfile.ZIP_DEFLATED, compresslevel=6)


def _manifest(contents: Mapping[str, Path]) -> str:
    """Return the text of `manifest.csv`: digest, size in bytes and name of each file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("sha256", "bytes", "file"))
    for name, path in contents.items():
        writer.writerow((files.digest(path), path.stat().st_size, name))
    return text.getvalue()


def _crate(
    names: Sequence[str],
    weights: bool,
    used: Mapping[str, str],
    titles: Mapping[str, str],
    datasets: Terms,
    methods: Mapping[str, str],
) -> str:
    """Return the metadata of the archive as RO-Crate 1.1 has them."""
    entities: list[dict[str, Any]] = []
    for name, source in sorted(used.items()):
        licence, cite = datasets.get(name, ("unknown", "unknown"))
        if source == "phantom":
            licence, cite = "Apache-2.0", "simulated by verdiff-bench"
        if source == "external":
            licence = cite = "unknown"
        entities.append(
            {
                "@id": f"#dataset-{name}",
                "@type": "Dataset",
                "name": f"{name} ({source})",
                "license": licence,
                "citation": cite,
            }
        )
    for key, title in sorted(titles.items()):
        entities.append(
            {
                "@id": f"#method-{key}",
                "@type": "SoftwareSourceCode",
                "name": title,
                "citation": methods.get(key, "unknown"),
            }
        )
    about = [{"@id": entity["@id"]} for entity in entities]
    words = "with" if weights else "without"
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": "Results of a segmentation benchmark",
        "description": f"Records, scores, splits and masks of verdiff-bench, {words} weights",
        "license": "the licences of the datasets and methods that it mentions",
        "hasPart": [{"@id": name} for name in (MANIFEST, *names)],
        "mentions": about,
    }
    head = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    parts = [{"@id": name, "@type": "File"} for name in (MANIFEST, *names)]
    graph = [head, root, *entities, *parts]
    return json.dumps({"@context": CONTEXT, "@graph": graph}, indent=1, ensure_ascii=False) + "\n"
