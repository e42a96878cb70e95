"""Which labels of masks are which class: `vertebra=1-7+9/disc=10-16`, or a file that says it.

Classes exclude each other. 0 is the background. `background=8` and `void=255` name labels that are
no class: void pixels are left out of training and scores. `background=others` is whatever is left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.data.readers.labels import (
    FEW_STRAYS,
    are_strays,
    colour,
    grey_colour,
    nearest,
    smoothed,
    thresholds,
)
from bench.spec import csvs, files
from bench.spec.case import BACKGROUND, RESERVED, Census, Decision
from bench.spec.errors import UsageError

VOID, OTHERS = "void", "others"
ASIDE = ("background", VOID)
"""Names of what is no class."""
IGNORE = "ignore"
"""nnU-Net's name of void."""
MOST, LARGEST = 254, 65535
"""Classes of a dataset, and the largest number of a label."""
FILES = (".json", ".csv")
EXAMPLE = "vertebra=1-7+9/disc=10-16"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}")
_TERM = re.compile(r"(?P<first>[0-9]{1,5})(-(?P<last>[0-9]{1,5}))?|(?P<colour>#[0-9a-f]{6})")
_NUMBER = re.compile(r"(?:(?P<collection>[a-z][a-z0-9]*)-)?(?P<number>[0-9]+)(?: #[0-9a-f]{6})?")
"""A label that has a number: of a mask, a palette, or a collection of volumes (`spider-20`)."""


def is_file(text: str) -> bool:
    """Return whether an option's text names a file of classes."""
    return text.lower().endswith(FILES)


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset, in order, with the terms of their labels."""

    terms: tuple[tuple[str, tuple[str, ...]], ...]
    """For each name its terms: `1`, `10-16`, `#ff0000`; background and void may be among them."""
    where: str = "labels"
    """What said so, for errors."""

    def __post_init__(self) -> None:
        """Refuse what is no mapping.

        Raises:
            UsageError: A name or a term cannot be used, or two classes share a label.
        """
        for name, terms in self.terms:
            _check_name(name, self.where)
            for term in terms:
                _check_term(name, term, self.where)
        if not self.names or len(self.names) > MOST:
            raise UsageError(
                f"{self.where} names {len(self.names)} classes; expected 1 to {MOST}: {EXAMPLE}"
            )
        lower = [name.lower() for name, _ in self.terms]
        twice = next((name for name in lower if lower.count(name) > 1), "")
        if twice:
            raise UsageError(f"{self.where} names {twice} twice; join its labels by +: {EXAMPLE}")
        _ = self._owners

    @classmethod
    def parse(cls, text: str) -> Classes:
        """Read classes as users write them, or the file that the text names.

        Raises:
            UsageError: It is no mapping, or the file cannot be read.
        """
        if is_file(text):
            return read(Path(text))
        pairs: list[tuple[str, tuple[str, ...]]] = []
        for part in text.split("/"):
            name, equals, terms = part.partition("=")
            if not equals:
                raise UsageError(f"labels={text}: {part!r} is no NAME=LABELS; expected {EXAMPLE}")
            pairs.append((_known(name.strip()), _split(terms)))
        return cls(tuple(pairs), f"labels={text}")

    @classmethod
    def numbered(cls, names: Sequence[str], void: int | None = None) -> Classes:
        """Return classes whose labels are their numbers from 1, with a void label if there is one.

        Predictions have none: a mask of 0 and 255 is no prediction of classes.
        """
        pairs = [(name, (str(number),)) for number, name in enumerate(names, 1)]
        if void is not None:
            pairs.append((VOID, (str(void),)))
        return cls(tuple(pairs), "the dataset's classes, which are numbered from 1")

    @property
    def text(self) -> str:
        """The one text of these classes, whichever file or spelling they were read from."""
        return "/".join(f"{name}={'+'.join(terms)}" for name, terms in self.terms)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(name for name, _ in self.terms if name not in ASIDE)

    @property
    def several(self) -> bool:
        """Whether there is more to tell apart than one foreground from the background."""
        return len(self.names) > 1 or any(name == VOID for name, _ in self.terms)

    @cached_property
    def _owners(self) -> dict[str, str]:
        """The class of each number and colour that is named.

        Raises:
            UsageError: Two classes name the same label.
        """
        owners: dict[str, str] = {}
        for name, terms in self.terms:
            for label in _labels(terms):
                other = owners.setdefault(label, name)
                if other != name:
                    raise UsageError(
                        f"{self.where}: label {label} is both {other} and {name}; "
                        "expected classes that exclude each other: give it to one of them"
                    )
        return owners

    @property
    def _rest(self) -> bool:
        """Whether labels that are not named are background."""
        return ("background", (OTHERS,)) in self.terms

    def owner(self, label: str) -> str:
        """Return the class of a label, or `background`, or `void`; empty where it is unknown.

        Raises:
            UsageError: Its number and its colour are of two classes.
        """
        if label == BACKGROUND:
            return "background"
        match = _NUMBER.fullmatch(label)
        by_number = self._owners.get(match["number"] if match else _grey(label), "")
        by_colour = self._owners.get(colour(label) or grey_colour(label), "")
        if by_number and by_colour and by_number != by_colour:
            raise UsageError(f"{self.where}: label {label} is both {by_number} and {by_colour}")
        return by_number or by_colour or ("background" if self._rest else "")

    def _shown(self, label: str) -> str:
        """Return a label as this mapping would name it: by its number, or by its colour."""
        match = _NUMBER.fullmatch(label)
        if match is None or any(term.startswith("#") for term in self._owners):
            return colour(label) or (match["number"] if match else label)
        return match["number"]

    def decide(self, census: Census, *, partial: bool = False) -> Decision:
        """Return the labels of each class, when all masks were read.

        Args:
            census: The labels of all masks.
            partial: Whether a class may occur in no mask, as in predictions.

        Raises:
            UsageError: A label is in no class, a class has no label in any mask, or masks of two
                collections number their labels otherwise.
        """
        self._check_collections(census)
        self._check_smoothed(census)
        self._check_colours(census)
        labels: dict[str, list[str]] = {name: [] for name in (*self.names, *ASIDE)}
        for label in census.counts:
            owner = self.owner(label)
            if not owner:
                shown = self._shown(label)
                aside = f"background={shown} or void={shown}"
                if not _TERM.fullmatch(shown):
                    aside = f"background={OTHERS}"
                raise UsageError(
                    f"{_file_with(census, label)}: label {shown} is in no class of {self.where}; "
                    f"give it one, or say that it is none: {aside}"
                )
            labels[owner].append(label)
        for name in self.names:
            if not labels[name] and not partial:
                held = ", ".join(label for label in census.counts if label != BACKGROUND)
                raise UsageError(
                    f"{self.where}: class {name} occurs in no mask; they hold {held or 'only 0'}: "
                    "correct its labels, or leave it out"
                )
        classes = tuple((name, frozenset(labels[name])) for name in self.names)
        foreground = frozenset().union(*(own for _, own in classes))
        if not self.several:
            return Decision(foreground)
        return Decision(foreground, classes=classes, void=frozenset(labels[VOID]))

    def _check_smoothed(self, census: Census) -> None:
        """Refuse masks that JPEG or smoothing gave values between the labels.

        Raises:
            UsageError: There are such, and a value may be another's.
        """
        unknown = [label for label in census.counts if not self.owner(label)]
        near = nearest(census, self.owner) if census.lossy else None
        smooth = len(unknown) >= FEW_STRAYS and are_strays(census, unknown)
        if not near and not (unknown and census.lossy) and not smooth:
            return
        file = census.masks[max(census.masks, key=len)]
        ways = ["export the masks as PNG, without smoothing"]
        if options := thresholds(census):
            ways.append(f"take one foreground, {' or '.join(options)}, in the place of labels=")
        if not census.lossy:
            ways.append(f"say that all other values are no class: background={OTHERS}")
        raise UsageError(
            f"{file} and others {smoothed(census)}, and {self.where} does not name them all; "
            f"{'; or '.join(ways)}"
        )

    def _check_colours(self, census: Census) -> None:
        """Refuse a number that stands for several colours, where it was named without one.

        Raises:
            UsageError: Palettes of two masks give it two.
        """
        tints: dict[str, str] = {}
        for label in census.counts:
            match = _NUMBER.fullmatch(label)
            if match is None or not colour(label) or match["number"] not in self._owners:
                continue
            other = tints.setdefault(match["number"], label)
            if colour(other) != colour(label):
                raise UsageError(
                    f"{_file_with(census, label)}: number {match['number']} has several colours "
                    f"({other} and {label}); name classes by colours: NAME={colour(label)}"
                )

    def _check_collections(self, census: Census) -> None:
        """Refuse masks of two collections, in which a number means two things.

        Raises:
            UsageError: There are such.
        """
        collections = set()
        for label in census.counts:
            match = _NUMBER.fullmatch(label)
            if match and match["collection"]:
                collections.add(match["collection"])
        if len(collections) > 1:
            raise UsageError(
                f"{self.where}: the masks are of {' and '.join(sorted(collections))}, which number "
                "their labels differently; expected one collection in a folder: part them"
            )


def _grey(label: str) -> str:
    """Return the number of a grey colour, `128` of `#808080`; empty of others."""
    pairs = {label[1:3], label[3:5], label[5:]}
    if not label.startswith("#") or len(pairs) > 1:
        return ""
    return str(int(pairs.pop(), 16))


def _known(name: str) -> str:
    """Return a name, that of what is no class in the one spelling."""
    lower = name.lower()
    if lower == IGNORE:
        return VOID
    return lower if lower in ASIDE else name


def _split(terms: str) -> tuple[str, ...]:
    return tuple(term.strip().lower() for term in terms.split("+"))


def _check_name(name: str, where: str) -> None:
    if name in ASIDE:
        return
    if not _NAME.fullmatch(name) or name.lower() in RESERVED:
        raise UsageError(
            f"{where}: {name[:60]!r} cannot name a class; expected letters, digits and . _ + - "
            f"(40 at most), and none of {', '.join(sorted(RESERVED))}"
        )


def _check_term(name: str, term: str, where: str) -> None:
    match = _TERM.fullmatch(term)
    if (name, term) == ("background", OTHERS):
        return
    if match is None:
        raise UsageError(
            f"{where}: {term!r} of {name} is no label; expected numbers, ranges or colours joined "
            f"by +: {EXAMPLE}, #ff0000"
        )
    if match["colour"]:
        return
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if first > last or last > LARGEST:
        raise UsageError(f"{where}: {term} of {name} is no range; expected 1-{LARGEST} at most")
    if first == 0 and name != "background":
        raise UsageError(f"{where}: {name} has the label 0, which is the background; leave it out")


def _labels(terms: Iterable[str]) -> Iterable[str]:
    """Yield each number and colour of some terms."""
    for term in terms:
        match = _TERM.fullmatch(term)
        if match is None:  # `others`
            continue
        if match["colour"]:
            yield term
        else:
            first = int(match["first"])
            yield from map(str, range(first, int(match["last"] or first) + 1))


def _file_with(census: Census, label: str) -> str:
    """Return the first file whose mask holds a label."""
    return next((file for held, file in census.masks.items() if label in held), "masks")


def read(path: Path) -> Classes:
    """Read classes from JSON (nnU-Net's `dataset.json` too) or CSV (columns class and labels).

    Raises:
        UsageError: The file cannot be read, or names no classes.
    """
    where = f"labels={path}"
    if path.suffix.lower() == ".csv":
        table = csvs.read(path, ("class", "labels"))
        table.require("class", "labels")
        pairs = []
        for row in table.rows:
            name = _known(table.value(row, "class"))
            pairs.append((name, _split(table.value(row, "labels"))))
        return Classes(tuple(pairs), where)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        known = dict(pairs)
        for name in known:
            if [key for key, _ in pairs].count(name) > 1:
                raise UsageError(f"{where} names {name} twice; join its labels in a list")
        return known

    try:
        said = json.loads(files.read_bytes(path), object_pairs_hook=unique)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({files.reason(error)}); give a file") from error
    except ValueError as error:
        raise UsageError(f"{path} is no JSON ({error}); expected {{NAME: LABELS}}") from error
    mapping = said.get("labels", said) if isinstance(said, dict) else None
    if not isinstance(mapping, dict):
        raise UsageError(f'{path} names no classes; expected {{"vertebra": "1-7", "disc": 10}}')
    return Classes(tuple(_pairs(mapping, where)), where)


def _pairs(mapping: Mapping[str, Any], where: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Yield names with terms; nnU-Net's first version had numbers before names."""
    turned = all(isinstance(value, str) and key.isdigit() for key, value in mapping.items())
    for key, value in mapping.items():
        name, labels = (value, key) if turned else (key, value)
        terms: list[str] = []
        for one in labels if isinstance(labels, list) else [labels]:
            terms += _split(str(one))
        name = _known(name)
        if name == "background":
            terms = [term for term in terms if term != "0"]
            if not terms:
                continue
        yield name, tuple(terms)
    if not mapping:
        raise UsageError(f"{where} names no class; expected {EXAMPLE}")
