"""Names as values: methods with options, rows and columns of tables. No other module cuts them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from bench.spec.errors import UsageError

Source = Literal["real", "phantom", "external"]
"""What data are: files that were prepared here, simulated, or known by masks or scores alone."""
_SCHEME = re.compile(r"(?:own-(\w{8}))?-?(?:fraction(.+))?")
"""The name of a `Scheme`."""
_LABEL = re.compile(r"f(?P<fold>\d+)(?:of(?P<folds>\d+))?-s(?P<seed>\d+)(?:-(?P<scheme>.+))?")
"""What names a cell of a column and a method: `f0of5-s1`, fold 0 of 5 and seed 1."""
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=,@:-]*")
"""What `safe_name` takes."""
_DIGITS = 8
"""Hex digits of a dataset's digest that its name carries."""
_LONGEST = 150
"""Characters of a name at most: with what is added to it, a file name stays under the 255 bytes
that file systems allow."""


def safe_name(name: str, what: str) -> str:
    """Return a name if it can be part of a path, of HTML and of LaTeX.

    Raises:
        UsageError: It holds other characters, or is too long.
    """
    if not _SAFE.fullmatch(name) or ".." in name or len(name) > _LONGEST:
        raise UsageError(
            f"{what} {name[:80]!r} cannot be used: expected letters, digits and ._+=,@:- "
            f"({_LONGEST} at most, a letter or digit first); rename it"
        )
    return name


@dataclass(frozen=True, order=True)
class Spec:
    """A method or a dataset with the options that were given: `unet:width=32`."""

    name: str
    options: tuple[str, ...] = ()
    """Each is `key=value`."""

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read a spec as users write it; whether its options exist is the registry's question."""
        name, *options = text.split(":")
        return cls(name, tuple(options))

    @property
    def key(self) -> str:
        """The text that stands for it in results and on the command line."""
        return ":".join([self.name, *self.options])

    @property
    def folder(self) -> str:
        """The name of its folder: commas for colons, which some file systems refuse."""
        return ",".join([self.name, *self.options])

    @classmethod
    def of_folder(cls, folder: str) -> Spec:
        """Read a spec back from the name of its folder."""
        return cls.parse(folder.replace(",", ":"))

    def title(self, name: str) -> str:
        """Return a printed name, followed by the options that were given."""
        if not self.options:
            return name
        return f"{name} ({', '.join(self.options)})"

    def without(self, option: str) -> Spec:
        """Return the spec without one `key=value`."""
        return replace(self, options=tuple(pair for pair in self.options if pair != option))

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, order=True)
class Row:
    """A row of a table: a method, or a further prediction of its weights (`verdiff:prior`)."""

    spec: Spec
    extra: str = ""
    """The name of the further row; empty for the method's own prediction."""

    @classmethod
    def parse(cls, text: str) -> Row:
        """Read a row; a last part without `=` is the name of a further row."""
        spec = Spec.parse(text)
        if spec.options and "=" not in spec.options[-1]:
            return cls(Spec(spec.name, spec.options[:-1]), spec.options[-1])
        return cls(spec)

    @property
    def key(self) -> str:
        """The text that stands for it in results and on the command line."""
        if not self.extra:
            return self.spec.key
        return f"{self.spec.key}:{self.extra}"

    @property
    def folder(self) -> str:
        """The text that stands for it in names of files."""
        return self.key.replace(":", ",")

    def title(self, name: str) -> str:
        """Return a printed name: the method's with its options, and which further row it is."""
        title = self.spec.title(name)
        if not self.extra:
            return title
        return f"{title}, {self.extra} alone"

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, order=True)
class Scheme:
    """How the patients of a column were split: `folds` of 1 is a single split."""

    folds: int = 1
    name: str = ""
    """What is special about it: `own-1f2e3d4c`, `fraction0.25`, or both; else empty."""

    @property
    def key(self) -> str:
        """The text that stands for it in columns and files; empty for the 70/10/20 split."""
        parts = [f"{self.folds}fold"] if self.folds > 1 else []
        if self.name:
            parts.append(self.name)
        return "-".join(parts)

    @property
    def title(self) -> str:
        """The text in the heading of a column: `5-fold`, `own split 1f2e3d4c`, `25 % of train`."""
        own, share = self._parts()
        parts = []
        if self.folds > 1:
            parts.append(f"{self.folds}-fold")
        if own:
            parts.append(f"own split {own}")
        if share:
            parts.append(f"{100 * float(share):g} % of train")
        return " ".join(parts)

    @property
    def takes_official(self) -> bool:
        """Whether a publisher's test side is taken: by one split that is not the user's own."""
        own, _ = self._parts()
        return self.folds == 1 and not own

    def words(self, official: bool) -> str:
        """Return how patients were split, as a sentence says it.

        Args:
            official: Whether the publisher of the dataset chose the test side.
        """
        own, share = self._parts()
        if own:
            how = f"a split of the user's own ({own}) by patient"
            if self.folds > 1:
                how += f", {self.folds} folds"
        elif self.folds > 1:
            how = f"{self.folds} folds by patient"
        elif official:
            how = "the publisher's test side, the others 7 to 1 by patient"
        else:
            how = "one 70/10/20 split by patient"
        if share:
            how += f", {100 * float(share):g} % of the training patients used"
        return how

    def _parts(self) -> tuple[str, str]:
        """Return the digest of the user's own split and the share of the training patients."""
        match = _SCHEME.fullmatch(self.name)
        if match is None:
            return self.name, ""
        return match[1] or "", match[2] or ""


@dataclass(frozen=True, order=True)
class DatasetId:
    """One version of a dataset: its name, whether it is real, and the digest of its content."""

    name: str
    source: Source
    digest: str

    @property
    def key(self) -> str:
        """The text that stands for it; real and phantom, or two versions, never share one."""
        return f"{self.name}@{self.source}-{self.digest[:_DIGITS]}"

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return self.key

    @property
    def version(self) -> str:
        """The short digest, which tells two versions of one dataset apart."""
        return self.digest[:_DIGITS]

    @staticmethod
    def name_in(key: str) -> str:
        """Return the dataset's name that a key begins with."""
        return key.rpartition("@")[0]

    @staticmethod
    def source_in(key: str) -> str:
        """Return `real`, `phantom` or `external`, as a key says."""
        return key.rpartition("@")[2].partition("-")[0]


@dataclass(frozen=True, order=True)
class Column:
    """A column of a table: a dataset, and how its patients were split."""

    dataset: DatasetId
    scheme: Scheme = Scheme()

    @property
    def key(self) -> str:
        """The text that stands for it in tables."""
        return "/".join(filter(None, (self.dataset.key, self.scheme.key)))

    @property
    def folder(self) -> str:
        """The text that stands for it in names of files."""
        return "-".join(filter(None, (self.dataset.key, self.scheme.key)))

    def title(self, name: str, version: bool) -> str:
        """Return the heading: a printed name, the version where two are shown, and the scheme."""
        parts = [name]
        if version:
            parts.append(self.dataset.version)
        if self.scheme.title:
            parts.append(self.scheme.title)
        return " ".join(parts)


@dataclass(frozen=True, order=True)
class Label:
    """Which run of a method on a dataset a cell is: its fold, its seed, and the scheme."""

    fold: int
    seed: int
    scheme: Scheme = Scheme()

    @property
    def key(self) -> str:
        """`f0-s35`, `f2of5-s35` in a cross-validation, `f0-s35-fraction0.25` under a scheme."""
        return "-".join(filter(None, (self._fold, f"s{self.seed}", self.scheme.name)))

    @property
    def of_any_seed(self) -> str:
        """The text without the seed, for what the seeds share."""
        return "-".join(filter(None, (self._fold, self.scheme.name)))

    @property
    def _fold(self) -> str:
        if self.scheme.folds == 1:
            return f"f{self.fold}"
        return f"f{self.fold}of{self.scheme.folds}"

    @classmethod
    def parse(cls, text: str) -> Label:
        """Read a label back from its text.

        Raises:
            ValueError: It is none.
        """
        match = _LABEL.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is no label of a cell")
        scheme = Scheme(int(match["folds"] or 1), match["scheme"] or "")
        return cls(int(match["fold"]), int(match["seed"]), scheme)
