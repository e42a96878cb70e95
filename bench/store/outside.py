"""Cells whose predictions or scores are from outside: nothing was trained here.

Such a cell lies where a trained one would, and has the same record and scores; what does not
apply to it is unknown. Its `seed` numbers the runs of a method from `SEED` on, so that run 1 of one
method is paired with run 1 of another.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.audit.case_score import CaseScore
from bench.data.readers import limits
from bench.data.twins import doubted, look_alike
from bench.spec import machine, plain, registry
from bench.spec.case import UNION
from bench.spec.config import PROTOCOL, SEED
from bench.spec.errors import UsageError, short_list
from bench.spec.metrics import SCORES, TITLES, WORST
from bench.spec.names import Column, DatasetId, Label, Spec
from bench.store.cells import OUTSIDE, Store, with_digests
from bench.store.layout import CellFolder, write
from bench.store.record import CellSpec, External, Record, hashed, read_hash
from bench.store.scores import CLASS, MISSING, UNKNOWN, write_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST = 80
"""Letters of a method's name."""


@dataclass(frozen=True, kw_only=True)
class OutsideCell:
    """One run of a method on the test cases of a fold, before it is kept."""

    profile: str
    title: str
    """The method's name as it is printed."""
    column: Column
    fold: int
    seed: int
    split: str = ""
    """Content hash of the split whose test side was scored; empty without a split."""
    external: External
    rows: Sequence[Mapping[str, float | int | str]]
    """The lines of `cases.csv`."""
    classes: tuple[str, ...] = ()
    """The classes that are told apart; none where there is one foreground."""
    volumes: bool = False
    """Whether volumes were scored in 3D too."""

    @property
    def method(self) -> str:
        """The method's key."""
        return method_key(self.title)

    @property
    def spec(self) -> CellSpec:
        """What decides the scores: what came from outside stands in the place of options."""
        dataset = self.column.dataset
        of_classes = {"classes": list(self.classes)} if self.classes else {}
        return CellSpec(
            profile={},
            dataset=dataset,
            method=self.method,
            options={
                "title": self.title,
                "kind": self.external.kind,
                "digest": self.external.digest,
                "missing": list(self.external.missing),
                **of_classes,
            },
            seed=self.seed,
            fold=self.fold,
            folds=self.column.scheme.folds,
            split=self.split,
            scheme=self.column.scheme.name,
            precision="unknown",
            volumes=self.volumes,
            protocol=PROTOCOL,
        )

    @property
    def hash(self) -> str:
        """Content hash of the spec."""
        return plain.content_hash(hashed(plain.builtins(self.spec)))

    @property
    def record(self) -> Record:
        """The record."""
        patients = {str(row["patient"]) for row in self.rows}
        cases = {str(row["case"]) for row in self.rows}
        return Record(
            spec=self.spec,
            hash=self.hash,
            source=self.column.dataset.source,
            title=self.title,
            summary="masks or scores from outside, which were not trained here",
            deviations=("unknown",),
            grid="unknown",
            external=self.external,
            certificate=None,
            training=None,
            parameters=None,
            idle_parameters=None,
            classes=self.classes,
            cases={"test": len(cases)},
            patients={"test": len(patients)},
            versions=_versions(),
            revision=_revision(),
            device="unknown",
            peak_memory_bytes=None,
            peak_device_memory_bytes=None,
            multiply_adds=None,
            timings=None,
        )

    def folder(self, store: Store) -> CellFolder:
        """Return where the finished cell lies."""
        label = Label(self.fold, self.seed, self.column.scheme).key
        profile = store.layout.profile(self.profile)
        return profile.cell(self.column.dataset.folder, self.method, label)


@cache
def _revision() -> str | None:
    """Return the revision of the source, asked for once for all cells."""
    return machine.revision()


@cache
def _versions() -> dict[str, str]:
    """Return the versions of the packages, looked up once for all cells."""
    return machine.versions()


def method_key(title: str) -> str:
    """Return the key of a method from outside: its name in letters that paths may hold.

    Raises:
        UsageError: Nothing is left of the name, or it holds what cannot be printed.
    """
    if not title.isprintable() or len(title) > LONGEST:
        raise UsageError(
            f"method {title[:LONGEST]!r}: expected a name of {LONGEST} printable characters at most"
        )
    key = re.sub(r"[^A-Za-z0-9._+-]+", "-", title).strip("-._+")
    if not key or ".." in key:
        raise UsageError(f"method {title!r}: expected a name with letters or digits; rename it")
    if key in registry.names(registry.METHODS):
        return f"{key}-outside"
    return key


def keep(
    store: Store, cell: OutsideCell, masks: Callable[[CellFolder], None] = lambda work: None
) -> bool:
    """Keep a cell; its folder appears whole, by one rename.

    Args:
        store: The results folder, opened.
        cell: The cell.
        masks: Writes the predicted masks into the folder that it is given.

    Returns:
        Whether it is new: the same cell may lie there already.

    Raises:
        UsageError: Another cell of this name lies there.
    """
    if is_kept(store, cell):
        return False
    folder = cell.folder(store)
    work = folder.working
    shutil.rmtree(work.path, ignore_errors=True)
    work.path.mkdir(parents=True)
    masks(work)
    write_scores(work.cases(), cell.rows)
    tested = dict.fromkeys(str(row["case"]) for row in cell.rows)
    write(work.record, with_digests(cell.record, work, tested).to_json())
    work.path.rename(folder.path)
    return True


def is_kept(store: Store, cell: OutsideCell) -> bool:
    """Return whether the same cell lies there already.

    Raises:
        UsageError: Another cell of this name lies there.
    """
    folder = cell.folder(store)
    if not folder.finished:
        return False
    if read_hash(folder) == cell.hash:
        return True
    raise UsageError(
        f"{folder.path} holds other results of {cell.title}; "
        "give this one another name, choose another --out, or remove the folder"
    )


def cells_of(scores: Sequence[CaseScore], origins: Mapping[str, str]) -> list[OutsideCell]:
    """Return a cell for each method, dataset and run of scores that others computed.

    Args:
        scores: Complete ones, as `bench.audit.complete.check` returns them.
        origins: The file of each method.
    """
    by_run: dict[tuple[str, str, str], list[CaseScore]] = {}
    cases: dict[str, dict[str, str]] = {}
    runs: dict[str, dict[str, None]] = {}
    for score in scores:
        by_run.setdefault((score.method, score.dataset, score.run), []).append(score)
        cases.setdefault(score.dataset, {})[score.case] = score.patient
        runs.setdefault(score.dataset, {})[score.run] = None
    alike = look_alike(list(cases), "datasets")
    cells = []
    for (method, dataset, run), scores_of_run in by_run.items():
        digest = plain.content_hash(cases[dataset])
        identity = DatasetId(_safe(dataset), "external", digest)
        known: set[str] = set()
        for score in scores_of_run:
            known |= score.values.keys()
        classes = tuple(dict.fromkeys(score.label for score in scores_of_run if score.label))
        rows = _rows(scores_of_run, known, classes)
        missing = [score.case for score in scores_of_run if score.empty == MISSING]
        external = External(
            kind="scores",
            origin=origins[method],
            digest=plain.content_hash([_hashed(row) for row in rows]),
            missing=tuple(dict.fromkeys(missing)),
            remarks=(
                *_of_empty(scores_of_run),
                *_of_classes_without(scores_of_run, known),
                *doubted(list(cases[dataset].values())),
                *alike,
            ),
        )
        cells.append(
            OutsideCell(
                profile=OUTSIDE,
                title=method,
                column=Column(identity),
                fold=0,
                seed=SEED + sorted(runs[dataset]).index(run),
                external=external,
                rows=rows,
                classes=classes,
            )
        )
    return cells


def _of_empty(scores: Sequence[CaseScore]) -> tuple[str, ...]:
    """Return what to tell of cases that score 1 though their file gives them no score."""
    cases = [score.case for score in scores if score.empty == "both" and score.values]
    if not cases:
        return ()
    return (
        f"{short_list(cases)} of {scores[0].method} have foreground in neither mask and score 1; "
        "nnU-Net leaves such cases out of its means",
    )


def _of_classes_without(scores: Sequence[CaseScore], known: Collection[str]) -> Iterator[str]:
    """Yield what to tell of distances of a class that a file lacks: others stand for the case."""
    for metric in filter(known.__contains__, WORST):
        cases = []
        for score in scores:
            if score.label and score.empty != "both" and metric not in score.values:
                cases.append(f"{score.case}, {score.label}")
        if cases:
            yield (
                f"{short_list(cases, what='score')} of {scores[0].method} left out of "
                f"{TITLES[metric]}, for their file has no number there (empty or inf); the mean of "
                "such a case is over its other classes"
            )


def _rows(
    scores: Sequence[CaseScore], known: Collection[str], classes: Sequence[str]
) -> list[dict[str, float | int | str]]:
    """Return the lines of `cases.csv` in order of the cases; all classes together are unknown.

    Raises:
        UsageError: A case lacks a class.
    """
    if not classes:
        return [_row(score, known) for score in sorted(scores, key=lambda score: score.case)]
    by_case: dict[str, dict[str, CaseScore]] = {}
    for score in scores:
        by_case.setdefault(score.case, {})[score.label] = score
    rows = []
    for case in sorted(by_case):
        by_class = by_case[case]
        any_class = next(iter(by_class.values()))
        together = replace(any_class, values={}, empty=UNKNOWN)
        for name, score in {UNION: together, **{name: by_class[name] for name in classes}}.items():
            row = _row(score, known)
            # The class stands after case and patient, as in files of cells that were trained here.
            about = {"case": row.pop("case"), "patient": row.pop("patient"), CLASS: name}
            rows.append({**about, **row})
    return rows


def _safe(dataset: str) -> str:
    """Return a dataset's name in letters that paths, HTML and LaTeX may hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("-.") or "scores"


def _row(score: CaseScore, known: Collection[str]) -> dict[str, float | int | str]:
    """Return the line of `cases.csv`, with the metrics that are known of any case."""
    row: dict[str, float | int | str] = {"case": score.case, "patient": score.patient}
    for name in SCORES:
        value = score.values.get(name)
        if name in known:
            row[name] = math.nan if value is None else value.value
    return {**row, "unit": score.unit, "empty": score.empty}


def _hashed(row: Mapping[str, float | int | str]) -> list[str]:
    """Return the values of a line in the form in which they are hashed."""
    return [repr(value) for value in row.values()]


def spec_of(title: str) -> Spec:
    """Return the spec of a method from outside, by which comparisons are declared.

    Raises:
        UsageError: As `method_key`.
    """
    return Spec(method_key(title))


def write_mask(
    folder: CellFolder, case: str, mask: NDArray[np.bool_] | NDArray[np.uint8], shown: int
) -> None:
    """Write a predicted mask: (H, W) as a picture, (D, H, W) packed, with a picture of one slice.

    Numbers of classes are kept as they are.

    Args:
        folder: The cell's; its folder of predictions is there.
        case: The case.
        mask: The mask.
        shown: The slice that is shown of a volume.
    """
    import cv2

    picture = mask if mask.ndim == 2 else mask[shown]
    place = folder.predictions()
    path = place / f"{case}.png"
    if mask.dtype == "bool":
        written = cv2.imwrite(
            str(path), picture.astype("uint8") * 255, [cv2.IMWRITE_PNG_BILEVEL, 1]
        )
    else:
        written = cv2.imwrite(str(path), picture)
    if not written:
        raise OSError(f"{path} could not be written")
    if mask.ndim == 3:
        pack(folder.volume(case), mask)


def unpack(path: Path) -> NDArray[np.bool_] | NDArray[np.uint8] | None:
    """Return a volume (D, H, W) as `pack` wrote it; None where it cannot be read."""
    import numpy as np

    try:
        limits.check_archive(path)
        with np.load(path, allow_pickle=False) as kept:
            if "labels" in kept:
                labels: NDArray[np.uint8] = kept["labels"]
                return labels if labels.dtype == np.uint8 else None
            shape = tuple(map(int, kept["shape"]))
            bits = np.unpackbits(kept["bits"], count=int(np.prod(shape)))
    except Exception:  # of damaged bytes, zlib, zipfile and NumPy raise almost anything
        return None
    return bits.reshape(shape).view(np.bool_)


def pack(path: Path, mask: NDArray[np.bool_] | NDArray[np.uint8]) -> None:
    """Write a volume (D, H, W): a mask eight voxels a byte, or numbers of classes."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    if mask.dtype != np.bool_:
        np.savez_compressed(path, labels=mask)
        return
    np.savez_compressed(path, bits=np.packbits(mask), shape=np.array(mask.shape))
