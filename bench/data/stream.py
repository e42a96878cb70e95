"""The shared augmentation stream: the training data of every method that does not train itself.

The stream is a pure function of the seed, the training cases, the profile's batch and augmentation,
and of (step, slot); it gives (case, parameters, pixels). Its data do not depend on the method, the
process, the number of workers, the order of calls, or the step from which an interrupted training
continues. So all methods train on the same data, and the
certificate proves this afterwards.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.data.augment import Parameters, augment, draw
from bench.data.grid import OnGrid
from bench.spec.profile import Augmentation

PIXEL_INTERVAL = 25
"""Steps between two steps whose pixels the certificate hashes, beginning at step 0."""


@dataclass(frozen=True)
class Batch:
    """The data of one training step."""

    step: int
    images: NDArray[np.float32]
    """(B, 1, H, W) in [0, 1]."""
    masks: NDArray[np.float32]
    """(B, 1, H, W) in {0, 1}; or numbers of classes, and `VOID`."""
    draws: bytes
    """SHA-256 over the cases and parameters of the step."""
    pixels: bytes
    """SHA-256 over images and masks, these as bytes, at every PIXEL_INTERVAL-th step, empty at the
    others."""


class Stream:
    """The training data of one dataset's split under one seed.

    Args:
        cases: The prepared dataset on the network grid; native sizes need batch 1.
        indexes: The indexes of the training cases in the dataset.
        seed: The seed of a cell; cells of all methods with this seed share the stream.
        batch: Number of slots of a step: each holds one augmented case.
        most: How far the augmentation may go.
    """

    def __init__(
        self,
        cases: OnGrid,
        indexes: Sequence[int],
        seed: int,
        batch: int,
        most: Augmentation,
    ) -> None:
        self.batch, self.most = batch, most
        self._ids = [cases.case(index).id.encode() for index in indexes]
        digest = hashlib.sha256(f"{cases.dataset.digest}/{seed}/{cases.grid}".encode())
        for name in self._ids:
            digest.update(b"/" + name)
        self._key = np.frombuffer(digest.digest()[:16], dtype=np.uint64)
        self._cases, self._indexes = cases, list(indexes)
        # On a shared grid, images are small; native ones are read where they are needed.
        self._pixels = None if cases.grid is None else list(map(self._read, self._indexes))
        # Threads are a few steps apart, so a few epochs at most are in use at once.
        self._order = lru_cache(maxsize=4)(self._shuffled)

    def _generator(self, domain: int, first: int, second: int = 0) -> np.random.Generator:
        """Return the random generator of one address.

        The address is part of Philox's 256-bit counter, so the random numbers of two addresses
        never overlap.

        Args:
            domain: 0 for the order of an epoch, 1 for the parameters of a slot.
            first: The epoch or the step.
            second: The slot.
        """
        return np.random.Generator(
            np.random.Philox(key=self._key, counter=[0, second, first, domain])
        )

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of the training cases in an epoch."""
        return self._generator(0, epoch).permutation(len(self._ids))

    def _read(self, index: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Return image and mask (h, w) of a case by its index in the dataset."""
        return self._cases.image(index), self._cases.mask(index)

    def _pair(self, case: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Return image and mask (h, w) of a case by its place in `indexes`."""
        if self._pixels is None:
            return self._read(self._indexes[case])
        return self._pixels[case]

    def drawn(self, step: int, slot: int) -> tuple[int, Parameters]:
        """Return the case, as its place in `indexes`, and the parameters of one slot.

        The order of the cases is new in every epoch.
        """
        epoch, place = divmod(step * self.batch + slot, len(self._ids))
        case = int(self._order(epoch)[place])
        height, width = self._cases.size(self._indexes[case])
        return case, draw(self._generator(1, step, slot), height, width, self.most)

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        draws, images, masks = hashlib.sha256(), [], []
        for slot in range(self.batch):
            case, parameters = self.drawn(step, slot)
            image, mask = augment(*self._pair(case), parameters)
            draws.update(self._ids[case] + b"\0" + parameters.to_bytes())
            images.append(image)
            masks.append(mask)
        stacked, targets = np.stack(images)[:, None], np.stack(masks)[:, None]
        pixels = b""
        if step % PIXEL_INTERVAL == 0:
            pixels = hashlib.sha256(stacked.tobytes() + targets.tobytes()).digest()
        return Batch(step, stacked, targets.astype(np.float32), draws.digest(), pixels)

    def batches(
        self, start: int, stop: int, workers: int = 1, ahead: int = 4
    ) -> Generator[Batch, None, None]:
        """Yield the batches of steps [start, stop) in order.

        While the model computes, `workers` threads prepare up to `ahead` further batches.
        """
        with ThreadPoolExecutor(workers, thread_name_prefix="stream") as pool:
            waiting: deque[Future[Batch]] = deque()
            try:
                for step in range(start, stop):
                    waiting.append(pool.submit(self.at, step))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:  # the caller may leave early
                for future in waiting:
                    future.cancel()


@dataclass
class Certificate:
    """Proof of what a run trained on: two SHA-256 chains, of the draws and of the pixels.

    If the heads of the chains of two runs agree at every step that both have, both runs trained on
    the same data up to the last of these steps.
    """

    draws: str = ""
    pixels: str = ""
    steps: int = 0

    def add(self, batch: Batch) -> None:
        """Append a step.

        Raises:
            ValueError: The batch is not that of the next step; the first step is 0.
        """
        if batch.step != self.steps:
            raise ValueError(f"certificate is at step {self.steps}, batch is of step {batch.step}")
        self.draws = hashlib.sha256(bytes.fromhex(self.draws) + batch.draws).hexdigest()
        if batch.pixels:
            self.pixels = hashlib.sha256(bytes.fromhex(self.pixels) + batch.pixels).hexdigest()
        self.steps += 1

    def head(self) -> dict[str, str | int]:
        """Return the heads of both chains after the steps so far, and the number of steps."""
        return {"steps": self.steps, "draws": self.draws, "pixels": self.pixels}
