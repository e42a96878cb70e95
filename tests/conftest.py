"""Shared by all tests: a cache and a network that no test can leave behind or reach."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
from collections.abc import Callable
from functools import cache, partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import typer.main
import typer.testing
from numpy.typing import NDArray
from PIL import Image

from bench.launch.local import preload
from bench.tuning import workers
from tests.user import ROOT, bench, pictures, plugin  # noqa: F401 - fixtures of all tests

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny networks: threads that wait for each other only cost
# The server that forks cells imports before it is told where: not what is installed elsewhere.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.getenv("PYTHONPATH"))))

NEEDS = (
    "nnunetv2.imageio.reader_writer_registry",
    "nnunetv2.inference.predict_from_raw_data",
    "segment_anything",
    "timm",
    "torchvision.models.segmentation",
    "verdiff",
)
"""What methods need that is slow to import."""
Once = Callable[[str, Callable[[Path], object]], Path]
SPIDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "spider-t2"


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over what was imported: PyTorch takes it half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Keep prepared datasets of tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("BENCH_DATA", raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_command() -> Any:
    """Build the tree of commands once; Typer takes a tenth of a second for it in each call."""
    once = cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", once)
        patch.setattr(typer.testing, "_get_command", once)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_server(_own_cache: object) -> None:
    """Start the server that forks cells, trials and readers: it loads all that they need, once.

    Else it would start with the first of them, and load what that one needs alone.
    """
    preload([*workers.NEEDS, *NEEDS])
    forkserver.ensure_running()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every attempt to open a connection fail loudly."""

    def refuse(*args: Any, **_: Any) -> None:
        raise AssertionError(f"a connection was attempted: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def picture(
    seed: int, height: int = 60, width: int = 44
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a noisy image with bright ellipses, and the ellipses as SPIDER labels 1 to 3."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint8)
    for label in (1, 2, 3):
        centre = (int(width * rng.uniform(0.4, 0.6)), int(height * label / 4))
        cv2.ellipse(
            labels, centre, (width // 5, height // 12), rng.uniform(-20, 20), 0, 360, label, -1
        )
    image = np.clip(60 + 90 * (labels > 0) + rng.normal(0, 12, labels.shape), 0, 255).astype(
        np.uint8
    )
    return image, labels


def make_slices(data: Path, patients: int = 6, each: int = 2, **columns: Any) -> Path:
    """Make a data directory with `mr/` as slice folders; the same pixels each time."""
    root = data / "mr"
    rows = []
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for number in range(patients * each):
        image, labels = picture(number)
        name = f"{number // each + 1}_{number % each}.png"
        Image.fromarray(image).save(root / "images" / name)
        Image.fromarray(labels).save(root / "labels" / name)
        rows.append({"file": name, "volume": number // each + 1, **columns})
    pd.DataFrame(rows).to_csv(root / "index.csv", index=False)
    return data


@pytest.fixture
def slices(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of data directories with `mr/` in the layout of slice folders."""
    return partial(make_slices, tmp_path / "data")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return what makes a folder once, for all tests and all workers; nobody may change it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, part = root / name, root / f"{name}.part"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                part.mkdir()
                fill(part)
                part.rename(folder)
        return folder

    return make


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache of this test alone: others share one, where equal data are prepared once."""
    folder = tmp_path / "own-cache"
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def spider(tmp_path: Path) -> Path:
    """Return a data directory with the real MR slices, where they lie beside the project."""
    if not SPIDER.is_dir():
        pytest.skip("the real MR slices are not beside this checkout (../shared/data/spider-t2)")
    (tmp_path / "mr").symlink_to(SPIDER)
    return tmp_path
