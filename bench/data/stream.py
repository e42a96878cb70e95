"""The shared augmentation stream, on which every method trains and on nothing else.

It is a pure function: (seed, dataset, step, slot) -> (case, parameters, pixels). So all methods see
the same data, and the certificate proves it afterwards. Nothing here depends on the method, the
process, the number of workers, the order of calls or the point of resumption.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.data.augment import Parameters, augment, draw
from bench.data.grid import OnGrid

PIXEL_INTERVAL = 25
"""Every how many steps the certificate hashes the pixels themselves, step 0 first."""


@dataclass(frozen=True)
class Batch:
    """What one step trains on."""

    step: int
    images: NDArray[np.float32]
    """(B, 1, H, W) in [0, 1]."""
    masks: NDArray[np.float32]
    """(B, 1, H, W) in {0, 1}."""
    draws: bytes
    """SHA-256 over the cases and parameters of the step."""
    pixels: bytes
    """SHA-256 over images and masks at every PIXEL_INTERVAL-th step, empty at the others."""


class Stream:
    """The training data of one dataset's split under one seed.

    Args:
        cases: The prepared dataset on the network grid; native sizes need batch 1.
        indexes: Its training cases.
        seed: The shared augmentation seed.
        batch: Slots of a step.
    """

    def __init__(self, cases: OnGrid, indexes: Sequence[int], seed: int, batch: int) -> None:
        self.batch = batch
        self._ids = [cases.case(index).id.encode() for index in indexes]
        digest = hashlib.sha256(f"{cases.dataset.digest}/{seed}/{cases.grid}".encode())
        for name in self._ids:
            digest.update(b"/" + name)
        self._key = np.frombuffer(digest.digest()[:16], dtype=np.uint64)
        self._pixels = [(cases.image(index), cases.mask(index)) for index in indexes]
        self._order = lru_cache(maxsize=4)(self._shuffled)

    def _generator(self, domain: int, first: int, second: int = 0) -> np.random.Generator:
        """Return the generator of one address, by Philox's 256-bit counter.

        Addresses of different domains never overlap.
        """
        return np.random.Generator(
            np.random.Philox(key=self._key, counter=[0, second, first, domain])
        )

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return self._generator(0, epoch).permutation(len(self._ids))

    def drawn(self, step: int, slot: int) -> tuple[int, Parameters]:
        """Return the case and the parameters of one slot; the order is new in every epoch.

        The case is its place in `indexes`.
        """
        epoch, place = divmod(step * self.batch + slot, len(self._ids))
        case = int(self._order(epoch)[place])
        height, width = self._pixels[case][0].shape
        return case, draw(self._generator(1, step, slot), height, width)

    def at(self, step: int) -> Batch:
        """Return the batch of a step."""
        draws, images, masks = hashlib.sha256(), [], []
        for slot in range(self.batch):
            case, parameters = self.drawn(step, slot)
            image, mask = augment(*self._pixels[case], parameters)
            draws.update(self._ids[case] + b"\0" + parameters.to_bytes())
            images.append(image)
            masks.append(mask)
        stacked, targets = np.stack(images)[:, None], np.stack(masks)[:, None]
        seen = b""
        if step % PIXEL_INTERVAL == 0:
            seen = hashlib.sha256(stacked.tobytes() + targets.tobytes()).digest()
        return Batch(step, stacked, targets.astype(np.float32), draws.digest(), seen)

    def batches(self, start: int, stop: int, workers: int = 1, ahead: int = 4) -> Iterator[Batch]:
        """Yield the batches of steps [start, stop) in order.

        Threads prepare them ahead while the model computes.
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
            finally:
                for future in waiting:
                    future.cancel()


@dataclass
class Certificate:
    """Proof of what a run trained on: two SHA-256 chains, of the draws and of the pixels.

    Two runs saw the same data as far as both went if the chains' heads agree at every step
    that both have.
    """

    draws: str = ""
    pixels: str = ""
    steps: int = 0

    def add(self, batch: Batch) -> None:
        """Append a step; steps come in order from 0."""
        if batch.step != self.steps:
            raise ValueError(f"certificate is at step {self.steps}, batch is of step {batch.step}")
        self.draws = hashlib.sha256(bytes.fromhex(self.draws) + batch.draws).hexdigest()
        if batch.pixels:
            self.pixels = hashlib.sha256(bytes.fromhex(self.pixels) + batch.pixels).hexdigest()
        self.steps += 1

    def head(self) -> dict[str, str | int]:
        """Return the chains as they stand after the steps so far."""
        return {"steps": self.steps, "draws": self.draws, "pixels": self.pixels}
