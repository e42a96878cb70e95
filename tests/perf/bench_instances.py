"""Scores of instances of one case on one thread: ``bench.engine.instances`` against panoptica.

Run from the repository's root: ``python tests/perf/bench_instances.py``. Panoptica wants older
versions of NumPy and pandas than this project is tested with, so it is installed beside them:
``pip install --no-deps panoptica ruamel.yaml plotly``.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
from timing import Row, one_thread, paired, table

from bench.engine import instances
from bench.engine.parts import of_components, of_labels

Map = NDArray[np.uint8]
SIDE, COUNT = 880, 20
REPEATS = 15
GOAL = 10.0
AGREEMENT = 1e-6


def spine(seed: int = 0) -> tuple[Map, Map]:
    """Return a prediction and a reference (H, W) of numbered vertebrae that lie apart."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((2, SIDE, SIDE), np.uint8)
    step = SIDE / COUNT
    for level in range(COUNT):
        x, y = int(SIDE * (0.5 + 0.1 * np.sin(level / 3))), int((level + 0.5) * step)
        for image, moved in zip(maps, (rng.integers(-3, 4, 2), (0, 0)), strict=True):
            centre = (x + int(moved[0]), y + int(moved[1]) // 2)
            cv2.ellipse(
                image, centre, (int(SIDE * 0.07), int(step * 0.36)), 0, 0, 360, level + 1, -1
            )
    return maps[0], maps[1]


def peer(prediction: Map, reference: Map, labelled: bool, every: bool) -> Callable[[], Any]:
    """Return a function that evaluates with panoptica: all default metrics, or overlaps alone."""
    import panoptica

    kinds = panoptica.InputType
    metrics = {}
    if not every:
        overlaps = [panoptica.Metric.DSC, panoptica.Metric.IOU]
        metrics = {"instance_metrics": overlaps, "global_metrics": []}
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=kinds.UNMATCHED_INSTANCE if labelled else kinds.SEMANTIC,
        instance_approximator=None
        if labelled
        else panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=panoptica.NaiveThresholdMatching(),
        verbose=False,
        log_times=False,
        **metrics,
    )
    return lambda: evaluator.evaluate(prediction, reference)["ungrouped"].pq


def ours(prediction: Map, reference: Map, labelled: bool) -> Callable[[], float]:
    """Return a function that computes the whole row of scores and counts."""

    def compute() -> float:
        parts = of_labels(prediction) if labelled else of_components(prediction)
        real = of_labels(reference) if labelled else of_components(reference)
        return float(instances.score(parts, real, (1.0, 1.0)).row()["pq"])

    return compute


def seconds(compute: Callable[[], object]) -> float:
    """Return the processor's seconds of a call."""
    began = time.process_time()
    compute()
    return time.process_time() - began


def measure() -> list[Row]:
    """Return a row for labelled and for binary masks, against each path of panoptica."""
    if find_spec("panoptica") is None:
        print("not measured: pip install --no-deps panoptica ruamel.yaml plotly")
        return []
    one_thread()
    rows = []
    name = f"panoptica {version('panoptica')}"
    for labelled in (True, False):
        maps = spine()
        if not labelled:
            maps = ((maps[0] > 0).astype(np.uint8), (maps[1] > 0).astype(np.uint8))
        mine = ours(*maps, labelled)
        for every, what in ((True, "its default metrics"), (False, "Dice and IoU alone")):
            theirs = peer(*maps, labelled, every)
            if abs(mine() - theirs()) > AGREEMENT:
                raise RuntimeError(f"ours gives PQ {mine()}, panoptica {theirs()}")
            times = {mine: [], theirs: []}
            for _ in range(REPEATS):
                for compute, spent in times.items():
                    spent.append(seconds(compute))
            ratio = 1 / paired(times[mine], times[theirs])
            kind = "labels" if labelled else "components"
            rows.append(
                Row(
                    f"{COUNT} instances of {SIDE} x {SIDE}, {kind}",
                    f"{1e3 * statistics.median(times[mine]):.3g} ms",
                    f"{name}, {what}",
                    f"{1e3 * statistics.median(times[theirs]):.3g} ms",
                    f"{ratio:.1f}x",
                    f"{GOAL:g}x" if every else "",
                    ratio >= GOAL if every else None,
                )
            )
    return rows


if __name__ == "__main__":
    print(table(measure()))
