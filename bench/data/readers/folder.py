"""Any 2D segmentation data: a folder with `images/`, `masks/` and the names of the patients."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.readers import (
    content,
    dicom,
    labels,
    limits,
    metaimage,
    nifti,
    pairing,
    patients,
    raster,
    walk,
)
from bench.data.readers.classes import Classes, is_file
from bench.data.readers.pairing import Pair, Side
from bench.data.readers.patients import Choice
from bench.data.readers.picture import (
    Picture,
    check_numbers,
    check_turn,
    colours,
    facing,
    is_grey,
    luminance,
    onto,
    told,
)
from bench.data.readers.slices import INDEX
from bench.data.readers.walk import Walk, stem
from bench.spec import registry, texts
from bench.spec.case import Census, Decision, Sample
from bench.spec.dataset import IMAGE_GREYS, Adapter, Item, unit_image
from bench.spec.errors import UsageError
from bench.spec.options import option
from bench.spec.words import count

RASTER = raster.SUFFIXES
SUFFIXES = (*RASTER, ".dcm", ".npy", ".nii", ".nii.gz", ".mha", ".mhd", ".hdr")
PATTERN = "takes the patient from a name: {patient}_* ; {patient} where each image is one"
LABELS = "classes, where masks hold several: organ=1-3/tumour=4, or a JSON or CSV file of them"
FOREGROUND = "labels that are foreground, where masks hold several: 1+2, #ff0000 or >127"
ENDING = "ending of the masks' names, which their images' names lack: _manual1"
IMAGE_ENDING = "ending of the images' names, which their masks' names lack: _training"
PATIENTS = "table of files and patients: its name in the folder, or its absolute path"
FILE = "column of that table, or of patients.csv, that names the files"
WHOSE = "column of that table, or of patients.csv, that names the patients"
TEST, VALIDATION, TRAIN = "test", "validation", "training"
"""The sides of an official split, as folders in `images/` name them."""
SIDES = (
    (TEST, ("test", "testing", "holdout", "eval", "evaluation")),
    (VALIDATION, ("val", "valid", "validation", "dev")),
    (TRAIN, ("train", "training")),
)
"""Their names, in small letters."""
SHORT = {"ts": TEST, "tr": TRAIN, "imagests": TEST, "imagestr": TRAIN}
"""Names without digits that nnU-Net and others use."""
NNUNET = (
    ("imagestr", "images", "train"),
    ("labelstr", "masks", "train"),
    ("imagests", "images", "test"),
    ("labelsts", "masks", "test"),
)
"""nnU-Net's folders in small letters, and where their files are read."""
AROUND = r"(images?|imgs?|data)?({})(s|set|data|dataset|images?|imgs?|split)?[a-d]?[0-9]*"
"""What may stand about a name: `test_images`, `train2017`, `training-a`."""
COLOUR = "assumed: colour images are read as grey (luminance): every network here sees one channel"
UNREAD = (
    "assumed: {0} was not read, for a folder with images/ and masks/ is paired by names; "
    "patients={0} takes the patients from it"
)
"""What is told of the table of slice folders."""
FEW = 3
"""Names that an error lists."""


@dataclass(frozen=True)
class Folder(Adapter):
    """`--datasets path/to/folder`: images, and masks with the same stems.

    `patients.csv` (file, patient), another table that options name, or a pattern gives the
    patients.
    """

    pattern: str = option("", PATTERN, free=True)
    foreground: str = option("", FOREGROUND, free=True)
    labels: str = option("", LABELS, free=True)
    largest: int = option(8192, "longest side in pixels that an image may have", low=1)
    ending: str = option("", ENDING, free=True)
    image_ending: str = option("", IMAGE_ENDING, free=True)
    patients: str = option("", PATIENTS, free=True)
    file: str = option("", FILE, free=True)
    patient: str = option("", WHOSE, free=True)
    place: Path | None = None
    """The folder."""

    def __post_init__(self) -> None:
        """Refuse classes beside one foreground.

        Raises:
            UsageError: Both are given.
        """
        if self.labels and self.foreground:
            raise UsageError(
                f"labels={self.labels} and foreground={self.foreground} both say what the labels "
                "are; give one"
            )

    @property
    def classes(self) -> Classes | None:
        """The classes that the option `labels` names, if it does."""
        if not self.labels:
            return None
        beside = self.place / self.labels if self.place else Path(self.labels)
        if is_file(self.labels) and not Path(self.labels).is_file() and beside.is_file():
            return Classes.parse(str(beside))
        return Classes.parse(self.labels)

    @property
    def _choice(self) -> Choice:
        return Choice(self.patients, self.file, self.patient)

    def tables(self, root: Path) -> list[Path]:
        """Return the table of patients, if there is one."""
        table = self._choice.path(root)
        return [table] if table else []

    def _spare(self, root: Path) -> list[Path]:
        """Return `index.csv` of slice folders, in any case, where it is not the table.

        It is no table of `tables`, for it is not read; what is told of it is part of every item, so
        that the dataset is prepared anew where it comes or goes.
        """
        table = self._choice.path(root)
        files = [path for path in root.iterdir() if path.is_file()]
        indexes = [path for path in files if path.name.lower() == INDEX]
        return sorted(path for path in indexes if table is None or not path.samefile(table))

    @property
    def folder(self) -> Path | None:
        """The folder."""
        return self.place

    @property
    def name(self) -> str:
        """The folder's own name, made safe; `folder-xray` where a registered dataset has it."""
        safe = safe_title(self.place) if self.place else registry.FOLDER
        taken = safe.lower() in {*registry.names(registry.DATASETS)} - {registry.FOLDER}
        return f"{registry.FOLDER}-{safe}" if taken else safe

    @property
    def title(self) -> str:
        """The folder's own name."""
        return self.name

    def rules(self) -> dict[str, Any]:
        """Return the options of reading; grey is luminance."""
        return {
            "layout": "folder-5",
            "pattern": self.pattern,
            "largest": self.largest,
            "ending": self.ending,
            "image_ending": self.image_ending,
        }

    def choice(self) -> dict[str, Any]:
        """Return which labels the user calls foreground, or of which class."""
        known = {"foreground": self.foreground}
        return known | ({"classes": self.classes.text} if self.classes else {})

    def decide(self, census: Census) -> Decision:
        """Return which labels are foreground: those of the option, or the only ones there are."""
        if self.classes:
            return self.classes.decide(census)
        decision = labels.choose(census, self.foreground)
        if not self.foreground:
            labels.check_likely(census, decision)
        return decision

    def items(self, root: Path) -> list[Item]:
        """List the images; leave out an image without a mask or a patient, with a reason."""
        items: list[Item] = []
        images = _side(root, "images", items)
        masks = _side(root, "masks", items)
        patient_of = self._patients(root, images, items)
        paired, alone, spare = self._pairs(root, images, masks)
        assumed = self._assumed(root)
        assumed += self._joined(images, [pair.image for pair in paired], patient_of)
        why = pairing.whys(alone, spare, paired, images.folder, masks.folder)
        for path in spare:
            items.append(Item(stem(path), (path,), left_out=why[path]))
        for path in alone:
            items.append(Item(patient_of(path) or stem(path), (path,), left_out=why[path]))
        for pair in paired:
            item = self._item(root, pair, images.folder, patient_of(pair.image))
            items.append(replace(item, how=(*item.how, *assumed)))
        tested = [item.official for item in items if item.key]
        if all(tested):  # all lie in images/test: that is no split
            return [replace(item, official=False) for item in items]
        folders = (path.relative_to(images.folder).parts[:-1] for path in images.by_key.values())
        items = _doubted(items, images.folder)
        if not any(tested) and TEST in map(_side_of, folders):
            raise UsageError(
                f"{images.folder} has a test side, but none of its images has a mask; "
                "add the masks, or move its images away to split anew"
            )
        return items

    def _item(self, root: Path, pair: Pair, folder: Path, patient: str) -> Item:
        """Return the item of an image with its mask; left out if its patient is unknown."""
        folders = pair.image.relative_to(folder).parts[:-1]
        side = _side_of(folders)
        how = [pair.how] if pair.how else []
        if side:
            how.append(f"official split: {side}")
        if side == VALIDATION:
            how.append(
                "assumed: the publisher's validation is joined to training, and another is drawn"
            )
        try:
            beside = (*walk.sides(pair.image), *walk.sides(pair.mask))
        except UsageError as error:
            files = (pair.image, pair.mask)
            told = (f"{path} {remedy}" for path in files if (remedy := content.remedy(path)))
            return Item(patient or pair.key, left_out=next(told, str(error)))
        return Item(
            patient or pair.key,
            (pair.image, pair.mask),
            left_out="" if patient else f"no patient is known for it; {self._how(root)}",
            official=side == TEST,
            beside=beside,
            key="_".join((*folders, stem(pair.image))),
            how=tuple(how),
        )

    def _pairs(
        self, root: Path, images: Side, masks: Side
    ) -> tuple[list[Pair], list[Path], list[Path]]:
        """Return pairs, and what is left of images and masks.

        Raises:
            UsageError: No image has a mask of its name.
        """
        images = pairing.without(images, self.image_ending)
        masks = pairing.without(masks, self.ending)
        paired, alone, spare = pairing.pairs(images, masks)
        if paired and not (alone and spare):
            return paired, alone, spare
        ends = pairing.endings(images, masks)
        if ends is None and paired:
            return paired, alone, spare
        if ends is None:
            first = alone[0].relative_to(images.folder)
            names = ", ".join(str(path.relative_to(masks.folder)) for path in spare[:FEW])
            way = "rename them, or name the masks' ending by the option ending=_manual1"
            if stem(first) in map(stem, spare):
                way = "put each mask into a folder named as its image's"
            of_folders = [path for path in spare if stem(path) in first.parts[:-1]]
            if of_folders:
                way = (
                    f"{of_folders[0].name} seems to be of all images in a folder: write a mask for "
                    f"each image, masks/{first.with_name(stem(first))}.png for the first"
                )
            raise UsageError(
                f"{root}: no mask has the name of an image; images/ holds {first} ..., "
                f"masks/ holds {names} ...; {way}"
            )
        given = [f"image_ending={ends[0]}"] if ends[0] else []
        given += [f"ending={ends[1]}"] if ends[1] else []
        raise UsageError(
            f"{root}: some masks have not the name of their image ({spare[0].name}, "
            f"{alone[0].name}), but all {len(masks.by_key)} pairs fit without their endings; "
            f"say so: '{root}:{':'.join(given)}'"
        )

    def _patients(self, root: Path, images: Side, items: list[Item]) -> Callable[[Path], str]:
        """Return a function that maps an image's path to its patient, or to "" if unknown.

        Names in the table of patients that have no image are added to `items` as left out.
        """
        table = self._choice.path(root)
        if table and self.pattern:
            raise UsageError(
                f"{table} and pattern={self.pattern} both say whose image it is; "
                "leave out the pattern, or remove the table"
            )
        if table:
            paths = {path: path.relative_to(images.folder) for path in images.by_key.values()}
            names = [path.as_posix() for path in paths.values()]
            entries = patients.read(table, self._choice, str(root), names)
            stems = {p.as_posix(): p.with_name(stem(p)).as_posix() for p in paths.values()}
            matched = patients.match(entries, stems)
            for entry, why in matched.unused:
                items.append(Item(entry.patient, left_out=f"{table} names {entry.name}, {why}"))
            return lambda path: matched.patients.get(paths[path].as_posix(), "")
        if not self.pattern:
            raise UsageError(f"{root}: whose image is it? {self._how(root)}")
        return patients.by_pattern(self.pattern, images.folder)

    def _assumed(self, root: Path) -> tuple[str, ...]:
        """Return what to tell of the table of patients, and of tables that are not read."""
        table = self._choice.path(root)
        lines: tuple[str, ...] = ()
        if table:
            lines = (*texts.assumed([table]), *patients.unread(table, self._choice))
        spare = [UNREAD.format(path.name) for path in self._spare(root)]
        return (*lines, *spare)

    def _joined(
        self, images: Side, paths: Sequence[Path], patient_of: Callable[[Path], str]
    ) -> tuple[str, ...]:
        """Return what to tell of patients whom a pattern takes from names in several folders."""
        places: dict[Path, str] = {}
        for path in paths:
            folders = path.relative_to(images.folder).parts[:-1]
            places[path] = "/".join(name for name in folders if not _side_of((name,)))
        joined = patients.joined(self.pattern, places, patient_of)
        return tuple(f"assumed: {line}" for line in joined)

    def _how(self, root: Path) -> str:
        """Return how to say whose image it is: in the table, where there is one."""
        table = self._choice.path(root)
        if table:
            return f"add it to {table}"
        spare = self._spare(root)
        if spare:
            return f"name the table that says it: '{root}:patients={spare[0].name}'"
        if self.pattern:
            return (
                f"its name does not fit pattern={self.pattern}: rename it, or write "
                f"{root / 'patients.csv'} with the columns file and patient for all, and leave out "
                "the pattern"
            )
        return (
            f"write {root / 'patients.csv'} with the columns file and patient, "
            f"or give a pattern: '{root}:pattern={{patient}}_*'; "
            f"'{root}:pattern={{patient}}' where each image is a patient of its own"
        )

    def read(self, item: Item) -> Iterator[Sample]:
        """Read one image and its mask."""
        image_file, mask_file = item.files
        image = picture(image_file, self.largest)
        drawn = picture(mask_file, self.largest, True)
        check_turn(image, drawn, image_file, mask_file)
        mask, place = onto(image, drawn, image_file, mask_file)
        codes, names, assumed = labels.decode(mask, mask_file)
        spacing = "" if image.spacing or "spacing: unknown" in image.how else "spacing: unknown"
        values = colours(image)
        grey_only = COLOUR if values.ndim == 3 and not is_grey(values) else ""
        grey = luminance(image)
        yield Sample(
            id=walk.case_id(item.key),
            patient=item.patient,
            image=unit_image(grey, image_file, padding=image.padding),
            mask=codes,
            spacing=image.spacing,
            labels=names,
            whose=image.whose,
            how=tuple(
                filter(
                    None,
                    (
                        *image.how,
                        IMAGE_GREYS,
                        facing(image),
                        spacing,
                        place,
                        assumed,
                        *told(image, drawn),
                        grey_only,
                    ),
                )
            ),
        )


def safe_title(place: Path) -> str:
    """Return a folder's own name in letters that paths, HTML and LaTeX may hold."""
    own = re.sub(r"[^A-Za-z0-9._-]+", "-", place.resolve().name).strip("-.")
    return own or registry.FOLDER


def _side(root: Path, name: str, items: list[Item]) -> Side:
    """Return the files of `images/` or `masks/`; add unusable files to `items` as left out.

    Raises:
        UsageError: The folder is missing or empty.
    """
    folder = _child(root, name)
    below = walk.walk(folder)
    side = pairing.side(folder, below, SUFFIXES, beside(below))
    for path, why in side.unusable:
        items.append(Item(stem(path), left_out=f"{path}: {why}"))
    if not side.by_key and side.unusable:
        path, why = side.unusable[0]
        raise UsageError(
            f"{folder}: none of its {count(len(side.unusable), 'file')} can be used; "
            f"the first, {path.name}: {why}"
        )
    if not side.by_key:
        raise UsageError(
            f"{root} has no {name}/ with files in it; "
            f"expected images/ and masks/ of {', '.join(SUFFIXES)}: {_moves(root)}"
        )
    return side


def _moves(root: Path) -> str:
    """Return how to move the files of a folder into the layout that is read."""
    folders = {path.name.lower(): path.name for path in sorted(root.iterdir()) if path.is_dir()}
    moves = {
        folders[name]: f"{part}/{side}"
        for name, part, side in NNUNET
        if name in folders and {"imagests", "labelsts"} <= folders.keys()
    }
    if not moves:
        moves = {folders[name]: part for name, part, side in NNUNET if name in folders}
    for folder in folders.values():
        if _side_of((folder,)) and (root / folder / "images").is_dir():
            moves |= {f"{folder}/{part}": f"{part}/{folder}" for part in ("images", "masks")}
    if not moves:
        return "move the images to images/, and their masks, of the same names, to masks/"
    return "move " + ", ".join(f"{old}/ to {new}/" for old, new in moves.items())


def _side_of(folders: tuple[str, ...]) -> str:
    """Return the side of an official split that a file's folders name, empty if none does."""
    for folder in folders:
        name = re.sub(r"^[0-9]+\b|^[0-9]+_|[^a-z0-9]", "", folder.lower())
        if name in SHORT:
            return SHORT[name]
        for side, names in SIDES:
            if re.fullmatch(AROUND.format("|".join(names)), name):
                return side
    return ""


def _doubted(items: list[Item], folder: Path) -> list[Item]:
    """Return items that say so where the folders beside a test side are no side."""
    tested: set[str] = set()
    others: set[str] = set()
    for item in items:
        folders = item.files[0].relative_to(folder).parts[:-1] if item.key else ()
        if item.official:
            tested.add(folders[0])
        elif _side_of(folders):
            return items
        else:
            others.update(folders[:1])
    if not tested or not others:
        return items
    line = (
        f"assumed: {min(tested)}/ is the publisher's test side, though {min(others)}/ beside it "
        "is none"
    )
    return [replace(item, how=(*item.how, line)) if item.key else item for item in items]


def _child(root: Path, name: str) -> Path:
    """Return the folder of a name, in any case.

    Raises:
        UsageError: Several folders have the name.
    """
    folders = [path for path in root.iterdir() if path.is_dir() and path.name.lower() == name]
    if len(folders) > 1:
        raise UsageError(
            f"{root} has {' and '.join(sorted(path.name for path in folders))}; "
            f"expected one {name}/: join them"
        )
    return folders[0] if folders else root / name


def beside(below: Walk) -> Iterator[Path]:
    """Yield the files that headers need beside them."""
    for path in below.select((".mhd", ".hdr")):
        try:
            yield from walk.sides(path)
        except UsageError:  # the header itself is left out, with the reason
            yield from (path.with_suffix(suffix) for suffix in (".raw", ".zraw"))


def picture(path: Path, largest: int, is_mask: bool = False) -> Picture:
    """Read a file of any format.

    Raises:
        UsageError: It cannot be read, or holds no single 2D image of at most `largest` a side.
    """
    name = path.name.lower()
    if name.endswith(RASTER):
        return raster.read(path, largest)
    try:
        return _scientific(path, name, is_mask, largest)
    except Exception as error:  # the libraries may raise anything
        content.refuse(path, error, "one whole 2D image")


def _scientific(path: Path, name: str, is_mask: bool, largest: int) -> Picture:
    if name.endswith(".npy"):
        return _numpy(path, largest)
    if name.endswith(".dcm"):
        return dicom.read(path, is_mask, largest)
    if name.endswith((".mha", ".mhd")):
        return metaimage.read(path, largest)
    return nifti.read(path, largest)


def _numpy(path: Path, largest: int) -> Picture:
    """Read an array (H, W), or one with sides of 1 besides."""
    try:
        whole = np.load(path, allow_pickle=False, mmap_mode="r")  # refuses what is too short
    except ValueError as error:
        if "Python objects" not in str(error):
            raise
        raise UsageError(
            f"{path} holds Python objects, expected numbers; save the array with a type of numbers"
        ) from error
    if not isinstance(whole, np.ndarray):
        raise UsageError(f"{path} is no array but an archive; save its array by numpy.save")
    limits.check_sides(path, whole.shape, largest)
    limits.check(path, whole.nbytes)
    values = np.squeeze(np.array(whole))
    check_numbers(values, path)
    if values.ndim != 2:
        raise UsageError(
            f"{path}: shape {values.shape}, expected one 2D image (height, width); "
            "save a colour picture as PNG, and each slice of a volume as a file"
        )
    return Picture(values, how=("format: NumPy", "spacing: unknown"))
