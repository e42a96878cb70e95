"""Read slice folders: `images/`, `labels/` and `index.csv` (columns file, volume = patient)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.data.readers import raster, walk
from bench.data.readers.labels import colour, decode
from bench.data.readers.picture import Picture
from bench.spec.case import Census, Decision, Sample
from bench.spec.dataset import Adapter, Item, unit_image
from bench.spec.errors import UsageError, did_you_mean
from bench.spec.options import option

MAPPINGS: dict[str, dict[int, int]] = {
    "binary": {0: 0, 1: 1, 255: 1},
    # SPIDER's T2 slices as indexed PNG: 1-7 vertebrae L5 to above T12, 8 canal, 9 partly visible
    # vertebra, 10-16 discs. The sacrum is not labelled.
    "spider-t2": {**dict.fromkeys(range(17), 0), **dict.fromkeys((1, 2, 3, 4, 5, 6, 7, 9), 1)},
}
"""For each named mapping: the value in the binary mask of each label value."""


@dataclass(frozen=True)
class Slices(Adapter):
    """Grey images with index masks of the same name, listed with their patients in `index.csv`.

    Optional columns: `good_central` (1 marks the slices that the option keeps), `row_mm` and
    `column_mm` (pixel spacing). Images may be PNG, TIFF, JPEG or BMP of any bit depth.
    """

    labels: str = option(
        "binary", "how label values become vertebra or background", choices=tuple(MAPPINGS)
    )
    good_central: bool = option(
        False, "keep only the slices that index.csv marks with good_central = 1"
    )
    largest: int = option(8192, "longest side in pixels that an image may have", low=1)

    in_all: ClassVar[bool] = True
    layout: ClassVar[str] = "images/, labels/ and index.csv with the columns file and volume"

    def rules(self) -> dict[str, Any]:
        """Return the mapping and the filter."""
        mapping = {str(k): v for k, v in MAPPINGS[self.labels].items()}
        return {
            "layout": "slices-1",
            "labels": mapping,
            "good_central": self.good_central,
            "largest": self.largest,
        }

    def items(self, root: Path) -> list[Item]:
        """List the slices of `index.csv`, in its order."""
        items = []
        for row in self._index(root).to_dict("records"):
            files = (root / "images" / row["file"], root / "labels" / row["file"])
            absent = next((path for path in files if not path.is_file()), None)
            if absent:
                why = (
                    f"{absent} is not there, but {root / 'index.csv'} names it: "
                    "add it or remove the row"
                )
                items.append(Item(str(row["volume"]), left_out=why))
                continue
            items.append(Item(str(row["volume"]), files, _spacing(row, root)))
        return items

    def _index(self, root: Path) -> pd.DataFrame:
        """Read and check index.csv."""
        path = root / "index.csv"
        if not path.is_file():
            raise UsageError(f"{path} is not there; expected {self.layout}")
        try:
            table = pd.read_csv(path, dtype={"file": str, "volume": str})
        except (ValueError, OSError) as error:
            raise UsageError(f"{path} cannot be read as CSV: {str(error).strip()}") from error
        needed = ["file", "volume"]
        if self.good_central:
            needed.append("good_central")
        for column in needed:
            if column not in table:
                raise UsageError(
                    f"{path} has no column '{column}'; {did_you_mean(column, table.columns)}"
                )
        table["file"] = table.file.str.strip()
        table["volume"] = table.volume.str.strip()
        empty = (table[needed].isna() | (table[needed] == "")).any(axis=1)
        if empty.any():
            line = int(empty.argmax()) + 2
            raise UsageError(f"{path} line {line}: expected a value in each of {', '.join(needed)}")
        if self.good_central:
            table = table[table.good_central == 1]
        if table.empty:
            raise UsageError(f"{path} lists no case; expected at least three patients")
        for name in table.file:
            if Path(name).name != name or len(name) > 200:
                raise UsageError(
                    f"{path}: file {name[:80]!r} leads out of the folder; "
                    "expected a plain file name"
                )
        for name in table.file[table.file.str.lower().duplicated()]:
            raise UsageError(
                f"{path} names {name} twice, whatever its case; expected one row a file: remove one"
            )
        for volume in table.volume:
            if not volume.isprintable():
                raise UsageError(
                    f"{path}: volume {volume!r} holds control characters; expected a plain name"
                )
        return table

    def read(self, item: Item) -> Iterator[Sample]:
        """Read one slice."""
        image_file, label_file = item.files
        image, mask = raster.read(image_file, self.largest), raster.read(label_file, self.largest)
        if image.palette is not None:
            raise UsageError(
                f"{image_file} has a palette, expected grey values: convert it to grey"
            )
        unit = unit_image(image.values, image_file)
        if self.labels != "binary":  # the numbers of a palette are the labels
            mask = Picture(mask.values)
        codes, labels, _ = decode(mask, label_file)
        check_labels(codes, labels, MAPPINGS[self.labels], label_file, self.labels)
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
            labels=labels,
            how=(*image.how, spacing),
        )

    def decide(self, census: Census) -> Decision:
        """Return the labels that the mapping calls vertebra."""
        mapping = MAPPINGS[self.labels]
        return Decision(frozenset(str(label) for label, one in mapping.items() if one))


def check_labels(
    codes: NDArray[np.uint8],
    labels: tuple[str, ...],
    mapping: dict[int, int],
    file: Path,
    name: str,
) -> None:
    """Refuse a mask that holds a label which its mapping does not know.

    Args:
        codes: (H, W), numbers of `labels`.
        labels: The labels of the mask.
        mapping: The value in the binary mask of each label.
        file: Named in errors.
        name: The mapping's name.

    Raises:
        UsageError: A label is unknown, or the mask holds 1 and 255, of which one is void.
    """
    for label in labels:
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


def _spacing(row: dict[Hashable, Any], root: Path) -> tuple[float, float] | None:
    """Return a case's spacing; None if index.csv does not give it."""
    if "row_mm" not in row or "column_mm" not in row:
        return None
    try:
        spacing = (float(row["row_mm"]), float(row["column_mm"]))
    except ValueError:
        spacing = (0.0, 0.0)
    if not all(0 < value < 100 for value in spacing):
        raise UsageError(
            f"{root / 'index.csv'}: {row['file']} has spacing {row['row_mm']}, {row['column_mm']}; "
            "expected mm between 0 and 100"
        )
    return spacing
