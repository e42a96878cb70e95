"""X-ray: SpineWeb's dataset 16 (AASCE 2019) as it is distributed, or slice folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.data.readers import raster
from bench.data.readers.picture import colours, is_grey
from bench.data.readers.slices import Slices
from bench.spec import files
from bench.spec.case import BACKGROUND, Census, Decision, Sample
from bench.spec.dataset import IMAGE_GREYS, Item, unit_image
from bench.spec.errors import UsageError

VERTEBRAE, CORNERS = 17, 4
POINTS = VERTEBRAE * CORNERS
T1 = 8
"""VerSe's number of the uppermost vertebra."""
COLLECTION = "aasce-"
"""Beginning of the labels' names, which are numbered as in VerSe."""
OFFICIAL = "test"
"""Beginning of the name of the folder that is the publisher's test side."""
NUMBER = re.compile(r"-(?P<number>\d+)\s+[A-Za-z]\s+ap", re.IGNORECASE)
"""`sunhl-1th-02-Jan-2017-162 A AP.jpg`: the number before the letter is read as the patient's."""
NUMBERED = "assumed: the number in a film's name is taken for the patient's, which nobody documents"
ALONE = "assumed: each film without a number in its name is of a patient of its own"
"""Whose a film is taken to be."""


@dataclass(frozen=True)
class XRay(Slices):
    """The `xray/` folder of the data directory: 17 vertebrae, each with four corners."""

    name = "xray"
    title = "X-ray"
    layout = (
        "boostnet_labeldata (data/ and labels/ with training/ and test/), or slices in index.csv"
    )

    def rules(self) -> dict[str, Any]:
        """Return the rules of both layouts."""
        return {**super().rules(), "quadrilaterals": 2}

    def items(self, root: Path) -> list[Item]:
        """List the films of all sides; say why one without image or landmarks is left out."""
        if (root / "index.csv").is_file():
            return super().items(root)
        base = root if (root / "labels").is_dir() else root / "boostnet_labeldata"
        sides = sorted(path.parent for path in base.glob("labels/*/filenames.csv"))
        if not sides:
            raise UsageError(f"{root} holds no labels/*/filenames.csv; expected {self.layout}")
        items = []
        for side in sides:
            items += _films(side)
        return items

    def read(self, item: Item) -> Iterator[Sample]:
        """Read a film and fill its quadrilaterals, or read one slice file."""
        if item.files[-1].suffix.lower() not in (".mat", ".csv"):
            yield from super().read(item)
            return
        film, marks = item.files
        picture = raster.read(film, self.largest)
        grey = colours(picture)
        if grey.ndim == 3 and is_grey(grey):  # some are grey in three channels
            grey = grey[..., 0]
        size = (grey.shape[0], grey.shape[1])
        points = _mat(marks) if marks.suffix == ".mat" else _csv(marks, film, size)
        _check_area(points, size, marks)
        mask = quadrilaterals(points, size)
        held, codes = np.unique(mask, return_inverse=True)
        yield Sample(
            id=re.sub(r"[^A-Za-z0-9._-]+", "_", f"{film.parent.name}-{film.stem}"),
            patient=item.patient,
            image=unit_image(grey, film),
            mask=codes.reshape(mask.shape).astype(np.uint8),
            spacing=None,
            labels=tuple(map(_label, held.tolist())),
            how=(*picture.how, IMAGE_GREYS, "spacing: unknown"),
        )

    def decide(self, census: Census) -> Decision:
        """Return the classes, all vertebrae of films, or what a mapping calls vertebra."""
        vertebrae = {label for label in census.counts if label.startswith(COLLECTION)}
        if self.classes or not vertebrae:
            return super().decide(census)
        return Decision(frozenset(vertebrae))


def _label(level: int) -> str:
    """Return the name of a vertebra's label in the cache."""
    return f"{COLLECTION}{level}" if level else BACKGROUND


def _names(side: Path) -> list[str]:
    """Return the names of a side's films, in the order of landmarks.csv."""
    table = side / "filenames.csv"
    try:
        content = files.read_bytes(table)
    except OSError as error:
        raise UsageError(
            f"{table} cannot be read ({files.reason(error)}); expected names of films: repair it"
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _films(side: Path) -> list[Item]:
    """List the films of one side, each with its `.mat` or else with landmarks.csv."""
    data = side.parent.parent / "data" / side.name
    table = side / "filenames.csv"
    films = sorted(data.glob("*"))
    exact = {path.name: path for path in films}
    images = {path.name.lower(): path for path in reversed(films)}
    mats = {path.name.lower(): path for path in side.glob("*.mat")}
    official = side.name.startswith(OFFICIAL)
    items: list[Item] = []
    used: set[Path] = set()
    for name in _names(side):
        image = exact.get(name) or images.get(name.lower())
        marks = mats.get(f"{name}.mat".lower(), side / "landmarks.csv")
        why = ""
        if Path(name).name != name:
            why = f"{table}: {name} leads out of the folder; expected a plain file name"
        elif image is None:
            why = f"{table} names {name}, which is not in {data}; add it"
        elif image in used:
            why = f"{table}: {name} is named twice, whatever its case; keep one"
        elif not marks.is_file():
            why = f"{image}: there is neither {name}.mat nor landmarks.csv; add one"
        pair = (image, marks) if image and not why else ()
        how = (NUMBERED if NUMBER.search(name) else ALONE,)
        items.append(Item(_patient(name), pair, left_out=why, official=official, how=how))
        if image:
            used.add(image)
    for path in films:
        if path not in used and path.is_file():
            why = f"{table} does not name it; add or remove it"
            items.append(Item(_patient(path.name), (path,), left_out=why))
    return items


def _patient(name: str) -> str:
    match = NUMBER.search(name)
    return f"n{int(match['number'])}" if match else Path(name).stem


def _mat(path: Path) -> NDArray[np.float64]:
    """Return the corners (68, 2), x and y in pixels."""
    import scipy.io

    try:
        points = np.asarray(scipy.io.loadmat(path)["p2"], np.float64)
    except Exception as error:  # the library may raise anything
        said = (str(error).strip() or type(error).__name__).splitlines()[-1]
        what = "has no p2" if isinstance(error, KeyError) else f"cannot be read ({said})"
        raise UsageError(
            f"{path} {what}; expected the corners of {VERTEBRAE} vertebrae: copy it again"
        ) from error
    return _checked(points, path)


def _csv(path: Path, film: Path, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the corners (68, 2) of a film from its row of landmarks.csv.

    A row holds x of all corners, then y of all, relative to the size of the image.
    """
    names = [name.lower() for name in _names(path.parent)]
    row = names.index(film.name.lower())
    values = np.empty(0)
    try:
        table = pd.read_csv(path, header=None, skip_blank_lines=False).dropna(how="all")
        if len(table) == len(names):
            values = table.iloc[row].to_numpy(np.float64)
    except ValueError as error:
        raise UsageError(
            f"{path}, for {film.name}: {str(error).strip()}; expected {2 * POINTS} numbers a row"
        ) from error
    # If a row is missing, it is unknown which: any film could get its neighbour's corners.
    if len(table) != len(names):
        raise UsageError(
            f"{path} has {len(table)} rows, filenames.csv has {len(names)} names, "
            f"so whose are those of {film.name}? expected one row a name: copy both again"
        )
    if len(values) != 2 * POINTS:
        raise UsageError(
            f"{path} row {row + 1} has {len(values)} numbers, expected {2 * POINTS}: "
            "x of all, then y"
        )
    return _checked(values.reshape(2, POINTS).T * (shape[1], shape[0]), path)


def _checked(points: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    if points.shape != (POINTS, 2) or not np.isfinite(points).all():
        raise UsageError(
            f"{path} has corners {points.shape}, expected ({POINTS}, 2) numbers: copy it again"
        )
    return points


def quadrilaterals(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the levels (H, W) of all vertebrae: the filled quadrilaterals of the corners (68, 2).

    They are numbered from `T1` downwards in the order in which they are published.

    The published order of corners is wrong in some vertebrae, so they are sorted by their angle
    about the centre.
    """
    mask = np.zeros(size, np.uint8)
    for level, four in enumerate(points.reshape(VERTEBRAE, CORNERS, 2), T1):
        about = four - four.mean(0)
        around = four[np.argsort(np.arctan2(about[:, 1], about[:, 0]))]
        cv2.fillPoly(mask, [np.rint(around).astype(np.int32)], level)
    return mask


def _check_area(points: NDArray[np.float64], size: tuple[int, int], path: Path) -> None:
    """Refuse corners (68, 2) of a vertebra that enclose nothing of the film.

    Raises:
        UsageError: The corners of a vertebra enclose nothing.
    """
    for number, four in enumerate(points.reshape(VERTEBRAE, CORNERS, 2), 1):
        inside = four.clip(0, (size[1] - 1, size[0] - 1))
        if np.ptp(inside, axis=0).min() < 1:
            raise UsageError(
                f"{path}: the corners of vertebra {number} enclose nothing of a film of "
                f"{size[1]} x {size[0]} pixels; copy it again"
            )
