"""Preparation: its time by volumes and processes, its memory, and reading a prepared case.

Run from the repository's root: ``python tests/perf/bench_prepare.py``. The volumes are simulated,
in the format of VerSe: NIfTI, int16, 160 x 320 x 320 voxels with six vertebrae. Where
`../shared/data/verse014` lies beside the repository, the real CT in it is prepared too.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from timing import ROOT, Row, one_thread, table

from bench.data import cache
from bench.spec import registry
from bench.spec.names import Spec

REAL = ROOT.parent / "shared" / "data" / "verse014"
REAL_LIMIT, READ_LIMIT, LINEAR_LIMIT = 2.0, 1e-3, 1.25
REPEATS = 5
COUNTS = (4, 8, 16)
SHAPE = (160, 320, 320)


def volumes(root: Path, count: int) -> Path:
    """Write some volumes with their masks in VerSe's flat layout."""
    import nibabel

    root.mkdir()
    labels = np.zeros(SHAPE, np.uint8)
    for number in range(6):
        labels[40:120, 120:220, 30 + 45 * number : 60 + 45 * number] = 20 + number
    rng = np.random.default_rng(35)
    voxels = (rng.normal(0, 60, SHAPE) + 400 * (labels > 0)).astype(np.int16)
    for number in range(count):
        for name, what in (
            (f"verse{500 + number}.nii.gz", voxels),
            (f"verse{500 + number}_seg.nii.gz", labels),
        ):
            image = nibabel.Nifti1Image(what, np.eye(4))  # type: ignore[no-untyped-call]
            nibabel.save(image, root / name)  # type: ignore[attr-defined]
    return root


def seconds(root: Path, jobs: int) -> float:
    """Return the seconds of a preparation into an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENCH_CACHE"] = folder
        start = time.perf_counter()
        cache.prepare(registry.dataset(Spec("ct-verse")), root, jobs)
        return time.perf_counter() - start


def growth(folder: Path) -> list[Row]:
    """Return how the cost of a volume changes with their number, with one process and with two."""
    rows = []
    for jobs in (1, 2):
        each = {count: seconds(folder / str(count), jobs) / count for count in COUNTS}
        few, many = each[COUNTS[0]], each[COUNTS[-1]]
        rows.append(
            Row(
                f"a volume of {COUNTS[-1]}, {jobs} process{'es' * (jobs > 1)}",
                f"{many:.2f} s",
                f"a volume of {COUNTS[0]}",
                f"{few:.2f} s",
                f"{many / few:.2f}",
                f"{LINEAR_LIMIT:g}",
                many / few <= LINEAR_LIMIT,
            )
        )
    return rows


def real() -> list[Row]:
    """Return the row of the real CT, none where it is not there."""
    if not REAL.is_dir():
        return []
    spent = statistics.median(seconds(REAL, 1) for _ in range(REPEATS))
    return [
        Row(
            "the real CT verse014, whole preparation",
            f"{spent:.2f} s",
            "limit",
            f"{REAL_LIMIT:g} s",
            f"{spent / REAL_LIMIT:.2f}",
            "1.00",
            spent <= REAL_LIMIT,
        )
    ]


def reading(folder: Path) -> list[Row]:
    """Return the row of reading image and mask of a prepared case of 534 x 768 pixels."""
    import cv2

    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(35)
    for number in range(8):
        cv2.imwrite(
            str(folder / "images" / f"{number}.png"), rng.integers(0, 65535, (768, 534), np.uint16)
        )
        cv2.imwrite(
            str(folder / "masks" / f"{number}.png"),
            255 * (rng.random((768, 534)) > 0.9).astype(np.uint8),
        )
    (folder / "patients.csv").write_text(
        "file,patient\n" + "".join(f"{n}.png,p{n}\n" for n in range(8))
    )
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["BENCH_CACHE"] = scratch
        dataset = cache.load(cache.prepare(registry.dataset(Spec("ct-pri")), folder))
        times = []
        for repeat in range(8 * 20):
            start = time.perf_counter()
            np.array(dataset.image(repeat % 8)), np.array(dataset.mask(repeat % 8))
            times.append(time.perf_counter() - start)
    spent = statistics.median(times)
    return [
        Row(
            "image and mask of a prepared case, 534 x 768, copied",
            f"{1e3 * spent:.3f} ms",
            "limit",
            f"{1e3 * READ_LIMIT:g} ms",
            f"{spent / READ_LIMIT:.2f}",
            "1.00",
            spent <= READ_LIMIT,
        )
    ]


def measure() -> list[Row]:
    """Return all rows."""
    one_thread()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in COUNTS:
            volumes(folder / str(count), count)
        return [*real(), *growth(folder), *reading(folder / "films")]


if __name__ == "__main__":
    print(table(measure()))
