"""Scores from outside: `bench score` of 1,000 pairs, one volume against MONAI, `bench compare`.

Run from the repository's root: ``python tests/perf/bench_outside.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
from bench_metrics import AGREEMENT, spine
from timing import Row, table

from bench.engine.metrics import score
from bench.spec.metrics import TOLERANCE

ROOT = Path(__file__).resolve().parents[2]
PAIRS, SIDE = 1000, 512
VOLUME, SPACING = (200, 512, 512), (2.5, 0.8, 0.8)
METHODS, PATIENTS = 10, 500
GOALS = {"pairs": 15.0, "volume": 5.0, "compare": 5.0}


def command(*words: str) -> float:
    """Return the seconds of a command, its imports included."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "bench.cli", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return time.monotonic() - began


def pairs(folder: Path) -> Row:
    """Score 1,000 pairs of PNG files with all metrics, keeping masks and references."""
    for part in ("labels", "preds"):
        (folder / part).mkdir(parents=True)
    for number in range(PAIRS):
        prediction, truth = spine(SIDE, SIDE, number)
        name = f"p{number // 5:03d}_{number:04d}.png"
        cv2.imwrite(str(folder / "labels" / name), truth * 255)
        cv2.imwrite(str(folder / "preds" / name), prediction * 255)
    seconds = command(
        "score",
        *("--reference", str(folder / "labels"), "--predictions", f"Ours={folder / 'preds'}"),
        *("--pattern", "{patient}_*", "--out", str(folder / "results")),
    )
    return Row(
        f"bench score, {PAIRS} pairs of {SIDE} x {SIDE}, all metrics, reading and writing",
        f"{seconds:.1f} s",
        "limit",
        f"{GOALS['pairs']:g} s",
        f"{GOALS['pairs'] / seconds:.1f}",
        f"{GOALS['pairs']:g} s at most",
        seconds <= GOALS["pairs"],
    )


def ball(shape: tuple[int, int, int], shift: int, radius: float) -> NDArray[np.uint8]:
    """Return a volume (D, H, W) of vertebrae: balls in a row, moved by some voxels."""
    grids = np.ogrid[tuple(slice(0, side) for side in shape)]
    mask = np.zeros(shape, bool)
    for level in range(6):
        centre = (shape[0] // 2, (level + 1) * shape[1] // 7 + shift, shape[2] // 2 + shift)
        sides = (shape[0] * 0.35, radius, radius * 1.4)
        terms = [((g - c) / s) ** 2 for g, c, s in zip(grids, centre, sides, strict=True)]
        mask |= sum(terms) <= 1
    return mask.astype(np.uint8)


def volume() -> Row:
    """Score one volume, and let MONAI compute the same distances on the same crop."""
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    torch.set_num_threads(1)
    prediction, truth = ball(VOLUME, 3, 34), ball(VOLUME, 0, 32)
    began = time.process_time()
    mine = score(prediction, truth, SPACING)
    seconds = time.process_time() - began
    boxes = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero((prediction | truth).any(axis=others))
        boxes.append(slice(max(0, used[0] - 1), used[-1] + 2))
    crop = tuple(boxes)
    tensors = [torch.from_numpy(mask[crop])[None, None] for mask in (prediction, truth)]
    began = time.process_time()
    hd95 = compute_hausdorff_distance(*tensors, True, percentile=95, spacing=SPACING)
    assd = compute_average_surface_distance(*tensors, True, symmetric=True, spacing=SPACING)
    nsd = compute_surface_dice(*tensors, [TOLERANCE], True, spacing=SPACING)
    peer = time.process_time() - began
    for own, other in ((mine.hd95, hd95), (mine.assd, assd), (mine.nsd, nsd)):
        assert abs(own - float(other)) < AGREEMENT * max(1, own), (own, other)
    return Row(
        "all metrics of a volume of 512 x 512 x 200; MONAI: three distances on the same crop",
        f"{seconds:.2f} s",
        "MONAI",
        f"{peer:.2f} s",
        f"{peer / seconds:.1f}",
        f"{GOALS['volume']:g} times as fast",
        peer / seconds >= GOALS["volume"],
    )


def compare(folder: Path) -> Row:
    """Compare ten methods over 500 patients."""
    rng = np.random.default_rng(0)
    base = rng.beta(9, 1.5, PATIENTS)
    lines = ["method,dataset,patient,case,dice,iou,hd95"]
    for method in range(METHODS):
        dice = np.clip(base - 0.005 * method + rng.normal(0, 0.02, PATIENTS), 0.01, 0.999)
        for patient, value in enumerate(dice):
            far = rng.gamma(2, 3)
            scores = f"{value:.6f},{value / (2 - value):.6f},{far:.3f}"
            lines.append(f"M{method},liver,P{patient},c{patient},{scores}")
    path = folder / "scores.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    seconds = command("compare", str(path), "--baseline", "M0")
    return Row(
        f"bench compare, {METHODS} methods, {PATIENTS} patients, imports included",
        f"{seconds:.1f} s",
        "limit",
        f"{GOALS['compare']:g} s",
        f"{GOALS['compare'] / seconds:.1f}",
        f"{GOALS['compare']:g} s at most",
        seconds <= GOALS["compare"],
    )


def measure() -> list[Row]:
    """Return the rows of the report on speed."""
    with tempfile.TemporaryDirectory() as folder:
        return [pairs(Path(folder)), volume(), compare(Path(folder))]


if __name__ == "__main__":
    print(table(measure()))
