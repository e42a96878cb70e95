"""The finished cells of a profile, read one time: what a report is made of."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.spec.errors import UsageError
from bench.spec.metrics import DIAGONAL, FILLED, OF_DISTANCES, SCORES, WORST
from bench.spec.names import Column, DatasetId, Label, Row, Scheme, Spec
from bench.store import looks, record
from bench.store.cells import Store
from bench.store.layout import CellFolder, last_line, read_or_empty
from bench.store.looks import Look
from bench.store.plan import Family, Plan
from bench.store.record import Record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

KEYS = ("case", "patient")
"""The columns that every file of scores has, as text."""
MISSING = "missing"
"""Which mask is empty, where there is no prediction at all and it counts as an empty one."""
ONE_EMPTY = ("truth", "prediction", MISSING)
"""What the column `empty` says where distances do not exist."""
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
"""Where a case is from; `method` is the row's key and `column` the column's."""


@dataclass(frozen=True)
class Finished:
    """One finished cell."""

    record: Record
    folder: CellFolder

    def scores(self, extra: str = "") -> pd.DataFrame:
        """Return the scores of the test cases: case, patient, `SCORES` and unit.

        Raises:
            UsageError: The file is damaged.
        """
        return read_scores(self.folder.cases(extra))

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
        """Return image (H, W) in 8 bit and reference of a test case; None of older results.

        The image is black where a reference came without one. Of a volume it is one slice.
        """
        image = _read_picture(self.folder.image(case))
        reference = _read_picture(self.folder.reference(case))
        if reference is None or (image is None and not self.record.outside):
            return None
        if image is None:
            image = reference * 0
        return image, reference > 0

    def prediction(self, case: str, extra: str = "") -> NDArray[np.bool_]:
        """Return the predicted mask (H, W) of a test case.

        Raises:
            OSError: The file is missing or damaged.
        """
        path = self.folder.predictions(extra) / f"{case}.png"
        mask = _read_picture(path)
        if mask is None:
            raise OSError(f"{path} cannot be read")
        prediction: NDArray[np.bool_] = mask > 0
        return prediction


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
        """`real` or `phantom`."""
        return DatasetId.source_in(self.column)


@dataclass(frozen=True)
class Results:
    """All finished and failed cells of a profile."""

    profile: str
    cells: tuple[Finished, ...]
    failures: tuple[Failure, ...]
    family: Family | None
    """The comparisons that were declared."""
    looks: tuple[Look, ...] = ()
    """The reports of several seeds so far."""

    @classmethod
    def load(cls, store: Store, profile: str | None = None) -> Results:
        """Read a profile's results; the latest where none is named.

        Raises:
            UsageError: No cell is finished, or a record is damaged.
        """
        return cls.read(store, finished_profile(store, profile))

    @classmethod
    def read(cls, store: Store, name: str) -> Results:
        """Read a profile's results, though no cell may be finished.

        Raises:
            UsageError: A record is damaged.
        """
        folder = store.layout.profile(name)
        cells = tuple(Finished(record.read(cell), cell) for cell in folder.finished())
        return cls(
            profile=name,
            cells=cells,
            failures=tuple(_failures(folder.failed())),
            family=Plan(store, name).family(),
            looks=looks.read(folder.looks),
        )

    def looked_at(self, store: Store) -> Results:
        """Write down that these results are reported, and return them with this look.

        Raises:
            UsageError: The file of looks is damaged, or cannot be written.
        """
        seeds: dict[str, set[int]] = {}
        for done in self.records:
            seeds.setdefault(done.column.key, set()).add(done.spec.seed)
        under = {column: tuple(sorted(numbers)) for column, numbers in seeds.items()}
        path = store.layout.profile(self.profile).looks
        try:
            return replace(self, looks=looks.add(path, under))
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

    @cached_property
    def cases(self) -> pd.DataFrame:
        """The scores of every case under every row, with where they are from (`HEADS`).

        A column that mixes cases in mm and in pixels has no distances.

        Raises:
            UsageError: A file of scores is damaged.
        """
        import pandas as pd

        frames, heads = [], []
        for cell in self.cells:
            for row in cell.record.rows:
                frames.append(cell.scores(row.extra))
                heads.append(_head(cell.record, row))
        head = pd.DataFrame(heads, columns=list(HEADS))
        for name in head.select_dtypes(exclude="number"):
            head[name] = head[name].astype("category")  # a million rows share a handful of words
        counts = [len(frame) for frame in frames]
        repeated = head.loc[head.index.repeat(counts)].reset_index(drop=True)
        cases = pd.concat([repeated, pd.concat(frames, ignore_index=True)], axis=1)
        return _without_mixtures(cases)


def _without_mixtures(cases: pd.DataFrame) -> pd.DataFrame:
    """Return scores in which a column of cases in mm and in pixels has no distances."""
    units = cases.groupby("column", observed=True)["unit"].nunique()
    mixed = cases["column"].isin(units[units > 1].index)
    if mixed.any():
        cases.loc[mixed, list(OF_DISTANCES)] = float("nan")
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
    """Yield the failures among the folders of unfinished cells."""
    for folder in folders:
        dataset, method, label = folder.place
        finished = CellFolder(folder.path.with_suffix("")).path.is_dir()
        error = read_or_empty(folder.error)
        if error and not finished:
            column = _column_key(dataset, Label.parse(label).scheme)
            yield Failure(column, Spec.parse(method), last_line(error))


def _column_key(dataset: str, scheme: Scheme) -> str:
    return "/".join(filter(None, (dataset, scheme.key)))


def finished_profiles(store: Store) -> list[str]:
    """Return the profiles that have a finished cell, the latest first."""
    newest: dict[str, float] = {}
    for path in store.layout.records():
        profile = store.layout.profile_of(path)
        newest[profile] = max(newest.get(profile, 0), path.stat().st_mtime)
    return sorted(newest, key=lambda name: (-newest[name], name))


def finished_profile(store: Store, wanted: str | None = None) -> str:
    """Return a profile that has a finished cell: the wanted one, or the latest.

    Raises:
        UsageError: There is none.
    """
    names = finished_profiles(store)
    if names and wanted in (None, *names):
        return wanted or names[0]
    have = f"finished cells are under: {', '.join(names)}" if names else "run: bench run"
    under = f" under the profile '{wanted}'" if wanted else ""
    raise UsageError(f"{store.root} has no finished cell{under}; {have}")


def read_scores(path: Path) -> pd.DataFrame:
    """Read a file of scores: case, patient, `SCORES` and unit; what it lacks is missing.

    Where one mask alone is empty, the image's diagonal stands for the distances (`WORST`).

    Raises:
        UsageError: The file is damaged.
    """
    import pandas as pd

    wanted = [*KEYS, *SCORES, "unit", "empty", DIAGONAL]
    numbers = [*SCORES, DIAGONAL]
    try:
        frame = pd.read_csv(
            path,
            usecols=lambda name: name in wanted,
            dtype={**dict.fromkeys(KEYS, str), **dict.fromkeys(numbers, float)},
            keep_default_na=False,
            na_values={name: [""] for name in numbers},
        )
        if missing := [name for name in KEYS if name not in frame]:
            raise ValueError(f"no column {missing[0]}")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({error}); remove its folder and run again") from error
    return _filled(frame.reindex(columns=wanted))


def _filled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return scores in which the diagonal stands for distances that do not exist."""
    filled = frame["empty"].isin(ONE_EMPTY) & frame[DIAGONAL].notna()
    for name in WORST:
        frame[name] = frame[name].where(~filled, frame[DIAGONAL])
    return frame.drop(columns=["empty", DIAGONAL]).assign(**{FILLED: filled})


def write_scores(path: Path, rows: Sequence[Mapping[str, float | int | str]]) -> None:
    """Write a file of scores: floats with nine digits, and NaN as an empty text."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _text(value) for name, value in row.items()})


def _text(value: float | int | str) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return ""
    return f"{value:.9g}"


def read_losses(folder: CellFolder) -> list[dict[str, float]]:
    """Return the rows of a training log; none where there is no log."""
    text = read_or_empty(folder.losses)
    rows = csv.DictReader(io.StringIO(text))
    return [{name: float(value) for name, value in row.items()} for row in rows]


def _read_picture(path: Path) -> NDArray[np.uint8] | None:
    """Return a grey picture (H, W), None where it is missing or damaged."""
    import cv2

    if not path.is_file():
        return None
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return None if pixels is None else pixels.astype("uint8")
