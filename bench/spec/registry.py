"""Names to methods and datasets, through entry points, so that any installed package adds its own."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.spec import options
from bench.spec.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from bench.spec.config import Cell
    from bench.spec.dataset import Adapter
    from bench.spec.method import Method

METHODS = "verdiff_bench.methods"
DATASETS = "verdiff_bench.datasets"
FOLDER = "folder"
"""The dataset that a path stands for."""


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; two packages that claim one name are an error."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise UsageError(
                f"'{entry.name}' is claimed by {other.value} and by {entry.value}; uninstall one of"
                " the packages"
            )
    return dict(sorted(found.items()))


def names(group: str) -> list[str]:
    """Return the registered names of a group, without importing what they stand for."""
    return list(_entries(group))


@cache
def load(group: str, name: str) -> type[Any]:
    """Import the class behind a name.

    Raises:
        UsageError: The name is unknown; says the nearest one.
    """
    entries = _entries(group)
    if name not in entries:
        kind = {METHODS: "method", DATASETS: "dataset"}[group]
        raise UsageError(f"unknown {kind} '{name}'; {did_you_mean(name, entries)}")
    try:
        loaded: type[Any] = entries[name].load()
    except Exception as error:  # a package of somebody else may fail in any way
        raise UsageError(
            f"'{name}' cannot be imported from {entries[name].value} ({type(error).__name__}:"
            f" {error}); mend or uninstall the package"
        ) from error
    return loaded


def method(spec: str, scale: str = "full") -> Method:
    """Return the method that a spec names; options not given take the defaults of the profile's scale."""
    name, *pairs = spec.split(":")
    cls = load(METHODS, name)
    made: Method = cls(**{**cls.scales.get(scale, {}), **options.parse(name, pairs, cls)})
    return made


def of_cell(cell: Cell) -> Method:
    """Return the method of a cell, with every option as the cell has it."""
    return replace(method(cell.method, cell.profile.scale), **cell.options)


def dataset(spec: str) -> Adapter:
    """Return the adapter of the dataset that a spec names: a registered one, or a folder of the user's own."""
    name, *pairs = spec.split(":")
    if _is_folder(name):
        cls = load(DATASETS, FOLDER)
        own: Adapter = cls(place=Path(name), **options.parse(name, pairs, cls))
        return own
    cls = load(DATASETS, name)
    made: Adapter = cls(**options.parse(name, pairs, cls))
    return made


def _is_folder(name: str) -> bool:
    """Return whether a dataset is named by a path: with a separator, or a folder that is called as no dataset is."""
    return "/" in name or os.sep in name or (name not in _entries(DATASETS) and Path(name).is_dir())


def expand(group: str, text: str) -> list[str]:
    """Return the specs of a comma-separated list, checked, options in order; `all` takes every standard name.

    A further row of a method (`verdiff:prior`) comes with the method's own cell, and stands for it.

    Raises:
        UsageError: A name, an option or a value is unknown, or nothing is named.
    """
    specs: list[str] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        specs += [n for n in names(group) if load(group, n).in_all] if part == "all" else [part]
    canonical = []
    for name, *pairs in (spec.split(":") for spec in specs):
        cls = load(group, FOLDER if group == DATASETS and _is_folder(name) else name)
        if pairs and pairs[-1] in getattr(cls, "extras", ()):
            pairs.pop()  # a row of the same cell
        canonical.append(options.canonical(name, options.parse(name, pairs, cls), cls))
    if not canonical:
        raise UsageError(
            f"nothing is named in '{text}'; {did_you_mean(text, [*names(group), 'all'])}"
        )
    return list(dict.fromkeys(canonical))
