from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from bench.data.augment import PAPER
from bench.data.grid import OnGrid
from bench.data.stream import PIXEL_INTERVAL, Certificate, Stream
from bench.spec.case import Case, Dataset
from tests.conftest import picture

CASES, STEPS = 7, 30


def dataset(digest: str = "d") -> Dataset:
    pairs = [picture(i) for i in range(CASES)]
    height, width = pairs[0][0].shape
    return Dataset(
        "mr",
        "real",
        digest,
        tuple(Case(f"c{i}", f"p{i}", height, width, None) for i in range(CASES)),
        np.concatenate([image.ravel().astype(np.uint16) * 257 for image, _ in pairs]),
        np.concatenate([(labels > 0).ravel().astype(np.uint8) for _, labels in pairs]),
        tuple(i * height * width for i in range(CASES)),
    )


def stream(
    seed: int = 35, batch: int = 2, digest: str = "d", grid: tuple[int, int] | None = None
) -> Stream:
    return Stream(OnGrid(dataset(digest), grid), range(CASES), seed, batch, PAPER)


def fingerprint(batches: list) -> str:
    digest = hashlib.sha256()
    for batch in sorted(batches, key=lambda b: b.step):
        digest.update(batch.draws + batch.images.tobytes() + batch.masks.tobytes() + batch.pixels)
    return digest.hexdigest()


@pytest.fixture(scope="module")
def reference() -> str:
    return fingerprint([stream().at(step) for step in range(STEPS)])


def test_order_of_calls_does_not_matter(reference: str) -> None:
    one = stream()
    assert fingerprint([one.at(step) for step in reversed(range(STEPS))]) == reference


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (2, 4), (4, 9)])
def test_number_of_workers_does_not_matter(reference: str, workers: int, ahead: int) -> None:
    batches = list(stream().batches(0, STEPS, workers, ahead))
    assert [b.step for b in batches] == list(range(STEPS))
    assert fingerprint(batches) == reference


def test_point_of_resumption_does_not_matter(reference: str) -> None:
    first, second = list(stream().batches(0, 11)), list(stream().batches(11, STEPS))
    assert fingerprint(first + second) == reference


def test_another_process_gives_the_same(reference: str) -> None:
    code = (
        "from tests.data.test_stream import *\n"
        "print(fingerprint([stream().at(step) for step in range(STEPS)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == reference


def test_leaving_early_stops_the_workers(reference: str) -> None:
    running = stream().batches(0, 10_000)
    taken = [next(running) for _ in range(3)]
    assert any(thread.name.startswith("stream") for thread in threading.enumerate())
    running.close()
    assert [b.step for b in taken] == [0, 1, 2]
    assert not any(thread.name.startswith("stream") for thread in threading.enumerate())


@pytest.mark.parametrize("other", [{"seed": 36}, {"digest": "e"}, {"grid": (64, 48)}])
def test_seed_dataset_and_grid_each_change_everything(reference: str, other: dict) -> None:
    assert fingerprint([stream(**other).at(step) for step in range(STEPS)]) != reference


def test_every_epoch_shows_each_case_once_in_a_new_order() -> None:
    one = stream(batch=1)
    epochs = [[one.drawn(e * CASES + i, 0)[0] for i in range(CASES)] for e in range(4)]
    assert all(sorted(epoch) == list(range(CASES)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_slots_do_not_repeat_parameters() -> None:
    one = stream(batch=3)
    drawn = [one.drawn(step, slot)[1].to_bytes() for step in range(20) for slot in range(3)]
    assert len(set(drawn)) == len(drawn)


def test_batches_are_what_methods_expect() -> None:
    batch = stream(grid=(64, 48)).at(0)
    assert batch.images.shape == batch.masks.shape == (2, 1, 64, 48)
    assert batch.images.dtype == batch.masks.dtype == np.float32
    assert batch.images.min() >= 0
    assert batch.images.max() <= 1
    assert set(np.unique(batch.masks)) <= {0, 1}


def test_certificate_notices_one_other_draw_and_one_other_pixel() -> None:
    batches = [stream().at(step) for step in range(PIXEL_INTERVAL + 1)]

    def chain(changed: list) -> dict:
        certificate = Certificate()
        for batch in changed:
            certificate.add(batch)
        return certificate.head()

    truth = chain(batches)
    other_draw = [*batches[:3], replace(batches[3], draws=b"x" * 32), *batches[4:]]
    other_pixel = [*batches[:-1], replace(batches[-1], pixels=b"x" * 32)]
    assert chain(other_draw)["draws"] != truth["draws"]
    assert chain(other_draw)["pixels"] == truth["pixels"]
    assert chain(other_pixel)["pixels"] != truth["pixels"]


def test_certificate_resumes_from_its_head() -> None:
    whole = Certificate()
    for batch in stream().batches(0, STEPS):
        whole.add(batch)
    part = Certificate()
    for batch in stream().batches(0, 12):
        part.add(batch)
    again = Certificate(**part.head())  # type: ignore[arg-type]
    for batch in stream().batches(12, STEPS):
        again.add(batch)
    assert again.head() == whole.head()


def test_certificate_refuses_a_gap() -> None:
    with pytest.raises(ValueError, match="at step 0, batch is of step 3"):
        Certificate().add(stream().at(3))
