"""HD95 + ASSD + NSD of one case on one thread: ``bench.engine.metrics.score`` against MONAI.

Run from the repository's root: ``python tests/perf/bench_metrics.py``.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.engine.metrics import score
from bench.spec.metrics import TOLERANCE

Mask = NDArray[np.uint8]
Spacing = tuple[float, float]

SIZES = [(166, 369), (250, 750), (534, 768), (880, 880)]
VERTEBRAE = 7
REPEATS = 25
AGREEMENT = 1e-4  # the two must give the same numbers, or their times mean nothing


def spine(height: int, width: int, seed: int = 0) -> tuple[Mask, Mask]:
    """Return a prediction and a truth (H, W): a column of vertebrae, predicted a few pixels off."""
    rng = np.random.default_rng(seed)
    prediction, truth = np.zeros((2, height, width), np.uint8)
    half_width, half_height = width * 0.12, height / VERTEBRAE * 0.36
    for level in range(VERTEBRAE):
        x, y = width * (0.5 + 0.15 * np.sin(level / 2)), (level + 0.5) * height / VERTEBRAE
        angle = rng.uniform(-15, 15)
        off = rng.integers(-3, 4, size=5)
        true = (int(x), int(y)), (int(half_width), int(half_height)), angle
        guess = (
            (int(x) + int(off[0]), int(y) + int(off[1])),
            (int(half_width) + int(off[2]), int(half_height) + int(off[3])),
            angle + float(off[4]),
        )
        for mask, (centre, axes, turn) in ((truth, true), (prediction, guess)):
            cv2.ellipse(mask, centre, axes, turn, 0, 360, 1, -1)
    return prediction, truth


def misplaced(height: int, width: int) -> tuple[Mask, Mask]:
    """Return a spine and a prediction of only a far corner: the slow case of any local search."""
    prediction, truth = spine(height, width)
    prediction[:] = 0
    prediction[: height // 8, : width // 8] = 1
    return prediction, truth


def by_monai(prediction: Mask, truth: Mask, spacing: Spacing) -> Callable[[], list[float]]:
    """Return a function that computes the three distances with MONAI from ready tensors."""
    from monai import metrics

    tensors = [torch.from_numpy(mask)[None, None] for mask in (prediction, truth)]
    common = {"include_background": True, "spacing": spacing}

    def compute() -> list[float]:
        return [
            float(metrics.compute_hausdorff_distance(*tensors, percentile=95, **common)),
            float(metrics.compute_average_surface_distance(*tensors, symmetric=True, **common)),
            float(
                metrics.compute_surface_dice(*tensors, [TOLERANCE], use_subvoxels=False, **common)
            ),
        ]

    return compute


def by_us(prediction: Mask, truth: Mask, spacing: Spacing) -> Callable[[], list[float]]:
    """Return a function that computes the whole score: overlaps and checks are in its time."""

    def compute() -> list[float]:
        row = score(prediction, truth, spacing)
        return [row.hd95, row.assd, row.nsd]

    return compute


def race(ours: Callable[[], list[float]], peer: Callable[[], list[float]]) -> tuple[float, float]:
    """Return the median milliseconds of both over interleaved repetitions, having compared them."""
    here, there = ours(), peer()
    if not np.allclose(here, there, rtol=0, atol=AGREEMENT):
        raise RuntimeError(
            f"ours gives {here} and the peer {there}; expected equal within {AGREEMENT}"
        )
    times: dict[Callable[[], list[float]], list[float]] = {ours: [], peer: []}
    for _ in range(REPEATS):
        for compute, spent in times.items():
            start = time.perf_counter()
            compute()
            spent.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[ours]), statistics.median(times[peer])


def measure() -> list[dict[str, str | float]]:
    """Return one row a case: what, ours_ms, peer, peer_ms, ratio (peer's time over ours)."""
    import monai

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    cases = [(f"{h}x{w}", spine(h, w), (1.0, 1.0)) for h, w in SIZES]
    cases += [(f"{h}x{w}, 0.9 x 0.4 mm", spine(h, w), (0.9, 0.4)) for h, w in SIZES]
    cases += [(f"{h}x{w}, misplaced", misplaced(h, w), (1.0, 1.0)) for h, w in SIZES]
    rows: list[dict[str, str | float]] = []
    for name, pair, spacing in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # MONAI's, about its own arguments
            ours, peer = race(by_us(*pair, spacing), by_monai(*pair, spacing))
        what = f"HD95 + ASSD + NSD, {name}"
        rows.append(
            {
                "what": what,
                "ours_ms": ours,
                "peer": f"MONAI {monai.__version__}",
                "peer_ms": peer,
                "ratio": peer / ours,
            }
        )
    return rows


def main() -> None:
    """Print the rows as a Markdown table."""
    print("| what | ours, ms | peer | peer, ms | ratio |\n| --- | ---: | --- | ---: | ---: |")
    for row in measure():
        print("| {what} | {ours_ms:.2f} | {peer} | {peer_ms:.1f} | {ratio:.1f}x |".format(**row))


if __name__ == "__main__":
    main()
