"""Read slice folders: `images/`, `labels/` and `index.csv` (columns file, volume = patient)."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.data.readers import patients, raster, walk
from bench.data.readers.classes import Classes
from bench.data.readers.labels import choose, colour, decode
from bench.data.readers.picture import check_turn, told
from bench.spec import csvs
from bench.spec.case import Census, Decision, Place, Sample
from bench.spec.csvs import CsvRow, CsvTable
from bench.spec.dataset import IMAGE_GREYS, Adapter, Item, unit_image
from bench.spec.errors import UsageError
from bench.spec.options import option

SPIDER = "spider-t2"
ABOVE = {"7": "all vertebrae above T12", "16": "all discs above T12/L1"}
"""SPIDER's labels of several things at once."""
MAPPINGS: dict[str, dict[int, int]] = {
    "binary": {0: 0, 1: 1, 255: 1},
    # SPIDER's T2 slices as indexed PNG: 1-7 vertebrae L5 to above T12, 8 canal, 9 partly visible
    # vertebra, 10-16 discs. The sacrum is not labelled.
    SPIDER: {**dict.fromkeys(range(17), 0), **dict.fromkeys((1, 2, 3, 4, 5, 6, 7, 9), 1)},
}
"""For each named mapping: the value in the binary mask of each label value."""
ONE_INSTANCE = "assumed: label {label}, {what}, is one instance in each mask"
LABELS = (
    "how label values become vertebra or background; or classes: vertebra=1-7+9/disc=10-16, or a"
    " JSON or CSV file of them"
)
INDEX = "index.csv"
SPACING = ("row_mm", "column_mm")
"""The columns of index.csv that give the size of a pixel."""
PATIENTS = ("patient", "patient id", "patientid", "subject", "subject id")
"""Headings of columns that name patients too; `volume` is read."""
POSITION, THICKNESS = "slice", "slice_mm"
"""The columns of index.csv that say where a slice lies in its volume."""
MOST_SLICES = 1 << 16
"""Above this a number is none of a slice, but a date or a key."""
COLUMNS = ("file", "volume", "good_central", *SPACING, POSITION, THICKNESS)
"""All columns that are read."""
OF_SIZES = ("spacing", "mm", "um", "µm", "micron", "pixel", "resolution", "dpi")
"""Words in headings that may give the size of a pixel."""
LONGEST = 255
"""Bytes that the name of a file may have."""


@dataclass(frozen=True)
class Slices(Adapter):
    """Grey images with index masks of the same name, listed with their patients in `index.csv`.

    Optional columns: `good_central` (1 marks the slices that the option keeps), `row_mm` and
    `column_mm` (pixel spacing; both, or both empty or `NA` where it is not known), `slice` (number
    of the slice in its volume) and `slice_mm` (from a slice to the next). A file may be
    named without its suffix, where one file alone fits. Images may be PNG, TIFF, JPEG or BMP of any
    bit depth.
    """

    labels: str = option("binary", LABELS, choices=tuple(MAPPINGS), free=True)
    good_central: bool = option(
        False, "keep only the slices that index.csv marks with good_central = 1"
    )
    largest: int = option(8192, "longest side in pixels that an image may have", low=1)

    in_all: ClassVar[bool] = True
    layout: ClassVar[str] = "images/, labels/ and index.csv with the columns file and volume"

    def rules(self) -> dict[str, Any]:
        """Return the mapping and the filter."""
        mapping = {} if self.classes else {str(k): v for k, v in MAPPINGS[self.labels].items()}
        return {
            "layout": "slices-3",
            "labels": mapping,
            "good_central": self.good_central,
            "largest": self.largest,
        }

    @property
    def classes(self) -> Classes | None:
        """The classes that the option `labels` names; None where it names a mapping to one."""
        return None if self.labels in MAPPINGS else Classes.parse(self.labels)

    def choice(self) -> dict[str, Any]:
        """Return the classes, if there are any."""
        return {"classes": self.classes.text} if self.classes else {}

    def tables(self, root: Path) -> list[Path]:
        """Return `index.csv`, if it is there."""
        table = root / INDEX
        return [table] if table.is_file() else []

    def items(self, root: Path) -> list[Item]:
        """List the slices of `index.csv`, in its order."""
        table = self._index(root)
        listed = self._listed(table)
        _check_names(table, listed)
        _check_patients(table, listed)
        images, labels = root / "images", root / "labels"
        in_images, in_labels = _by_name(images), _by_name(labels)
        seen: set[Path] = set()
        items = []
        for row in listed:
            name = _bare(table.named(row, "file"))
            patient = unicodedata.normalize("NFC", table.named(row, "volume"))
            files = (_existing(images, name, in_images), _existing(labels, name, in_labels))
            if files[0] in seen:
                raise UsageError(
                    f"{table.at(row)}: {name} is {files[0].name}, which another row names; "
                    "expected one row a file: remove one"
                )
            seen.add(files[0])
            absent = next((path for path in files if not path.is_file()), None)
            if absent:
                why = (
                    f"{absent} is not there, but {table.source} names it: add it or remove the row"
                )
                near = in_images if absent == files[0] else in_labels
                for path in near.get(patients.key(name), []):
                    if patients.key(path.name) == patients.key(name):
                        why = (
                            f"{absent} is not there, but {table.source} names it, and {path.name} "
                            "differs by case alone: write both in one way"
                        )
                if table.remark:
                    why = f"{why} ({table.remark})"
                items.append(Item(patient, left_out=why))
                continue
            place = _place(table, row)
            items.append(Item(patient, files, _spacing(table, row), how=table.assumed, place=place))
        told = (*_unread_sizes(table), *_unplaced(table, listed), *table.unread(*COLUMNS))
        if not self.good_central:
            told += _unwanted(images, seen)
        return [replace(item, how=(*item.how, *told)) for item in items]

    def _index(self, root: Path) -> CsvTable:
        """Read index.csv; both columns of the spacing are there, or neither."""
        path = root / INDEX
        if not path.is_file():
            raise UsageError(f"{path} is not there; expected {self.layout}")
        table = csvs.read(path, ("file", "volume"), numbers=SPACING)
        known = [heading for heading in table.headings if csvs.folded(heading) in PATIENTS]
        if known and not table.has("volume"):
            raise UsageError(
                f"{path} has no column 'volume', which names the patients; "
                f"rename the heading '{known[0]}' to volume"
            )
        table.require("file", "volume")
        if self.good_central:
            table.require("good_central")
        for name in SPACING:
            near = table.near(name)
            if near:
                raise UsageError(
                    f"{path} has no column {name}; is '{near}' meant? rename it to {name}, "
                    "or remove it"
                )
        row_mm, column_mm = SPACING
        if table.has(row_mm) != table.has(column_mm):
            alone, lacking = (row_mm, column_mm) if table.has(row_mm) else (column_mm, row_mm)
            raise UsageError(
                f"{path} has the column {alone} without {lacking}; add {lacking} or remove {alone}"
            )
        return table

    def _listed(self, table: CsvTable) -> list[CsvRow]:
        """Return the rows that are used.

        Raises:
            UsageError: A value is missing, or there is no row.
        """
        needed = ["file", "volume"]
        if self.good_central:
            needed.append("good_central")
        rows = []
        for row in table.rows:
            if not all(table.value(row, name) for name in needed):
                raise UsageError(
                    f"{table.at(row)}: expected a value in each of {', '.join(needed)}"
                )
            if not self.good_central or _marked(table, row):
                rows.append(row)
        if not rows:
            raise UsageError(f"{table.source} lists no case; expected at least three patients")
        return rows

    def read(self, item: Item) -> Iterator[Sample]:
        """Read one slice."""
        image_file, label_file = item.files
        image, mask = raster.read(image_file, self.largest), raster.read(label_file, self.largest)
        check_turn(image, mask, image_file, label_file)
        if image.palette is not None:
            raise UsageError(
                f"{image_file} has a palette, expected grey values: convert it to grey"
            )
        unit = unit_image(image.values, image_file)
        remarks = told(image, mask)
        if self.labels != "binary":  # the numbers of a palette are the labels
            mask = replace(mask, palette=None)
        codes, labels, assumed = decode(mask, label_file)
        if self.labels in MAPPINGS:
            check_labels(codes, labels, MAPPINGS[self.labels], label_file, self.labels, mask.lossy)
        if unit.shape != codes.shape:
            raise UsageError(
                f"{label_file} is {codes.shape}, {image_file} is {unit.shape}; "
                "expected equal height and width: export the pair again"
            )
        spacing = "spacing: index.csv" if item.spacing else "spacing: unknown"
        yield Sample(
            id=walk.case_id(image_file.stem),
            patient=item.patient,
            image=unit,
            mask=codes,
            spacing=item.spacing,
            place=item.place,
            labels=labels,
            how=tuple(filter(None, (*image.how, IMAGE_GREYS, spacing, assumed, *remarks))),
        )

    def decide(self, census: Census) -> Decision:
        """Return the labels of each class, or those that the mapping calls vertebra."""
        if self.classes:
            return self.classes.decide(census)
        if self.labels == "binary":
            return choose(census, "")
        foreground = frozenset(str(label) for label, one in MAPPINGS[self.labels].items() if one)
        if self.instances and self.labels == SPIDER:
            return with_joined(Decision(foreground), census)
        return Decision(foreground)


def with_joined(decision: Decision, census: Census) -> Decision:
    """Return a decision that says which of SPIDER's labels of several things are one instance."""
    told = list(decision.how)
    for label, what in ABOVE.items():
        if label in census.counts and label in decision.foreground:
            told.append(ONE_INSTANCE.format(label=label, what=what))
    return replace(decision, how=tuple(told))


def check_labels(
    codes: NDArray[np.uint8],
    labels: tuple[str, ...],
    mapping: dict[int, int],
    file: Path,
    name: str,
    lossy: bool = False,
) -> None:
    """Refuse a mask that holds a label which its mapping does not know.

    Args:
        codes: (H, W), numbers of `labels`.
        labels: The labels of the mask.
        mapping: The value in the binary mask of each label.
        file: Named in errors.
        name: The mapping's name.
        lossy: Whether the mask was compressed as JPEG is.

    Raises:
        UsageError: A label is unknown, or the mask holds 1 and 255, of which one is void.
    """
    for label in labels:
        if (colour(label) or int(label) not in mapping) and lossy:
            raise UsageError(
                f"{file}: label {label} is none of '{name}', for JPEG changed the labels; "
                "export the masks as PNG"
            )
        if colour(label) or int(label) not in mapping:
            raise UsageError(
                f"{file}: label {label} is not known to the mapping '{name}' (it knows "
                f"{', '.join(map(str, sorted(mapping)))}); choose another mapping by the option "
                "labels=NAME"
            )
    if mapping == MAPPINGS["binary"] and {"1", "255"} <= set(labels):
        raise UsageError(
            f"{file}: holds both 1 and 255, of which 255 is the void label of pixels that belong "
            "to no class; give these pixels 0 or 1"
        )


def _unread_sizes(table: CsvTable) -> tuple[str, ...]:
    """Return what to tell of columns that may give the size of a pixel, but are not read."""
    if table.has(SPACING[0]):
        return ()
    read = {THICKNESS} if table.has(POSITION) else set()
    unread = [name for name in table.headings if name not in read and _words(name) & set(OF_SIZES)]
    if not unread:
        return ()
    return (
        f"assumed: the spacing is unknown, for {INDEX} has no columns {' and '.join(SPACING)}; "
        f"not read: {', '.join(unread)}",
    )


def _words(heading: str) -> set[str]:
    """Return the words of a heading: `PixelSpacing_X (mm)` holds pixel, spacing, x and mm."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", heading)
    return set(re.findall(r"[^\W_]+", apart.lower()))


def _unwanted(images: Path, named: set[Path]) -> tuple[str, ...]:
    """Return what to tell of images that no row names, if there are any."""
    others = [path for path in walk.walk(images).files if path not in named]
    if not others:
        return ()
    return (f"assumed: images that {INDEX} does not name are not wanted, such as {others[0].name}",)


def _check_names(table: CsvTable, rows: list[CsvRow]) -> None:
    """Refuse names of files that lead out of the folder, or stand in two rows.

    Raises:
        UsageError: A name is refused.
    """
    seen: set[str] = set()
    for row in rows:
        name = _bare(table.value(row, "file"))
        if Path(name).name != name:
            raise UsageError(
                f"{table.source}: file {name[:80]!r} leads out of the folder; "
                "expected a plain file name"
            )
        if len(name.encode()) > LONGEST:
            raise UsageError(
                f"{table.at(row)}: file {name[:80]!r} ... is longer than the {LONGEST} bytes "
                "that a disk takes; expected the name of a file"
            )
        key = unicodedata.normalize("NFC", name.lower())
        if key in seen:
            raise UsageError(
                f"{table.source} names {name} twice, whatever its case; "
                "expected one row a file: remove one"
            )
        seen.add(key)


def _check_patients(table: CsvTable, rows: list[CsvRow]) -> None:
    """Refuse volumes that another column gives to one patient: they could be on two sides.

    Raises:
        UsageError: There are such.
    """
    for heading in filter(table.has, PATIENTS):
        volumes: dict[str, str] = {}
        for row in rows:
            patient, volume = table.value(row, heading), table.value(row, "volume")
            other = volumes.setdefault(patient, volume)
            if patient.upper() not in ("", "NA") and other != volume:
                raise UsageError(
                    f"{table.at(row)}: volumes {other} and {volume} are both of {heading} "
                    f"{patient}, but the column volume names the patients; write them there"
                )


def _bare(name: str) -> str:
    """Return a file's name without the folder `images/` before it."""
    path = name.replace("\\", "/")
    return path.removeprefix("./").removeprefix("images/") if "/" in path else name


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """Return the files of a folder by their names, with the suffix of a picture and without it."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        by_name[patients.key(path.name)].append(path)
        if path.name.lower().endswith(raster.SUFFIXES):
            by_name[patients.key(path.stem)].append(path)
    return by_name


def _existing(folder: Path, name: str, by_name: Mapping[str, list[Path]]) -> Path:
    """Return the file of a name, or the only one that fits.

    Disks and tables may compose the accents of a name differently, and tables may leave out the
    suffix.
    """
    fitting = by_name.get(patients.key(name), [])
    same = [path for path in fitting if _composed(path.name) == _composed(name)]
    if folder / name in same:
        return folder / name
    if not same and not name.lower().endswith(raster.SUFFIXES):
        same = [path for path in fitting if _composed(path.stem) == _composed(name)]
    return same[0] if len(same) == 1 else folder / name


def _composed(name: str) -> str:
    """Return a name with its accents composed and plain blanks."""
    return unicodedata.normalize("NFC", csvs.with_plain_blanks(name))


def _marked(table: CsvTable, row: CsvRow) -> bool:
    """Return whether a row's good_central is 1.

    Raises:
        UsageError: It is neither 1 nor 0.
    """
    text = table.value(row, "good_central")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        mark = csvs.number(text)
    except ValueError:
        mark = None
    if mark not in (0, 1):
        raise UsageError(f"{table.at(row)}: good_central is {text}; expected 1 or 0")
    return mark == 1


def _spacing(table: CsvTable, row: CsvRow) -> tuple[float, float] | None:
    """Return a case's spacing; None if index.csv does not give it.

    Raises:
        UsageError: One of the two numbers is missing, or one is no spacing.
    """
    if not table.has(SPACING[0]):
        return None
    texts = [table.value(row, name) for name in SPACING]
    if not any(text and text.upper() != "NA" for text in texts):
        return None
    name = table.value(row, "file")
    if not all(text and text.upper() != "NA" for text in texts):
        raise UsageError(
            f"{table.at(row)}: {name} has one of row_mm and column_mm; "
            "give both, or leave both empty where they are not known"
        )
    try:
        row_mm, column_mm = (float(csvs.number(text)) for text in texts)
    except ValueError:
        row_mm, column_mm = 0.0, 0.0
    if not (0 < row_mm < 100 and 0 < column_mm < 100):
        raise UsageError(
            f"{table.at(row)}: {name} has spacing {', '.join(texts)}; "
            "expected mm between 0 and 100, or nothing in both where they are not known"
        )
    return row_mm, column_mm


def _position(text: str, delimiter: str) -> int | None:
    """Return the number of a slice; None of what is none. Programs may write 5 as 5.0."""
    try:
        number = csvs.number(text, delimiter)
    except ValueError:
        return None
    if not 0 <= number < MOST_SLICES or number != int(number):
        return None
    return int(number)


def _unplaced(table: CsvTable, rows: Sequence[CsvRow]) -> tuple[str, ...]:
    """Return what to tell of rows whose slice is no number, so that it has no place."""
    if not table.has(POSITION):
        return ()
    texts = [table.value(row, POSITION) for row in rows]
    odd = [text for text in texts if text and _position(text, table.delimiter) is None]
    if not odd:
        return ()
    return (
        f"assumed: slices such as {odd[0][:40]!r} have no place in their volumes, for the column "
        f"{POSITION} of {INDEX} expects whole numbers from 0",
    )


def _place(table: CsvTable, row: CsvRow) -> Place | None:
    """Return where a slice lies in its volume; None if index.csv does not number it.

    Raises:
        UsageError: The distance of slices is not positive.
    """
    position = None
    if table.has(POSITION):
        position = _position(table.value(row, POSITION), table.delimiter)
    if position is None:
        return None
    volume = unicodedata.normalize("NFC", table.value(row, "volume"))
    known = table.value(row, THICKNESS) if table.has(THICKNESS) else ""
    if not known or known.upper() == "NA":
        return Place(volume, position)
    try:
        thickness = float(csvs.number(known))
    except ValueError:
        thickness = 0.0
    if not 0 < thickness < 100:
        raise UsageError(
            f"{table.at(row)}: {THICKNESS} is {known}; expected mm between 0 and 100 from a slice "
            "to the next, or nothing where it is not known"
        )
    return Place(volume, position, thickness)
