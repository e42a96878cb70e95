"""A small finished matrix with every kind of file, that nothing trained."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.splits import Splitting
from bench.engine import metrics
from bench.spec.config import Cell, DatasetRef
from bench.spec.names import DatasetId, Spec
from bench.spec.plain import content_hash
from bench.spec.profile import load_profile
from bench.store.cells import Store
from bench.store.layout import CellFolder
from bench.store.plan import Plan
from tests.written import record_of

PROFILE = load_profile("smoke")
DATASET = DatasetId("mr", "real", "abcdef0123")
METHODS = {"unet": (), "fcn": (), "verdiff:steps=2": ("prior",)}
"""Each with its further rows."""
PATIENTS = [f"p{number}" for number in range(10)]
SIZE = (24, 20)


def finished(root: Path) -> Store:
    """Write a store with a finished cell of each method, and what a run leaves beside them."""
    import cv2

    store, plan = Store(root), Plan(Store(root), PROFILE.name)
    store.open(PROFILE)
    made = cells(store)
    (split,) = plan.splits(DATASET, PATIENTS, Splitting())
    plan.declare(Spec("unet"), "holm", [cell.method for cell in made])
    plan.remember(made)
    tested = [patient for patient, side in split.sides.items() if side == "test"]
    cases = [(f"{patient}_{number}", patient) for patient in tested for number in range(2)]
    rng = np.random.default_rng(3)
    references = {case: disc(rng) for case, _ in cases}
    for cell in made:
        extras = METHODS[cell.method.key]
        with store.at_work(cell) as work:
            for case, mask in references.items():
                store.keep_case(cell, case, mask.astype(np.uint16) * 40_000, mask)
            for extra in ("", *extras):
                rows = []
                work.predictions(extra).mkdir()
                for case, patient in cases:
                    mask = np.roll(references[case], rng.integers(1, 4), 0)
                    path = work.predictions(extra) / f"{case}.png"
                    cv2.imwrite(str(path), mask * 255)
                    row = metrics.score(mask, references[case], None).row()
                    rows.append({"case": case, "patient": patient, **row})
                scored(work, extra, rows)
            rest(work)
            counts = {"train": 14, "validation": 2, "test": len(cases)}
            people = {"train": 7, "validation": 1, "test": len(tested)}
            more = {"cases": counts, "patients": people, "extras": extras}
            store.finish(cell, record_of(cell, **more))
    return store


def cells(store: Store) -> list[Cell]:
    """Return the cells of the matrix."""
    (split,) = Plan(store, PROFILE.name).splits(DATASET, PATIENTS, Splitting())
    sides, ref = content_hash(split.sides), DatasetRef(id=DATASET, cache="")
    wanted = []
    for method in METHODS:
        spec = Spec.parse(method)
        wanted.append(Cell(profile=PROFILE, dataset=ref, method=spec, seed=35, split=sides))
    return wanted


def disc(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a reference: a rectangle somewhere."""
    mask = np.zeros(SIZE, np.uint8)
    top, left = rng.integers(2, 8, 2)
    mask[top : top + 10, left : left + 8] = 1
    return mask


def scored(work: CellFolder, extra: str, rows: list[dict[str, object]]) -> None:
    """Write scores as a cell does."""
    with work.cases(extra).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})


def rest(work: CellFolder) -> None:
    """Write what else a cell leaves."""
    losses = "step,training_loss,validation_loss,seconds\n2,1.5,1.25,0.1\n4,1.25,1.5,0.2\n"
    work.losses.write_text(losses)
    work.initial.write_text(json.dumps({"a.weight": "2x2:0123", "b.weight": "2:4567"}))
    work.weights.write_bytes(bytes(range(64)))
    work.log.write_text("began\n")
    np.savez_compressed(work.stages, first=np.zeros(SIZE, np.float16))


def without_digests(folder: Path) -> None:
    """Take from the records and the declaration what older versions did not write."""
    for path in folder.rglob("*.json"):
        said = json.loads(path.read_text())
        for name in ("digests", "references", "seal", "family"):
            said.pop(name, None)
        path.write_text(json.dumps(said, indent=1) + "\n")
