"""Augmentation of image and mask compared with peers: rotation, shift, elastic and contrast.

Run from the repository's root: ``python tests/perf/bench_augment.py``. Every operation is applied
every time. Ours counts in full: the generator of the step, the drawing, the resampling. Each peer
is given the input that it handles fastest, made beforehand, and nearest-neighbour masks, which are
cheaper than our linear ones.
"""

from __future__ import annotations

import os
import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for its newest version
sys.path.insert(0, str(Path(__file__).parent))

import cv2
import numpy as np
from numpy.typing import NDArray
from timing import Row, milliseconds, one_thread, paired, race, table

from bench.data.augment import KNOTS, PAPER, augment, draw

SIZES = [(166, 369), (250, 750), (534, 768), (880, 880)]
REPEATS, BLOCK = 11, 0.02  # seconds of a turn
GOAL = 3.0
ROTATION, SHIFT, ELASTIC = PAPER.rotation, PAPER.shift, PAPER.elastic
CONTRAST = (1 - PAPER.contrast, 1 + PAPER.contrast)
Image = NDArray[np.uint16]
Mask = NDArray[np.uint8]
Pipeline = Callable[[], Any]


def picture(height: int, width: int) -> tuple[Image, Mask]:
    """Return a smooth image (H, W) in 65535 steps and an ellipse as its mask."""
    noise = np.random.default_rng(0).random((height, width), np.float32)
    image = (cv2.GaussianBlur(noise, (0, 0), 3) * 65535).astype(np.uint16)
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 4, height // 4), 20, 0, 360, 1, -1)
    return image, mask


def ours(image: Image, mask: Mask) -> Pipeline:
    """Draw as the stream does, from a new counter-based generator, and resample once, linearly."""
    step = 0

    def run() -> tuple[NDArray[np.float32], Mask]:
        nonlocal step
        step += 1
        rng = np.random.Generator(np.random.Philox(key=[35, 1], counter=[0, 0, step, 1]))
        return augment(image, mask, draw(rng, *image.shape))

    return run


def albumentations(image: Image, mask: Mask) -> dict[str, Pipeline]:
    """Affine, then elastic deformation, then contrast: two resamplings of 8-bit images.

    8 bit is its fastest kind of image.

    Up to 2.0 elastic deformation is either ElasticTransform, here with its fast blur of fixed size,
    or GridElasticDeform with a mesh as wide as ours. The successor `albumentationsx` (2.1 and
    later, imported by the same name) has an ElasticTransform of B-splines instead, which is given
    our displacement and as many control points as we have along the shorter side.
    """
    import albumentations as A

    height, width = image.shape
    small, far = (image // 257).astype(np.uint8), round(ELASTIC * min(height, width))
    shift = {"x": (-SHIFT[1], SHIFT[1]), "y": (-SHIFT[1], SHIFT[1])}
    affine = A.Affine(rotate=(-ROTATION, ROTATION), translate_percent=shift, p=1)
    contrast = (CONTRAST[0] - 1, CONTRAST[1] - 1)
    rows, columns = KNOTS, round(KNOTS * width / height)
    if "displacement_range" in signature(A.ElasticTransform).parameters:
        change = A.RandomBrightnessContrast(brightness_range=(0, 0), contrast_range=contrast, p=1)
        bends = {
            "splines": A.ElasticTransform(
                displacement_range=(0, ELASTIC), control_grid_shape=(KNOTS + 3, KNOTS + 3), p=1
            )
        }
        silent = {"telemetry": False}
    else:
        change = A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=contrast, p=1)
        bends = {
            "elastic": A.ElasticTransform(alpha=8 * far, sigma=8, approximate=True, p=1),
            "grid": A.GridElasticDeform(num_grid_xy=(columns, rows), magnitude=far, p=1),
        }
        silent = {}
    pipes = {
        name: A.Compose([affine, bend, change], seed=0, **silent) for name, bend in bends.items()
    }
    return {
        f"albumentations {A.__version__}, {name}": partial(pipe, image=small, mask=mask)
        for name, pipe in pipes.items()
    }


def monai(image: Image, mask: Mask) -> dict[str, Pipeline]:
    """Rand2DElasticd (elastic deformation, rotation and shift in one), then contrast.

    Control points as far apart as ours; float32 tensors without tracking of metadata, which costs
    it most.
    """
    import monai
    import torch
    from monai.transforms import Compose, Rand2DElasticd, RandScaleIntensityFixedMeand

    monai.data.set_track_meta(False)
    short = min(image.shape)
    pipe = Compose(
        [
            Rand2DElasticd(
                keys=["image", "mask"],
                prob=1,
                spacing=(short / KNOTS, short / KNOTS),
                magnitude_range=(0, ELASTIC * short),
                rotate_range=np.radians(ROTATION),
                translate_range=[SHIFT[1] * side for side in image.shape],
                mode=["bilinear", "nearest"],
                padding_mode="zeros",
            ),
            RandScaleIntensityFixedMeand(
                keys=["image"], prob=1, factors=(CONTRAST[0] - 1, CONTRAST[1] - 1)
            ),
        ]
    )
    pipe.set_random_state(0)
    pair = {
        "image": torch.from_numpy(image.astype(np.float32) / 65535)[None],
        "mask": torch.from_numpy(mask.astype(np.float32))[None],
    }
    return {f"MONAI {monai.__version__}": lambda: pipe(pair)}


def batchgenerators(image: Image, mask: Mask) -> dict[str, Pipeline]:
    """SpatialTransform, which fuses the three, then ContrastTransform.

    The shift is a random centre of the crop.
    """
    from importlib.metadata import version

    import torch
    from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

    pipe = ComposeTransforms(
        [
            SpatialTransform(
                patch_size=image.shape,
                patch_center_dist_from_border=[side * (0.5 - SHIFT[1]) for side in image.shape],
                random_crop=True,
                p_elastic_deform=1,
                elastic_deform_scale=(0.5 / KNOTS, 0.5 / KNOTS),
                elastic_deform_magnitude=(0, ELASTIC * min(image.shape)),
                p_rotation=1,
                rotation=(-np.radians(ROTATION), np.radians(ROTATION)),
                mode_seg="nearest",
            ),
            ContrastTransform(
                contrast_range=CONTRAST, preserve_range=True, synchronize_channels=True
            ),
        ]
    )
    pixels = torch.from_numpy(image.astype(np.float32) / 65535)[None]
    labels = torch.from_numpy(mask)[None]
    return {
        f"batchgeneratorsv2 {version('batchgeneratorsv2')}": lambda: pipe(
            image=pixels, segmentation=labels
        )
    }


def measure() -> list[Row]:
    """Return a row for each size and peer; the goal is against the fastest of them."""
    one_thread()
    rows = []
    for height, width in SIZES:
        pair = picture(height, width)
        peers = albumentations(*pair) | monai(*pair) | batchgenerators(*pair)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            times = race({"ours": ours(*pair), **peers}, REPEATS, BLOCK)
        fastest = min(peers, key=lambda name: statistics.median(times[name]))
        for name in peers:
            ratio = paired(times[name], times["ours"])
            goal = {"goal": f"{GOAL:g}x", "met": ratio >= GOAL} if name == fastest else {}
            rows.append(
                Row(
                    f"augment {height}x{width}",
                    milliseconds(times["ours"]),
                    name,
                    milliseconds(times[name]),
                    f"{ratio:.1f}x",
                    **goal,
                )
            )
    return rows


if __name__ == "__main__":
    print(table(measure()))
