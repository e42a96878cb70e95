"""The finished cells of a profile, read one time: what a report is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.spec.case import VOID
from bench.spec.errors import UsageError
from bench.spec.metrics import INSTANCES_OF_DISTANCES, OF_DISTANCES
from bench.spec.names import Column, DatasetId, Label, Row, Scheme, Spec
from bench.spec.profile import name_of
from bench.store import check, looks
from bench.store.cells import Store
from bench.store.checks.believed import Believed, Scores
from bench.store.damage import Damage
from bench.store.layout import CellFolder, last_line, read_or_empty
from bench.store.looks import Look
from bench.store.losses import read_losses
from bench.store.plan import Family, Plan
from bench.store.record import Record
from bench.store.scores import (
    CLASS,
    absent_classes,
    defined,
    filled,
    over_classes,
    read_scores,
    read_spacing,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

HEADS = (
    "dataset",
    "source",
    "digest",
    "method",
    "scheme",
    "folds",
    "fold",
    "seed",
    "column",
)
"""Columns that say where a case is from; `method` is the key of a `Row`, `column` of a `Column`."""


@dataclass(frozen=True)
class Finished:
    """One finished cell."""

    record: Record
    folder: CellFolder

    def scores(self, extra: str = "") -> pd.DataFrame:
        """Return the scores of the test cases: case, patient, `spec.metrics.SCORES` and unit.

        Raises:
            UsageError: The file is damaged.
        """
        return read_scores(self.folder.cases(extra))

    def spacing(self, case: str) -> tuple[float, float] | None:
        """Return mm per pixel (row, column) of a test case; None of a volume, or where unknown.

        Raises:
            OSError: The file of scores cannot be read.
        """
        return read_spacing(self.folder.cases(), case)

    def losses(self) -> list[dict[str, float]]:
        """Return the rows of the training log: step, training_loss, validation_loss, seconds."""
        return read_losses(self.folder)

    def initial(self) -> dict[str, str]:
        """Return shape and digest of each tensor before training, by name."""
        digests: dict[str, str] = json.loads(self.folder.initial.read_text(encoding="utf-8"))
        return digests

    def stages(self) -> dict[str, NDArray[np.float16]]:
        """Return the maps that lead to the first test case's prediction, if there are any."""
        import numpy as np

        if not self.folder.stages.is_file():
            return {}
        with np.load(self.folder.stages, allow_pickle=False) as maps:
            return dict(maps)

    def case(self, case: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
        """Return image (H, W) in 8 bit and reference of a test case.

        They are None where they were not kept, as by older versions. The image is black where a
        reference came without one. Of a volume, both are of one slice.
        """
        image = _picture(self.folder.image(case))
        reference = _picture(self.folder.reference(case))
        if reference is None or (image is None and not self.record.outside):
            return None
        if image is None:
            image = reference * 0
        return image, self._mask(reference)

    def _mask(self, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return the foreground of a kept reference; of several classes that of all together."""
        mask: NDArray[np.bool_] = pixels > 0
        return mask & (pixels != VOID) if self.record.classes else mask

    def labels(self, case: str, extra: str = "") -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return reference and prediction (H, W) of a test case as numbers of classes, and `VOID`.

        Raises:
            OSError: A file is missing or damaged.
        """
        reference = _picture_or_error(self.folder.reference(case))
        return reference, _picture_or_error(self.folder.predictions(extra) / f"{case}.png")

    def prediction(self, case: str, extra: str = "") -> NDArray[np.bool_]:
        """Return the predicted mask (H, W) of a test case.

        Raises:
            OSError: The file is missing or damaged.
        """
        pixels = _picture_or_error(self.folder.predictions(extra) / f"{case}.png")
        mask: NDArray[np.bool_] = pixels > 0
        return mask


@dataclass(frozen=True)
class Failure:
    """A cell that failed and has no result."""

    column: str
    """The column's key."""
    method: Spec
    why: str
    """The last line of its error."""

    @property
    def source(self) -> str:
        """`real`, `phantom` or `external`."""
        return DatasetId.source_in(self.column)


@dataclass(frozen=True)
class Results:
    """All finished and failed cells of a profile."""

    profile: str
    cells: tuple[Finished, ...]
    failures: tuple[Failure, ...]
    family: Family | None
    """The comparisons that were declared."""
    cases: pd.DataFrame
    """The scores of every case under every row, with where they are from (`HEADS`).

    A column that mixes cases in mm and in pixels has no distances.
    """
    damaged: tuple[Damage, ...] = ()
    """What cannot be believed, for it is damaged or was changed; such cells are in no table."""
    looks: tuple[Look, ...] = ()
    """The reports of results of several seeds so far: p is corrected for their number."""
    classes: pd.DataFrame | None = None
    """The scores of every class of every case, and those of all its classes together.

    The column `scores.CLASS` names the class, and the column `absent` is true where neither mask
    has it. `cases` has the means over classes. None where there is one foreground everywhere.
    """
    absent: str = "undefined"
    """What a class scored that neither mask has, one of `spec.metrics.ABSENT`."""
    volumes: pd.DataFrame | None = None
    """The scores in 3D of every volume, as `cases`; None where no volume was scored."""

    @classmethod
    def load(
        cls,
        store: Store,
        profile: str | None = None,
        pictures: bool = False,
        absent: str = "undefined",
    ) -> Results:
        """Read a profile's results; the latest where none is named.

        Args:
            store: The results folder.
            profile: The profile's name.
            pictures: Whether the digests of pictures are compared, which takes a while.
            absent: What a class scores that neither mask has, one of `spec.metrics.ABSENT`.

        Raises:
            UsageError: No cell is finished, or none of the finished ones may be believed.
        """
        results = cls.read(store, finished_profile(store, profile), pictures, absent)
        if not results.cells:
            first, *others = [damage.line for damage in results.damaged]
            more = f" (and {len(others)} more like this)" if others else ""
            raise UsageError(f"no finished cell may be believed: {first}{more}")
        return results

    @classmethod
    def read(
        cls, store: Store, name: str, pictures: bool = False, absent: str = "undefined"
    ) -> Results:
        """Read a profile's results, also where no cell is finished.

        Raises:
            UsageError: The declared comparisons are damaged.
        """
        folder = store.layout.profile(name)
        family = Plan(store, name).family()
        believed, scores = check.cases(folder, pictures)
        in_3d = check.volumes(believed)  # it may take further cells out of `believed`
        cases, classes = _cases(believed, _still_believed(believed, scores), absent)
        volumes = None
        if in_3d.places:
            volumes, _of_classes = _cases(believed, in_3d, absent)
        return cls(
            profile=name,
            cells=tuple(Finished(record, cell) for cell, record in believed.cells.items()),
            failures=tuple(_failures(folder.failed())),
            family=family,
            cases=cases,
            classes=classes,
            absent=absent,
            damaged=tuple(believed.damaged),
            looks=looks.read(folder.looks),
            volumes=volumes,
        )

    def looked_at(self, store: Store) -> Results:
        """Write down that these results are reported now, and return them with this report counted.

        Raises:
            UsageError: The file of looks is damaged, or cannot be written.
        """
        seeds: dict[str, set[int]] = {}
        for done in self.records:
            seeds.setdefault(done.column.key, set()).add(done.spec.seed)
        seeds_by_column = {column: tuple(sorted(numbers)) for column, numbers in seeds.items()}
        path = store.layout.profile(self.profile).looks
        try:
            return replace(self, looks=looks.add(path, seeds_by_column))
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}), so this look at results of several "
                "seeds would not be counted; copy the results to a folder of your own, and name "
                "it by --out"
            ) from error

    @property
    def records(self) -> list[Record]:
        """The records of all finished cells."""
        return [cell.record for cell in self.cells]

    @property
    def columns(self) -> dict[str, Column]:
        """The columns by key."""
        columns = (cell.record.column for cell in self.cells)
        return {column.key: column for column in columns}

    @property
    def rows(self) -> dict[str, Row]:
        """The rows by key."""
        rows = chain.from_iterable(cell.record.rows for cell in self.cells)
        return {row.key: row for row in rows}


def _still_believed(believed: Believed, scores: Scores) -> Scores:
    """Return the scores of the cells that are still believed; all, as a rule."""
    import numpy as np

    stay = np.array([cell in believed.cells for cell, _ in scores.places], np.bool_)
    if stay.all():
        return scores
    rows = np.repeat(stay, scores.counts)
    places = [(cell, row) for cell, row in scores.places if cell in believed.cells]
    return Scores(scores.table[rows], places, scores.counts[stay])


def _cases(
    believed: Believed, kept: Scores, absent: str
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the scores of every case under every row, with where they are from (`HEADS`).

    A column that mixes cases in mm and in pixels has no distances.

    Returns:
        One row a case, in which classes are averaged; and the rows of all classes, if there are
        any.
    """
    import pandas as pd

    heads = [_head(believed.cells[cell], row) for cell, row in kept.places]
    head = pd.DataFrame(heads, columns=list(HEADS))
    for name in head.select_dtypes(exclude="number"):
        head[name] = head[name].astype("category")  # a million rows share a handful of words
    repeated = head.loc[head.index.repeat(kept.counts)].reset_index(drop=True)
    class_names = kept.table[CLASS].reset_index(drop=True)
    has_class = class_names.notna()
    scores = filled(defined(kept.table, absent)).reset_index(drop=True)
    table = _without_mixtures(pd.concat([repeated, scores], axis=1))
    if not has_class.any():
        return table, None
    classes = table.assign(absent=absent_classes(kept.table))
    classes[CLASS] = class_names
    return over_classes(table, class_names), classes[has_class]


def _without_mixtures(cases: pd.DataFrame) -> pd.DataFrame:
    """Return scores without the distances of each column that mixes cases in mm and in pixels."""
    units = cases.groupby("column", observed=True)["unit"].nunique()
    mixed = cases["column"].isin(units[units > 1].index)
    if mixed.any():
        of_instances = [name for name in INSTANCES_OF_DISTANCES if name in cases]
        cases.loc[mixed, [*OF_DISTANCES, *of_instances]] = float("nan")
    return cases


def _head(record: Record, row: Row) -> tuple[Any, ...]:
    """Return where a row's cases are from, in the order of `HEADS`."""
    dataset, scheme = record.spec.dataset, record.scheme
    return (
        dataset.name,
        dataset.source,
        dataset.digest,
        row.key,
        scheme.key,
        scheme.folds,
        record.spec.fold,
        record.spec.seed,
        record.column.key,
    )


def _failures(folders: list[CellFolder]) -> Iterator[Failure]:
    """Yield the failures of cells that left an error and were not finished later."""
    for folder in folders:
        dataset, method, label = folder.place
        was_finished_later = folder.path.with_name(label).is_dir()
        error = read_or_empty(folder.error)
        if error and not was_finished_later:
            column = _column_key(dataset, Label.parse(label).scheme)
            yield Failure(column, Spec.parse(method), last_line(error))


def _column_key(dataset: str, scheme: Scheme) -> str:
    """Return the key of a column, as `Column.key` does, from the key of its dataset."""
    return "/".join(filter(None, (dataset, scheme.key)))


def finished_profiles(store: Store) -> list[str]:
    """Return the profiles that have a finished cell, that of the latest record first."""
    newest: dict[str, float] = {}
    for path in store.layout.records():
        profile = store.layout.profile_of(path)
        newest[profile] = max(newest.get(profile, 0), path.stat().st_mtime)
    return sorted(newest, key=lambda name: (-newest[name], name))


def finished_profile(store: Store, wanted: str | None = None) -> str:
    """Return a profile that has a finished cell: the wanted one, by name or file, or the latest.

    Raises:
        UsageError: There is none.
    """
    names = finished_profiles(store)
    if wanted:
        wanted = name_of(wanted)
    if names and wanted in (None, *names):
        return wanted or names[0]
    have = f"finished cells are under: {', '.join(names)}" if names else "run: bench run"
    under = f" under the profile '{wanted}'" if wanted else ""
    raise UsageError(f"{store.root} has no finished cell{under}; {have}")


def _picture(path: Path) -> NDArray[np.uint8] | None:
    """Return a grey picture (H, W), None where it is missing or damaged."""
    import cv2

    if not path.is_file():
        return None
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return None if pixels is None else pixels.astype("uint8")


def _picture_or_error(path: Path) -> NDArray[np.uint8]:
    """Return a grey picture (H, W).

    Raises:
        OSError: It is missing or damaged.
    """
    pixels = _picture(path)
    if pixels is None:
        raise OSError(f"{path} cannot be read")
    return pixels
