"""Names to methods, datasets and launchers, through entry points of any installed package."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.spec import installing, options, own_files
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.names import Row, Spec
from bench.spec.source import digest_of

if TYPE_CHECKING:
    from bench.spec.config import Cell
    from bench.spec.dataset import Adapter
    from bench.spec.method import Method

METHODS = "verdiff_bench.methods"
DATASETS = "verdiff_bench.datasets"
LAUNCHERS = "verdiff_bench.launchers"
"""Groups of entry points, by which other packages add their own."""
KINDS = {METHODS: "method", DATASETS: "dataset", LAUNCHERS: "launcher"}
"""What the names of a group stand for, as errors say it."""
FOLDER = "folder"
"""The dataset that a path stands for."""
ALL = "all"
"""Stands for every method, or for every dataset."""
CUT = re.compile("labels=[^:,]*[:,]")
"""Labels of classes behind which a comma or a colon begins another dataset or option."""
JOINED = "(labels= has + between labels, and / between classes: labels=vertebra=1-7+9/disc=10-16)"
"""What errors say of such a text."""


@cache
def _installed() -> Any:
    """Return the entry points of all packages; their type has another name before Python 3.12."""
    return entry_points()


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; two packages that claim one name are an error."""
    by_name: dict[str, EntryPoint] = {}
    for entry in map(_renamed, _installed().select(group=group)):
        other = by_name.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise UsageError(
                f"'{entry.name}' is claimed by {other.value} and by {entry.value}; "
                "uninstall one of the packages"
            )
    return dict(sorted(by_name.items()))


def _renamed(entry: EntryPoint) -> EntryPoint:
    """Return an entry of an older installation of this package with its package's present name.

    An editable installation keeps the entry points of its day. Methods then lay in the package
    `methods`, which is now installed as `verdiff_bench_methods`.
    """
    if not entry.value.startswith("methods."):
        return entry
    owner = entry.dist.name if entry.dist else ""
    if owner != installing.OWN:
        return entry
    return EntryPoint(entry.name, f"verdiff_bench_{entry.value}", entry.group)


def names(group: str) -> list[str]:
    """Return the registered names of a group, without importing what they stand for."""
    return list(_entries(group))


@cache
def load(group: str, name: str) -> type[Any]:
    """Import the class behind a name.

    Raises:
        UsageError: The name is unknown, or its package cannot be imported.
    """
    if group == METHODS and own_files.NAME.fullmatch(name):
        return own_files.load(name)
    entries = _entries(group)
    if name not in entries:
        raise UsageError(f"unknown {KINDS[group]} '{name}'; {did_you_mean(name, entries)}")
    try:
        loaded: type[Any] = entries[name].load()
    except Exception as error:  # a package of somebody else may fail in any way
        installing.refuse_without(error)
        raise UsageError(
            f"'{name}' cannot be imported from {entries[name].value} "
            f"({type(error).__name__}: {error}); repair or uninstall the package"
        ) from error
    return loaded


def method(spec: Spec, scale: str = "full") -> Method:
    """Return the method that a spec names, with the defaults of a profile's scale.

    Raises:
        UsageError: The name, an option or a value is unknown, an option has no effect, or a package
            that it needs is not installed.
    """
    cls = load(METHODS, spec.name)
    _refuse_missing(spec.name, cls)
    values = dict(cls.scales.get(scale, {}))
    values.update(options.parse(spec, cls))
    built: Method = cls(**values)
    if built.tuned:
        refuse_chosen(spec, built)
    return built


def refuse_chosen(spec: Spec, built: Method) -> None:
    """Refuse options that `bench tune` chooses: a tuned row would have other values than its name.

    Raises:
        UsageError: One is given.
    """
    for pair in spec.options:
        if pair.partition("=")[0] in built.space:
            raise UsageError(
                f"{spec.name}: {pair} has no effect where bench tune chooses it; leave it out, or "
                "do not tune this method"
            )


def _refuse_missing(name: str, cls: type[Method]) -> None:
    """Refuse a method whose optional package is not installed; the package is not imported."""
    if not cls.install:
        return
    for module in cls.needs:
        package = module.partition(".")[0]
        if find_spec(package) is None:
            raise UsageError(
                f"{name} needs {package}, which is not installed: "
                f"{installing.command_for(cls.install)}"
            )


def of_cell(cell: Cell) -> Method:
    """Return the method of a cell, with every option as the cell has it.

    Raises:
        UsageError: The source of the method was edited since the cell was planned.
    """
    if source(cell.method) != cell.source:
        raise UsageError(
            f"the source of {cell.method} was edited since {cell.title} was planned; run again"
        )
    return replace(method(cell.method, cell.profile.scale), **cell.options)


def source(spec: Spec) -> str:
    """Return the digest of the source of a method of another package, or an own one's revision.

    Raises:
        UsageError: The source cannot be read.
    """
    return digest_of(load(METHODS, spec.name))


def dataset(spec: Spec) -> Adapter:
    """Return the reader of a dataset: a registered one, or a folder of the user's own."""
    values: dict[str, Any] = {}
    if _is_folder(spec.name):
        cls = load(DATASETS, FOLDER)
        values["place"] = Path(spec.name)
    else:
        cls = load(DATASETS, spec.name)
    values.update(options.parse(spec, cls))
    adapter: Adapter = cls(**values)
    return adapter


def _is_folder(name: str) -> bool:
    """Return whether a dataset is named by a path: with a separator, or an existing folder."""
    if "/" in name or os.sep in name:
        return True
    return name not in _entries(DATASETS) and _is_there(name)


def _is_there(path: str) -> bool:
    """Return whether a path is a folder; a text that is too long for a path is none."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def expand(group: str, text: str) -> list[Spec]:
    """Return the specs of a comma-separated list, checked, with options in order.

    Of datasets, the longest beginning of the text that is an existing folder is one.
    `all` takes every standard name. A further row of a method (`verdiff:prior`) stands for the
    method, because one cell computes both.

    Raises:
        UsageError: A name, an option or a value is unknown, or nothing is named.
    """
    rows = _datasets(text) if group == DATASETS else map(Row.parse, _names(group, text))
    try:
        specs = [_checked(group, row) for row in rows]
    except UsageError as error:
        if group == DATASETS and CUT.search(text):
            raise UsageError(f"{error} {JOINED}") from error
        raise
    if not specs:
        hint = did_you_mean(text, [*names(group), ALL])
        raise UsageError(f"nothing is named in '{text}'; {hint}")
    return list(dict.fromkeys(specs))


def _names(group: str, text: str) -> Iterator[str]:
    """Yield the names in a comma-separated list, those that `all` stands for included."""
    for part in text.split(","):
        name = part.strip()
        if group == METHODS and own_files.is_given(name):
            yield own_files.enter(name)
        elif name == ALL:
            yield from (method for method in names(group) if load(group, method).in_all)
        elif name:
            yield name


def _datasets(text: str) -> Iterator[Row]:
    """Yield the datasets in a list: names and folders, each with its options.

    A folder's path may hold commas, colons and blanks: the longest beginning of the text that is an
    existing folder is one.
    """
    while text.strip(" ,"):
        folder, rest = _leading_folder(text)
        if folder:
            options_of_folder, text = _options(rest)
            yield Row(Spec(folder, options_of_folder))
            continue
        part, _, text = text.partition(",")
        yield from map(_named, _names(DATASETS, part))


def _leading_folder(text: str) -> tuple[str, str]:
    """Return the longest beginning that is an existing folder, and what follows it."""
    for match in reversed([*re.finditer("[,:]|$", text)]):
        beginning = text[: match.start()]
        for path in (beginning, beginning.strip()):
            # `_is_folder`: a folder `mr` that lies here does not stand for the dataset `mr`.
            if path.strip() and _is_folder(path) and _is_there(path):
                return path, text[match.start() :]
    return "", text


def _options(text: str) -> tuple[tuple[str, ...], str]:
    """Return the options that follow a folder, and the rest of the list.

    `*` and `{` are in no name of a dataset or an option, so a part with one continues the value
    before it: a pattern may hold commas and colons.
    """
    words: list[str] = []
    parts = re.findall("[,:][^,:]*", text)
    while parts:
        part = parts[0]
        name, equals, _ = part[1:].partition("=")
        begins_option = equals and name.isidentifier()
        continues = words and re.search(r"[*{]", part) and not begins_option
        if continues:
            words[-1] += part
        elif part[0] == ":":
            words.append(part[1:])
        else:
            break
        parts.pop(0)
    return tuple(word.strip() for word in words), "".join(parts)


def _named(text: str) -> Row:
    """Return a dataset that is no existing folder.

    Raises:
        UsageError: It is a path, so its folder is not there.
    """
    place = re.split(r":\w+=", text)[0]
    if _is_folder(place):
        raise UsageError(
            f"dataset {place} is not there; expected a folder with images/ and masks/ in it"
        )
    return Row(Spec.parse(text))


def _checked(group: str, row: Row) -> Spec:
    """Return a spec whose name, options and values exist."""
    name = row.spec.name
    if group == DATASETS and _is_folder(name):
        name = FOLDER
    cls = load(group, name)
    spec = row.spec
    # A word without `=` that names no further row is an option without its value, as in
    # `unet:width`: `parse` refuses it with an example.
    if row.extra and row.extra not in getattr(cls, "extras", ()):
        spec = Spec(spec.name, (*spec.options, row.extra))
    return options.canonical(spec, options.parse(spec, cls), cls)
