"""Preparation: volumes and their processes, small files against a bare loop, reading a case.

Run from the repository's root: ``python tests/perf/bench_prepare.py``. The volumes are simulated,
in the format of VerSe: NIfTI, int16, 160 x 320 x 320 voxels with six vertebrae. Where
`../shared/data/verse014` lies beside the repository, the real CT in it is prepared too.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from PIL import Image
from timing import ROOT, Row, one_thread, table

from bench.data import cache
from bench.spec import registry
from bench.spec.names import Spec

REAL = ROOT.parent / "shared" / "data" / "verse014"
REAL_LIMIT, READ_LIMIT, LINEAR_LIMIT = 2.0, 1e-3, 1.25
BARE_LIMIT, AGAIN_LIMIT = 1.2, 2.0
PAIRS, AT_ONCE, MANY = 2000, 20, 10_000
"""Pairs of small files, how many of them a process of the bare loop is given, and the number of
files for which the second preparation has its limit."""
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


def _draw(work: tuple[Path, int]) -> None:
    """Write an image with noise and its mask, 512 x 512, as PNG."""
    import cv2

    root, number = work
    rng = np.random.default_rng(number)
    smooth = cv2.resize(rng.random((32, 32), np.float32) * 255, (512, 512))
    image = (smooth + rng.normal(0, 6, (512, 512))).clip(0, 255).astype(np.uint8)
    mask = 255 * (cv2.resize(rng.random((12, 12), np.float32), (512, 512)) > 0.6).astype(np.uint8)
    for kind, pixels in (("images", image), ("masks", mask)):
        Image.fromarray(pixels).save(root / kind / f"p{number // 10}_{number}.png")


def _decode(files: tuple[Path, ...]) -> int:
    """Decode files by Pillow and NumPy, and do nothing with them."""
    return sum(int(np.asarray(Image.open(path))[0, 0]) for path in files)


def _keep(work: tuple[tuple[Path, ...], Path]) -> None:
    """Decode files, and digest and write their pixels as the cache keeps them: 16 and 8 bits."""
    files, folder = work
    image, mask = (np.asarray(Image.open(path)) for path in files)
    kept = image.astype(np.uint16).tobytes(), mask.tobytes()
    digest = hashlib.sha256()
    with (folder / files[0].stem).open("wb") as file:
        for pixels in kept:
            digest.update(pixels)
            file.write(pixels)


def small_files(root: Path) -> list[Row]:
    """Return the rows of preparing pairs of PNG, and of finding that none has changed."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, context) as pool:
        list(pool.map(_draw, [(root, number) for number in range(PAIRS)], chunksize=AT_ONCE))
    adapter = registry.dataset(Spec.parse(f"{root}:pattern={{patient}}_*"))
    pairs = [item.files for item in adapter.items(root)]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with ProcessPoolExecutor(2, context) as pool:
            list(pool.map(_decode, pairs, chunksize=AT_ONCE))
        bare = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            with ProcessPoolExecutor(2, context) as pool:
                work = [(files, Path(folder)) for files in pairs]
                list(pool.map(_keep, work, chunksize=AT_ONCE))
            least = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            os.environ["BENCH_CACHE"] = folder
            start = time.perf_counter()
            cache.prepare(adapter, root, 2)
            prepared = time.perf_counter() - start
            start = time.perf_counter()
            cache.prepare(adapter, root, 2)
            again = (time.perf_counter() - start) * MANY / (2 * PAIRS)
        times.append((prepared / bare, prepared, bare, least, again))
    ratio, prepared, bare, least, again = sorted(times)[1]
    return [
        Row(
            "decoding, digest and writing alone, in the same processes",
            f"{least:.2f} s",
            "a bare loop of Pillow and NumPy",
            f"{bare:.2f} s",
            f"{least / bare:.2f}",
            "-",
            True,
        ),
        Row(
            f"{PAIRS} pairs of PNG, 512 x 512, two processes",
            f"{prepared:.2f} s",
            "a bare loop of Pillow and NumPy",
            f"{bare:.2f} s",
            f"{ratio:.2f}",
            f"{BARE_LIMIT:g}",
            ratio <= BARE_LIMIT,
        ),
        Row(
            f"the same again, nothing changed, by {MANY} files",
            f"{again:.2f} s",
            "limit",
            f"{AGAIN_LIMIT:g} s",
            f"{again / AGAIN_LIMIT:.2f}",
            "1.00",
            again <= AGAIN_LIMIT,
        ),
    ]


def measure() -> list[Row]:
    """Return all rows."""
    one_thread()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in COUNTS:
            volumes(folder / str(count), count)
        small = small_files(folder / "small")
        return [*real(), *growth(folder), *small, *reading(folder / "films")]


if __name__ == "__main__":
    print(table(measure()))
