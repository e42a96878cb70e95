"""The table that says whose image each file is: `patients.csv`, or a list with other headings."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bench.data.readers.pairing import USUAL
from bench.data.readers.walk import stem
from bench.spec import csvs
from bench.spec.csvs import CsvTable
from bench.spec.errors import UsageError, did_you_mean

TABLE = "patients.csv"
FILE, PATIENT = "file", "patient"
"""The columns that are read unless options name others."""
LIKE_FILE = ("image", "images", "image id", "image name", "filename", "file name", "path", "name")
"""Headings that an error proposes for the files; none is read unasked."""
LIKE_PATIENT = ("patient id", "patientid", "subject", "subject id", "case", "case id", "id")
"""Headings that an error proposes for the patients."""
PLACE = "{patient}"
"""Stands in a pattern for the patient's name."""
IMAGES = "images"
"""The folder of the images; a path in the table is read from here on."""
_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")
"""Zeros that spreadsheets drop."""


@dataclass(frozen=True)
class Choice:
    """Which table gives the patients, and by which columns; empty texts are the usual ones."""

    table: str = ""
    """A name in the folder of the dataset, or an absolute path."""
    file: str = ""
    patient: str = ""

    @property
    def given(self) -> bool:
        """Whether an option was given."""
        return bool(self.table or self.file or self.patient)

    @property
    def option(self) -> str:
        """The beginning of the options that choose columns."""
        return f":patients={self.table}" if self.table else ""

    def path(self, root: Path) -> Path | None:
        """Return the table's path; None where no table is named and none is there.

        Raises:
            UsageError: The table that is named is not there, columns are named without a table, or
                there are two tables.
        """
        names = (path.name for path in root.iterdir() if path.is_file())
        usual = [name for name in names if name.lower() == TABLE]
        if not self.table and usual:
            if len(usual) > 1:
                raise UsageError(f"{root} has {' and '.join(sorted(usual))}; expected one table")
            return root / usual[0]
        if self.table:
            return self._named(root)
        if self.given:
            name, column = (FILE, self.file) if self.file else (PATIENT, self.patient)
            raise UsageError(
                f"{root}: {name}={column} names a column, but there is no {TABLE}; "
                "add it, or name the table by patients=FILE"
            )
        return None

    def _named(self, root: Path) -> Path:
        path = root / self.table
        if not path.resolve().is_relative_to(root.resolve()) and not Path(self.table).is_absolute():
            raise UsageError(
                f"patients={self.table} leads out of {root}; "
                "expected a name in it, or an absolute path"
            )
        if not path.is_file():
            raise UsageError(
                f"patients={self.table}: {path} is not there; "
                f"expected a table in {root}, or an absolute path"
            )
        return path


@dataclass(frozen=True)
class Entry:
    """A row of the table."""

    at: str
    """The table and the line, for errors."""
    name: str
    """The file, as it is written."""
    patient: str
    remark: str = ""
    """How the table was read if that is a guess: names may be wrong for it."""

    @property
    def key(self) -> str:
        """The file for comparisons."""
        return key(self.name)


@dataclass(frozen=True)
class Matched:
    """The patients of images, and the rows of the table that are of no image."""

    patients: Mapping[str, str]
    """By the names of the images; an image that no row names is missing."""
    unused: Sequence[tuple[Entry, str]]
    """Each with the reason."""


def key(name: str) -> str:
    """Return a path for comparisons: one case, Unicode form and kind of blanks, without `./`."""
    text = csvs.with_plain_blanks(name.replace("\\", "/"))
    text = unicodedata.normalize("NFC", text)
    text = unicodedata.normalize("NFC", text.lower())
    return "/".join(part for part in text.split("/") if part not in ("", "."))


def read(path: Path, choice: Choice, place: str, images: Collection[str] = ()) -> list[Entry]:
    """Return the rows of a table of files and patients.

    Args:
        path: The table.
        choice: Its columns.
        place: The dataset as the command line names it, for errors.
        images: The paths of the images in their folder, for errors.

    Raises:
        UsageError: A column or a value is missing, or a file has two patients.
    """
    file, patient = choice.file or FILE, choice.patient or PATIENT
    if csvs.folded(file) == csvs.folded(patient):
        raise UsageError(f"file={file} and patient={patient} are one column; expected two")
    table = csvs.read(path, (file, patient))
    _check_headings(table, choice, images)
    _check_columns(table, choice, place)
    entries: list[Entry] = []
    first: dict[str, Entry] = {}
    for row in table.rows:
        name = table.named(row, file)
        whose = unicodedata.normalize("NFC", table.named(row, patient))
        entry = Entry(table.at(row), name, whose, table.remark)
        if not entry.key or not whose:
            raise UsageError(
                f"{entry.at}: expected a file and its patient; fill it in or remove the line"
            )
        other = first.setdefault(entry.key, entry)
        if other.patient != whose:
            raise UsageError(_contradiction(other, entry, images))
        if other is entry:
            entries.append(entry)
    return entries


def unread(path: Path, choice: Choice) -> tuple[str, ...]:
    """Return what to tell of columns of a table of patients that are not read."""
    columns = (choice.file or FILE, choice.patient or PATIENT)
    return csvs.read(path, columns).unread(*columns)


def _contradiction(one: Entry, other: Entry, images: Collection[str] = ()) -> str:
    """Return the line that refuses two rows about one image, or about one name in two folders."""
    same_name = [
        path for path in sorted(images) if other.key in (_last(key(path)), key(stem(Path(path))))
    ]
    way = "remove one line"
    if len(same_name) > 1:
        way = f"write the folder before the name: {' and '.join(same_name[:2])}"
    return (
        f"{other.at}: {other.key} is of {one.patient} already, and of {other.patient} here; "
        f"expected one patient: {way}"
    )


def _check_headings(table: CsvTable, choice: Choice, images: Collection[str]) -> None:
    """Refuse a table whose first line is of an image, which would be lost as a heading.

    Raises:
        UsageError: It is.
    """
    names = {_last(key(path)) for path in images}
    if not choice.file and not table.has(FILE):
        names |= {_last(key(stem(Path(path)))) for path in images}
    for heading in table.headings:
        if _last(key(heading)) in names:
            raise UsageError(
                f"{table.source}: its first line holds '{heading}', the name of an image; expected "
                f"headings: put the line {FILE},{PATIENT} above it, in the order of its columns"
            )


def _check_columns(table: CsvTable, choice: Choice, place: str) -> None:
    """Refuse a table without the two columns, and say which options would choose them.

    Raises:
        UsageError: A column is missing.
    """
    headings = [heading for heading in table.headings if heading]
    for chosen in filter(None, (choice.file, choice.patient)):
        if not table.has(chosen):
            raise UsageError(
                f"{table.source} has no column '{chosen}'; "
                f"{did_you_mean(chosen, headings)}{table.guess}"
            )
    file = choice.file or FILE
    patient = choice.patient or PATIENT
    missing = [name for name in (file, patient) if not table.has(name)]
    if not missing:
        return
    others = [h for h in headings if csvs.folded(h) not in map(csvs.folded, (file, patient))]
    if len(others) < len(missing):
        raise UsageError(
            f"{table.source} has no column '{missing[0]}'; its columns are "
            f"{', '.join(headings)}; expected one of files and one of patients{table.guess}"
        )
    options = choice.option
    if file in missing:
        file = _proposed(others, LIKE_FILE)
        others.remove(file)
    if file != FILE:
        options += f":file={file}"
    if patient in missing:
        patient = _proposed(others, LIKE_PATIENT)
    if patient != PATIENT:
        options += f":patient={patient}"
    raise UsageError(
        f"{table.source} has no column '{missing[0]}'; its columns are {', '.join(headings)}; "
        f"name those of the files and the patients, such as '{place}{options}'{table.guess}"
    )


def _proposed(headings: Sequence[str], likely: Sequence[str]) -> str:
    """Return the heading that an error proposes: a likely one, or else the first."""
    for heading in headings:
        if csvs.folded(heading) in likely:
            return heading
    return headings[0]


def match(entries: Iterable[Entry], images: Mapping[str, str]) -> Matched:
    """Find the rows of images.

    A row may leave out the suffix of its image. It names the path below `images/`, with or without
    folders before; or the end of the path, if only one image has it.

    Args:
        entries: The rows of the table.
        images: The path of each image below `images/`, and the same without the suffix.

    Raises:
        UsageError: Two rows give an image different patients.
    """
    by_path: dict[str, list[str]] = defaultdict(list)
    whole: dict[str, list[str]] = defaultdict(list)
    by_name: dict[str, list[str]] = defaultdict(list)
    for image, bare in images.items():
        whole[key(image)].append(image)
        for path in {key(image), key(bare)}:
            by_path[path].append(image)
            by_name[_last(path)].append(path)
    rows: dict[str, Entry] = {}
    unused: list[tuple[Entry, str]] = []
    loose: list[Entry] = []
    for entry in entries:
        ways = [way for way in (entry.key, _below(entry.key)) if way in by_path]
        if not ways:
            loose.append(entry)
            continue
        for image in whole.get(ways[0]) or by_path[ways[0]]:
            _give(rows, image, entry)
    certain = set(rows)
    near = _near(images)
    for entry in loose:
        paths = [path for path in by_name.get(_last(entry.key), []) if _alike(path, entry.key)]
        named = set(chain.from_iterable(by_path[path] for path in paths))
        if len(named) > 1:
            places = " or ".join(sorted(named)[:2])
            unused.append((entry, f"which may be {places}; write its folder before the name"))
        elif not named or named <= certain:
            remark = f" ({entry.remark})" if entry.remark else ""
            spelled = near.get(_loose(entry.key)) or near.get(USUAL.sub("", _loose(entry.key)), [])
            meant = [image for image in spelled if image not in rows]
            way = f"is {meant[0]} meant?" if len(meant) == 1 else "add it"
            unused.append((entry, f"which is not in {IMAGES}/; {way}{remark}"))
        else:
            _give(rows, named.pop(), entry)
    return Matched({image: entry.patient for image, entry in rows.items()}, unused)


def _near(images: Mapping[str, str]) -> dict[str, list[str]]:
    """Return images by their paths without suffixes and the leading zeros of names."""
    near: dict[str, list[str]] = defaultdict(list)
    for image in images:
        near[_loose(key(image))].append(image)
    return near


def _loose(path: str) -> str:
    folder, _, name = f"/{_below(path)}".rpartition("/")
    return f"{folder}/{_ZEROS.sub('', stem(Path(name)))}"


def expression(pattern: str, where: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern; its group `patient` is what it takes.

    Args:
        pattern: `{patient}_*`; a star is any text.
        where: What an error has before the pattern: `--pattern `.

    Raises:
        UsageError: The pattern does not hold `{patient}` once.
    """
    if pattern.count(PLACE) != 1:
        raise UsageError(
            f"{where}{pattern} holds {PLACE} {pattern.count(PLACE)} times; expected it once, such "
            f"as '{PLACE}_*', or '{PLACE}' where each case is a patient"
        )
    escaped = re.escape(pattern).replace(re.escape(PLACE), "(?P<patient>.+?)")
    return re.compile(escaped.replace(r"\*", ".*"))


def by_pattern(pattern: str, folder: Path) -> Callable[[Path], str]:
    """Return a function that takes a patient from a path by a pattern, "" where it does not fit.

    Args:
        pattern: `{patient}_*`; with a slash it is of the path below `folder`.
        folder: Where the files lie.

    Raises:
        UsageError: The pattern does not hold `{patient}` once.
    """
    compiled = expression(pattern, f"{folder.parent}: pattern=")

    def patient_of(path: Path) -> str:
        text = stem(path)
        if "/" in pattern:
            text = (path.relative_to(folder).parent / text).as_posix()
        match = compiled.fullmatch(text)
        return match["patient"] if match else ""

    return patient_of


def joined(
    pattern: str, places: Mapping[Path, str], patient_of: Callable[[Path], str]
) -> tuple[str, ...]:
    """Return what to tell of patients whom a pattern takes from names in several folders.

    Args:
        pattern: With a slash it sees the folders, and nothing is told.
        places: The folder of each file, as it is told.
        patient_of: What takes a patient from a path.
    """
    if not pattern or "/" in pattern:
        return ()
    folders_of: dict[str, dict[str, None]] = defaultdict(dict)
    for path, folder in places.items():
        folders_of[patient_of(path)][folder] = None
    several = [patient for patient, folders in folders_of.items() if patient and len(folders) > 1]
    if not several:
        return ()
    first, *others = several
    example = next(path for path in places if patient_of(path) == first)
    file = f"{places[example]}/{example.name}".removeprefix("/")
    two = " and ".join(f"{folder or '.'}/" for folder in [*folders_of[first]][:2])
    more = f" (and {len(others)} more)" if others else ""
    return (
        f"{first}{more} in {two} is one patient, for the pattern {pattern} sees no folders; where "
        f"they are several people, give a table of files and patients ({file}, ...)",
    )


def _last(path: str) -> str:
    """Return the last part of a path."""
    return path.rpartition("/")[2]


def _below(path: str) -> str:
    """Return what follows the last folder `images/` of a path, or else the path."""
    return f"/{path}".rpartition(f"/{IMAGES}/")[2].removeprefix("/")


def _alike(one: str, other: str) -> bool:
    """Return whether one path is the end of the other."""
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")


def _give(rows: dict[str, Entry], image: str, entry: Entry) -> None:
    """Keep an image's row; refuse a second one of another patient."""
    other = rows.setdefault(image, entry)
    if other.patient != entry.patient:
        raise UsageError(_contradiction(other, entry))
