"""Any 2D segmentation data: a folder with `images/`, `masks/` and the names of the patients."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.data.readers import volume
from bench.data.readers.slices import pixels
from bench.spec import registry
from bench.spec.case import Sample
from bench.spec.dataset import Adapter, Item, unit_image
from bench.spec.errors import UsageError
from bench.spec.options import option

RASTER = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SUFFIXES = (*RASTER, ".dcm", ".npy", *volume.SUFFIXES)
PATIENT = "{patient}"
PATTERN = "takes the patient from a name: {patient}_* ; {patient} where each image is one"
ONE = (1, 255, 65535)
"""Mask values that are foreground unless an option says otherwise."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class Folder(Adapter):
    """`--datasets path/to/folder`: images, and masks with the same stems.

    `patients.csv` (file, patient) or a pattern gives the patients.
    """

    pattern: str = option("", PATTERN, free=True)
    foreground: str = option(
        "", "mask values that are foreground, joined by +; 1 or the brightest where not given"
    )
    largest: int = option(8192, "longest side in pixels that an image may have", low=1)
    place: Path | None = None
    """The folder."""

    @property
    def folder(self) -> Path | None:
        """The folder."""
        return self.place

    @property
    def name(self) -> str:
        """The folder's own name, made safe; `folder-xray` where a registered dataset has it."""
        own = self.place.resolve().name if self.place else ""
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", own).strip("-.") or registry.FOLDER
        taken = safe.lower() in {*registry.names(registry.DATASETS)} - {registry.FOLDER}
        return f"{registry.FOLDER}-{safe}" if taken else safe

    @property
    def title(self) -> str:
        """The folder's own name."""
        return self.name

    def rules(self) -> dict[str, Any]:
        """Return the options; grey is luminance."""
        return {
            "layout": "folder-1",
            "pattern": self.pattern,
            "foreground": self.foreground,
            "largest": self.largest,
        }

    def items(self, root: Path) -> list[Item]:
        """List the images; leave out an image without a mask or a patient, with a reason."""
        items: list[Item] = []
        images = _by_stem(root, "images", items)
        masks = _by_stem(root, "masks", items)
        patient_of = self._patients(root, images, items)
        for stem in sorted(masks.keys() - images.keys()):
            why = "there is no image of this name in images/; add it"
            items.append(Item(stem, (masks[stem],), left_out=why))
        for stem, path in images.items():
            patient = patient_of(path)
            if stem not in masks:
                why = "there is no mask of this name in masks/; add it"
                items.append(Item(patient or stem, (path,), left_out=why))
            elif not patient:
                why = f"no patient is known for it; {self._how(root)}"
                items.append(Item(stem, (path,), left_out=why))
            else:
                items.append(Item(patient, (path, masks[stem])))
        return items

    def _patients(
        self, root: Path, images: dict[str, Path], items: list[Item]
    ) -> Callable[[Path], str]:
        """Return a function that maps an image's path to its patient, or to "" if unknown.

        Names in the table of patients that have no image are added to `items` as left out.
        """
        table = root / "patients.csv"
        if table.is_file():
            known = _table(table)
            names = {path.name.lower() for path in images.values()}
            stems = {volume.stem(path).lower() for path in images.values()}
            for name in sorted(known.keys() - names - stems):
                why = f"{table} names {name}, which is not in images/; add it"
                items.append(Item(known[name], left_out=why))

            def by_table(path: Path) -> str:
                by_name = known.get(path.name.lower())
                return by_name or known.get(volume.stem(path).lower(), "")

            return by_table
        if PATIENT not in self.pattern:
            raise UsageError(f"{root}: whose image is it? {self._how(root)}")
        expression = re.escape(self.pattern)
        expression = expression.replace(re.escape(PATIENT), "(?P<patient>.+?)")
        pattern = re.compile(expression.replace(r"\*", ".*"))

        def by_pattern(path: Path) -> str:
            match = pattern.fullmatch(volume.stem(path))
            return match["patient"] if match else ""

        return by_pattern

    def _how(self, root: Path) -> str:
        return (
            f"write {root / 'patients.csv'} with the columns file and patient, "
            f"or give a pattern: '{root}:pattern={{patient}}_*'; "
            f"'{root}:pattern={{patient}}' where each image is a patient of its own"
        )

    def read(self, item: Item) -> Iterator[Sample]:
        """Read one image and its mask."""
        image_file, mask_file = item.files
        (raw, spacing), (labels, _) = (_plane(path, self.largest) for path in item.files)
        if labels.ndim == 3:
            labels = labels.max(2)
        grey = raw @ np.array(LUMINANCE) if raw.ndim == 3 else raw
        if grey.shape != labels.shape:
            raise UsageError(
                f"{mask_file} is {labels.shape}, {image_file} is {grey.shape}; "
                "expected equal height and width: export the pair again"
            )
        yield Sample(
            id=re.sub(r"[^A-Za-z0-9._-]", "_", volume.stem(image_file)),
            patient=item.patient,
            image=unit_image(grey, image_file),
            mask=self._mask(labels, mask_file),
            spacing=spacing,
        )

    def _mask(self, labels: NDArray[Any], file: Path) -> NDArray[np.uint8]:
        values = np.unique(labels)
        if not np.isfinite(values).all() or (values != np.rint(values)).any():
            raise UsageError(
                f"{file}: values are not whole numbers; expected labels, not probabilities"
            )
        beside = [int(value) for value in values if value != 0]
        if self.foreground:
            wanted = [int(value) for value in self.foreground.split("+") if value.isdigit()]
            if len(wanted) != len(self.foreground.split("+")):
                raise UsageError(
                    f"foreground={self.foreground}: expected whole numbers joined by +, such as 1+2"
                )
        elif len(beside) > 1 or not set(beside) <= set(ONE):
            shown = f"value{'s' * (len(beside) > 1)} {', '.join(map(str, beside[:6]))}"
            raise UsageError(
                f"{file}: holds the {shown} beside 0; "
                f"say which are foreground: foreground={beside[0]}"
            )
        else:
            wanted = beside
        mask: NDArray[np.uint8] = np.isin(labels, wanted).astype(np.uint8)
        return mask


def _table(path: Path) -> dict[str, str]:
    """Return the patients of patients.csv by file names in lower case.

    Raises:
        UsageError: A column or a value is missing, or a file has two patients.
    """
    try:
        rows = pd.read_csv(path, dtype=str, encoding="utf-8-sig").rename(columns=str.strip)
        pairs = list(zip(rows.file, rows.patient, strict=True))
    except (ValueError, AttributeError, OSError) as error:
        raise UsageError(
            f"{path} cannot be used ({error}); expected columns file and patient"
        ) from error
    known: dict[str, str] = {}
    for line, (file, patient) in enumerate(pairs, 2):
        # pandas gives NaN for an empty field.
        both = isinstance(file, str) and isinstance(patient, str)
        if not both or not file.strip() or not patient.strip():
            raise UsageError(
                f"{path} line {line}: expected a file and its patient; "
                "fill it in or remove the line"
            )
        name = Path(file.strip()).name.lower()
        if known.setdefault(name, patient.strip()) != patient.strip():
            raise UsageError(
                f"{path} line {line}: {name} is of {known[name]} already, "
                f"and of {patient.strip()} here; expected one patient: remove one line"
            )
    return known


def _by_stem(root: Path, name: str, items: list[Item]) -> dict[str, Path]:
    """Return the files of a folder by their stems; add unusable files to `items` as left out.

    Raises:
        UsageError: The folder is missing or empty.
    """
    folder = root / name
    by_stem: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith(".") or path.is_dir():
            continue
        stem = volume.stem(path).lower()
        if not path.name.lower().endswith(SUFFIXES):
            why = f"no reader is known for it; expected {', '.join(SUFFIXES)}"
            items.append(Item(stem, (path,), left_out=why))
        elif stem in by_stem:
            why = f"{by_stem[stem].name} has this name too; rename or remove one"
            items.append(Item(stem, (path,), left_out=why))
        else:
            by_stem[stem] = path
    if not by_stem:
        raise UsageError(
            f"{root} has no {name}/ with files in it; "
            f"expected images/ and masks/ of {', '.join(SUFFIXES)}"
        )
    return by_stem


def _plane(path: Path, largest: int) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Return a file's values (H, W) or (H, W, 3), and its spacing (row, column) in mm if known."""
    name = path.name.lower()
    if name.endswith(RASTER):
        return pixels(path, palette=path.parent.name != "images", largest=largest), None
    try:
        values, spacing = _scientific(path, name)
    except UsageError:
        raise
    except Exception as error:  # the libraries may raise anything
        raise UsageError(
            f"{path} cannot be read ({error}); expected one whole 2D image: copy it again"
        ) from error
    one_image = values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3)
    if not one_image or max(values.shape) > largest:
        raise UsageError(
            f"{path}: shape {values.shape}, expected one 2D image of {largest} a side at most"
        )
    return values, spacing


def _scientific(path: Path, name: str) -> tuple[NDArray[Any], tuple[float, float] | None]:
    if name.endswith(".npy"):
        return np.squeeze(np.load(path, allow_pickle=False)), None
    if name.endswith(".dcm"):
        import pydicom

        film = pydicom.dcmread(path)
        values = film.pixel_array.astype(np.float64)
        if film.get("PhotometricInterpretation") == "MONOCHROME1":
            values = values.max() - values
        mm = film.get("PixelSpacing") or film.get("ImagerPixelSpacing")
        return values, (float(mm[0]), float(mm[1])) if mm else None
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    values = np.squeeze(SimpleITK.GetArrayFromImage(image))
    return values, (float(image.GetSpacing()[1]), float(image.GetSpacing()[0]))
